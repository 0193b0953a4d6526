"""Training processes that violate the protocol, and uploads that are not traces."""

import gzip
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from websockets.sync.client import ClientConnection

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
from tests.faults.hostile.attack import NUMBERS, REFUSALS, RUNS, TEXTS, Attack

__all__ = ["Frames", "Traces"]


class Frames(Attack):
    """Writers whose greetings and records are wrong somewhere."""

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
    """Uploads of files that are not traces, of partial ones, and of files other than announced."""

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
        """Return one event, sometimes with an odd value."""
        name, at = self.chance.choice(TEXTS), self.chance.choice(NUMBERS[:8])
        event = {"ph": "X", "name": name, "cat": "cpu_op", "ts": at, "dur": 1, "tid": 1}
        return self.changed(event) if self.chance.random() < 0.2 else event

    def file(self) -> bytes:
        """Return a trace, usually an invalid one."""
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
