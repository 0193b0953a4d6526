"""A recommender trained on real ratings: an example to copy, run by `recis-monitor demo`."""
