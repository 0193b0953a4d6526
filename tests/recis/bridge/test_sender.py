"""The sender's event loop, and frames that a server never accepts; `tests/{e2e,faults}` test the rest with real
servers.
"""

import asyncio
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from socket import SHUT_RDWR

import msgspec
import pytest
from websockets.sync.server import ServerConnection, serve

from recis.bridge import sender as module
from recis.bridge.address import ServerAddress
from recis.bridge.outbox import Outbox
from recis.bridge.sender import MOST_SKIPPED, Sender, _make_loop
from recis.bridge.spool import SpoolFolder
from recis.bridge.traces import TraceUploads
from recis.wire.codec import WireError, decode_client, encode, points_columns
from recis.wire.messages import Ack, ClientRecord, Event, Frame, FrameRecord, Hello, Line, Points, Refuse, Welcome


def test_a_loop_with_work_asks_the_kernel_seldom_and_still_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    select = selectors.DefaultSelector.select

    def counted(selector: selectors.DefaultSelector, timeout: float | None = None) -> object:
        nonlocal asked
        asked += 1
        return select(selector, timeout)

    monkeypatch.setattr(selectors.DefaultSelector, "select", counted)

    async def rounds_until_heard() -> int:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            heard = asyncio.create_task(reader.read(1))
            await asyncio.sleep(0.01)
            theirs.send(b"x")
            before, rounds = asked, 0
            while not heard.done():
                await asyncio.sleep(0)
                rounds += 1
            assert asked - before <= 2
            writer.close()
            return rounds

    with asyncio.Runner(loop_factory=_make_loop) as runner:
        assert runner.run(rounds_until_heard()) <= 2 * MOST_SKIPPED + 4


def test_timers_are_on_time_in_a_loop_that_has_work() -> None:
    async def fired() -> bool:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        due = loop.time() + 0.02
        loop.call_at(due, done.set_result, None)
        while not done.done():  # noqa: ASYNC110 - the work that the loop has
            await asyncio.sleep(0)
        return loop.time() >= due

    with asyncio.Runner(loop_factory=_make_loop) as runner:
        assert runner.run(fired())


# --- frames that a server never accepts

HELLO = Hello(run="r", writer="w", attempt="a", config={"lr": 0.1}, tags=("t",))


@dataclass
class Choosy:
    """A server that accepts some frames and refuses others, and records the accepted ones.

    `judge` returns why a record of the writer is refused; `None` breaks the connection, an empty text accepts it.
    """

    judge: Callable[[ClientRecord], str | None]
    frames: dict[int, Frame] = field(default_factory=dict)
    greetings: list[Hello] = field(default_factory=list)
    connections: int = 0

    def serve(self, socket: ServerConnection) -> None:
        self.connections += 1
        for data in socket:
            assert isinstance(data, bytes)
            try:
                record = decode_client(data)
                why = self.judge(record)
            except WireError as error:
                why = str(error)
            if why is None:
                socket.socket.shutdown(SHUT_RDWR)  # a close would wait for the thread that reads
                return
            if why:
                socket.send(encode(Refuse(code="malformed", message=why)))
                socket.close(4400)
                return
            if isinstance(record, Hello):
                self.greetings.append(record)
                socket.send(encode(Welcome(acked=max(self.frames, default=0))))
            elif isinstance(record, Frame):
                self.frames[record.n] = record
                socket.send(encode(Ack(n=record.n)))

    def records(self) -> list[FrameRecord]:
        return [record for frame in self.frames.values() for record in frame.records]

    def texts(self) -> list[str]:
        return [record.text for record in self.records() if isinstance(record, Line)]


@pytest.fixture
def drain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Choosy, Outbox], bool]]:
    """Send an outbox to a server of this kind, on its own port."""
    monkeypatch.setattr(module, "BACKOFF_S", (0.001, 0.002))
    monkeypatch.setattr(module, "TRIAL_S", 0.01)
    with ExitStack() as stack:

        def send_all(choosy: Choosy, outbox: Outbox) -> bool:
            server = stack.enter_context(serve(choosy.serve, "127.0.0.1", 0, close_timeout=1))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            address = ServerAddress.parse(f"http://127.0.0.1:{server.socket.getsockname()[1]}", None)
            uploads = TraceUploads(None, outbox.writer.append)
            sender = Sender(outbox.reader, uploads, HELLO, address, tick=lambda: None)
            return sender.run_until_drained(30)

        yield send_all


def filled(folder: Path) -> Outbox:
    """Fill an outbox with five frames of a row and two lines each."""
    outbox = Outbox(folder, writer="w")
    for number in range(1, 6):
        outbox.writer.append_report(("a",), [float(number)], number, 1)
        outbox.writer.append(Line(time_ns=1, text=f"good {number}"))
        outbox.writer.append(Line(time_ns=1, text=f"bad {number}" if number == 3 else f"fine {number}"))
        assert outbox.reader.seal() == number
    return outbox


def values_of(records: list[FrameRecord]) -> list[float]:
    return [float(points_columns(record)[2][0, 0]) for record in records if isinstance(record, Points)]


def is_bad(record: ClientRecord) -> list[int]:
    """Return the position of the bad line in a frame."""
    records = record.records if isinstance(record, Frame) else ()
    return [place for place, each in enumerate(records) if isinstance(each, Line) and each.text.startswith("bad")]


def check_left_out(choosy: Choosy, outbox: Outbox, values: int, records: int) -> None:
    """Check that this much was left out and reported to the server, and that the file is kept for inspection."""
    assert (outbox.set_aside.values, outbox.set_aside.records) == (values, records)
    assert max(frame.dropped for frame in choosy.frames.values()) == values
    [event] = [record for record in choosy.records() if isinstance(record, Event)]
    assert event.kind == "not_sent"
    assert outbox.close()


def test_a_record_that_the_server_names_is_left_out_and_the_rest_of_its_frame_arrives(
    tmp_path: Path, drain: Callable[[Choosy, Outbox], bool]
) -> None:
    outbox = filled(tmp_path)
    choosy = Choosy(
        lambda record: f"expected no such line - at `$.records[{is_bad(record)[0]}]`" if is_bad(record) else ""
    )
    assert drain(choosy, outbox)
    assert values_of(choosy.records()) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert choosy.texts() == [text for n in range(1, 6) for text in (f"good {n}", f"fine {n}") if text != "fine 3"]
    check_left_out(choosy, outbox, 0, 1)
    assert [path.name for path in (tmp_path / "set-aside").glob("*.seg")] == ["00000001.seg"]


@pytest.mark.parametrize("why", ["expected something else", None], ids=["refused", "broken"])
def test_a_frame_that_is_refused_or_breaks_the_connection_loses_all_but_its_values(
    tmp_path: Path, drain: Callable[[Choosy, Outbox], bool], why: str | None
) -> None:
    outbox = filled(tmp_path)
    choosy = Choosy(lambda record: why if is_bad(record) else "")
    assert drain(choosy, outbox)
    assert values_of(choosy.records()) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert choosy.texts() == [text for n in (1, 2, 4, 5) for text in (f"good {n}", f"fine {n}")]
    assert choosy.connections < 20
    check_left_out(choosy, outbox, 0, 2)


def test_a_frame_that_is_refused_whatever_is_in_it_is_skipped_and_counted(
    tmp_path: Path, drain: Callable[[Choosy, Outbox], bool]
) -> None:
    outbox = filled(tmp_path)
    choosy = Choosy(lambda record: "no" if isinstance(record, Frame) and record.n == 3 else "")
    assert drain(choosy, outbox)
    assert values_of(choosy.records()) == [1.0, 2.0, 4.0, 5.0]
    check_left_out(choosy, outbox, 1, 2)


def test_what_is_wrong_by_our_own_rules_is_found_without_the_server(
    tmp_path: Path, drain: Callable[[Choosy, Outbox], bool]
) -> None:
    """Names that no version writes, and invalid records, between valid ones."""
    outbox = filled(tmp_path)
    outbox.writer.append_report(("a", "a"), [1.0, 2.0], 6, 1)
    outbox.writer.append_report(("a",), [6.0], 6, 1)
    segment = outbox._queue.current
    assert segment is not None
    for payload in (b"\xc1", b"\x80", msgspec.msgpack.encode({"t": "declare", "control": "c", "type": "complex"})):
        segment.append(payload)
    outbox.writer.append(Line(time_ns=1, text="last"))
    choosy = Choosy(lambda _: "")
    assert drain(choosy, outbox)
    assert values_of(choosy.records()) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert choosy.texts()[-1] == "last"
    assert (outbox.set_aside.values, outbox.set_aside.records) == (2, 3)


def test_a_greeting_that_is_refused_goes_without_what_users_have_put_in_it(
    tmp_path: Path, drain: Callable[[Choosy, Outbox], bool]
) -> None:
    outbox = filled(tmp_path)
    choosy = Choosy(lambda record: "expected less" if isinstance(record, Hello) and record.config else "")
    assert drain(choosy, outbox)
    assert [(hello.config, hello.tags, hello.project) for hello in choosy.greetings] == [({}, (), "default")]
    assert len(choosy.frames) == 5


def test_a_writer_that_is_refused_gives_up_and_keeps_everything(
    tmp_path: Path, drain: Callable[[Choosy, Outbox], bool]
) -> None:
    outbox = filled(tmp_path)
    choosy = Choosy(lambda record: "nobody" if isinstance(record, Hello) else "")
    assert not drain(choosy, outbox)
    assert choosy.connections == 2
    assert outbox.reader.pending()[0] == 5


def test_a_server_that_refuses_every_frame_takes_none_with_it(
    tmp_path: Path, drain: Callable[[Choosy, Outbox], bool]
) -> None:
    outbox = Outbox(tmp_path, writer="w")
    for number in range(1, 40):
        outbox.writer.append_report(("a",), [float(number)], number, 1)
        outbox.reader.seal()
    choosy = Choosy(lambda record: "no" if isinstance(record, Frame) else "")
    assert not drain(choosy, outbox)
    assert choosy.connections < 40
    assert Outbox(tmp_path, segments=SpoolFolder(tmp_path).segments()).reader.pending()[1] == 39
