import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import WebSocket
from recis_server.errors import InvalidValue, NotFound
from recis_server.live import viewer as module
from recis_server.live.viewer import Viewer
from recis_server.live.watch import Watch

from tests.server.realserver import parts, until


class Socket:
    """A browser's socket that can be held, so that nothing leaves."""

    def __init__(self) -> None:
        self.texts: list[dict[str, Any]] = []
        self.binaries: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.free = asyncio.Event()
        self.free.set()

    async def send_text(self, text: str) -> None:
        await self.free.wait()
        self.texts.append(json.loads(text))

    async def send_bytes(self, data: bytes) -> None:
        await self.free.wait()
        self.binaries.append(data)

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


def run(folder: Path, scenario: Any, **options: Any) -> None:
    async def main() -> None:
        async with parts(folder) as server:
            socket = Socket()
            viewer = Viewer(cast("WebSocket", socket), server.store, server.hub.reads, **options)
            sending = asyncio.create_task(viewer.run())
            try:
                await scenario(viewer, socket, sending)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    asyncio.run(main())


def test_what_waits_about_one_thing_is_merged_into_the_newest(tmp_path: Path) -> None:
    async def scenario(viewer: Viewer, socket: Socket, sending: asyncio.Task[None]) -> None:
        socket.free.clear()
        viewer.push("first", {"n": 0})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for n in range(1000):
            viewer.push("run", {"n": n})
        viewer.push_passes("r1", [{"step": 1}])
        viewer.push_passes("r1", [{"step": 2}])
        socket.free.set()
        await until(lambda: len(socket.texts) == 3)
        assert socket.texts[1:] == [
            {"n": 999},
            {"type": "passes", "run": "r1", "passes": [{"step": 1}, {"step": 2}]},
        ]

    run(tmp_path, scenario)


def test_every_error_is_told(tmp_path: Path) -> None:
    async def scenario(viewer: Viewer, socket: Socket, sending: asyncio.Task[None]) -> None:
        viewer.push_error(NotFound("one"))
        viewer.push_error(NotFound("two"), watch_id=3)
        await until(lambda: len(socket.texts) == 2)
        assert socket.texts[0] == {"type": "error", "error": {"code": "not_found", "message": "one", "field": None}}
        assert socket.texts[1]["id"] == 3

    run(tmp_path, scenario)


def test_a_browser_that_does_not_read_is_closed(tmp_path: Path) -> None:
    async def scenario(viewer: Viewer, socket: Socket, sending: asyncio.Task[None]) -> None:
        socket.free.clear()
        viewer.push("run", {})
        await asyncio.wait_for(sending, 5)
        assert socket.closed is not None
        assert socket.closed[0] == 1013
        assert "nothing was read" in socket.closed[1]

    run(tmp_path, scenario, stall_s=0.05)


def test_a_browser_with_more_waiting_than_is_kept_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 50)

    async def scenario(viewer: Viewer, socket: Socket, sending: asyncio.Task[None]) -> None:
        for n in range(51):
            viewer.push(("event", n), {"n": n})
        await asyncio.wait_for(sending, 5)
        assert socket.closed is not None
        assert socket.closed[0] == 1013

    run(tmp_path, scenario)


def test_a_watch_that_cannot_be_read_is_one_error_and_is_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with parts(tmp_path) as server:
            await server.store.close()
            socket = Socket()
            viewer = Viewer(cast("WebSocket", socket), server.store, server.hub.reads)
            viewer.watches[4] = Watch(4, "r1", ("loss",), rank=0, start=None, stop=None, points=10)
            viewer.wake()
            sending = asyncio.create_task(viewer.run())
            await until(lambda: socket.texts)
            assert (socket.texts[0]["error"]["code"], socket.texts[0]["id"]) == ("unavailable", 4)
            assert viewer.watches == {}
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    asyncio.run(main())


def test_a_browser_is_read_no_faster_than_it_takes_its_answers(tmp_path: Path) -> None:
    async def scenario(viewer: Viewer, socket: Socket, sending: asyncio.Task[None]) -> None:
        socket.free.clear()
        taken = 0

        async def read() -> None:
            nonlocal taken
            while True:
                await viewer.take_request()
                taken += 1
                viewer.push_error(InvalidValue("$", "no"))

        reading = asyncio.create_task(read())
        await until(lambda: taken == module.MAX_REQUESTS)
        for _ in range(100):
            await asyncio.sleep(0)
        assert taken == module.MAX_REQUESTS
        socket.free.set()
        await until(lambda: taken > module.MAX_REQUESTS)
        reading.cancel()

    run(tmp_path, scenario)


def test_a_message_that_is_text_already_is_sent_as_it_is(tmp_path: Path) -> None:
    async def scenario(viewer: Viewer, socket: Socket, sending: asyncio.Task[None]) -> None:
        viewer.push("metrics", '{"type":"metrics"}')
        await until(lambda: socket.texts)
        assert socket.texts == [{"type": "metrics"}]

    run(tmp_path, scenario)
