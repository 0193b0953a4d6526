"""Big files, whole: profiler traces now, exports and cold data later.

Owns how bytes get into and out of the object store behind `--blobs`; must not know what they mean or who may read
them. Keys are made by the server and never come from outside.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from recis_server.errors import NotFound, StoreError, StoreUnavailable

__all__ = ["Blobs", "LocalBlobs", "open_blobs"]

_KEY = re.compile(r"[a-z]{1,32}/[A-Za-z0-9]{1,64}")
_READ_BYTES = 1 << 20
_PARTS_AT_ONCE = 1
"""Parts of a file copied at once: each takes megabytes of memory, and on one disk several are no faster."""


class Blobs(Protocol):
    """Named byte strings that are written once, whole, and read in parts."""

    async def put(self, key: str, file: Path) -> None:
        """Copies `file` under `key`, in parts; visible whole or not at all. Raises `StoreUnavailable`."""

    async def size(self, key: str) -> int:
        """Bytes under `key`; raises `NotFound`."""

    def read(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes `start <= position < stop` in parts of at most 1 MiB; raises `NotFound`."""

    def local(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Give the blob as a local file, for other programs to read; raises `NotFound`."""

    async def delete(self, key: str) -> None:
        """Remove `key` and what a killed `put` of it has left; a key that is not there is fine."""


class LocalBlobs:
    """Blobs as files under one folder, which is created when missing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        try:
            self._store = LocalStore(self._folder, mkdir=True)
        except (BaseError, OSError) as error:
            raise StoreError(f"--blobs: expected a folder that can be created, got {folder}: {error}") from error

    async def put(self, key: str, file: Path) -> None:
        """See `Blobs.put`."""
        try:
            await obstore.put_async(self._store, _checked(key), file, max_concurrency=_PARTS_AT_ONCE)
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"could not keep a file as blob {key}: {error}") from error

    async def size(self, key: str) -> int:
        """See `Blobs.size`."""
        try:
            meta = await obstore.head_async(self._store, _checked(key))
        except FileNotFoundError as error:
            raise NotFound(f"expected a blob {key}, there is none") from error
        return meta["size"]

    async def read(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """See `Blobs.read`."""
        for position in range(start, stop, _READ_BYTES):
            try:
                part = await obstore.get_range_async(
                    self._store, _checked(key), start=position, end=min(position + _READ_BYTES, stop)
                )
            except FileNotFoundError as error:
                raise NotFound(f"expected a blob {key}, there is none") from error
            yield bytes(part)

    @asynccontextmanager
    async def local(self, key: str) -> AsyncIterator[Path]:
        """See `Blobs.local`; the file itself, which stays readable for a program that has opened it before `delete`."""
        path = self._folder / _checked(key)
        if not await asyncio.to_thread(path.exists):
            raise NotFound(f"expected a blob {key}, there is none")
        yield path

    async def delete(self, key: str) -> None:
        """See `Blobs.delete`."""
        try:
            await obstore.delete_async(self._store, _checked(key))
        except FileNotFoundError:
            pass
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"could not remove blob {key}: {error}") from error
        await asyncio.to_thread(self._remove_parts, key)

    def _remove_parts(self, key: str) -> None:
        # obstore copies into `KEY#NUMBER` first, and neither lists nor deletes such a file.
        for path in self._folder.glob(f"{key}#*"):
            path.unlink(missing_ok=True)


def open_blobs(url: str) -> Blobs:
    """The blobs that `url` names, for example `file:///var/lib/recis/blobs`.

    Raises:
        ValueError: a scheme that no blobs of this version serve, or no folder.
        StoreError: the folder cannot be created.
    """
    # Not urlsplit's path alone: file://DIR/blobs with a relative DIR has its first part where a host would be.
    parts = urlsplit(url)
    path = unquote(parts.netloc + parts.path)
    if parts.scheme != "file" or not path:
        raise ValueError(f"--blobs: expected file://FOLDER, got {url!r}")
    return LocalBlobs(Path(path))


def _checked(key: str) -> str:
    if _KEY.fullmatch(key) is None:
        raise AssertionError(f"expected a key that the server has made, got {key!r}")
    return key
