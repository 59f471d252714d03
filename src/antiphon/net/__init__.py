"""Framing on bytes. Pure: no sockets, no clock."""
