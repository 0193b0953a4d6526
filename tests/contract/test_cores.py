"""The two protocol cores against each other: whatever is lost, cut, repeated or restarted, each frame is stored once.

Frames that the server refuses, and no others, are left out, and those after them arrive.

There is no socket, thread or clock: only a network of two queues that can be cut at any message, a store that commits
on request and may fail, a server that loses everything but its store, and a writer that loses everything but its spool.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from recis_server.ingest.session import Close, IngestSession, Keep, Register, Send, Streams
from recis_server.store.values import StreamRow

from recis.wire.codec import WireError, decode_client, decode_server, encode
from recis.wire.messages import Frame, Hello, Line, ServerRecord
from recis.wire.session import MOST_REJECTED, Acked, ClientSession, Closed, Rejected, Welcomed
from tests.effort import examples

HELLO = Hello(run="r", writer="w", attempt="a")


@dataclass
class Connection:
    """One socket with its server session; messages move one at a time, and only forward."""

    session: IngestSession
    up: deque[bytes] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)
    closed_by_server: bool = False


class Cores(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.spool: dict[int, str] = {}
        self.newest = 0
        self.bad: set[int] = set()
        self.left_out: set[int] = set()
        self.store: dict[int, str] = {}
        self.doubled = False
        self.acked_to_client = 0
        self.client = ClientSession()
        self.connection: Connection | None = None
        self.stale: list[Connection] = []
        self.looked_at = False
        self.start_server()

    def start_server(self) -> None:
        self.streams = Streams(lambda _: self.looked_at)
        self.to_commit: deque[Keep] = deque()

    # --- the writer

    @rule(count=st.integers(1, 3))
    def report(self, count: int) -> None:
        for _ in range(count):
            self.newest += 1
            self.spool[self.newest] = f"line {self.newest}"

    @precondition(lambda self: len(self.bad) < MOST_REJECTED)
    @rule()
    def report_nonsense(self) -> None:
        """Report data that no server accepts, which a writer cannot always know. After several such frames in a row it
        stops connecting.
        """
        self.report(1)
        self.bad.add(self.newest)

    @precondition(lambda self: self.connection is None)
    @rule()
    def connect(self) -> None:
        self.connection = Connection(IngestSession(self.streams, window_bytes=300))
        self.client.connected()
        self.connection.up.append(encode(HELLO))

    @rule()
    def send(self) -> None:
        if self.connection is None or not self.client.may_send:
            return
        following = [n for n in self.spool if n > self.client.newest_sent]
        if following:
            n = min(following)
            line = Line(time_ns=0, text=self.spool[n], level=5 if n in self.bad else "info")  # type: ignore[arg-type]
            data = encode(Frame(n=n, records=(line,)))
            self.client.sent(n, len(data))
            self.connection.up.append(data)

    @precondition(lambda self: self.connection is not None and self.connection.down)
    @rule()
    def client_reads(self) -> None:
        assert self.connection is not None
        match self.client.receive(decode_server(self.connection.down.popleft())):
            case Acked(n=n) | Welcomed(acked=n):
                stored = self.store.keys() | self.left_out
                assert all(number in stored for number in range(1, n + 1)), "acknowledged before it was stored"
                self.spool = {number: text for number, text in self.spool.items() if number > n}
                self.acked_to_client = max(self.acked_to_client, n)
            case Rejected(n=n):
                assert n in self.bad, "left out for another one's fault"
                self.left_out.add(n)
                del self.spool[n]
                self.cut(keep_stale=False)
            case Closed(retry=retry):
                assert retry
                self.cut(keep_stale=False)

    @precondition(lambda self: self.connection is not None)
    @rule(keep_stale=st.booleans())
    def cut(self, keep_stale: bool) -> None:
        """Break the connection; with `keep_stale` the server does not notice, and still reads messages in transit."""
        assert self.connection is not None
        self.client.lost()
        if keep_stale:
            self.stale.append(self.connection)
        else:
            self.connection.session.lost()
        self.connection = None

    @rule()
    def kill_writer(self) -> None:
        """Kill the writer: the spool remains, the state of the session is lost."""
        if self.connection is not None:
            self.cut(keep_stale=True)
        self.client = ClientSession()

    # --- the server

    @rule()
    def server_reads(self) -> None:
        if self.connection is not None:
            self.read_one(self.connection)

    @precondition(lambda self: self.stale)
    @rule(position=st.integers(0, 3))
    def server_reads_late(self, position: int) -> None:
        connection = self.stale[position % len(self.stale)]
        if connection.up:
            self.read_one(connection)
        else:
            connection.session.lost()
            self.stale.remove(connection)

    def read_one(self, connection: Connection) -> None:
        if not connection.up or connection.closed_by_server:
            return
        data = connection.up.popleft()
        try:
            record = decode_client(data)
        except WireError as error:
            self.act(connection, connection.session.end(error.code, str(error)))
            return
        for action in connection.session.receive(record, len(data), 0):
            if isinstance(action, Register):
                row = StreamRow("r", "w", 0, 1, max(self.store, default=0), 0)
                answers, older = connection.session.registered(row)
                if older is not None:
                    self.answer(older, older.end("superseded", "again", retry=True))
                self.act(connection, answers)
            else:
                self.act(connection, [action])

    def act(self, connection: Connection, actions: Iterable[object]) -> None:
        for action in actions:
            match action:
                case Send(record=record):
                    self.put(connection, record)
                case Close(refuse=refuse):
                    self.put(connection, refuse)
                    connection.closed_by_server = True
                case Keep():
                    self.to_commit.append(action)

    @staticmethod
    def put(connection: Connection, record: ServerRecord) -> None:
        connection.down.append(encode(record))

    @precondition(lambda self: self.to_commit)
    @rule()
    def commit(self) -> None:
        keep = self.to_commit.popleft()
        stored = keep.frame
        if stored.frame.n > max(self.store, default=0):  # as the store guarantees: an old number is a no-op
            [line] = stored.frame.records
            assert isinstance(line, Line)
            self.doubled |= stored.frame.n in self.store
            self.store[stored.frame.n] = line.text
        for stream in self.streams:
            self.answer(stream.session, stream.on_commit(keep))

    @precondition(lambda self: self.to_commit)
    @rule()
    def fail_commit(self) -> None:
        self.to_commit.clear()
        for stream in self.streams:
            self.answer(stream.session, stream.on_failure("unavailable", "disk full", retry=True))

    def answer(self, session: IngestSession | None, actions: Iterable[object]) -> None:
        for connection in (*self.stale, *((self.connection,) if self.connection is not None else ())):
            if connection.session is session:
                self.act(connection, actions)

    @rule()
    def kill_server(self) -> None:
        """Kill the server: uncommitted data and all connections are lost."""
        if self.connection is not None:
            self.cut(keep_stale=False)
        self.stale.clear()
        self.start_server()

    @rule()
    def begin_to_look(self) -> None:
        """Open the run's page: all writers are notified immediately."""
        if not self.looked_at:
            self.looked_at = True
            for connection in (*self.stale, *((self.connection,) if self.connection is not None else ())):
                self.act(connection, connection.session.looked_at("r"))

    @rule()
    def cease_to_look(self) -> None:
        """Close the page: the next acknowledgement tells the writers."""
        self.looked_at = False

    # --- invariants

    @invariant()
    def a_writer_knows_that_somebody_looks(self) -> None:
        if hasattr(self, "store") and self.looked_at and not (self.connection is not None and self.connection.down):
            assert self.client.watched

    @invariant()
    def stored_once_and_right(self) -> None:
        if not hasattr(self, "store"):
            return
        assert not self.doubled
        assert all(text == f"line {n}" for n, text in self.store.items())
        assert not self.store.keys() & self.bad
        taken = {n for n in self.left_out if n <= max(self.store, default=0)} | self.store.keys()
        assert sorted(taken) == list(range(1, len(taken) + 1)), "a hole"

    def teardown(self) -> None:
        """Once nothing breaks any more, everything arrives."""
        if not hasattr(self, "store"):
            return
        self.stale.clear()
        self.cease_to_look()
        self.report(1)
        for _ in range(20 * (self.newest + 5) * (len(self.bad) + 1)):
            if self.connection is None:
                self.connect()
            self.send()
            self.server_reads()
            if self.to_commit:
                self.commit()
            if self.connection is not None and self.connection.down:
                self.client_reads()
            if self.acked_to_client == self.newest and not self.spool:
                break
        assert self.left_out == self.bad
        assert len(self.store) == self.newest - len(self.bad)
        assert not self.spool
        assert not self.client.watched
        self.begin_to_look()
        self.client_reads()
        assert self.client.watched


TestCores = Cores.TestCase
TestCores.settings = settings(
    max_examples=examples(1000), stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestCores.pytestmark = [pytest.mark.timeout(300)]  # type: ignore[attr-defined]
