"""The package in which RecIS has its logger, for scripts that import it from here."""
