"""Tools that the model may call: in the workspace, the shell, the browser, python, over MCP."""
