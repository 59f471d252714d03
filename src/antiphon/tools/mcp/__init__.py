"""MCP servers as tools: processes behind pipes and endpoints over HTTP, from an ``mcp.json``."""
