"""Saved sessions: written as they happen, read again, listed and exported."""
