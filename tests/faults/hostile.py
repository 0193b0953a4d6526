"""Clients that do everything wrong, from seeded generators: each a thread that goes on until it is told to stop.

Owns what they send, and checks that each reply to it is a documented one; must not know the honest run beside them.
"""

import base64
import contextlib
import copy
import gzip
import hashlib
import http.client
import json
import random
import re
import socket
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.sync.client import ClientConnection, connect

import recis.monitor
from recis.wire.codec import column, decode_server, decode_trace, encode
from recis.wire.messages import (
    Declare,
    Event,
    Frame,
    Hello,
    Line,
    Pass,
    Points,
    Refuse,
    Result,
    Seen,
    Status,
    TraceChunk,
    TraceOpen,
)
from tests.e2e.processes import COMMAND
from tests.recis.bridge.damages import DAMAGES

__all__ = ["ATTACKS", "Attack", "Spools", "offline_value"]

RUNS = tuple(f"hostile-{number}" for number in range(12))
STEPS = 200
"""Of each run that is spooled."""
WAIT_S = 20.0
"""For a reply that has to come; generous, for a busy machine."""
NUMBERS = (
    0,
    -1,
    1,
    255,
    2**31,
    2**53 - 1,
    2**53,
    2**63 - 1,
    2**64 - 1,
    -(2**63),
    0.5,
    1e308,
    float("nan"),
    float("inf"),
)
TEXTS = (
    "",
    "a",
    "/",
    "..",
    "\0",
    "\n\r",
    "a/b",
    "\u202e",
    "é" * 200,
    "x" * 9000,
    "%00",
    "{}",
    "null",
    "hostile-1",
    "'--",
)
DOCS = Path(__file__).parents[2] / "docs"


def documented(page: str, pattern: str) -> frozenset[Any]:
    """Return what the tables of a page say: the group or groups of the pattern, once for each row."""
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
TOLD = documented("protocol.md", r"^\| `(\w+)` \| (?:`version`|`run`|`run`, `\w+`|`error`)")
"""What a browser is told in text."""


class Attack(threading.Thread):
    """Turn after turn until `stop`.

    Attributes:
        turns: how many there were.
        replies: what came back, counted.
        faults: replies that are not documented, and other exceptions.
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
        """End with the present turn."""
        self._stopped.set()

    def run(self) -> None:
        """Begin a turn again and again."""
        while not self._stopped.is_set():
            self.turns += 1
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 - a fault of the server's or the test's; shown at the end
                self.faults.append(f"turn {self.turns}: {type(error).__name__}: {error}")

    def turn(self) -> None:
        """One client, from its beginning to its end."""
        raise NotImplementedError

    def expect(self, is_documented: object, what: str) -> None:
        """Count a reply; one that is not documented is a fault."""
        self.replies[what] += 1
        if not is_documented:
            self.faults.append(f"turn {self.turns}: {what} is not documented")

    # --- what is wrong

    def odd(self) -> Any:
        """Return any value."""
        return self.chance.choice([None, True, *NUMBERS, *TEXTS, b"", b"\xff" * 9, [], {}, [[[]]], {"a": {"b": 1}}])

    def changed(self, tree: Any) -> Any:
        """Return a copy of nested dicts and lists with one or two places changed, left out or repeated."""
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
        """Return the bytes, seldom damaged."""
        return self.damaged(data) if self.chance.random() < odds else data

    # --- WebSockets

    @contextlib.contextmanager
    def socket(self, path: str) -> "Any":
        """A connection; the server may close it whenever it likes, with a documented code."""
        try:
            with connect(f"ws{self.url[4:]}{path}", max_size=None, open_timeout=WAIT_S, close_timeout=1) as connection:
                try:
                    yield connection
                except ConnectionClosed:
                    # What it was closed for comes first.
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
        """Check the replies that are there, and wait so long for the first."""
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


class Frames(Attack):
    """Writers whose greetings and records are wrong in one place or another."""

    kind = "frames"

    def turn(self) -> None:
        """One connection with some records."""
        run = self.chance.choice(RUNS)
        with self.socket("/ws/ingest") as connection:
            hello = Hello(
                run=run, writer=f"w{self.turns}", attempt=f"a{self.chance.randrange(9)}", rank=self.chance.randrange(3),
                world_size=3, config={"lr": 0.1, "deep": {"er": [1]}}, tags=("t",),
            )  # fmt: skip
            self.send(connection, hello, odds=0.3)
            for number in range(self.chance.randrange(1, 12)):
                n = self.chance.choice([number + 1] * 8 + [number, number + 3, 2**63 - 1])
                self.send(connection, Frame(n=n, records=tuple(self.records()), dropped=self.chance.choice([0, 0, 7])))
                self.read(connection, 0.0)
            self.read(connection, 0.2)

    def send(self, connection: ClientConnection, record: msgspec.Struct, odds: float = 0.5) -> None:
        tree = msgspec.to_builtins(record, builtin_types=(bytes,))
        data = msgspec.msgpack.encode(self.changed(tree) if self.chance.random() < odds else tree)
        connection.send(self.either(data) if self.chance.random() < 0.98 else "text")

    def records(self) -> list[Any]:
        step, now = self.chance.randrange(1000), 1_700_000_000_000_000_000
        rows, keys = self.chance.randrange(1, 5), ("loss", self.chance.choice(["lr", "a/b", "x" * 300, "ÿ"]))
        made = [
            Points(
                keys=keys,
                steps=column(range(step, step + rows), "<i8"),
                times=column([now] * rows, "<i8"),
                values=column([self.chance.choice(NUMBERS) for _ in range(2 * rows)], "<f8"),
            ),
            Event(kind="alert", time_ns=now, text="hostile", step=step, data={"a": {"b": [1]}}),
            Line(time_ns=now, text="line", step=step),
            Declare(control="lr_scale", type="float", value=1.0, minimum=0.0, maximum=9.0),
            Pass(
                table="t",
                step=step,
                time_ns=now,
                interval=1,
                rows_before=9,
                evicted=1,
                rows_after=8,
                admitted=2,
                milliseconds=0.1,
                bytes=99,
            ),
            Result(command="c", control="lr_scale", state="applied", step=step, time_ns=now, old=1.0, new=2.0),
            Status(state=self.chance.choice(["running", "finished", "failed"]), time_ns=now, message="m"),
            Seen(command="c"),
        ]
        return [self.chance.choice(made) for _ in range(self.chance.randrange(4))]

    def reply(self, message: str | bytes) -> None:
        """Check one record of the server."""
        assert isinstance(message, bytes)
        record = decode_server(message)
        name = type(record).__name__
        if isinstance(record, Refuse):
            self.expect(record.code in {code for code, _ in REFUSALS} and record.message, f"refuse {record.code}")
        else:
            self.expect(name in ("Welcome", "Ack", "Command"), name)


class Traces(Attack):
    """Uploads of files that are no traces, of half ones, and of others than were announced."""

    kind = "traces"

    def turn(self) -> None:
        """One upload."""
        data = self.file()
        name = f"t{self.turns % 40}.json" + (".gz" if data[:2] == b"\x1f\x8b" else "")
        opening = TraceOpen(
            run=self.chance.choice(RUNS), attempt=f"a{self.chance.randrange(9)}", rank=self.chance.randrange(3),
            name=name, step=1, size=len(data), sha256=hashlib.sha256(data).hexdigest(),
        )  # fmt: skip
        tree = msgspec.to_builtins(opening)
        with self.socket("/ws/trace") as connection:
            connection.send(
                self.either(msgspec.msgpack.encode(self.changed(tree) if self.chance.random() < 0.4 else tree))
            )
            self.read(connection, 1.0)
            for start in range(0, len(data), 1 << 16):
                chunk = encode(TraceChunk(offset=start, data=data[start : start + (1 << 16)]))
                connection.send(self.either(chunk, 0.05))
                self.read(connection, 0.0)
            self.read(connection, 0.5)

    def event(self) -> Any:
        """Return one event, at times with something odd in it."""
        name, at = self.chance.choice(TEXTS), self.chance.choice(NUMBERS[:8])
        event = {"ph": "X", "name": name, "cat": "cpu_op", "ts": at, "dur": 1, "tid": 1}
        return self.changed(event) if self.chance.random() < 0.2 else event

    def file(self) -> bytes:
        """Return a trace, most often a bad one."""
        events = [self.event() for _ in range(self.chance.randrange(200))]
        text = msgspec.json.encode({"traceEvents": events}, enc_hook=str)
        kinds: list[Callable[[], bytes]] = [
            lambda: text,
            lambda: self.damaged(text),
            lambda: gzip.compress(text),
            lambda: self.damaged(gzip.compress(text)),
            lambda: b'{"traceEvents":' + b"[" * 50_000,
            lambda: b'{"traceEvents":[{"ph":"X","name":"\\ud800","ts":"1e999","dur":"x"},',
            lambda: gzip.compress(b" " * 3_000_000),
            lambda: b"<html>" + self.chance.randbytes(1000),
            lambda: b"\xef\xbb\xbf" + text,
        ]
        return self.chance.choice(kinds)()

    def reply(self, message: str | bytes) -> None:
        """Check one record of the server."""
        assert isinstance(message, bytes)
        try:
            record: Any = decode_trace(message)
        except ValueError:
            record = decode_server(message)
        if isinstance(record, Refuse):
            self.expect(record.code in {code for code, _ in REFUSALS} and record.message, f"refuse {record.code}")
        else:
            self.expect(type(record).__name__ in ("TraceAck", "TraceReply"), type(record).__name__)


class Browsers(Attack):
    """Browsers that ask for nonsense, and some that never read an answer."""

    kind = "browsers"

    def turn(self) -> None:
        """One socket."""
        with self.socket("/ws/live") as connection:
            reads = self.chance.random() < 0.7
            for _ in range(self.chance.choice([1, 10, 100, 400])):
                text = json.dumps(self.changed(self.request()), default=str)
                connection.send(
                    self.damaged(text.encode()).decode(errors="replace") if self.chance.random() < 0.1 else text
                )
                if reads:
                    self.read(connection, 0.0)
            if self.chance.random() < 0.1:
                connection.send([b"x"] * self.chance.choice([2, 5000]))
            self.read(connection, 0.2)

    def request(self) -> dict[str, Any]:
        """Return what a browser asks for, as it should be."""
        run, number = self.chance.choice(RUNS), self.chance.randrange(5)
        return self.chance.choice(
            [
                {"type": "follow", "run": run},
                {"type": "follow", "runs": True},
                {"type": "unfollow", "run": run},
                {"type": "unwatch", "id": number},
                {"type": "watch", "id": number, "run": run, "keys": ["loss", "lr"], "rank": "all", "start": None,
                 "stop": self.chance.choice([None, 9, 2**63 - 1]), "points": 340, "superseded": True},
            ]
        )  # fmt: skip

    def reply(self, message: str | bytes) -> None:
        """Check one message to a browser."""
        if isinstance(message, bytes):
            head = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
            self.expect(head["type"] in ("snapshot", "delta"), head["type"])
            return
        told = json.loads(message)
        self.expect(told["type"] in TOLD, told["type"])
        if told["type"] == "error":
            self.expect(told["error"]["code"] in ERRORS, f"error {told['error']['code']}")


class Requests(Attack):
    """Requests with odd paths, queries, headers, cookies and bodies."""

    kind = "requests"
    PATHS = (
        "/", "/run/x", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/static/x", "/abc/def", "/ws/live",
        "/api/v1/meta", "/api/v1/runs", "/api/v1/runs/{}", "/api/v1/runs/{}/metrics", "/api/v1/runs/{}/series?key=loss",
        "/api/v1/runs/{}/export?format=csv", "/api/v1/runs/{}/filters", "/api/v1/runs/{}/events",
        "/api/v1/runs/{}/controls", "/api/v1/runs/{}/controls/lr_scale", "/api/v1/runs/{}/commands",
        "/api/v1/runs/{}/traces", "/api/v1/traces/{}/download",
    )  # fmt: skip
    QUERIES = ("limit", "cursor", "sort", "fields", "metric", "rank", "start", "stop", "points", "key", "format",
               "token", "q", "state", "queue", "table", "superseded")  # fmt: skip
    HEADERS = ("Cookie", "Origin", "Host", "Authorization", "Accept", "Range", "If-Range", "If-None-Match",
               "Accept-Encoding", "X-Forwarded-Proto", "Content-Type", "Expect", "Upgrade")  # fmt: skip

    def turn(self) -> None:
        """One connection with some requests."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            for _ in range(self.chance.randrange(1, 6)):
                self.ask(connection)
        except (http.client.RemoteDisconnected, ConnectionError):
            self.replies["gone"] += 1  # after an answer that closes
        finally:
            connection.close()

    def ask(self, connection: http.client.HTTPConnection) -> None:
        path = self.chance.choice(self.PATHS).replace(
            "{}", self.word() if self.chance.random() < 0.3 else self.chance.choice(RUNS)
        )
        for _ in range(self.chance.randrange(4)):
            path += f"{'&' if '?' in path else '?'}{self.chance.choice(self.QUERIES)}={self.word()}"
        method = self.chance.choice(["GET"] * 6 + ["HEAD", "PUT", "PATCH", "DELETE", "POST", "OPTIONS", "TRACE", "X"])
        connection.putrequest(method, path, skip_host=True)
        headers = {"Host": f"127.0.0.1:{self.port}"}
        headers |= {self.chance.choice(self.HEADERS): self.header() for _ in range(self.chance.randrange(3))}
        body = b""
        if method in ("PUT", "PATCH", "POST") or self.chance.random() < 0.05:
            tree = {"value": 1.0, "reason": "r", "name": "n", "tags": ["a"], "notes": "", "id": "c"}
            body = self.either(json.dumps(self.changed(tree), default=str).encode(), 0.3)
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in headers.items():
            connection.putheader(name, value.encode("latin-1", "replace"))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        text = answer.read()
        if str(answer.status) in GOOD:
            self.expect(True, str(answer.status))
            return
        code = ""
        if text and "json" in answer.headers.get("content-type", ""):
            code = json.loads(text)["error"]["code"]
            self.expect((str(answer.status), code) in STATUSES, f"{answer.status} {code}")
        else:
            self.expect(str(answer.status) in {status for status, _ in STATUSES}, str(answer.status))

    def word(self) -> str:
        text = self.chance.choice([*map(str, NUMBERS), *TEXTS, "all", "band", "jsonl", "9" * 5000])
        return "".join(
            char if char.isalnum() and char.isascii() else "".join(f"%{b:02x}" for b in char.encode()) for char in text
        )

    def header(self) -> str:
        name = f"recis_monitor_{self.port}"
        return self.chance.choice(
            [
                f'{name}={{"a": [1, "b;c"]}}; {name}="x', "=; ;;a", "\u00e9=\u00ff", f"{name}=%ff%00", "x" * 20_000,
                "bytes=9-1", "bytes=0-99999999999999999999", "bytes=-", "null", "http://evil.example",
                "Bearer " + "y" * 900, "text/html", "application/octet-stream", 'W/"x", *', "127.0.0.1:99999",
                "websocket", "100-continue", "gzip;q=x",
            ]
        )  # fmt: skip


class Sockets(Attack):
    """Bytes that are no HTTP, requests that never end, and WebSocket frames that are none."""

    kind = "sockets"

    def turn(self) -> None:
        """One connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as one:
            data = self.either(self.head(), 0.6)
            try:
                for start in range(0, len(data), 50 if self.chance.random() < 0.2 else len(data)):
                    one.sendall(data[start : start + 50] if len(data) > 50 else data)
                one.settimeout(0.1)
                answer = one.recv(1 << 16)
            except OSError:  # nothing to answer yet, or it was closed
                answer = b""
            if self.chance.random() < 0.3:
                reset(one)
        if answer.startswith(b"HTTP/1.1 "):
            status = answer[9:12].decode(errors="replace")
            self.expect(status in GOOD | {"101"} | {known for known, _ in STATUSES}, status)

    def head(self) -> bytes:
        host = f"Host: 127.0.0.1:{self.port}\r\n".encode()
        key = base64.b64encode(self.chance.randbytes(16))
        upgrade = b"GET %b HTTP/1.1\r\n%bUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %b\r\n" % (
            self.chance.choice([b"/ws/live", b"/ws/ingest", b"/ws/trace", b"/ws/x"]), host, key,
        )  # fmt: skip
        masked = b"".join(
            bytes((self.chance.randrange(256), 0x80 | size)) + bytes(4) + self.chance.randbytes(size)
            for size in (0, 5, 125)
        )
        return self.chance.choice(
            [
                upgrade + b"Sec-WebSocket-Version: 13\r\n\r\n" + masked,
                upgrade + b"Sec-WebSocket-Version: 99\r\n\r\n",
                b"GET /healthz HTTP/1.1\r\n" + host + b"\r\n" + b"GET / HTTP/1.1\r\n" + host + b"\r\n",
                b"PUT /api/v1/runs/x/controls/y HTTP/1.1\r\n"
                + host
                + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nffffffff\r\n",
                b"PATCH /api/v1/runs/x HTTP/1.1\r\n" + host + b"Content-Length: 1000\r\n\r\n{",
                b"GET / HTTP/1.1\r\n" + host + b"Cookie: " + b"a=b;" * 5000 + b"\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3000,
                b"GET / HTTP/9.9\r\n\r\n",
                self.chance.randbytes(300),
            ]
        )


def offline_value(number: int, step: int, key: int) -> float:
    """Return what the spooled run of this number reports: another value in each place."""
    return number * 1e6 + step * 10 + key


class Spools(Attack):
    """Spools of offline runs, damaged and given to `recis-monitor sync`."""

    kind = "spools"
    CODES = (0, 1, 3)

    def turn(self) -> None:
        """One spool."""
        root = self.folder / f"spool-{self.turns}"
        run = recis.monitor.init(mode="offline", run_id=f"spooled-{self.turns}", spool_dir=root, tags=["spooled"])
        for step in range(STEPS):
            run.log({f"k{key}": offline_value(self.turns, step, key) for key in range(1 + step % 3)}, step)
            if step % 20 == 0:
                run.alert(f"step {step}", step=step)
        run.finish()
        for _ in range(self.chance.choice([1, 1, 2, 4])):
            self.damage(root)
        command = [COMMAND, "sync", str(root), "--url", self.url, "--timeout", "30"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", timeout=120)
        what = f"sync {done.returncode}"
        self.expect(done.returncode in self.CODES and "Traceback" not in done.stderr, what)
        if self.faults and self.faults[-1].endswith(f"{what} is not documented"):
            self.faults[-1] += f": {done.stderr[-2000:]}"

    def damage(self, root: Path) -> None:
        """Damage one of the files below `root`, whole or in part."""
        files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            return
        path = self.chance.choice(files)
        data = path.read_bytes()
        if data and self.chance.random() < 0.7:
            used = data[: self.chance.choice([4096, 16_384, len(data)])]
            path.write_bytes(self.damaged(used) + data[len(used) :])
            return
        other = self.chance.choice(files)
        place = path.with_name(f"{self.chance.randrange(10**9):020d}.seg")
        match self.chance.randrange(7):
            case 0:
                path.unlink()
            case 1:
                path.write_bytes(b"")
            case 2:
                path.unlink()
                path.mkdir()
            case 3:
                path.unlink()
                path.symlink_to(self.chance.choice([other, path, Path("/dev/zero"), root / "nothing"]))
            case 4:
                place.write_bytes(data)
            case 5:
                path.write_bytes(other.read_bytes())
            case 6:
                path.chmod(0)


ATTACKS: tuple[type[Attack], ...] = (Frames, Traces, Browsers, Requests, Sockets, Spools)
