"""A real recommender trained on real ratings: the example to copy from, and what `recis-monitor demo` runs."""
