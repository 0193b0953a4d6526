"""Maintenance beside ingest: a supervised worker process that compacts, deletes, drops and trims."""
