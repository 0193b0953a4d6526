import asyncio
import gzip
import hashlib
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from recis_server.bus import Hint
from recis_server.errors import StoreUnavailable
from recis_server.store.values import TraceRow
from recis_server.traces import receiver as module
from recis_server.traces.receiver import HashMismatchError, TraceReceiver, Upload

from recis.wire.codec import WireError
from recis.wire.messages import TraceChunk, TraceOpen
from tests.server.realserver import Parts, hello, parts, until_async
from tests.server.traces.files import call, trace

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


async def uploaded(receiver: TraceReceiver, message: TraceOpen, content: bytes) -> TraceRow:
    upload = await begun(receiver, message)
    await send(receiver, upload, content, 0, len(content))
    return await receiver.finish(upload)


async def summarised(server: Parts, row: TraceRow) -> TraceRow:
    """Return the trace once its summary is no longer pending."""

    async def known() -> TraceRow | None:
        found = await server.store.trace(row.id)
        return found if found is not None and found.summary_state != "pending" else None

    found = await until_async(known, 30)
    assert found is not None
    return found


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
        assert incoming(tmp_path) == []
        # Random bytes are not a trace: they are listed nevertheless, with the reason why there is no summary.
        known = await summarised(server, row)
        assert (known.state, known.summary_state, known.summary) == ("ready", "failed", None)
        assert known.summary_error
        assert hints == [Hint("trace", "r1", row.id)] * 2

    run(tmp_path, scenario)


def test_a_summary_follows(tmp_path: Path) -> None:
    content = gzip.compress(trace([call("aten::mm", 1.0, 500.0)]))

    async def scenario(server: Parts) -> None:
        row = await uploaded(server.traces, opening(content), content)
        known = await summarised(server, row)
        assert known.summary is not None
        assert known.summary["operators"][0]["name"] == "aten::mm"
        assert await received(server, row) == content

    run(tmp_path, scenario)


def test_a_trace_belongs_to_the_attempt_that_made_it(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        await server.store.register(hello("r1", "w2", attempt="a2"), 2)
        await server.store.register(hello("r1", "w3", attempt="a3"), 3)
        for number, attempt in enumerate(("a1", "a2", "a3"), 1):
            content = attempt.encode()
            row = await uploaded(server.traces, opening(content, attempt=attempt), content)
            assert row.attempt == number
        with pytest.raises(StoreUnavailable, match="no run r1 with an attempt a4 yet"):
            await server.traces.begin(opening(attempt="a4"))

    run(tmp_path, scenario)


def blobs(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("moment", ["before the copy", "in the copy", "after the copy", "after the row"])
def test_a_server_that_is_killed_while_it_keeps_a_file_leaves_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The remains of a kill are created here: the row, a part of the file, and the partial file of the upload."""
    content = trace([call("aten::mm", 1.0, 500.0)])

    async def killed(server: Parts) -> None:
        put, update = server.blobs.put, server.store.update_trace

        async def keep(key: str, file: Path) -> None:
            if moment != "before the copy":
                await put(key, file)
            if moment == "in the copy":
                (path,) = blobs(tmp_path)
                path.rename(f"{path}#1")
            if moment in ("before the copy", "in the copy"):
                raise asyncio.CancelledError

        async def change(row: TraceRow) -> bool:
            if moment == "after the row":
                await update(row)
            raise asyncio.CancelledError

        monkeypatch.setattr(server.blobs, "put", keep)
        monkeypatch.setattr(server.store, "update_trace", change)
        upload = await begun(server.traces, opening(content))
        await send(server.traces, upload, content, 0, len(content))
        with pytest.raises(asyncio.CancelledError):
            await server.traces.finish(upload)
        assert incoming(tmp_path) == [".part"]
        (row,) = await server.store.traces("r1")
        assert row.state == ("ready" if moment == "after the row" else "uploading")

    async def again(server: Parts) -> None:
        if moment != "after the row":
            assert await server.store.traces("r1") == ()
            assert blobs(tmp_path) == []
        found = await server.traces.begin(opening(content))
        row = found if isinstance(found, TraceRow) else await server.traces.finish(found)
        assert (await summarised(server, row)).summary_state == "ready"
        assert await received(server, row) == content
        assert len(await server.store.traces("r1")) == len(blobs(tmp_path)) == 1

    run(tmp_path, killed)
    monkeypatch.undo()
    run(tmp_path, again)


def test_what_could_not_be_kept_for_want_of_the_database_goes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEP_S", 0.01)

    async def scenario(server: Parts) -> None:
        async def unavailable(row: TraceRow) -> bool:
            raise StoreUnavailable("the database is away")

        with monkeypatch.context() as patched:
            patched.setattr(server.store, "update_trace", unavailable)
            upload = await begun(server.traces, opening())
            await send(server.traces, upload, CONTENT, 0, len(CONTENT))
            with pytest.raises(StoreUnavailable):
                await server.traces.finish(upload)

        async def swept() -> bool:
            return await server.store.traces("r1") == ()

        await until_async(swept)
        assert blobs(tmp_path) == []
        assert await received(server, await server.traces.finish(upload)) == CONTENT

    run(tmp_path, scenario)


def test_uploads_are_bounded_for_each_run_and_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OF_RUN", 3)
    monkeypatch.setattr(module, "MAX_ACTIVE", 4)

    async def scenario(server: Parts) -> None:
        for name in ("r2", "r3"):
            await server.store.register(hello(name, f"w-{name}"), 1)
        of_run = [await begun(server.traces, opening(name=str(number))) for number in range(3)]
        with pytest.raises(StoreUnavailable, match="at most 3 uploads of a run"):
            await server.traces.begin(opening(name="3"))
        await begun(server.traces, opening(name="0"))  # the same file does not count again
        await begun(server.traces, opening(run="r2"))
        with pytest.raises(StoreUnavailable, match="4 of all runs"):
            await server.traces.begin(opening(run="r3"))
        server.traces.end(of_run[1])
        await begun(server.traces, opening(run="r3"))

    run(tmp_path, scenario)


def test_of_what_nobody_sends_any_more_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OF_RUN", 3)

    async def scenario(server: Parts) -> None:
        await server.store.register(hello("other", "w2"), 1)
        kept = await begun(server.traces, opening(run="other"))
        active = await begun(server.traces, opening(name="active"))
        left = []
        for number in range(6):
            upload = await begun(server.traces, opening(name=str(number)))
            await server.traces.write(upload, TraceChunk(offset=0, data=b"x"))
            os.utime(upload.path, (number, number))
            server.traces.end(upload)
            left.append(upload.path)
        assert set((tmp_path / "incoming").iterdir()) == {kept.path, active.path, *left[-3:]}
        assert (await begun(server.traces, opening(name="5"))).offset == 1

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
        # If the first part is broken, the upload may start again.
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


def test_what_is_in_the_way_of_a_file_is_said_without_its_place(tmp_path: Path) -> None:
    async def scenario(server: Parts) -> None:
        upload = await begun(server.traces, opening())
        upload.path.unlink()
        upload.path.mkdir()
        with pytest.raises(StoreUnavailable, match="Is a directory") as caught:
            await send(server.traces, upload, CONTENT, 0, len(CONTENT))
        assert str(tmp_path) not in str(caught.value)

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
    (folder / "folder.part").mkdir()  # foreign, and no reason not to start
    os.utime(folder / "folder.part", (1_000_000,) * 2)

    async def scenario(server: Parts) -> None:
        receiver = TraceReceiver(
            server.store, server.blobs, server.bus, folder, clock=lambda: 1_000_000_000 * 1_000_000_000
        )
        await receiver.open()
        await receiver.close()
        await receiver.close()
        assert sorted(path.name for path in folder.iterdir()) == ["folder.part", "young.part"]

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
