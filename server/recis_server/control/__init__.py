"""Commands to live runs and their outcomes."""
