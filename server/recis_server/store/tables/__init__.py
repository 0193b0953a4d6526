"""Rows of the tables: runs, attempts, frames, tallies, passes, commands, traces; one module per subject."""
