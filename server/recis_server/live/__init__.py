"""Live updates for browsers."""
