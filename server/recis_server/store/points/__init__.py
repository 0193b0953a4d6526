"""Series of points: hot frames and cold chunks, their buckets, charts and exports."""
