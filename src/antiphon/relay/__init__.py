"""A relay for sealed requests: it hides clients from the gateway, and can open nothing itself."""
