"""The loop, its arguments, its checkpoints, and the metrics that are set from inside it."""
