"""Storage of points, runs, events and commands, behind one interface."""

from recis_server.store.interface import Store
from recis_server.store.open import open_store
from recis_server.store.upkeep.retention import Retention

__all__ = ["Retention", "Store", "open_store"]
