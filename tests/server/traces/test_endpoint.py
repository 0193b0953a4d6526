import asyncio
import hashlib
import logging
import os
from pathlib import Path

import msgspec
import pytest
from recis_server.traces import endpoint as module
from websockets.asyncio.client import ClientConnection

from recis.wire.codec import decode_trace, encode
from recis.wire.messages import Refuse, TraceAck, TraceChunk, TraceOpen, TraceReply
from tests.server.realserver import Parts, hello, raw, serving, trainer, until

CONTENT = os.urandom(2_500_000)
CHUNK = 500_000


def opening(content: bytes = CONTENT, run: str = "r1") -> TraceOpen:
    digest = hashlib.sha256(content).hexdigest()
    return TraceOpen(run=run, attempt="a1", rank=0, name="trace.json.gz", step=4, size=len(content), sha256=digest)


async def ask(connection: ClientConnection, record: msgspec.Struct | str | bytes) -> msgspec.Struct:
    await connection.send(record if isinstance(record, str | bytes) else encode(record))
    return decode_trace(await connection.recv(decode=False))


async def upload(connection: ClientConnection, content: bytes, start: int, stop: int) -> msgspec.Struct:
    """Send a part of the file and return the answer to its last chunk."""
    answer: msgspec.Struct = TraceAck(offset=start)
    for offset in range(start, stop, CHUNK):
        chunk = content[offset : min(stop, offset + CHUNK)]
        answer = await ask(connection, TraceChunk(offset=offset, data=chunk))
        assert answer == TraceAck(offset=offset + len(chunk))
    return answer


async def listed(server: Parts) -> list[bytes]:
    rows = await server.store.traces("r1")
    return [b"".join([part async for part in server.blobs.read(row.blob, 0, row.size)]) for row in rows]


def test_an_upload_that_is_cut_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server):
            async with raw(server, "/ws/trace") as connection:
                assert await ask(connection, opening()) == TraceAck(offset=0)
                await upload(connection, CONTENT, 0, 1_000_000)
                connection.transport.abort()
            assert await listed(server) == []
            async with raw(server, "/ws/trace") as connection:
                assert await ask(connection, opening()) == TraceAck(offset=1_000_000)
                await upload(connection, CONTENT, 1_000_000, len(CONTENT))
                done = decode_trace(await connection.recv(decode=False))
            (row,) = await server.store.traces("r1")
            assert done == TraceReply(id=row.id)
            assert await listed(server) == [CONTENT]
            async with raw(server, "/ws/trace") as connection:
                assert await ask(connection, opening()) == TraceReply(id=row.id)

    asyncio.run(scenario())


def test_four_chunks_may_be_on_their_way(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server), raw(server, "/ws/trace") as connection:
            await ask(connection, opening())
            for offset in range(0, len(CONTENT), CHUNK):
                await connection.send(encode(TraceChunk(offset=offset, data=CONTENT[offset : offset + CHUNK])))
            answers = [decode_trace(await connection.recv(decode=False)) for _ in range(6)]
            assert answers[:5] == [TraceAck(offset=offset + CHUNK) for offset in range(0, len(CONTENT), CHUNK)]
            assert isinstance(answers[5], TraceReply)

    asyncio.run(scenario())


def test_an_empty_file_is_done_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server), raw(server, "/ws/trace") as connection:
            assert await ask(connection, opening(b"")) == TraceAck(offset=0)
            assert isinstance(decode_trace(await connection.recv(decode=False)), TraceReply)

    asyncio.run(scenario())


def test_another_content_than_announced_is_refused_and_not_listed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server):
            async with raw(server, "/ws/trace") as connection:
                await ask(connection, opening())
                await upload(connection, bytes(len(CONTENT)), 0, len(CONTENT))
                refuse = decode_trace(await connection.recv(decode=False))
                assert isinstance(refuse, Refuse)
                assert (refuse.code, refuse.retry) == ("hash", False)
                await connection.wait_closed()
                assert connection.close_code == 4422
            assert await listed(server) == []

    asyncio.run(scenario())


GOOD = encode(opening())
BAD: dict[str, tuple[str | bytes, str, int]] = {
    "not MessagePack": (b"\xc1", "malformed", 4400),
    "text": ("hello", "malformed", 4400),
    "a chunk first": (encode(TraceChunk(offset=0, data=b"x")), "malformed", 4400),
    "a record of the other socket": (encode(hello()), "malformed", 4400),
    "wrong version": (encode(msgspec.structs.replace(opening(), v=2)), "version", 4426),
    "no hash": (encode(msgspec.structs.replace(opening(), sha256="x")), "malformed", 4400),
    "negative size": (encode(msgspec.structs.replace(opening(), size=-1)), "malformed", 4400),
    "a negative rank": (encode(msgspec.structs.replace(opening(), rank=-1)), "malformed", 4400),
    "a negative step": (encode(msgspec.structs.replace(opening(), step=-1)), "malformed", 4400),
    "a step that no column holds": (encode(msgspec.structs.replace(opening(), step=2**63)), "malformed", 4400),
    "no name": (encode(msgspec.structs.replace(opening(), name="")), "malformed", 4400),
    "a long name": (encode(msgspec.structs.replace(opening(), name="x" * 900_000)), "malformed", 4400),
    "a name of control characters": (encode(msgspec.structs.replace(opening(), name="\x1b[2J\0")), "malformed", 4400),
    "a name in another folder": (encode(msgspec.structs.replace(opening(), name="../../🦊" * 30)), "malformed", 4400),
    "an unknown attempt": (encode(msgspec.structs.replace(opening(), attempt="a9")), "unavailable", 1013),
    "above the limit": (encode(msgspec.structs.replace(opening(), size=3 << 30)), "too_large", 1009),
    "a message above the limit": (bytes(3 << 20), "too_large", 1009),
    "an unknown run": (encode(opening(run="nope")), "unavailable", 1013),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_upload_is_refused_with_a_reason_and_others_go_on(tmp_path: Path, case: str) -> None:
    data, code, close_code = BAD[case]

    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server), raw(server, "/ws/trace") as good:
            await ask(good, opening())
            async with raw(server, "/ws/trace") as bad:
                refuse = await ask(bad, data)
                assert isinstance(refuse, Refuse)
                assert (refuse.code, refuse.retry) == (code, code == "unavailable")
                assert refuse.message
                await bad.wait_closed()
                assert bad.close_code == close_code
            await upload(good, CONTENT, 0, len(CONTENT))
            assert isinstance(decode_trace(await good.recv(decode=False)), TraceReply)

    asyncio.run(scenario())


BAD_CHUNKS = {
    "a negative offset": TraceChunk(offset=-5, data=CONTENT[:10]),
    "an offset beyond what is here": TraceChunk(offset=5, data=CONTENT[:10]),
    "an offset beyond the file": TraceChunk(offset=len(CONTENT) + 1, data=b"x"),
    "an offset beyond all files": TraceChunk(offset=1 << 63, data=b"x"),
    "no data": TraceChunk(offset=0, data=b""),
    "a second announcement": opening(),
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
def test_a_bad_part_is_refused_with_a_reason_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server):
            async with raw(server, "/ws/trace") as connection:
                await ask(connection, opening())
                refuse = await ask(connection, BAD_CHUNKS[case])
                assert isinstance(refuse, Refuse)
                assert (refuse.code, refuse.retry) == ("malformed", False)
                assert "expected" in refuse.message
            async with raw(server, "/ws/trace") as connection:
                assert await ask(connection, opening()) == TraceAck(offset=0)
                await upload(connection, CONTENT, 0, len(CONTENT))
                assert isinstance(decode_trace(await connection.recv(decode=False)), TraceReply)
            assert await listed(server) == [CONTENT]

    asyncio.run(scenario())
    ours = [record for record in caplog.records if record.name.startswith("recis")]
    assert not [record for record in ours if record.levelno >= logging.WARNING]


def test_more_than_was_announced_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server), raw(server, "/ws/trace") as connection:
            assert await ask(connection, opening(b"abc")) == TraceAck(offset=0)
            refuse = await ask(connection, TraceChunk(offset=0, data=b"abcd"))
            assert isinstance(refuse, Refuse)
            assert "expected at most the announced 3 bytes, got 4" in refuse.message

    asyncio.run(scenario())


def test_who_says_nothing_gives_up_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.05)

    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server):
            for first in (None, opening()):
                async with raw(server, "/ws/trace") as connection:
                    if first is not None:
                        await ask(connection, first)
                    refuse = decode_trace(await connection.recv(decode=False))
                    assert isinstance(refuse, Refuse)
                    assert (refuse.code, refuse.retry) == ("unavailable", True)
                    await until(lambda: not server.traces._active)

    asyncio.run(scenario())


def test_a_file_that_is_left_in_the_middle_leaves_no_connection_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as server, trainer(server):
            async with raw(server, "/ws/trace") as connection:
                await ask(connection, opening())
                assert len(server.traces._active) == 1
            await until(lambda: not server.traces._active)

    asyncio.run(scenario())
