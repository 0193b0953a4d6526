"""The engines that the store's tests run on; the same test sees each, and none knows which."""

from collections.abc import Callable
from pathlib import Path

from recis_server.store.engines.engine import Engine
from recis_server.store.engines.open import open_engine

__all__ = ["Place", "engine_of"]

Place = Callable[[Path], str]
"""From a test's folder to the URL of a store; the same folder is the same store."""


def sqlite_place(folder: Path) -> str:
    """One file in the folder."""
    return f"sqlite:///{folder / 'recis.db'}"


current: list[Place] = [sqlite_place]
"""The last one is where stores are made now; fixtures of `conftest` put others there."""


def engine_of(folder: Path) -> Engine:
    """The engine of this folder's store, not open yet."""
    return open_engine(current[-1](folder))
