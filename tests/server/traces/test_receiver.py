import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from recis_server.bus import Hint
from recis_server.errors import StoreUnavailable
from recis_server.store.values import TraceRow
from recis_server.traces.receiver import HashMismatchError, TraceReceiver, Upload

from recis.wire.codec import WireError
from recis.wire.messages import TraceChunk, TraceOpen
from tests.server.realserver import Parts, hello, parts, until, until_async

CONTENT = os.urandom(100_000)


def opening(content: bytes = CONTENT, **options: Any) -> TraceOpen:
    fields = {
        "run": "r1",
        "attempt": "a1",
        "rank": 0,
        "name": "local-rank0-timeline-100.json.gz",
        "step": 100,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "time_ns": 5,
    }
    return TraceOpen(**{**fields, **options})


async def begun(receiver: TraceReceiver, message: TraceOpen) -> Upload:
    upload = await receiver.begin(message)
    assert isinstance(upload, Upload)
    return upload


async def send(receiver: TraceReceiver, upload: Upload, content: bytes, start: int, stop: int) -> None:
    for offset in range(start, stop, 30_000):
        await receiver.write(upload, TraceChunk(offset=offset, data=content[offset : min(stop, offset + 30_000)]))


async def received(server: Parts, row: TraceRow) -> bytes:
    return b"".join([part async for part in server.blobs.read(row.blob, 0, row.size)])


def run(folder: Path, scenario: Callable[[Parts], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        async with parts(folder, **options) as server:
            await server.store.register(hello(), 1)
            await scenario(server)

    asyncio.run(main())


def incoming(folder: Path) -> list[str]:
    return sorted(path.suffix for path in (folder / "incoming").iterdir())


def test_a_whole_file_is_kept_byte_for_byte_and_listed(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        hints: list[Hint] = []
        server.bus.subscribe(hints.append)
        upload = await begun(server.traces, opening())
        await send(server.traces, upload, CONTENT, 0, len(CONTENT))
        assert upload.complete
        assert await server.store.traces("r1") == ()
        row = await server.traces.finish(upload)
        (listed,) = await server.store.traces("r1")
        assert listed == row
        assert (row.name, row.rank, row.step, row.size, row.state, row.attempt, row.created_ns) == (
            "local-rank0-timeline-100.json.gz",
            0,
            100,
            100_000,
            "ready",
            1,
            5,
        )
        assert await received(server, row) == CONTENT
        assert hints == [Hint("trace", "r1", row.id)]
        # Random bytes are no trace: listed all the same, without a summary, and nothing is left lying about.
        await until(lambda: incoming(tmp_path) == [])

    run(tmp_path, scenario)


def test_a_summary_follows(tmp_path: Path) -> None:
    event = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 1.0, "dur": 500.0}
    content = gzip.compress(json.dumps({"traceEvents": [event]}).encode())

    async def scenario(server: Parts) -> None:
        upload = await begun(server.traces, opening(content))
        await send(server.traces, upload, content, 0, len(content))
        row = await server.traces.finish(upload)

        async def summary() -> dict[str, Any] | None:
            known = await server.store.trace(row.id)
            return known.summary if known is not None else None

        assert (await until_async(summary))["operators"][0]["name"] == "aten::mm"  # type: ignore[index]
        assert await received(server, row) == content
        await until(lambda: incoming(tmp_path) == [])

    run(tmp_path, scenario)


def test_an_upload_that_was_cut_goes_on_after_a_restart_of_the_server(tmp_path: Path) -> None:
    async def first(server: Parts) -> None:
        upload = await begun(server.traces, opening())
        await send(server.traces, upload, CONTENT, 0, 60_000)
        server.traces.end(upload)

    async def second(server: Parts) -> None:
        upload = await begun(server.traces, opening())
        assert upload.offset == 60_000
        await send(server.traces, upload, CONTENT, 60_000, len(CONTENT))
        assert await received(server, await server.traces.finish(upload)) == CONTENT

    run(tmp_path, first)
    run(tmp_path, second)


def test_a_file_that_is_here_already_is_not_taken_again(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        upload = await begun(server.traces, opening())
        await send(server.traces, upload, CONTENT, 0, len(CONTENT))
        row = await server.traces.finish(upload)
        assert await server.traces.begin(opening()) == row
        for other in (opening(rank=1), opening(name="other"), opening(b"x")):
            assert isinstance(await server.traces.begin(other), Upload)

    run(tmp_path, scenario)


def test_another_content_than_announced_is_discarded(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        wrong = bytes(len(CONTENT))
        upload = await begun(server.traces, opening())
        await send(server.traces, upload, wrong, 0, len(wrong))
        with pytest.raises(HashMismatchError, match="expected SHA-256") as caught:
            await server.traces.finish(upload)
        assert not caught.value.resumed
        assert incoming(tmp_path) == []
        assert await server.store.traces("r1") == ()
        server.traces.end(upload)
        # A broken first part is worth another try from the start.
        upload = await begun(server.traces, opening())
        assert upload.offset == 0
        await send(server.traces, upload, wrong, 0, 30_000)
        upload = await begun(server.traces, opening())
        await send(server.traces, upload, CONTENT, 30_000, len(CONTENT))
        with pytest.raises(HashMismatchError) as caught:
            await server.traces.finish(upload)
        assert caught.value.resumed

    run(tmp_path, scenario)


def test_chunks_come_in_order_and_repeats_are_passed_over(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        upload = await begun(server.traces, opening())
        assert await server.traces.write(upload, TraceChunk(offset=0, data=CONTENT[:10])) == 10
        assert await server.traces.write(upload, TraceChunk(offset=0, data=CONTENT[:10])) == 10
        assert await server.traces.write(upload, TraceChunk(offset=5, data=CONTENT[5:20])) == 20
        with pytest.raises(WireError, match="expected offset 20, got 21"):
            await server.traces.write(upload, TraceChunk(offset=21, data=b"x"))
        with pytest.raises(WireError, match="announced 100000 bytes"):
            await server.traces.write(upload, TraceChunk(offset=20, data=CONTENT))
        await send(server.traces, upload, CONTENT, 20, len(CONTENT))
        assert await received(server, await server.traces.finish(upload)) == CONTENT

    run(tmp_path, scenario)


def test_the_newest_upload_of_a_file_takes_over(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        first = await begun(server.traces, opening())
        await send(server.traces, first, CONTENT, 0, 30_000)
        second = await begun(server.traces, opening())
        assert second.offset == 30_000
        with pytest.raises(WireError, match="another connection") as caught:
            await send(server.traces, first, CONTENT, 30_000, 60_000)
        assert caught.value.code == "superseded"
        server.traces.end(first)
        await send(server.traces, second, CONTENT, 30_000, len(CONTENT))
        assert await received(server, await server.traces.finish(second)) == CONTENT

    run(tmp_path, scenario)


def test_a_trace_above_the_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        with pytest.raises(WireError, match="at most 99999 bytes") as caught:
            await server.traces.begin(opening())
        assert caught.value.code == "too_large"
        assert isinstance(await server.traces.begin(opening(CONTENT[:-1])), Upload)

    run(tmp_path, scenario, max_trace_bytes=99_999)


def test_a_trace_of_an_unknown_run_may_come_back_later(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        with pytest.raises(StoreUnavailable, match="no run nope"):
            await server.traces.begin(opening(run="nope"))

    run(tmp_path, scenario)


def test_a_disk_that_fails_is_unavailable_and_the_part_stays(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        upload = await begun(server.traces, opening())
        await send(server.traces, upload, CONTENT, 0, len(CONTENT))
        (tmp_path / "blobs" / "traces").write_bytes(b"in the way of the folder")
        with pytest.raises(StoreUnavailable):
            await server.traces.finish(upload)
        server.traces.end(upload)
        (tmp_path / "blobs" / "traces").unlink()
        again = await begun(server.traces, opening())
        assert again.complete
        assert await received(server, await server.traces.finish(again)) == CONTENT

    run(tmp_path, scenario)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b", "🦊" * 50, "<script>", "x" * 10_000, "\\..\\x"])
def test_a_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    async def scenario(server: Parts) -> None:
        upload = await begun(server.traces, opening(b"abc", name=name))
        await send(server.traces, upload, b"abc", 0, 3)
        row = await server.traces.finish(upload)
        assert (await server.store.trace(row.id)).name == name  # type: ignore[union-attr]
        assert upload.path.parent == tmp_path / "incoming"
        assert await received(server, row) == b"abc"

    run(tmp_path, scenario)


def test_what_nobody_went_on_with_is_cleaned_away_at_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    for name, age_s in (("old.part", 8 * 86_400), ("young.part", 86_400), ("crashed.whole", 0)):
        (folder / name).touch()
        os.utime(folder / name, (1_000_000_000 - age_s,) * 2)

    async def scenario(server: Parts) -> None:
        receiver = TraceReceiver(
            server.store, server.blobs, server.bus, folder, clock=lambda: 1_000_000_000 * 1_000_000_000
        )
        await receiver.open()
        await receiver.close()
        await receiver.close()
        assert [path.name for path in folder.iterdir()] == ["young.part"]

    run(tmp_path / "data", scenario)


def test_an_announced_size_below_what_lies_here_starts_again(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        upload = await begun(server.traces, opening())
        upload.path.write_bytes(bytes(len(CONTENT) + 1))
        assert (await begun(server.traces, msgspec.structs.replace(opening()))).offset == 0

    run(tmp_path, scenario)


def test_what_has_arrived_of_a_deleted_run_goes_and_nothing_comes_after_it(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        await server.store.register(hello("other", "w2"), 1)
        half = await begun(server.traces, opening())
        whole = await begun(server.traces, opening(name="whole"))
        kept = await begun(server.traces, opening(run="other"))
        await send(server.traces, half, CONTENT, 0, 50_000)
        await send(server.traces, whole, CONTENT, 0, len(CONTENT))
        await send(server.traces, kept, CONTENT, 0, 50_000)
        await server.store.delete_run("r1")
        with pytest.raises(StoreUnavailable, match="was deleted"):
            await server.traces.finish(whole)
        await server.traces.discard("r1")
        assert [file.name for file in (tmp_path / "incoming").iterdir()] == [kept.path.name]
        assert [file for file in (tmp_path / "blobs").rglob("*") if file.is_file()] == []
        with pytest.raises(WireError, match="another connection"):
            await server.traces.write(half, TraceChunk(offset=50_000, data=b"x"))
        with pytest.raises(StoreUnavailable, match="no run r1"):
            await server.traces.begin(opening())
        assert await server.traces.write(kept, TraceChunk(offset=50_000, data=CONTENT[50_000:])) == len(CONTENT)

    run(tmp_path, scenario)
