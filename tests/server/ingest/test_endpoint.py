import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from recis_server.errors import StoreUnavailable
from recis_server.query.runs import shown_state
from recis_server.store.values import Commit, StoredFrame
from websockets.exceptions import ConnectionClosed

from recis.wire.codec import decode_server, encode
from recis.wire.messages import MAX_FRAME_BYTES, Ack, Frame, Line, Pass, Refuse, Status, Welcome
from tests.server import realserver
from tests.server.realserver import Parts, hello, points, raw, serving, trainer, until, until_async


@pytest.fixture(params=["direct", "asgi"], autouse=True)
def every_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs each test with the way past ASGI and without."""
    if request.param == "direct":
        yield
        return
    realserver.protocols.append("websockets-sansio")
    try:
        yield
    finally:
        realserver.protocols.pop()


async def stored(server: Parts, run: str, key: str) -> list[tuple[int, float]]:
    _, slices = await server.store.points(run, key, None, None, None)
    return [(int(step), float(value)) for one in slices for step, value in zip(one.steps, one.values, strict=True)]


GREETING = encode(hello("bad", "w-bad"))
BAD_FRAMES = {
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


def test_a_frame_is_acknowledged_only_after_its_commit(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server) as one:
            commits: list[Commit] = []
            gate = asyncio.Event()
            append = server.store.append

            async def slow_append(frame: StoredFrame) -> Commit:
                await gate.wait()
                return await append(frame)

            server.store.append = slow_append  # type: ignore[method-assign]
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
            # Only the end of the second one is an event.
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


def test_a_store_that_cannot_commit_refuses_for_now_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server:
            append = server.store.append
            async with trainer(server) as one:
                await one.report(points([1], loss=[1.0]))

                async def full(frame: StoredFrame) -> Commit:
                    raise StoreUnavailable("the disk is full")

                server.store.append = full  # type: ignore[method-assign]
                await one.frame(points([2], loss=[2.0]))
                await one.frame(points([3], loss=[3.0]))
                refuse, code = await one.refused()
                assert (refuse.code, refuse.message, refuse.retry, code) == (
                    "unavailable",
                    "the disk is full",
                    True,
                    1013,
                )
            server.store.append = append  # type: ignore[method-assign]
            async with trainer(server) as one:
                assert one.welcome.acked == 1
                await one.report(points([2], loss=[2.0]))
                assert await stored(server, "r1", "loss") == [(1, 1.0), (2, 2.0)]

    asyncio.run(scenario())


def test_a_writer_that_fills_its_window_is_not_read_until_there_is_room(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, window_bytes=100_000) as server, trainer(server) as one:
            gate = asyncio.Event()
            append = server.store.append
            taken: list[int] = []

            async def slow_append(frame: StoredFrame) -> Commit:
                taken.append(frame.frame.n)
                await gate.wait()
                return await append(frame)

            server.store.append = slow_append  # type: ignore[method-assign]
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


def test_frames_keep_their_order_around_a_full_window(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, window_bytes=10_000) as server, trainer(server) as one:
            append = server.store.append
            taken: list[int] = []

            async def uneven_append(frame: StoredFrame) -> Commit:
                taken.append(frame.frame.n)
                for _ in range(len(taken) % 7):
                    await asyncio.sleep(0)
                return await append(frame) if frame.frame.n % 50 == 0 else Commit(0, ())

            server.store.append = uneven_append  # type: ignore[method-assign]
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
            acks = []
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
