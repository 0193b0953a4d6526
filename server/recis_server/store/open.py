"""Which engine, and so which store, a `--store` URL names."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from recis_server.store.engine import Engine
from recis_server.store.interface import Store
from recis_server.store.retention import Retention
from recis_server.store.sql import SqlStore
from recis_server.store.sqlite import SqliteEngine
from recis_server.store.upkeep import Upkeep
from recis_server.store.values import Commit

__all__ = ["open_engine", "open_store"]

_PREFIX = "sqlite:///"


def open_store(
    url: str,
    *,
    exclusive: bool = True,
    observe: Callable[[float, Commit], None] = lambda seconds, commit: None,
    retention: Retention | None = None,
) -> Store:
    """The store of a URL; it still has to be opened.

    Args:
        url: see `open_engine`.
        exclusive: whether this process is its server. Only then is it kept: compacted and cleaned by a process beside.
        observe: called with the seconds and the number of frames of each commit.
        retention: how long raw points are kept; None for ever.

    Raises:
        ValueError: see `open_engine`.
    """
    upkeep = Upkeep(url, retention or Retention()) if exclusive else None
    return SqlStore(open_engine(url), exclusive=exclusive, observe=observe, upkeep=upkeep)


def open_engine(url: str) -> Engine:
    """The engine of `sqlite:///PATH` (four slashes for an absolute path) or `postgresql://…`; not open yet.

    Raises:
        ValueError: a scheme that no store of this version serves, no path, or a driver that is not installed.
    """
    if url.startswith(("postgresql://", "postgres://")):
        return _open_postgres(url)
    path = unquote(url.removeprefix(_PREFIX))
    if not url.startswith(_PREFIX) or not path:
        # Whatever it is may hold a password.
        raise ValueError(f"--store: expected sqlite:///PATH or postgresql://…, got {url.split('@')[-1][:80]!r}")
    return SqliteEngine(Path(path))


def _open_postgres(url: str) -> Engine:
    try:
        # Its driver is an extra: most servers do without.
        from recis_server.store.postgres import PostgresEngine
    except ImportError as error:
        raise ValueError(
            f"--store: expected PostgreSQL's driver to be installed (pip install 'recis-monitor[scale]'): {error}"
        ) from error
    return PostgresEngine(url)
