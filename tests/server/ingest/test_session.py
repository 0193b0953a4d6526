from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recis_server.ingest.session import Action, Close, Delivered, IngestSession, Keep, Register, Send, Streams
from recis_server.store.values import StreamRow

from recis.wire.codec import WireError
from recis.wire.messages import Ack, Frame, Hello, Line, Refuse, Seen, ServerRecord, Welcome
from recis.wire.session import ClientSession
from tests.effort import examples

HELLO = Hello(run="r1", writer="w1", attempt="a1")


def frame(n: int) -> Frame:
    return Frame(n=n, records=(Line(time_ns=n, text=f"frame {n}"),))


def row(acked: int = 0) -> StreamRow:
    return StreamRow(run="r1", writer="w1", rank=0, attempt=1, acked=acked, started_ns=1)


def greeted(streams: Streams, acked: int = 0) -> IngestSession:
    session = IngestSession(streams, window_bytes=100)
    assert session.receive(HELLO, 10, 0) == [Register(HELLO)]
    session.registered(row(acked))
    return session


def kept(actions: list[Action]) -> Keep:
    (keep,) = actions
    assert isinstance(keep, Keep)
    return keep


def test_the_greeting_says_what_is_committed() -> None:
    session = IngestSession(Streams(), window_bytes=100)
    session.receive(HELLO, 10, 0)
    answers, older = session.registered(row(acked=7))
    assert answers == [Send(Welcome(acked=7, attempt=1, window_bytes=100))]
    assert older is None


def test_a_frame_is_acknowledged_after_its_commit_and_not_before() -> None:
    session = greeted(Streams())
    assert session.stream is not None
    keep = kept(session.receive(frame(1), 10, 5))
    assert (keep.frame.frame, keep.frame.received_ns, session.stream.pending_bytes) == (frame(1), 5, 10)
    assert session.stream.on_commit(keep) == [Send(Ack(1))]
    assert session.stream.pending_bytes == 0


def test_writers_of_a_run_hear_whether_somebody_looks() -> None:
    watched: set[str] = set()
    session = IngestSession(Streams(watched.__contains__), window_bytes=100)
    assert session.looked_at("r1") == []
    session.receive(HELLO, 10, 0)
    answers, _ = session.registered(row(acked=2))
    assert answers == [Send(Welcome(acked=2, window_bytes=100, watched=False))]
    assert session.stream is not None
    assert session.stream.on_commit(kept(session.receive(frame(3), 10, 0))) == [Send(Ack(3, watched=False))]
    watched.add("r1")
    # Immediately, with the number committed so far; other runs do not matter.
    session.receive(frame(4), 10, 0)
    assert session.looked_at("r1") == [Send(Ack(3))]
    assert session.looked_at("r2") == []
    session.lost()
    assert session.looked_at("r1") == []


def test_a_frame_that_comes_again_is_dropped_and_acknowledged_only_when_committed() -> None:
    session = greeted(Streams())
    assert session.stream is not None
    keep = kept(session.receive(frame(1), 10, 0))
    assert session.receive(frame(1), 10, 0) == []
    session.stream.on_commit(keep)
    assert session.receive(frame(1), 10, 0) == [Send(Ack(1))]
    assert session.stream.duplicates == 2


def test_a_session_that_ends_twice_does_not_forget_the_stream_of_a_later_one() -> None:
    streams = Streams()
    first = greeted(streams)
    first.lost()
    second = greeted(streams)
    first.lost()
    assert list(streams) == [second.stream]
    third = greeted(streams, acked=0)
    assert third.stream is second.stream


def test_numbers_that_were_skipped_are_counted_once_they_are_passed() -> None:
    session = greeted(Streams(), acked=2)
    assert session.stream is not None
    keep = kept(session.receive(frame(6), 10, 0))
    assert session.stream.missing == 0
    session.stream.on_commit(keep)
    assert session.stream.missing == 3


def test_a_frame_that_stands_for_many_numbers_skips_none() -> None:
    session = greeted(Streams(), acked=2)
    assert session.stream is not None
    wide = Frame(n=10, records=(), span=8)
    keep = kept(session.receive(wide, 10, 0))
    assert session.stream.on_commit(keep) == [Send(Ack(10))]
    assert session.stream.missing == 0
    assert session.receive(wide, 10, 0) == [Send(Ack(10))]
    with pytest.raises(WireError, match=r"expected numbers above 10, got 5 up to 12 - at `\$\.span`"):
        session.receive(Frame(n=12, records=(), span=5), 10, 0)


def test_the_newest_connection_of_a_writer_supersedes_the_older_one_and_goes_on_with_its_numbers() -> None:
    streams = Streams()
    first = greeted(streams)
    keep = kept(first.receive(frame(1), 10, 0))
    second = IngestSession(streams, window_bytes=100)
    second.receive(HELLO, 10, 0)
    _, older = second.registered(row(acked=0))
    assert older is first
    (end,) = first.end("superseded", "again")
    assert isinstance(end, Close)
    assert (end.code, end.refuse.code, end.refuse.retry) == (4409, "superseded", False)
    assert first.receive(frame(2), 10, 0) == []
    # Frame 1 is still being committed: it is not accepted twice, and the new connection is told of its commit.
    assert second.receive(frame(1), 10, 0) == []
    assert second.stream is not None
    assert second.stream.on_commit(keep) == [Send(Ack(1))]


def test_a_failed_commit_forgets_what_was_taken_and_refuses_for_now() -> None:
    streams = Streams()
    session = greeted(streams)
    stream = session.stream
    assert stream is not None
    first = kept(session.receive(frame(1), 10, 0))
    session.receive(frame(2), 10, 0)
    stream.on_commit(first)
    session.receive(frame(3), 10, 0)
    (end,) = stream.on_failure("unavailable", "disk full", retry=True)
    assert isinstance(end, Close)
    assert (end.code, end.refuse.code, end.refuse.message, end.refuse.retry) == (1013, "unavailable", "disk full", True)
    again = greeted(streams, acked=1)
    assert kept(again.receive(frame(2), 10, 0)).frame.frame.n == 2


def test_a_command_that_was_seen_is_delivered() -> None:
    assert greeted(Streams()).receive(Seen(command="c1", step=4), 10, 0) == [Delivered(Seen(command="c1", step=4))]


@pytest.mark.parametrize("record", [frame(1), Seen("c1")])
def test_anything_before_hello_is_malformed(record: Frame | Seen) -> None:
    with pytest.raises(WireError, match="expected hello as the first record"):
        IngestSession(Streams(), window_bytes=1).receive(record, 1, 0)


def test_a_second_hello_is_malformed() -> None:
    with pytest.raises(WireError, match="expected hello once"):
        greeted(Streams()).receive(HELLO, 1, 0)


def test_a_stream_is_forgotten_when_it_is_neither_connected_nor_committing() -> None:
    streams = Streams()
    session = greeted(streams)
    assert session.stream is not None
    keep = kept(session.receive(frame(1), 10, 0))
    session.lost()
    assert len(list(streams)) == 1
    session.stream.on_commit(keep)
    streams.settle(session.stream)
    assert list(streams) == []


def test_without_frames_on_their_way_the_store_knows_best() -> None:
    """A run that was deleted while its trainer is connected starts again from nothing."""
    streams = Streams()
    greeted(streams, acked=9)
    assert kept(greeted(streams, acked=0).receive(frame(1), 10, 0)).frame.frame.n == 1


# --- both halves together


@dataclass
class World:
    """A writer with numbered frames, a connection that breaks and repeats, a server that restarts, and a store that
    fails.
    """

    client: ClientSession = field(default_factory=ClientSession)
    produced: int = 0
    freed: int = 0
    stored: list[int] = field(default_factory=list)
    streams: Streams = field(default_factory=Streams)
    session: IngestSession | None = None
    up: deque[Hello | Frame] = field(default_factory=deque)
    down: deque[ServerRecord] = field(default_factory=deque)
    keeps: deque[Keep] = field(default_factory=deque)

    def acked(self) -> int:
        return max(self.stored, default=0)

    def connect(self) -> None:
        if self.session is not None:
            return
        self.client.connected()
        self.up.clear()
        self.down.clear()
        self.session = IngestSession(self.streams, window_bytes=30)
        self.up.append(HELLO)

    def cut(self) -> None:
        """Break the connection: messages in transit are lost; the server may or may not notice."""
        self.client.lost()
        self.session = None
        self.up.clear()
        self.down.clear()

    def cut_noticed(self) -> None:
        if self.session is not None:
            self.session.lost()
        self.cut()

    def produce(self) -> None:
        self.produced += 1

    def send(self) -> None:
        if self.session is not None and self.client.may_send and self.client.newest_sent < self.produced:
            n = self.client.newest_sent + 1
            assert n > self.freed, "a frame that was freed is never asked for again"
            self.client.sent(n, 10)
            self.up.append(frame(n))

    def repeat(self) -> None:
        """Send the last frame again, as a faulty client does."""
        if self.session is not None and self.up and isinstance(self.up[-1], Frame):
            self.up.append(self.up[-1])

    def arrive(self) -> None:
        if self.session is not None and self.up:
            self.act(self.session.receive(self.up.popleft(), 10, 0))

    def act(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Register):
                assert self.session is not None
                answers, older = self.session.registered(row(self.acked()))
                if older is not None:
                    older.end("superseded", "again")
                self.act(answers)
            elif isinstance(action, Keep):
                self.keeps.append(action)
            elif isinstance(action, Send):
                self.down.append(action.record)
            elif isinstance(action, Close):
                self.down.append(action.refuse)

    def answer(self) -> None:
        if not self.down:
            return
        record = self.down.popleft()
        self.client.receive(record)
        self.freed = max(self.freed, self.client.acked)
        assert self.freed <= self.acked(), "acknowledged means committed"
        if isinstance(record, Refuse):
            self.cut()

    def commit(self) -> None:
        if self.keeps:
            keep = self.keeps.popleft()
            self.stored.append(keep.frame.frame.n)
            stream = next(one for one in self.streams)
            self.act(stream.on_commit(keep))
            self.streams.settle(stream)

    def fail(self) -> None:
        if self.keeps:
            self.keeps.clear()
            stream = next(one for one in self.streams)
            self.act(stream.on_failure("unavailable", "disk full", retry=True))
            self.streams.settle(stream)

    def restart(self) -> None:
        self.cut()
        self.streams = Streams()
        self.keeps.clear()


# The probability of an action is the number of times that it is listed here.
STEPS = [
    *["connect", "cut", "cut_noticed", "fail", "restart", "repeat"],
    *["produce", "send", "arrive"] * 3,
    *["answer", "commit"] * 2,
]


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.sampled_from(STEPS), max_size=120))
def test_whatever_happens_on_the_way_every_frame_is_stored_once_and_in_order(steps: list[str]) -> None:
    world = World()
    for step in steps:
        getattr(world, step)()
        assert world.stored == list(range(1, len(world.stored) + 1))
    for _ in range(20 * (world.produced + 2)):
        if world.freed == world.produced:
            break
        for step in ("connect", "arrive", "answer", "send", "arrive", "commit", "answer"):
            getattr(world, step)()
    assert world.stored == list(range(1, world.produced + 1))
    assert world.freed == world.produced
