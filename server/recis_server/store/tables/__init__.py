"""The rows of the tables: runs, attempts, frames, tallies, commands, traces; one module per subject."""
