"""The browser tool: search, open and find, as gpt-oss was trained on them."""
