"""Hooks of the stand-in."""
