"""The store that a `--store` URL names."""

from collections.abc import Callable

from recis_server.store.engines.open import open_engine
from recis_server.store.interface import Store
from recis_server.store.sql import SqlStore
from recis_server.store.upkeep.retention import Retention
from recis_server.store.upkeep.supervisor import MaintenanceSupervisor
from recis_server.store.values import Commit

__all__ = ["open_store"]


def open_store(
    url: str,
    *,
    exclusive: bool = True,
    shared: bool = False,
    observe: Callable[[float, Commit], None] = lambda seconds, commit: None,
    retention: Retention | None = None,
) -> Store:
    """Return the store of a URL, not open yet.

    Args:
        url: see `open_engine`.
        exclusive: whether this process is its server. Only then does a maintenance worker run beside it.
        shared: whether other servers use it as well; only then may there be several.
        observe: called after each commit with its duration in seconds.
        retention: how long raw points are kept; None for ever.

    Raises:
        ValueError: see `open_engine`.
    """
    upkeep = MaintenanceSupervisor(url, retention or Retention()) if exclusive else None
    return SqlStore(open_engine(url, shared=shared), exclusive=exclusive, observe=observe, upkeep=upkeep)
