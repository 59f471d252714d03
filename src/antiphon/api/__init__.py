"""OpenAI's wire types ↔ conversations and events. Pure: no sockets, clocks or ids of its own."""
