"""Training processes come in here: the session core and its WebSocket endpoint."""
