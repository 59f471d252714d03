"""Records and state in PostgreSQL, for gateways on several machines."""
