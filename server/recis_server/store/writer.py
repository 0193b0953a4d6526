"""The write thread: jobs in order, frames of a few milliseconds in one transaction.

Owns the writing connection, the bounded queue and the commit; must not know tables. `Batch` defines what a transaction
of frames does.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from recis.wire.messages import Result
from recis_server.errors import ServerError, StoreLost, StoreUnavailable
from recis_server.store.engines.engine import Connection, Engine
from recis_server.store.engines.failures import FailureLog
from recis_server.store.values import Commit, StoredFrame

__all__ = ["Batch", "Writer"]

_logger = logging.getLogger(__name__)
T = TypeVar("T")

GATHER_S = 0.02
"""How long a transaction waits for more frames, which delays the acknowledgement of a single frame."""
BUSY_GATHER_S = 0.08
"""The same under load: fewer and larger transactions."""
BUSY_FRAMES = 16
BATCH_FRAMES = 256
WAITING_CALLS = 1024
"""Calls that may wait for the thread; further ones wait on the event loop, in order."""
WAITING_JOBS = 16_384
"""Calls and frames that may wait; a further frame is refused. Ingest submits one frame per writer at a time."""
CLOSE_S = 30.0


class Batch(Protocol):
    """The processing of frames inside a transaction; used by the write thread only."""

    def begin(self, connection: Connection) -> None:
        """Begin a transaction, of frames or of something else; raise `StoreLost` for an older copy of the store."""

    def apply(self, connection: Connection, frames: list[StoredFrame]) -> tuple[Commit, list[Exception | None]]:
        """Write the frames; return the new ones, and for each frame why it was rejected, if it was."""

    def committed(self) -> None:
        """Record that the transaction is durable."""

    def forget(self) -> None:
        """Discard everything remembered of the tables after a rollback."""


class _Append(NamedTuple):
    frame: StoredFrame
    done: "asyncio.Future[Commit]"

    @property
    def is_answer(self) -> bool:
        """Whether the frame says what has become of a command."""
        return any(type(record) is Result for record in self.frame.frame.records)


class _Call(NamedTuple):
    action: Callable[[Connection], Any]
    done: "asyncio.Future[Any]"
    runs: tuple[str, ...]
    removes: bool


class Writer:
    """Runs writes in order on one thread, with frames that arrive together in one transaction.

    Args:
        engine: opens the writing connection.
        batch: processes frames.
        failure_log: records the outcome of each transaction.
        committed: called on the event loop after every commit that contains new frames.
    """

    def __init__(
        self,
        engine: Engine,
        batch: Batch,
        failure_log: FailureLog,
        committed: Callable[[Commit, float], None],
    ) -> None:
        self._engine = engine
        self._batch = batch
        self._failure_log = failure_log
        self._committed = committed
        self._jobs: queue.SimpleQueue[_Append | _Call | None] = queue.SimpleQueue()  # bounded in _put
        self._urgent = threading.Event()
        self._last_batch = 0
        self._room = asyncio.Semaphore(WAITING_CALLS)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Start the thread."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store-writer")
        self._thread.start()

    async def close(self) -> None:
        """Finish queued jobs and end the thread; safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._jobs.put(None)
        self._urgent.set()
        await asyncio.to_thread(thread.join, CLOSE_S)
        if thread.is_alive():
            _logger.error("the store's write thread has not ended after %.0f s", CLOSE_S)
        # Let the thread's last answers reach their callers before the loop may end.
        await asyncio.sleep(0)

    def append(self, frame: StoredFrame) -> "asyncio.Future[Commit]":
        """Queue a frame and return the future of its commit; not a coroutine, which would cost a task per frame."""
        assert self._loop is not None
        done: asyncio.Future[Commit] = self._loop.create_future()
        try:
            self._put(_Append(frame, done))
        except StoreUnavailable as error:
            done.set_exception(error)
        return done

    async def call(self, action: Callable[[Connection], T], *, run: str | None = None, removes: bool = False) -> T:
        """Run `action` in a transaction of its own and return its result.

        `run` is the run that it changes, if any. With `removes`, retry it once with the space reserved for removals; no
        frame is written in between.
        """
        async with self._room:
            done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            self._put(_Call(action, done, () if run is None else (run,), removes))
            return await done

    def _put(self, job: _Append | _Call) -> None:
        if self._thread is None:
            raise StoreUnavailable("the store is closed")
        if self._jobs.qsize() >= WAITING_JOBS:
            raise StoreUnavailable(f"{WAITING_JOBS} frames are already waiting for the store")
        self._jobs.put(job)
        # A single frame does not end the gathering: waking the thread for each would cost more than writing it.
        # One that answers a command does: somebody waits for it.
        if isinstance(job, _Call) or self._jobs.qsize() >= BATCH_FRAMES or job.is_answer:
            self._urgent.set()

    # --- the thread

    def _run(self) -> None:
        connection = self._engine.connect_writer()
        try:
            job = self._jobs.get()
            while job is not None:
                if isinstance(job, _Append):
                    job = self._append_all(connection, job)
                else:
                    self._call_one(connection, job)
                    job = self._jobs.get()
        finally:
            self._engine.let_go(connection)
            connection.close()

    def _append_all(self, connection: Connection, first: _Append) -> _Append | _Call | None:
        """Commit the frames that arrive within `GATHER_S`, and return the next job."""
        self._urgent.wait(BUSY_GATHER_S if self._last_batch >= BUSY_FRAMES else GATHER_S)
        self._urgent.clear()
        appends = [first]
        while len(appends) < BATCH_FRAMES:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                self._commit(connection, appends)
                return self._jobs.get()
            if not isinstance(job, _Append):
                self._commit(connection, appends)
                return job
            appends.append(job)
        self._commit(connection, appends)
        return self._jobs.get()

    def _commit(self, connection: Connection, appends: list[_Append]) -> None:
        began = time.monotonic()
        self._last_batch = len(appends)
        outcome = self._transaction(
            connection,
            {append.frame.stream.run for append in appends},
            lambda: self._batch.apply(connection, [append.frame for append in appends]),
        )
        seconds = time.monotonic() - began
        if isinstance(outcome, Exception):
            self._batch.forget()
            for append in appends:
                self._post(partial(_settle, append.done, outcome))
            return
        commit, failures = outcome

        def answer() -> None:
            # The futures first: their callers run after this function and the listener runs in it, so everybody sees
            # the listener before the caller, and a failing listener delays nobody.
            for append, failure in zip(appends, failures, strict=True):
                _settle(append.done, failure or commit)
            if commit.frames:
                self._committed(commit, seconds)

        self._post(answer)

    def _call_one(self, connection: Connection, job: _Call) -> None:
        outcome = self._transaction(connection, job.runs, lambda: job.action(connection))
        if isinstance(outcome, StoreUnavailable) and job.removes and self._engine.make_room(connection, reserve=True):
            outcome = self._transaction(connection, job.runs, lambda: job.action(connection))
        if isinstance(outcome, Exception):
            self._batch.forget()
        self._post(partial(_settle, job.done, outcome))

    def _transaction(self, connection: Connection, runs: Collection[str], action: Callable[[], T]) -> T | Exception:
        try:
            self._engine.begin_write(connection, runs)
            self._batch.begin(connection)
            result = action()
            connection.execute("COMMIT")
            # A commit to a file that was removed is not acknowledged.
            self._engine.check()
            self._batch.committed()
            self._failure_log.committed()
            return result
        except self._engine.failures as error:
            self._engine.rollback(connection)
            self._engine.make_room(connection, reserve=False)
            return self._failure_log.commit_failed(error)
        except StoreLost as error:
            self._engine.rollback(connection)
            self._engine.let_go(connection)
            return self._failure_log.commit_failed(error)
        except Exception as error:
            self._engine.rollback(connection)
            if not isinstance(error, ServerError):
                _logger.exception("a transaction was rolled back")
            return error

    def _post(self, answer: Callable[[], Any]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(answer)


def _settle(done: "asyncio.Future[Any]", outcome: Any) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
