"""Runs read back as arrays: from a server over HTTP, or out of a data folder."""
