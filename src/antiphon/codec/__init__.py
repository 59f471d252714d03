"""Messages ↔ tokens: rendering, parsing, schemas, grammars. No I/O, no clock, no framework."""
