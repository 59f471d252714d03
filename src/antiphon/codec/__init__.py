"""Messages ↔ tokens: rendering, parsing, schemas, grammars. Pure: no I/O, no clock, no framework."""
