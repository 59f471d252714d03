"""The HTTP server: OpenAI's APIs in front of any engine."""
