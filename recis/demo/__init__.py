"""A recommender trained on real ratings: an example to copy from, run by `recis-monitor demo`."""
