"""Summarises pending traces: chooses the next one, runs the process, and stores the result.

The store holds the list of pending traces, so that nothing is lost when the server ends at any moment. One task takes
any trace and another one only small traces, which therefore never wait for a large one; runs take turns. Must not know
what is in a trace (`digest`) or how it arrived (`receiver`).

    summaries = Summaries(store, blobs, bus)     # `open` and `close` in the lifespan
"""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from recis.wire.text import as_name
from recis_server.blobs import Blobs
from recis_server.bus import Bus, Hint
from recis_server.errors import NotFound, ServerError
from recis_server.store.interface import Store
from recis_server.store.values import TraceRow
from recis_server.traces.events import TraceFileError

__all__ = ["ChildKilledError", "Summaries", "digest_apart"]

_logger = logging.getLogger(__name__)

SMALL_BYTES = 16 << 20
CPU_S = 60
BYTES_PER_CPU_S = 4 << 20
"""A process may use a minute of CPU time, and another second for every this many bytes of the file."""
LOOK_S = 20.0
"""The longest pause between two checks, in case another server was killed while it summarised a trace."""
AHEAD = 16
"""Pending traces to choose from; other servers may be summarising the first ones."""
RETRY_S = 30.0
"""Delay before another attempt when the database or the machine is out of space, memory or processes."""
MAX_TRIES = 2
_ERROR_CHARS = 500


class ChildKilledError(Exception):
    """The process that reads a trace was killed or failed, and not because it reached its limits."""


class Summaries:
    """Summarises pending traces, one large and one small at a time, in child processes.

    Servers that share the store take a lease for each trace that they summarise.

    Args:
        store: holds the traces' rows and receives the summaries.
        blobs: holds the files.
        bus: is notified of every summary that is ready or has failed.
    """

    def __init__(self, store: Store, blobs: Blobs, bus: Bus) -> None:
        self._store = store
        self._blobs = blobs
        self._bus = bus
        self._busy: set[str] = set()
        self._choosing = asyncio.Lock()
        self._last_run = ""
        self._wakes = (asyncio.Event(), asyncio.Event())
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    async def open(self) -> None:
        """Start working on what is pending in the store."""
        lanes = ((self._wakes[0], None, "trace-summaries"), (self._wakes[1], SMALL_BYTES, "small-trace-summaries"))
        self._tasks = tuple(asyncio.create_task(self._work(wake, most), name=name) for wake, most, name in lanes)

    async def close(self) -> None:
        """End the processes; their traces stay pending. Safe to call twice."""
        tasks, self._tasks = self._tasks, ()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look again: the store has a new trace."""
        for wake in self._wakes:
            wake.set()

    async def _work(self, wake: asyncio.Event, most_bytes: int | None) -> None:
        while True:
            wake.clear()
            try:
                if not await self._do_next(most_bytes):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_S):
                            await wake.wait()
            except (ServerError, OSError) as error:
                _logger.warning("trace summaries: retrying in %.0f s: %s", RETRY_S, error)
                await asyncio.sleep(RETRY_S)
            except Exception:  # boundary: a failing trace must not end the summaries of the others
                _logger.exception("trace summaries: retrying in %.0f s", RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def _do_next(self, most_bytes: int | None) -> bool:
        """Summarise the next trace; return False if none is pending that is not being summarised."""
        async with contextlib.AsyncExitStack() as stack:
            async with self._choosing:
                row = await self._choose(most_bytes, stack)
                if row is None:
                    return False
                self._last_run = row.run
                self._busy.add(row.id)
            try:
                await self._keep(await self._summarised(row))
            finally:
                self._busy.discard(row.id)
        return True

    async def _choose(self, most_bytes: int | None, stack: contextlib.AsyncExitStack) -> TraceRow | None:
        """Return the next trace, and enter its lease on the stack."""
        for row in await self._store.traces_to_summarise(self._last_run, most_bytes, AHEAD):
            if row.id in self._busy:
                continue
            attempt = contextlib.AsyncExitStack()
            if await attempt.enter_async_context(self._store.lease(f"summary of {row.id}")):
                await stack.enter_async_context(attempt)
                known = await self._store.trace(row.id)
                if known is not None and known.summary_state == "pending":  # nobody else has just finished it
                    return row
            await attempt.aclose()
        return None

    async def _keep(self, row: TraceRow) -> None:
        """Store the result, also when the disk is full for a while: it may have taken minutes."""
        while True:
            try:
                async with self._choosing:  # or the other task, having read the old row, could choose it again
                    known = await self._store.update_trace(row)
                    self._busy.discard(row.id)
                break
            except ServerError as error:
                _logger.warning("the summary of trace %s: retrying in %.0f s: %s", row.id, RETRY_S, error)
                await asyncio.sleep(RETRY_S)
        if known:
            self._bus.publish(Hint("trace", row.run, row.id))

    async def _summarised(self, row: TraceRow) -> TraceRow:
        cpu_s = CPU_S + row.size // BYTES_PER_CPU_S
        why = ""
        for _ in range(MAX_TRIES):
            try:
                async with self._blobs.local(row.blob) as path:
                    summary = await digest_apart(path, cpu_s)
                return replace(row, summary_state="ready", summary_error="", summary=summary)
            except NotFound:
                why = "its file was deleted"
                break
            except TraceFileError as error:
                why = str(error)
                break
            except ChildKilledError as error:  # perhaps for want of memory elsewhere, or by hand
                why = str(error)
        _logger.info("trace %s of run %s has no summary: %s", row.id, row.run, why)
        return replace(row, summary_state="failed", summary_error=as_name(why, _ERROR_CHARS), summary=None)


async def digest_apart(path: Path, cpu_s: int) -> dict[str, Any]:
    """Run `digest` in a process of its own, which is killed when the call is cancelled.

    Raises:
        TraceFileError: as `digest`, or the process needs more than `cpu_s` seconds of CPU time or too much memory.
        ChildKilledError: the process was killed, or failed.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "recis_server.traces.digest", str(path), str(cpu_s)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C must reach the server only, which then ends this process
    )
    assert child.stdout is not None
    try:
        text = await child.stdout.read()
        code = await child.wait()
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if code == -signal.SIGXCPU:
        raise TraceFileError(f"reading it takes more than {cpu_s} s of CPU time")
    if code != 0:
        raise ChildKilledError(f"the process that reads it ended with the exit code {code}")
    said = json.loads(text)
    if "error" in said:
        raise TraceFileError(said["error"])
    summary: dict[str, Any] = said["summary"]
    return summary
