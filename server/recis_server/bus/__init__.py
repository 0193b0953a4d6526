"""Messages between the parts of a server, and between servers that share a store."""

from recis_server.bus.interface import COUNTS, Bus, Hint, Topic
from recis_server.bus.memory import MemoryBus
from recis_server.bus.open import connects_servers, open_bus

__all__ = ["COUNTS", "Bus", "Hint", "MemoryBus", "Topic", "connects_servers", "open_bus"]
