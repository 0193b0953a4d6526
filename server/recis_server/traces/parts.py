"""The parts of unfinished uploads that servers share, so that an upload continues at any of them.

Owns the parts in the blobs: each `PART_BYTES` bytes that a server has received form one part. A server that continues
an upload fetches the parts that its own partial file lacks; the client sends what follows the last whole part again.
Must not know sockets or finished traces. Does nothing on a server that does not share its store.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from recis_server.blobs import BlobInfo, Blobs
from recis_server.errors import NotFound, StoreError, StoreUnavailable

__all__ = ["PART_BYTES", "PartName", "SharedParts"]

_logger = logging.getLogger(__name__)

PART_BYTES = 8 << 20
MAX_FILES = 128
"""Files of a run that have parts; beyond that, the parts of the one written longest ago are removed."""
_FOLDER, _DIGITS = "parts", 8


@dataclass(frozen=True, slots=True)
class PartName:
    """The parts of one file: digests of its run and of its identity, in hexadecimal."""

    run: str
    file: str

    def key(self, number: int) -> str:
        """Return the key of a part, numbered from 0."""
        return f"{_FOLDER}/{self.run}/{self.file[: 64 - _DIGITS]}{number:0{_DIGITS}d}"


class SharedParts:
    """Parts in the blobs.

    Args:
        blobs: where they are.
        is_shared: whether there may be other servers.
    """

    def __init__(self, blobs: Blobs, *, is_shared: bool) -> None:
        self._blobs = blobs
        self._is_shared = is_shared

    async def check(self) -> None:
        """Check that the parts can be listed.

        Raises:
            StoreError: they cannot.
        """
        if self._is_shared:
            try:
                await self._blobs.list(_FOLDER)
            except StoreUnavailable as error:
                raise StoreError(
                    "--blobs: expected credentials that may list the bucket, because servers with a --bus continue each"
                    f" other's uploads: {error.message}"
                ) from error

    async def count(self, name: PartName) -> int:
        """Return how many parts of a file there are, without a gap, and make room for it. Raises `StoreUnavailable`."""
        if not self._is_shared:
            return 0
        found = await self._blobs.list(f"{_FOLDER}/{name.run}")
        await self._make_room(name, found)
        known = {blob.key for blob in found if blob.size == PART_BYTES}
        number = 0
        while name.key(number) in known:
            number += 1
        return number

    async def _make_room(self, name: PartName, found: list[BlobInfo]) -> None:
        """Remove the parts of the run's files beyond the bound, those written longest ago first."""
        files: dict[str, list[BlobInfo]] = {}
        for blob in sorted(found, key=lambda blob: blob.stored_s, reverse=True):
            files.setdefault(blob.key[:-_DIGITS], []).append(blob)
        files.pop(name.key(0)[:-_DIGITS], None)
        for blobs in [*files.values()][MAX_FILES - 1 :]:
            for blob in blobs:
                await self._blobs.delete(blob.key)

    async def fetch(self, name: PartName, first: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes of the parts `first <= number < stop`; end early if one is gone."""
        for number in range(first, stop):
            try:
                async for piece in self._blobs.read(name.key(number), 0, PART_BYTES):
                    yield piece
            except NotFound:  # finished or removed by another server meanwhile
                return

    async def share(self, name: PartName, number: int, data: bytes) -> None:
        """Store a part. Raises `StoreUnavailable`."""
        await self._blobs.put_bytes(name.key(number), data)

    def is_due(self, shared: int, offset: int) -> bool:
        """Return whether `offset` bytes contain a whole part after the `shared` ones."""
        return self._is_shared and offset >= (shared + 1) * PART_BYTES

    async def remove(self, name: PartName, number: int) -> None:
        """Remove the first parts of a file; those that cannot be removed are left to `sweep`."""
        try:
            for one in range(number):
                await self._blobs.delete(name.key(one))
        except StoreUnavailable as error:
            _logger.warning("could not remove the parts of a finished trace: %s", error)

    async def discard(self, run: str) -> None:
        """Remove the parts of all files of a run. Raises `StoreUnavailable`."""
        if self._is_shared:
            for blob in await self._blobs.list(f"{_FOLDER}/{run}"):
                await self._blobs.delete(blob.key)

    async def sweep(self, oldest_s: float) -> int:
        """Remove the parts that were stored before a time; return their number. Raises `StoreUnavailable`."""
        removed = 0
        if self._is_shared:
            for blob in await self._blobs.list(_FOLDER):
                if blob.stored_s < oldest_s:
                    await self._blobs.delete(blob.key)
                    removed += 1
        return removed
