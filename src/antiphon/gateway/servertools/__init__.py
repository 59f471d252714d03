"""Tools that the gateway itself runs for its clients: web search, code interpreter, MCP."""
