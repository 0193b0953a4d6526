"""Commands to live runs and how they ended."""
