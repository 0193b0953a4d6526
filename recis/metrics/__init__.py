"""Metrics: what counts as a value, the registry of one training, and device scalars on their way to numbers."""
