"""A TCP proxy that simulates network failures: cut, stall, delay, throttle, refuse, deliver late.

Owns its listening socket, its links and two threads per link; must not know what bytes mean. A failure of a link is
permanent: a stalled link never moves again. New links are healthy.
"""

import contextlib
import select
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Literal, Self

__all__ = ["Link", "Proxy"]

PIECE_BYTES = 16 << 10
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
Direction = Literal["up", "down"]


class Link:
    """One connection through the proxy; `up` goes to the server.

    Attributes:
        moved: bytes delivered, by direction.
    """

    def __init__(
        self, proxy: "Proxy", client: socket.socket, server: socket.socket, *, late: bool, budget: int | None
    ) -> None:
        self._proxy = proxy
        self._late = late
        self._sockets = {"up": (client, server), "down": (server, client)}
        self._stalled: set[Direction] = set()
        self._budget = budget
        self._held: list[bytes] | None = None
        self._moved_at = time.monotonic()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.moved = {"up": 0, "down": 0}
        self._threads = [
            threading.Thread(target=self._pump, args=(way,), name=f"proxy-{way}", daemon=True) for way in ("up", "down")
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_open(self) -> bool:
        """Whether the link is neither cut nor closed by either end."""
        return not self._over.is_set()

    def cut(self) -> None:
        """Reset both sides; data in transit is lost."""
        self._over.set()
        for side in self._sockets["up"]:
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)  # wakes the threads that read
            side.close()

    def cut_after(self, num_bytes: int) -> None:
        """Deliver exactly this many more bytes to the server, then cut the link."""
        with self._lock:
            self._budget = num_bytes

    def stall(self, *ways: Direction) -> None:
        """Stop delivering and closing in these directions."""
        with self._lock:
            self._stalled.update(ways)

    def hold(self) -> None:
        """Hold data for the server until `deliver`, even if the client disconnects meanwhile."""
        with self._lock:
            self._held = []

    def deliver(self) -> int:
        """Deliver the held data to the server, and close; return the number of bytes."""
        with self._lock:
            assert self._held is not None
            data = b"".join(self._held)
            self._held = []
        self._sockets["up"][1].sendall(data)
        self._sockets["up"][1].shutdown(socket.SHUT_WR)
        return len(data)

    def join(self) -> None:
        """Wait for the threads after `cut`."""
        for thread in self._threads:
            thread.join(10.0)
            assert not thread.is_alive()

    def _pump(self, way: Direction) -> None:
        source, target = self._sockets[way]
        try:
            while data := self._receive(source):
                self._moved_at = time.monotonic()
                self._proxy.slow_down(len(data), self._over)
                if not self._pass_on(way, target, data):
                    return
        except (OSError, ValueError):  # closed by the other thread: then it has no file descriptor any more
            pass
        with self._lock:
            keep = way in self._stalled or self._held is not None
        if not keep:
            self.cut()

    def _receive(self, source: socket.socket) -> bytes:
        """Return the next piece; nothing once the link has been idle for too long."""
        while not select.select([source], [], [], 0.1)[0]:
            idle_s = self._proxy.idle_s
            if self._over.is_set() or (idle_s is not None and time.monotonic() - self._moved_at >= idle_s):
                return b""
        return source.recv(PIECE_BYTES)

    def _pass_on(self, way: Direction, target: socket.socket, data: bytes) -> bool:
        """Pass a piece on; return whether to continue."""
        with self._lock:
            if way == "up" and self._held is not None:
                self._held.append(data)
                return True
            if way in self._stalled:
                stalled = True
            else:
                stalled = False
                if way == "up" and self._budget is not None:
                    data, self._budget = data[: self._budget], self._budget - len(data)
                if way == "up" and self._late:
                    self._held = []
        if stalled:
            self._over.wait()  # stop reading: the buffers of the kernel fill
            return False
        target.sendall(data)
        self.moved[way] += len(data)
        if self._budget is not None and self._budget <= 0:
            self.cut()
            return False
        return True


class Proxy:
    """Listens on a free port of this machine and connects each client with one of `ports`.

    Attributes:
        ports: where clients are connected with, in turn; those where nobody listens are passed over.
        links: every link so far, newest last.
        delay_s: how long each piece is kept.
        bytes_per_s: maximum rate of each link, None for no limit.
        idle_s: how long a link may be idle before it is cut, None for no limit.
        refusing: whether a new connection is closed at once.
        holding: whether a new connection is held as soon as its opening request has passed.
        budgets: how many bytes the next connections may send before they are cut, in order.
    """

    def __init__(self, *ports: int) -> None:
        self.ports = list(ports)
        self._next = 0
        self.links: list[Link] = []
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.idle_s: float | None = None
        self.refusing = False
        self.holding = False
        self.budgets: list[int] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Small, so that a sender notices a stalled reader before megabytes are in the kernel; links inherit it.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE_BYTES)
        self._thread = threading.Thread(target=self._accept, name="proxy-accept", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """The URL to which clients connect."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def newest(self) -> Link:
        """The newest link."""
        return self.links[-1]

    def cut(self) -> None:
        """Cut every link."""
        for link in self.links:
            link.cut()

    def slow_down(self, num_bytes: int, over: threading.Event) -> None:
        """Wait for the time that this many bytes take, or until the link ends."""
        seconds = self.delay_s + (num_bytes / self.bytes_per_s if self.bytes_per_s else 0.0)
        if seconds:
            over.wait(seconds)

    def close(self) -> None:
        """End all links and threads."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10.0)
        self.cut()
        for link in self.links:
            link.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            server = self._connect()
            if server is None:
                client.close()
                continue
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            budget = self.budgets.pop(0) if self.budgets else None
            self.links.append(Link(self, client, server, late=self.holding, budget=budget))

    def _connect(self) -> socket.socket | None:
        for _ in self.ports:
            port = self.ports[self._next % len(self.ports)]
            self._next += 1
            with contextlib.suppress(OSError):
                return socket.create_connection(("127.0.0.1", port))
        return None
