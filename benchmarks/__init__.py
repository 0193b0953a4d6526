"""Benchmarks of the project and its peers; see docs/performance.md for results and how to reproduce them."""
