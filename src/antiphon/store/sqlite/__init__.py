"""One SQLite file for records and state: the default store."""
