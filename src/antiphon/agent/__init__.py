"""The agent: turns of the model and calls of tools, until there is an answer."""
