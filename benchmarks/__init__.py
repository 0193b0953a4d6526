"""What the project costs, measured beside its peers; see docs/performance.md for results and how to repeat them."""
