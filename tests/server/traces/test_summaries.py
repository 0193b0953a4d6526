"""`recis_server.traces.summaries`: every trace gets its summary, or the reason why there is none."""

import asyncio
import contextlib
import gzip
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from recis_server.blobs import Blobs, open_blobs
from recis_server.bus import Hint, MemoryBus
from recis_server.errors import StoreUnavailable
from recis_server.store.sql import SqlStore
from recis_server.store.values import TraceRow
from recis_server.traces import summaries as module
from recis_server.traces.events import TraceFileError
from recis_server.traces.summaries import ChildKilledError, Summaries, digest_apart

from tests.server.realserver import hello, until, until_async
from tests.server.store.streams import opened
from tests.server.traces.files import call, trace

GOOD = trace([call("aten::mm", 1, 500)])


class Server:
    """A store and blobs, with summaries that can be opened and closed."""

    def __init__(self, store: SqlStore, blobs: Blobs, folder: Path) -> None:
        self.store = store
        self.blobs = blobs
        self.bus = MemoryBus()
        self._folder = folder

    async def add(self, name: str, content: bytes = GOOD, *, run: str = "r1", size: int | None = None) -> TraceRow:
        """Add a trace that is ready, without a summary."""
        (self._folder / "source").write_bytes(content)
        await self.blobs.put(f"traces/{name}", self._folder / "source")
        numbers = (0, 1, 50, len(content) if size is None else size)
        row = TraceRow(name, run, f"{name}.json", *numbers, "0" * 64, "ready", 1, f"traces/{name}")
        await self.store.put_trace(row)
        return row

    async def settled(self, name: str) -> TraceRow:
        """Return the trace once its summary is no longer pending."""

        async def known() -> TraceRow | None:
            row = await self.store.trace(name)
            return row if row is not None and row.summary_state != "pending" else None

        row = await until_async(known, 30)
        assert row is not None
        return row

    @asynccontextmanager
    async def summarising(self) -> AsyncIterator[Summaries]:
        """Open summaries, and close them at the end."""
        summaries = Summaries(self.store, self.blobs, self.bus)
        await summaries.open()
        try:
            yield summaries
        finally:
            await summaries.close()
            await summaries.close()


def run(folder: Path, scenario: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with opened(folder) as store:
            for name in ("r1", "r2", "r3"):
                await store.register(hello(name, f"w-{name}"), 1)
            await scenario(Server(store, open_blobs(f"file://{folder}/blobs", folder / "fetched"), folder))

    asyncio.run(asyncio.wait_for(whole(), 60))


def replace_digest(monkeypatch: pytest.MonkeyPatch, digest: Callable[[Path, int], Awaitable[dict[str, Any]]]) -> None:
    """Call `digest` instead of starting a process."""
    monkeypatch.setattr(module, "digest_apart", digest)


def test_what_is_pending_when_the_server_starts_is_summarised_or_has_failed(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        await server.add("good")
        await server.add("cut", gzip.compress(GOOD)[:-9])
        gone = await server.add("gone")
        await server.blobs.delete(gone.blob)
        hints: list[Hint] = []
        server.bus.subscribe(hints.append)
        async with server.summarising():
            good, cut, gone = [await server.settled(name) for name in ("good", "cut", "gone")]
        assert good.summary is not None
        assert good.summary["operators"][0]["name"] == "aten::mm"
        assert (good.summary_state, good.summary_error) == ("ready", "")
        assert (cut.summary_state, cut.summary) == ("failed", None)
        assert "this one is cut off" in cut.summary_error
        assert (gone.summary_state, gone.summary_error) == ("failed", "its file was deleted")
        assert sorted(hint.id for hint in hints) == ["cut", "gone", "good"]

    run(tmp_path, scenario)


def test_what_is_new_is_summarised_when_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_digest(monkeypatch, lambda path, cpu_s: asyncio.sleep(0, {"seconds": cpu_s}))

    async def scenario(server: Server) -> None:
        async with server.summarising() as summaries:
            for name, size in (("small", 0), ("large", 2 << 30)):
                await server.add(name, size=size)
                summaries.wake()
            assert (await server.settled("small")).summary == {"seconds": 60}
            assert (await server.settled("large")).summary == {"seconds": 572}

    run(tmp_path, scenario)


def test_small_traces_pass_a_large_one_and_runs_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    let_go = asyncio.Event()

    async def digest(path: Path, cpu_s: int) -> dict[str, Any]:
        if path.name.startswith("large"):
            await let_go.wait()
        order.append(path.name)
        return {}

    replace_digest(monkeypatch, digest)

    async def scenario(server: Server) -> None:
        await server.add("large0", run="r1", size=1 << 30)
        await server.add("large1", run="r2", size=1 << 30)
        for name, of_run in (("a1", "r1"), ("a2", "r1"), ("a3", "r1"), ("b1", "r2"), ("c1", "r3")):
            await server.add(name, run=of_run)
        async with server.summarising():
            for name in ("a1", "a2", "a3", "b1", "c1"):
                await server.settled(name)
            # Two run at a time, so that neighbours may be swapped.
            assert max(order.index("b1"), order.index("c1")) < order.index("a3")
            let_go.set()
            for name in ("large0", "large1"):
                await server.settled(name)

    run(tmp_path, scenario)


def test_what_it_was_at_when_the_server_ended_stays_pending(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        row = await server.add("endless")
        (tmp_path / "blobs" / row.blob).unlink()
        os.mkfifo(tmp_path / "blobs" / row.blob)  # without a writer, opening it blocks forever
        async with server.summarising():
            await until(children)
        assert children() == []
        assert await server.store.trace("endless") == row

    run(tmp_path, scenario)


@pytest.mark.parametrize(("kills", "state", "said"), [(1, "ready", ""), (2, "failed", "exit code -9")])
def test_a_process_that_is_killed_is_tried_once_more(tmp_path: Path, kills: int, state: str, said: str) -> None:
    async def scenario(server: Server) -> None:
        row = await server.add("killed")
        path = tmp_path / "blobs" / row.blob
        path.unlink()
        os.mkfifo(path)
        async with server.summarising():
            for _ in range(kills):
                await until(lambda: len(children()) == 1)
                (pid,) = children()
                os.kill(pid, signal.SIGKILL)
                await until(lambda pid=pid: pid not in children())  # type: ignore[misc]
            if state == "ready":
                await asyncio.to_thread(path.write_bytes, GOOD)  # waits until it is opened
            settled = await server.settled("killed")
        assert settled.summary_state == state
        assert said in settled.summary_error

    run(tmp_path, scenario)


def test_a_summary_that_cannot_be_kept_yet_is_kept_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    num_digests = 0

    async def digest(path: Path, cpu_s: int) -> dict[str, Any]:
        nonlocal num_digests
        num_digests += 1
        if num_digests == 1:
            raise OSError("no more processes")
        return {"of": path.name}

    replace_digest(monkeypatch, digest)

    async def scenario(server: Server) -> None:
        update, failures = server.store.update_trace, 3

        async def full(row: TraceRow) -> bool:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise StoreUnavailable("the disk is full")
            return await update(row)

        monkeypatch.setattr(server.store, "update_trace", full)
        await server.add("a")
        async with server.summarising():
            assert (await server.settled("a")).summary == {"of": "a"}
        assert num_digests == 2

    run(tmp_path, scenario)


def test_the_summary_of_a_run_that_was_deleted_goes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, deleted, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def digest(path: Path, cpu_s: int) -> dict[str, Any]:
        begun.set()
        await deleted.wait()
        done.set()
        return {}

    replace_digest(monkeypatch, digest)

    async def scenario(server: Server) -> None:
        hints: list[Hint] = []
        server.bus.subscribe(hints.append)
        await server.add("a")
        async with server.summarising() as summaries:
            await begun.wait()
            await server.store.delete_run("r1")
            await server.store.register(hello("r1", "again"), 1)
            deleted.set()
            await done.wait()
            await server.add("b")
            summaries.wake()
            await server.settled("b")
            assert [row.id for row in await server.store.traces("r1")] == ["b"]
        assert [hint.id for hint in hints] == ["b"]

    run(tmp_path, scenario)


# --- the process


def children() -> list[int]:
    """Return the child processes of this process that read a trace."""
    found = []
    for entry in Path("/proc").iterdir():
        # A process of another user may end meanwhile.
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found += [int(entry.name)] * (b"recis_server.traces.digest" in (entry / "cmdline").read_bytes())
    return found


@pytest.mark.parametrize("end", ["cancelled", "killed"])
def test_a_process_that_is_ended_leaves_nothing_behind(tmp_path: Path, end: str) -> None:
    os.mkfifo(tmp_path / "endless")

    async def scenario() -> None:
        task = asyncio.create_task(digest_apart(tmp_path / "endless", 60))
        await until(children)
        if end == "cancelled":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            os.kill(children()[0], signal.SIGKILL)
            with pytest.raises(ChildKilledError, match="exit code -9"):
                await task
        assert children() == []

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_process_takes_no_more_time_than_it_may(tmp_path: Path) -> None:
    (tmp_path / "brackets").write_bytes(b"[" * (64 << 20))
    with pytest.raises(TraceFileError, match="takes more than 1 s of CPU time"):
        asyncio.run(digest_apart(tmp_path / "brackets", 1))
