"""One frozen value that says how the server runs."""
