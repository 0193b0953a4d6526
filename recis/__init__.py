"""Hooks for training recommenders and the bridge that streams from them; names live in the submodules."""

__version__ = "0.1.0"
