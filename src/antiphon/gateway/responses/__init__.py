"""The Responses API over HTTP and WebSocket: what is kept, streamed, followed and resumed."""
