"""Frozen message values: authors, content, tools, messages, conversations. No tokens here."""
