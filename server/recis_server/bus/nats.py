"""The bus of servers connected by NATS, on core subjects without persistence.

Owns the client, its queue and its reconnects; must not know what messages mean. Bounded: the messages that wait to be
sent, and those received that wait for their listener. What exceeds the bounds, or is sent while the connection is away,
is dropped and counted; after a reconnect, listeners read the store again.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from recis_server.bus.interface import COUNTS, Bus, Hint
from recis_server.errors import StoreError

__all__ = ["NatsBus"]

_logger = logging.getLogger(__name__)

CONNECT_S = 5.0
"""How long the first connection may take; reconnects are tried forever."""
RETRY_S = 1
PING_S = 5
"""Interval of pings on the connection; two without an answer end it."""
MAX_WAITING, MAX_WAITING_BYTES = 16_384, 8 << 20
"""Messages that may wait to be sent."""
MAX_UNREAD, MAX_UNREAD_BYTES = 65_536, 32 << 20
"""Messages of a subject that may wait for their listener."""
_PORT = 4222
_HINTS = "hints"


class NatsBus(Bus):
    """A `Bus` of the servers of one deployment on a NATS server or cluster.

    Args:
        url: `nats://[USER:PASSWORD@]HOST[:PORT],…`, with any number of servers of one cluster.
        deployment: a word that all of its servers share.

    Raises:
        ValueError: no host is given, or a port is not a number.
    """

    has_peers = True

    def __init__(self, url: str, deployment: str) -> None:
        self._servers, self._login = _parse(url)
        # The place used in messages; the whole URL may contain a password.
        self._place = f"NATS at {', '.join(server.split('//')[1] for server in self._servers)}"
        self._prefix = f"recis.{deployment}."
        self._client: Client | None = None
        self._hints: list[Callable[[Hint], None]] = []
        self._renewed: list[Callable[[], None]] = []
        self._listeners: dict[str, Callable[[bytes], None]] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._queue: deque[tuple[str, bytes | None]] = deque()  # bounded: `_put`
        self._num_waiting_bytes = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._counts = dict.fromkeys(COUNTS, 0)
        self._last_error = ""
        self._hint_decoder = msgspec.msgpack.Decoder(Hint)

    async def open(self) -> None:
        client = Client()
        self._client = client
        try:
            async with asyncio.timeout(CONNECT_S):
                await client.connect(
                    servers=self._servers,
                    name="recis-monitor",
                    no_echo=True,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RETRY_S,
                    connect_timeout=2,
                    ping_interval=PING_S,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    **self._login,
                )
        except (TimeoutError, OSError, nats.errors.Error, ValueError) as error:
            self._client = None
            with contextlib.suppress(Exception):
                await client.close()
            reason = self._last_error or str(error) or "no answer"
            raise StoreError(
                f"--bus: expected a NATS server that accepts this login, {self._place}: {reason}"
            ) from error
        self._counts["connected"] = 1
        self._task = asyncio.create_task(self._work(), name="bus")
        self.receive(_HINTS, self._on_hint)

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                if client.is_connected:
                    await client.flush(timeout=1)
            self._counts["connected"] = 0  # the connection is closed on purpose
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.close()
        for one in (self._hints, self._renewed, self._listeners, self._subscriptions, self._queue):
            one.clear()

    def publish(self, hint: Hint) -> None:
        for listener in tuple(self._hints):
            listener(hint)
        self.send(_HINTS, msgspec.msgpack.encode(hint))

    def subscribe(self, listener: Callable[[Hint], None]) -> None:
        self._hints.append(listener)

    def subscribe_renewed(self, listener: Callable[[], None]) -> None:
        self._renewed.append(listener)

    def send(self, subject: str, data: bytes) -> None:
        client = self._client
        if (
            client is None
            or not client.is_connected
            or len(data) > client.max_payload
            or len(self._queue) >= MAX_WAITING
            or self._num_waiting_bytes + len(data) > MAX_WAITING_BYTES
        ):
            self._counts["dropped"] += 1
        else:
            self._num_waiting_bytes += len(data)
            self._put(subject, data)

    def receive(self, subject: str, listener: Callable[[bytes], None]) -> None:
        is_new = subject not in self._listeners
        self._listeners[subject] = listener
        if is_new:
            self._put(subject, None)

    def ignore(self, subject: str) -> None:
        if self._listeners.pop(subject, None) is not None:
            self._put(subject, None)

    def counts(self) -> Mapping[str, int]:
        return self._counts

    # --- inside

    def _put(self, subject: str, data: bytes | None) -> None:
        """Queue a message; None for a change of the subscription, after the messages that are queued."""
        self._queue.append((subject, data))
        self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                subject, data = self._queue.popleft()
                try:
                    if data is None:
                        await self._follow(subject)
                    else:
                        self._num_waiting_bytes -= len(data)
                        await self._send_now(subject, data)
                except Exception:  # boundary: a failing message must not end the others
                    self._counts["dropped"] += 1
                    _logger.exception("the bus could not handle a message of the subject %s", subject)

    async def _send_now(self, subject: str, data: bytes) -> None:
        assert self._client is not None
        try:
            await self._client.publish(self._prefix + subject, data)
            self._counts["sent"] += 1
        except nats.errors.Error:  # disconnected since it was queued
            self._counts["dropped"] += 1

    async def _follow(self, subject: str) -> None:
        """Subscribe to a subject that has a listener, and unsubscribe from one that has none any more."""
        assert self._client is not None
        if subject in self._listeners and subject not in self._subscriptions:
            self._subscriptions[subject] = await self._client.subscribe(
                self._prefix + subject,
                cb=self._hearer(subject),
                pending_msgs_limit=MAX_UNREAD,
                pending_bytes_limit=MAX_UNREAD_BYTES,
            )
        elif subject not in self._listeners and subject in self._subscriptions:
            await self._subscriptions.pop(subject).unsubscribe()

    def _hearer(self, subject: str) -> Callable[[Msg], Awaitable[None]]:
        async def hear(message: Msg) -> None:
            listener = self._listeners.get(subject)
            if listener is None:
                return
            self._counts["received"] += 1
            try:
                listener(message.data)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self._counts["malformed"] += 1
            except Exception:  # boundary: a failing listener must not end the subscription
                _logger.exception("a message of the subject %s could not be handled", subject)

        return hear

    def _on_hint(self, data: bytes) -> None:
        hint = self._hint_decoder.decode(data)
        for listener in tuple(self._hints):
            listener(hint)

    # --- the connection

    async def _on_error(self, error: Exception) -> None:
        # The reason that a server gives says more than how the connection ended, which may hide it.
        if not (self._last_error and isinstance(error, OSError)):
            self._last_error = " ".join(str(error).split())[:200]
        if isinstance(error, nats.errors.SlowConsumerError):
            self._counts["dropped"] += 1
            self._renew()

    async def _on_disconnected(self) -> None:
        if self._counts["connected"]:
            self._counts["connected"] = 0
            _logger.warning("the bus is unavailable (%s); changes made at other servers are noticed later", self._place)

    async def _on_reconnected(self) -> None:
        self._counts["connected"] = 1
        self._counts["reconnects"] += 1
        _logger.warning("the bus is available again (%s)", self._place)
        self._renew()

    def _renew(self) -> None:
        for listener in tuple(self._renewed):
            listener()


def _parse(url: str) -> tuple[list[str], dict[str, Any]]:
    """Return the address of each server, and the login that all of them share."""
    scheme, _, rest = url.partition("://")
    login, _, hosts = rest.rstrip("/").rpartition("@")
    servers = []
    for host in hosts.split(","):
        parts = urlsplit(f"{scheme}://{host.strip()}")
        try:
            name, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"--bus: expected nats://HOST[:PORT],…, got the host {host[:80]!r}") from error
        if not name or parts.path or parts.query:
            raise ValueError(f"--bus: expected nats://HOST[:PORT],…, got the host {host[:80]!r}")
        servers.append(f"{scheme}://{f'[{name}]' if ':' in name else name}:{port or _PORT}")
    user, colon, password = login.partition(":")
    if not login:
        return servers, {}
    if not colon:
        return servers, {"token": unquote(user)}
    return servers, {"user": unquote(user), "password": unquote(password)}
