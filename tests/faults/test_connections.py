"""Connections that are cut, stalled, slow, late or refused: logged values arrive once and unchanged."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from recis_server import serving
from recis_server.settings import Settings
from websockets.asyncio.client import connect

from recis.bridge import sockets
from recis.wire.codec import encode
from recis.wire.messages import Hello
from tests.e2e.processes import until
from tests.faults.proxy import Direction, Proxy
from tests.faults.reports import Reported, count, events, meter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.waits]

Open = Callable[[str], Reported]


def greeted(proxy: Proxy, links: int) -> bool:
    """Return whether a connection after the first `links` is open and has been answered by the server."""
    return len(proxy.links) > links and proxy.newest.is_open and proxy.newest.moved["down"] > 200


def finished(reported: Reported) -> None:
    assert reported.run.finish(timeout_s=30), "not everything was acknowledged"


def test_connections_cut_at_any_byte_lose_and_double_nothing(proxy: Proxy, server_address: str, opened: Open) -> None:
    random = Random(3)
    reported = opened("cut")

    def log_until(condition: Callable[[], bool], why: str) -> None:
        def met() -> bool:
            reported.log(random.randrange(1, 200))
            return condition()

        until(met, 20, why)

    for _ in range(30):
        log_until(lambda: greeted(proxy, 0), "a connection that is greeted")
        link = proxy.newest
        # Within a frame, between frames, or after the frame and before its acknowledgement.
        link.cut_after(random.choice([1, random.randrange(1, 300), random.randrange(300, 20_000)]))
        log_until(lambda link=link: not link.is_open, "the cut")  # type: ignore[misc]
    finished(reported)
    reported.check(server_address)
    assert len(proxy.links) > 30


def test_a_greeting_cut_at_every_few_bytes_is_repeated(proxy: Proxy, server_address: str, opened: Open) -> None:
    proxy.budgets = list(range(1, 700, 35))
    tries = len(proxy.budgets)
    reported = opened("greeting")

    def log_until_left_alone() -> bool:
        reported.log(1)
        return greeted(proxy, tries)

    # The first frame is sent alone, five seconds after the greeting, once it has been cut three times.
    until(log_until_left_alone, 110, "a connection that is not cut")
    finished(reported)
    reported.check(server_address)


@pytest.mark.parametrize(
    "ways", [("up",), ("down",), ("up", "down")], ids=["nothing arrives", "nothing comes back", "neither"]
)
@pytest.mark.parametrize("amount", [1, 250_000], ids=["little to send", "more than buffers hold"])
def test_a_half_open_connection_is_given_up(
    proxy: Proxy, server_address: str, opened: Open, ways: tuple[Direction, ...], amount: int
) -> None:
    run_id = f"half-{'-'.join(ways)}-{amount}"
    reported = opened(run_id)
    reported.log(10)
    until(lambda: count(server_address, run_id, "value") == 10, 20, "the first points on the server")
    stalled = proxy.newest
    stalled.stall(*ways)
    reported.log(amount)
    until(lambda: greeted(proxy, 1), 15, "another connection within ping and silence")
    finished(reported)
    reported.check(server_address)


def test_a_slow_and_late_line_only_takes_longer(
    proxy: Proxy, server_address: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SILENCE_S", 20.0)
    proxy.delay_s = 0.1
    proxy.bytes_per_s = 400_000
    reported = opened("slow")
    reported.log(20_000)
    until(lambda: proxy.links and proxy.newest.moved["up"] > 100_000, 30, "something on its way")
    reported.log(1000)
    finished(reported)
    reported.check(server_address)
    assert len(proxy.links) == 1, "slowness was taken for silence"


def test_bytes_of_an_old_connection_after_the_new_one_change_nothing(
    proxy: Proxy, server_address: str, opened: Open
) -> None:
    reported = opened("reordered")
    reported.log(100)
    for _ in range(3):
        links = len(proxy.links)
        until(lambda links=links: greeted(proxy, max(links, 1) - 1), 20, "a connection")  # type: ignore[misc]
        old = proxy.newest
        old.hold()
        old.stall("down")
        reported.log(500)
        until(lambda links=links: greeted(proxy, links), 20, "a new connection")  # type: ignore[misc]
        reported.log(500)
        sent = proxy.newest.moved["up"]
        until(lambda sent=sent: proxy.newest.moved["up"] > sent, 20, "frames on the new one")  # type: ignore[misc]
        assert old.deliver() > 0
        reported.log(500)
    finished(reported)
    reported.check(server_address)


def test_a_greeting_that_arrives_after_a_newer_one_does_not_keep_the_writer_out(
    proxy: Proxy, server_address: str, opened: Open
) -> None:
    proxy.holding = True  # the first connection is opened, and then all of its data arrives late
    reported = opened("late-greeting")
    until(lambda: proxy.links, 20, "the first try")
    old = proxy.newest
    proxy.holding = False
    reported.log(100)
    until(lambda: greeted(proxy, 1), 30, "a second try")
    reported.log(100)
    assert old.deliver() > 0
    until(lambda: greeted(proxy, 2), 20, "a third one: the late greeting has superseded the second")
    reported.log(100)
    finished(reported)
    reported.check(server_address)


def test_a_server_that_refuses_connections_gets_everything_later(
    proxy: Proxy, server_address: str, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.refusing = True
    reported = opened("refused")
    reported.log(2000)
    until(lambda: "no connection to" in caplog.text, 20, "the outage noticed")
    proxy.refusing = False
    reported.log(2000)
    finished(reported)
    reported.check(server_address)
    assert caplog.text.count("no connection to") == 1, "an outage is said once"


def test_a_stalled_server_does_not_hold_up_the_end(proxy: Proxy, opened: Open) -> None:
    reported = opened("stalled-end")
    until(lambda: greeted(proxy, 0), 20, "a connection")
    proxy.newest.stall("up", "down")
    proxy.refusing = True
    reported.log(250_000)
    sender = next(each for each in threading.enumerate() if each.name == "recis-sender")
    assert not reported.run.finish(timeout_s=1.0)
    assert not sender.is_alive(), "the sender outlived the run"


def test_the_server_lets_go_of_clients_that_have_gone_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "SILENCE_S", 0.5)

    async def connected_ranks(url: str) -> int:
        return await asyncio.to_thread(meter, url, "recis_connected_ranks")

    async def main() -> None:
        async with serving.serving(Settings(data=tmp_path / "server", port=0, ping_interval=0.3)) as server:
            with Proxy(int(server.url.rpartition(":")[2])) as proxy:
                url = f"ws{proxy.address.removeprefix('http')}/ws/ingest"
                async with connect(url, ping_interval=None, close_timeout=0.1) as training:
                    await training.send(encode(Hello(run="gone", writer="w", attempt="a")))
                    await training.recv()
                    assert await connected_ranks(server.url) == 1
                    proxy.newest.stall("up", "down")
                    async with asyncio.timeout(20):
                        while await connected_ranks(server.url):  # noqa: ASYNC110 - the server's state has no event
                            await asyncio.sleep(0.05)
            told = await asyncio.to_thread(events, server.url, "gone", "disconnected")
            assert len(told) == 1
            server.stop()
            await server.stopped()

    asyncio.run(main())


def test_pings_keep_a_quiet_connection_open_through_a_proxy_that_cuts_what_is_idle(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving.serving(Settings(data=tmp_path / "server", port=0, ping_interval=0.2)) as server:
            with Proxy(int(server.url.rpartition(":")[2])) as proxy:
                proxy.idle_s = 1.0
                url = f"ws{proxy.address.removeprefix('http')}/ws/ingest"
                async with connect(url, ping_interval=None, close_timeout=0.1) as training:
                    await training.send(encode(Hello(run="quiet", writer="w", attempt="a")))
                    await training.recv()
                    begun = proxy.newest.moved["down"]
                    async with asyncio.timeout(30):
                        # A ping has six bytes: this many take three times as long as the proxy would wait.
                        while proxy.newest.moved["down"] < begun + 15 * 6:  # noqa: ASYNC110
                            await asyncio.sleep(0.05)
                    assert proxy.newest.is_open
                    assert len(proxy.links) == 1
            server.stop()
            await server.stopped()

    asyncio.run(main())


def test_a_proxy_that_cuts_what_is_idle_makes_one_event_and_one_line(
    proxy: Proxy, server_address: str, opened: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sockets, "PING_S", 60.0)
    reported = opened("idle")
    reported.log(10)
    until(lambda: count(server_address, "idle", "value") == 10, 30, "the run")
    proxy.idle_s = 1.0

    def times() -> int:
        (event,) = events(server_address, "idle", "disconnected") or [{"data": {}}]
        return int(event["data"].get("times", 1))

    until(lambda: times() >= 5, 60, "some connections that were cut")
    (event,) = events(server_address, "idle", "disconnected")
    assert event["text"].startswith(f"rank 0 lost its connection {event['data']['times']} times within ")
    assert caplog.text.count("no connection to") == 1
    proxy.idle_s = None
    reported.log(10)
    finished(reported)
    reported.check(server_address)
