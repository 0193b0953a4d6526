"""Which store a `--store` URL names."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from recis_server.store.interface import Commit, Store
from recis_server.store.sql import SqlStore
from recis_server.store.sqlite import SqliteEngine

__all__ = ["open_store"]

_PREFIX = "sqlite:///"


def open_store(
    url: str,
    *,
    exclusive: bool = True,
    observe: Callable[[float, Commit], None] = lambda seconds, commit: None,
) -> Store:
    """The store of `sqlite:///PATH` (four slashes for an absolute path); it still has to be opened.

    Raises:
        ValueError: a scheme that no store of this version serves, or no path.
    """
    path = unquote(url.removeprefix(_PREFIX))
    if not url.startswith(_PREFIX) or not path:
        raise ValueError(f"--store: expected sqlite:///PATH, got {url!r}")
    return SqlStore(SqliteEngine(Path(path)), exclusive=exclusive, observe=observe)
