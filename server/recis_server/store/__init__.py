"""Points, runs, events and commands on disk, behind one interface."""

from recis_server.store.interface import Store
from recis_server.store.open import open_store

__all__ = ["Store", "open_store"]
