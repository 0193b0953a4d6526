"""Read runs back as arrays: from a server over HTTP, or from a data folder."""
