import asyncio
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recis_server.errors import StoreUnavailable
from recis_server.ingest import endpoint
from recis_server.query.runs import shown_state
from recis_server.store.values import Commit, StoredFrame
from websockets.exceptions import ConnectionClosed

from recis.wire.codec import decode_server, encode
from recis.wire.messages import (
    MAX_FRAME_BYTES,
    Ack,
    Declare,
    Event,
    Frame,
    Line,
    Pass,
    Refuse,
    Result,
    Seen,
    Status,
    Welcome,
)
from tests.effort import examples
from tests.server.realserver import Parts, Trainer, hello, parts, points, raw, serving, trainer, until, until_async


async def stored(server: Parts, run: str, key: str) -> list[tuple[int, float]]:
    _, slices = await server.store.points(run, key, None, None, None)
    return [(int(step), float(value)) for one in slices for step, value in zip(one.steps, one.values, strict=True)]


GREETING = encode(hello("bad", "w-bad"))
BAD_FRAMES: dict[str, tuple[str | bytes, str, int, str]] = {
    "not MessagePack": (b"\xc1\xc1\xc1", "malformed", 4400, "none"),
    "empty": (b"", "malformed", 4400, "0 bytes"),
    "truncated": (encode(Frame(n=1, records=(points([1], loss=[1.0]),)))[:-5], "malformed", 4400, "truncated"),
    "text": ("hello", "malformed", 4400, "expected a binary message"),
    "unknown tag": (msgspec.msgpack.encode({"t": "nonsense"}), "malformed", 4400, "$.t"),
    "wrong version": (msgspec.msgpack.encode({"t": "frame", "n": 1, "records": [], "v": 2}), "version", 4426, "got 2"),
    "number 0": (encode(Frame(n=0, records=())), "malformed", 4400, "$.n"),
    "wrong shape": (
        encode(Frame(n=1, records=(msgspec.structs.replace(points([1], loss=[1.0]), values=b"1234567"),))),
        "malformed",
        4400,
        "$.records[0].values",
    ),
    "wrong type": (msgspec.msgpack.encode({"t": "frame", "n": "1", "records": []}), "malformed", 4400, "$.n"),
    "a second greeting": (GREETING, "malformed", 4400, "hello once"),
    "too large": (bytes(MAX_FRAME_BYTES + 1), "too_large", 1009, str(MAX_FRAME_BYTES)),
    "a number that no column holds": (
        encode(
            Frame(
                n=1,
                records=(
                    Pass(
                        table="t",
                        step=2**63,
                        time_ns=1,
                        interval=1,
                        rows_before=1,
                        evicted=0,
                        rows_after=1,
                        admitted=0,
                        milliseconds=1.0,
                        bytes=1,
                    ),
                ),
            )
        ),
        "malformed",
        4400,
        "$.records[0].step",
    ),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_a_bad_frame_ends_its_own_connection_with_a_reason_and_nothing_else(tmp_path: Path, case: str) -> None:
    data, code, close_code, said = BAD_FRAMES[case]

    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server, hello("good", "w-good")) as good:
            await good.report(points([1], loss=[1.0]))
            async with trainer(server, hello("bad", "w-bad")) as bad:
                await bad.connection.send(data)
                refuse, closed = await bad.refused()
            assert (refuse.code, closed, refuse.retry) == (code, close_code, False)
            assert said in refuse.message
            await good.report(points([2], loss=[2.0]))
            assert await stored(server, "good", "loss") == [(1, 1.0), (2, 2.0)]
            assert await stored(server, "bad", "loss") == []
            async with trainer(server, hello("bad", "w-bad")) as again:
                assert again.welcome.acked == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("record", "code", "where"),
    [
        (Frame(n=1, records=()), "malformed", "hello"),
        (hello("../x"), "malformed", "$.run"),
        (hello(rank=3, world_size=2), "malformed", "$.rank"),
        (msgspec.structs.replace(hello(), v=9), "version", "$.v"),
        (msgspec.structs.replace(hello(), world_size=2**63), "malformed", "$.world_size"),
    ],
)
def test_a_bad_greeting_is_refused(tmp_path: Path, record: msgspec.Struct, code: str, where: str) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, raw(server, "/ws/ingest") as connection:
            await connection.send(encode(record))
            refuse = decode_server(await connection.recv(decode=False))
            assert isinstance(refuse, Refuse)
            assert refuse.code == code
            assert where in refuse.message

    asyncio.run(scenario())


def test_a_frame_is_acknowledged_only_after_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one:
            commits: list[Commit] = []
            gate = asyncio.Event()
            append = server.store.append

            async def slow_append(frame: StoredFrame) -> Commit:
                await gate.wait()
                return await append(frame)

            monkeypatch.setattr(server.store, "append", slow_append)
            server.store.subscribe(commits.append)
            for step in (1, 2, 3):
                await one.frame(points([step], loss=[0.5]))
            with pytest.raises(TimeoutError):
                await one.receive(limit_s=0.1)
            assert not commits
            gate.set()
            await one.acked(3)
            assert [frame.frame.n for commit in commits for frame in commit.frames] == [1, 2, 3]

    asyncio.run(scenario())


def test_what_was_not_acknowledged_comes_again_and_is_stored_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server:
            async with trainer(server) as one:
                await one.report(points([1], loss=[1.0]))
                await one.frame(points([2], loss=[2.0]))
            async with trainer(server) as one:
                await one.frame(points([2], loss=[2.0]), n=2)
                await one.frame(points([2], loss=[2.0]), n=2)
                await one.report(points([3], loss=[3.0]))
            row = await server.store.run("r1")
            assert row is not None
            assert (row.points, row.missing) == (3, 0)
            assert await stored(server, "r1", "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]

    asyncio.run(scenario())


def test_a_server_that_restarts_goes_on_at_the_acknowledged_number(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one:
            await one.report(points([1], loss=[1.0]))
            await one.report(points([2], loss=[1.0]))
        async with serving(tmp_path) as server, trainer(server) as one:
            assert one.welcome == Welcome(acked=2, attempt=1, window_bytes=8 << 20, watched=False)

    asyncio.run(scenario())


def test_a_second_connection_of_a_writer_supersedes_the_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as first:
            await first.report(points([1], loss=[1.0]))
            async with trainer(server) as second:
                refuse, code = await first.refused()
                assert (refuse.code, code, refuse.retry) == ("superseded", 4409, True)
                await second.report(points([2], loss=[2.0]))
            # Only the end of the second connection is an event.
            events = await until_async(lambda: server.store.events("r1"))
            assert [event.kind for event in events] == ["disconnected"]
            assert await stored(server, "r1", "loss") == [(1, 1.0), (2, 2.0)]

    asyncio.run(scenario())


def test_numbers_that_are_skipped_are_counted_as_missing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one:
            await one.frame(points([9], loss=[1.0]), n=5)
            await one.acked(5)
            row = await server.store.run("r1")
            assert row is not None
            assert row.missing == 4

    asyncio.run(scenario())


def test_a_store_that_cannot_commit_refuses_for_now_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server:
            append = server.store.append
            async with trainer(server) as one:
                await one.report(points([1], loss=[1.0]))

                async def full(frame: StoredFrame) -> Commit:
                    raise StoreUnavailable("the disk is full")

                monkeypatch.setattr(server.store, "append", full)
                await one.frame(points([2], loss=[2.0]))
                await one.frame(points([3], loss=[3.0]))
                refuse, code = await one.refused()
                assert (refuse.code, refuse.message, refuse.retry, code) == (
                    "unavailable",
                    "the disk is full",
                    True,
                    1013,
                )
            monkeypatch.setattr(server.store, "append", append)
            async with trainer(server) as one:
                assert one.welcome.acked == 1
                await one.report(points([2], loss=[2.0]))
                assert await stored(server, "r1", "loss") == [(1, 1.0), (2, 2.0)]

    asyncio.run(scenario())


def test_a_writer_that_fills_its_window_is_not_read_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, window_bytes=100_000) as server, trainer(server) as one:
            gate = asyncio.Event()
            append = server.store.append
            taken: list[int] = []

            async def slow_append(frame: StoredFrame) -> Commit:
                taken.append(frame.frame.n)
                await gate.wait()
                return await append(frame)

            monkeypatch.setattr(server.store, "append", slow_append)
            streams = server.intake._streams
            text = "x" * 8000
            sending = asyncio.gather(*(one.frame(Line(time_ns=1, text=text)) for _ in range(60)))
            await until(lambda: any(stream.pending_bytes >= 100_000 for stream in streams))
            await asyncio.wait({sending}, timeout=0.2)
            (stream,) = streams
            assert stream.pending_bytes < 100_000 + 8100
            assert taken == [1]
            gate.set()
            await one.acked(60)
            assert stream.pending_bytes == 0

    asyncio.run(scenario())


def test_frames_keep_their_order_around_a_full_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, window_bytes=10_000) as server, trainer(server) as one:
            append = server.store.append
            taken: list[int] = []

            async def uneven_append(frame: StoredFrame) -> Commit:
                taken.append(frame.frame.n)
                for _ in range(len(taken) % 7):
                    await asyncio.sleep(0)
                return await append(frame) if frame.frame.n % 50 == 0 else Commit(0, ())

            monkeypatch.setattr(server.store, "append", uneven_append)
            for first in range(0, 1000, 10):
                for _ in range(first, first + 10):
                    await one.frame(Line(time_ns=1, text="x" * 1500))
                await asyncio.sleep(0)
            await one.acked(1000)
            assert taken == list(range(1, 1001))

    asyncio.run(scenario())


def test_acknowledgements_of_frames_that_come_fast_merge(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one:
            numbers = [await one.frame(points([step], loss=[1.0])) for step in range(20)]
            acks: list[int] = []
            while not acks or acks[-1] < numbers[-1]:
                record = await one.receive()
                assert isinstance(record, Ack)
                acks.append(record.n)
            assert acks == sorted(set(acks))

    asyncio.run(scenario())


def test_a_writer_hears_at_once_that_somebody_looks(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            serving(tmp_path) as server,
            trainer(server, hello("r1", "w1")) as first,
            trainer(server, hello("r1", "w2", rank=1, world_size=2)) as second,
            trainer(server, hello("r2", "w3")) as other,
        ):
            assert not first.welcome.watched
            await first.frame(points([1], loss=[1.0]))
            assert await first.receive() == Ack(1, watched=False)
            async with raw(server, "/ws/live") as page:
                await page.send('{"type": "watch", "id": 1, "run": "r1", "keys": ["loss"]}')
                assert await first.receive() == Ack(1)
                assert await second.receive() == Ack(0)
            await other.frame(points([1], loss=[1.0]))
            assert await other.receive() == Ack(1, watched=False)
            async with trainer(server, hello("r1", "w4")) as late:
                assert late.welcome.watched

    asyncio.run(scenario())


def test_the_last_word_is_heard_before_a_connection_counts_as_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server:
            async with trainer(server) as one:
                await one.frame(Status(state="finished", time_ns=1))
            await until(lambda: not server.presence.connected("r1"))
            row = await until_async(lambda: server.store.run("r1"))
            assert shown_state(row, server.presence) == "finished"
            assert await server.store.events("r1") == ()

    asyncio.run(scenario())


def test_a_server_that_stops_lets_its_trainers_come_back_and_makes_no_event_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one:
            await one.frame(points([1], loss=[1.0]))
            await until(lambda: any(stream.received == 1 for stream in server.intake._streams))
            await server.intake.close()
            while not isinstance(record := await one.receive(), Refuse):
                assert isinstance(record, Ack)
            assert (record.code, record.retry) == ("unavailable", True)
            with pytest.raises(ConnectionClosed):
                await one.receive()
            assert await stored(server, "r1", "loss") == [(1, 1.0)]
            await until(lambda: server.intake.num_connections == 0)
            assert await server.store.events("r1") == ()

    asyncio.run(scenario())


def test_many_connections_stream_side_by_side(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server:

            async def rank(number: int) -> None:
                async with trainer(server, hello("r1", f"w{number}", rank=number, world_size=100)) as one:
                    for step in range(3):
                        await one.report(points([step], loss=[float(number)]))
                    await one.report(Status(state="finished", time_ns=1))

            await asyncio.gather(*(rank(number) for number in range(100)))
            row = await server.store.run("r1")
            assert row is not None
            assert (row.points, row.missing, len(row.ranks)) == (300, 0, 100)
            await until(lambda: not server.presence.connected("r1"))

    asyncio.run(scenario())


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize("depth", [10, 100, 250, 5000])
def test_a_configuration_of_any_depth_is_kept_or_refused_for_good(tmp_path: Path, depth: int) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, raw(server, "/ws/ingest") as connection:
            one = Trainer(connection)
            greeting = b"\x85\xa1t\xa5hello\xa3run\xa2r1\xa6writer\xa2w1\xa7attempt\xa2a1\xa6config\x81\xa1x"
            await connection.send(greeting + b"\x81\xa1a\x91" * depth + b"\x01")
            answer = await one.receive()
            if isinstance(answer, Refuse):
                assert (depth, answer.code, answer.retry) == (5000, "malformed", False)
                return
            assert isinstance(answer, Welcome)
            await one.report(points([1], loss=[1.0]), Event(kind="k", time_ns=1, text="t", data={"x": nested(depth)}))
            row = await server.store.run("r1")
            assert row is not None
            (event,) = await server.store.events("r1")
            for kept in (row.config["x"], event.data["x"]):
                levels = 0
                while isinstance(kept, dict):
                    (kept,) = kept["a"]
                    levels += 1
                assert levels == min(depth, levels)
                assert levels >= min(depth, 20)

    asyncio.run(scenario())


def test_a_span_that_was_taken_in_part_is_refused_for_good(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one:
            await one.report(points([1], loss=[1.0]))
            await one.frame(points([2], loss=[2.0]), n=2)
            await one.send(Frame(n=4, span=3, records=(points([4], loss=[4.0]),)))
            refuse, code = await one.refused()
            assert (refuse.code, refuse.retry, code) == ("malformed", False, 4400)
            assert "expected numbers above 2" in refuse.message

    asyncio.run(scenario())


def test_a_connection_without_a_greeting_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "GREETING_S", 0.1)

    async def scenario() -> None:
        async with serving(tmp_path) as server, raw(server, "/ws/ingest") as connection:
            refuse, code = await Trainer(connection).refused()
            assert (refuse.code, refuse.retry, code) == ("timeout", True, 4408)

    asyncio.run(scenario())


ODD = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=5),
        st.binary(max_size=5),
        st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary(max_size=4)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=3), st.integers(-5, 5), st.floats(), st.booleans()), inner, max_size=3
        ),
    ),
    max_leaves=8,
)
VALID: list[dict[str, Any]] = [
    msgspec.msgpack.decode(encode(record))
    for record in (
        hello(),
        Frame(n=1, records=(points([1, 2], loss=[1.0, 2.0]), Line(time_ns=1, text="l", step=2))),
        Frame(n=3, span=2, dropped=5, records=(Event(kind="alert", time_ns=1, text="t", data={"a": [1]}),)),
        Frame(n=2, records=(Declare(control="c", type="int", value=3, minimum=1), Status(state="failed", time_ns=1))),
        Frame(
            n=1, records=(Result(command="c", control="c", state="applied", step=1, time_ns=1, old=1, new={"a": 2}),)
        ),
        Seen(command="c"),
    )
]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Return a record with an invalid value or damaged bytes."""
    record = dict(draw(st.sampled_from(VALID)))
    if draw(st.booleans()):
        record[draw(st.sampled_from([*record, "config", "records", "span", "v", "odd"]))] = draw(ODD)
    elif "records" in record and draw(st.booleans()):
        inner = dict(record["records"][0])
        inner[draw(st.sampled_from([*inner, "odd"]))] = draw(ODD)
        record["records"] = [inner]
    data = bytearray(msgspec.msgpack.encode(record))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@pytest.mark.slow
@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(spoilt(), min_size=30, max_size=60))
def test_spoilt_records_are_taken_or_refused_for_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoils: list[bytes]
) -> None:
    async def talk(intake: endpoint.Intake, messages: list[bytes]) -> list[dict[str, Any]]:
        given: list[dict[str, Any]] = [{"type": "websocket.receive", "bytes": data} for data in messages]
        given = [{"type": "websocket.connect"}, *given, {"type": "websocket.disconnect", "code": 1000}]
        given.reverse()
        told: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return given.pop() if given else {"type": "websocket.disconnect", "code": 1000}

        async def send(message: Any) -> None:
            told.append(message)

        await intake.serve(receive, send)
        return told

    async def scenario() -> None:
        async with parts(Path(tempfile.mkdtemp(dir=tmp_path))) as server:
            for place, spoil in enumerate(spoils):
                greeting = encode(hello(f"r{place}", f"w{place}"))
                for messages in ([spoil], [greeting, spoil]):
                    for message in await talk(server.intake, messages):
                        if message.get("bytes"):
                            record = decode_server(message["bytes"])
                            assert not (isinstance(record, Refuse) and record.retry), (record, messages)

    asyncio.run(scenario())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
