"""The base of hostile clients: turns, odd and damaged data, and the documented replies.

Owns the tables of the documents that list the replies; must not know what a client sends.
"""

import contextlib
import copy
import logging
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.sync.client import ClientConnection, connect

from tests.recis.bridge.damages import DAMAGES

__all__ = ["ERRORS", "GOOD", "NUMBERS", "REFUSALS", "RUNS", "STATUSES", "TEXTS", "TOLD", "WAIT_S", "Attack", "reset"]

RUNS = tuple(f"hostile-{number}" for number in range(12))
WAIT_S = 20.0
"""For a reply that has to come; generous, for a busy machine."""
NUMBERS = (
    0, -1, 1, 255, 2**31, 2**53 - 1, 2**53, 2**63 - 1, 2**64 - 1, -(2**63), 0.5, 1e308, float("nan"), float("inf"),
)  # fmt: skip
TEXTS = (
    "", "a", "/", "..", "\0", "\n\r", "a/b", "\u202e", "é" * 200, "x" * 9000, "%00", "{}", "null", "hostile-1", "'--",
)  # fmt: skip
DOCS = Path(__file__).parents[3] / "docs"


def documented(page: str, pattern: str) -> frozenset[Any]:
    """Return the content of a page's tables: the group or groups of the pattern for each row."""
    found = re.findall(pattern, (DOCS / page).read_text(), re.MULTILINE)
    assert found, f"no such table in {page}"
    return frozenset(found)


STATUSES = {
    (status, code.strip("` "))
    for status, codes in documented("http.md", r"^\| (\d{3}) \| ([^|]+) \|")
    for code in codes.split(",")
} - {("500", "internal")}
ERRORS = {code for _, code in STATUSES}
GOOD = {"200", "202", "206", "303", "304"}
REFUSALS = documented("protocol.md", r"^\| `(\w+)` \| (\d{4}) \|") | {("hash", "4422")}
CLOSINGS = {int(code) for _, code in REFUSALS} | {1000, 1002, 1007}
"""The last two are the WebSocket protocol's own words for what does not keep to it."""
TOLD = documented("protocol.md", r"^\| `(\w+)` \| (?:`version`|`run`|`runs`|`run`, `\w+`|`error`)")
"""What a browser is told in text."""


_QUIET = logging.getLogger(f"{__name__}.quiet")
_QUIET.setLevel(logging.CRITICAL + 1)  # the library reports a locally reset connection as an internal error


class Attack(threading.Thread):
    """Runs turns until `stop`.

    Attributes:
        turns: number of turns.
        replies: number of replies of each kind.
        faults: undocumented replies, and other exceptions.
    """

    kind: ClassVar[str]

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        super().__init__(name=f"hostile-{self.kind}")
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self.folder = folder
        self.chance = random.Random(f"{self.kind} {seed}")
        self.turns = 0
        self.replies: Counter[str] = Counter()
        self.faults: list[str] = []
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End after the current turn."""
        self._stopped.set()

    def run(self) -> None:
        """Run turns repeatedly."""
        while not self._stopped.is_set():
            self.turns += 1
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 - a fault of the server's or the test's; shown at the end
                self.faults.append(f"turn {self.turns}: {type(error).__name__}: {error}")

    def turn(self) -> None:
        """Run one client from beginning to end."""
        raise NotImplementedError

    def expect(self, is_documented: object, what: str) -> None:
        """Count a reply; an undocumented one is a fault."""
        self.replies[what] += 1
        if not is_documented:
            self.faults.append(f"turn {self.turns}: {what} is not documented")

    # --- odd data

    def odd(self) -> Any:
        """Return an arbitrary value."""
        return self.chance.choice([None, True, *NUMBERS, *TEXTS, b"", b"\xff" * 9, [], {}, [[[]]], {"a": {"b": 1}}])

    def changed(self, tree: Any) -> Any:
        """Return a copy of nested dicts and lists with one or two items changed, left out or repeated."""
        tree = copy.deepcopy(tree)
        for _ in range(self.chance.choice([0, 1, 1, 2])):
            place = tree
            while True:
                names = list(place if isinstance(place, dict) else range(len(place)))
                if not names:
                    break
                name = self.chance.choice(names)
                if isinstance(place[name], dict | list) and self.chance.random() < 0.7:
                    place = place[name]
                    continue
                match self.chance.randrange(4):
                    case 0:
                        del place[name]
                    case 1 if isinstance(place, list):
                        place += [place[name]] * self.chance.choice([1, 100])
                    case _:
                        place[name] = self.odd()
                break
        return tree

    def damaged(self, data: bytes) -> bytes:
        """Return bytes with one kind of damage."""
        return self.chance.choice(DAMAGES)(self.chance, data, (data[::-1],)) if data else data

    def either(self, data: bytes, odds: float = 0.1) -> bytes:
        """Return the bytes, rarely damaged."""
        return self.damaged(data) if self.chance.random() < odds else data

    # --- WebSockets

    @contextlib.contextmanager
    def socket(self, path: str) -> Iterator[ClientConnection]:
        """A connection; the server may close it at any time, with a documented code."""
        try:
            with connect(
                f"ws{self.url[4:]}{path}", max_size=None, open_timeout=WAIT_S, close_timeout=1, logger=_QUIET
            ) as connection:
                try:
                    yield connection
                except ConnectionClosed:
                    # The reason for closing comes first.
                    with contextlib.suppress(ConnectionClosed):
                        self.read(connection, 0.0)
                if self.chance.random() < 0.2:
                    reset(connection.socket)
            if connection.close_code is not None and connection.protocol.close_rcvd is not None:
                self.expect(
                    connection.protocol.close_rcvd.code in CLOSINGS, f"close {connection.protocol.close_rcvd.code}"
                )
        except (InvalidHandshake, InvalidMessage, ConnectionError, TimeoutError) as error:
            self.expect("503" in str(error), f"no {path}: {type(error).__name__} {error}")

    def read(self, connection: ClientConnection, wait_s: float) -> None:
        """Check the available replies, waiting up to this long for the first."""
        while True:
            try:
                self.reply(connection.recv(wait_s))
            except TimeoutError:
                return
            wait_s = 0.0

    def reply(self, message: str | bytes) -> None:
        """Check one reply."""
        raise NotImplementedError


def reset(one: socket.socket) -> None:
    """Close a connection by RST."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RD)
