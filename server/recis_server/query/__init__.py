"""Queries about runs and series, answered from the store as plain values."""
