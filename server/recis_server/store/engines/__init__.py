"""Database engines: connections, schema, files, locks and failures."""
