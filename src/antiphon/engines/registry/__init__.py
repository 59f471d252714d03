"""Models by name: what models.toml says of them, and where their files are on this computer."""
