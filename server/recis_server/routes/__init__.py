"""HTTP: parse, one call, shape."""
