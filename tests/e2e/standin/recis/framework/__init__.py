"""Trainer and metrics of the stand-in."""
