"""Ingest from training processes: the session core and its WebSocket endpoint."""
