"""The engine that a `--store` URL names.

Must not know what is stored.
"""

from pathlib import Path
from urllib.parse import unquote

from recis_server.store.engines.engine import Engine
from recis_server.store.engines.sqlite import SqliteEngine

__all__ = ["open_engine"]

_PREFIX = "sqlite:///"


def open_engine(url: str, *, shared: bool = False) -> Engine:
    """Return the engine of `sqlite:///PATH` (four slashes for an absolute path) or `postgresql://…`; not open yet.

    Args:
        url: where the database is.
        shared: whether several servers use it.

    Raises:
        ValueError: the scheme is not supported, the path is missing, the driver is not installed, or the database
            cannot be shared.
    """
    if url.startswith(("postgresql://", "postgres://")):
        return _open_postgres(url, shared)
    path = unquote(url.removeprefix(_PREFIX))
    if not url.startswith(_PREFIX) or not path:
        # An unsupported URL may contain a password.
        raise ValueError(f"--store: expected sqlite:///PATH or postgresql://…, got {url.split('@')[-1][:80]!r}")
    if shared:
        raise ValueError(f"--store: expected postgresql://… for servers that share a --bus, got {url[:80]!r}")
    return SqliteEngine(Path(path))


def _open_postgres(url: str, shared: bool) -> Engine:
    try:
        # The driver is an optional extra.
        from recis_server.store.engines.postgres import PostgresEngine
    except ImportError as error:
        raise ValueError(
            f"--store: expected PostgreSQL's driver to be installed (pip install 'recis-monitor[scale]'): {error}"
        ) from error
    return PostgresEngine(url, shared=shared)
