"""Uploads that continue at another server: nothing is sent twice but what follows the last whole part."""

import asyncio
import random
import time
from pathlib import Path

import pytest
from recis_server.blobs import BlobInfo
from recis_server.bus.memory import MemoryBus
from recis_server.errors import StoreError, StoreUnavailable
from recis_server.traces import parts as module
from recis_server.traces.parts import PART_BYTES, PartName, SharedParts
from recis_server.traces.receiver import TraceReceiver

from tests.server.realserver import Parts
from tests.server.traces.test_receiver import begun, opening, received, run, send


class SharedBus(MemoryBus):
    """The bus of a server that has peers."""

    has_peers = True


def test_an_upload_goes_on_at_another_server_from_its_last_whole_part(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(2 * PART_BYTES + 1000)

    async def scenario(server: Parts) -> None:
        def receiver(place: str) -> TraceReceiver:
            made = TraceReceiver(server.store, server.blobs, SharedBus(), tmp_path / place)
            (tmp_path / place).mkdir()
            return made

        first, second, third = map(receiver, ("first", "second", "third"))
        upload = await begun(first, opening(content))
        await send(first, upload, content, 0, 2 * PART_BYTES - 1)
        # One part is shared, and the other server has nothing of its own.
        other = await begun(second, opening(content))
        assert (other.offset, other.resumed) == (PART_BYTES, True)
        await send(second, other, content, PART_BYTES, len(content) - 10)
        # What the first one still receives changes nothing; back there, it has less than the parts.
        await send(first, upload, content, 2 * PART_BYTES - 1, 2 * PART_BYTES + 5)
        first.end(upload)
        upload.path.write_bytes(content[:100])
        upload = await begun(first, opening(content))
        assert upload.offset == 2 * PART_BYTES
        await send(first, upload, content, 2 * PART_BYTES, len(content))
        row = await first.finish(upload)
        assert await received(server, row) == content
        assert await second.begin(opening(content)) == row
        assert await server.blobs.list("parts") == []
        # Of a deleted run nothing stays, and of what nobody continues nothing for long.
        for name, name_of in ((second, "two"), (third, "three")):
            left = await begun(name, opening(content, name=name_of))
            await send(name, left, content, 0, PART_BYTES)
        assert len(await server.blobs.list("parts")) == 2
        await third.discard("r1")
        assert await server.blobs.list("parts") == []
        left = await begun(second, opening(content, name="four"))
        await send(second, left, content, 0, PART_BYTES)
        late = TraceReceiver(
            server.store,
            server.blobs,
            SharedBus(),
            tmp_path / "late",
            clock=lambda: time.time_ns() + 8 * 86_400 * 10**9,
        )
        await late.open()
        await late.close()
        assert await server.blobs.list("parts") == []

    run(tmp_path, scenario)


def test_a_server_does_not_start_where_it_cannot_list_the_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(server: Parts) -> None:
        async def denied(folder: str) -> list[BlobInfo]:
            raise StoreUnavailable(f"could not list the blobs in {folder}; the server's log says why")

        monkeypatch.setattr(server.blobs, "list", denied)
        with pytest.raises(StoreError, match="--blobs: expected credentials that may list the bucket"):
            await TraceReceiver(server.store, server.blobs, SharedBus(), tmp_path / "shared").open()
        sole = TraceReceiver(server.store, server.blobs, MemoryBus(), tmp_path / "sole")
        await sole.open()
        await sole.close()

    run(tmp_path, scenario)


def test_the_files_of_a_run_that_have_parts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    monkeypatch.setattr(module, "PART_BYTES", 10)

    async def scenario(server: Parts) -> None:
        shared = SharedParts(server.blobs, is_shared=True)
        names = [PartName("a" * 64, str(number) * 64) for number in range(5)]
        for name in names:
            assert await shared.count(name) == 0
            for number in range(2):
                await shared.share(name, number, b"0123456789")
            assert await shared.count(name) == 2
            await asyncio.sleep(0.01)  # a time of its own
        assert [await shared.count(name) for name in reversed(names)] == [2, 2, 2, 0, 0]

    run(tmp_path, scenario)
