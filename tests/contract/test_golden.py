"""Golden wire records: the bytes in `golden/` decode to these records, and these encode to the bytes, at both ends.

A golden file may be added, never changed: a change that breaks one breaks every client in use.
To add one, put the record into `GOLDEN` and run this file as a script.
"""

import sys
from pathlib import Path

import msgspec
import pytest

from recis.wire import messages as m
from recis.wire.codec import column, decode_client, decode_server, decode_trace, encode

FOLDER = Path(__file__).parent / "golden"
T = 1_790_000_000_000_000_000

GOLDEN: dict[str, msgspec.Struct] = {
    "hello": m.Hello(
        run="20261123-101500-a1b2c3",
        writer="0123456789abcdef01234567",
        attempt="fedcba9876543210fedcba98",
        project="ctr",
        name="deepfm 🚂",
        rank=1,
        world_size=2,
        first=3,
        config={"lr": 0.001, "tables": ["user", "item"], "amp": None},
        tags=("nightly",),
        host="trainer-1",
        pid=4242,
        client="recis/0.1.0",
        time_ns=T,
    ),
    "hello-late": m.Hello(run="r", writer="w", attempt="a", time_ns=T + 3_600_000_000_000, started_ns=T),
    "ack-unwatched": m.Ack(n=3, watched=False),
    "hello-least": m.Hello(run="r", writer="w", attempt="a"),
    "frame-points": m.Frame(
        n=3,
        records=(
            m.Points(
                keys=("loss", "table/user/rows"),
                steps=column([7, 8, 1 << 41], "<i8"),
                times=column([T, T + 1, T + 2], "<i8"),
                values=column([0.5, float("nan"), float("-inf"), 1.0, 2.0, 1e300], "<f8"),
            ),
        ),
        dropped=12,
    ),
    "frame-output": m.Frame(
        n=5,
        records=(
            m.Line(time_ns=T, text="12 lines of output were dropped", level="warning", dropped=12),
            m.Line(time_ns=T, text="Epoch 1", stream="stdout"),
            m.Line(time_ns=T, text="UserWarning: x", stream="stderr"),
        ),
    ),
    "frame-others": m.Frame(
        n=4,
        records=(
            m.Pass(
                table="user",
                step=8,
                time_ns=T,
                interval=4,
                rows_before=10,
                evicted=3,
                rows_after=7,
                admitted=5,
                milliseconds=0.25,
                bytes=4096,
            ),
            m.Line(time_ns=T, text="<gstep=8> <lstep=8>", step=8),
            m.Event(kind="alert", time_ns=T, text="Loss is NaN", level="error", step=8, data={"key": "loss"}),
            m.Declare(
                control="filter_interval",
                type="int",
                value=100,
                step=8,
                time_ns=T,
                minimum=1,
                nullable=True,
                unit="steps",
            ),
            m.Result(command="c1", control="filter_interval", state="applied", step=9, time_ns=T, old=100, new=None),
            m.Result(command="c2", control="nope", state="rejected", step=9, time_ns=T, message="no such control"),
            m.Status(state="failed", time_ns=T, message="RuntimeError: boom"),
        ),
    ),
    "seen": m.Seen(command="c1"),
    "welcome": m.Welcome(acked=2, attempt=3),
    "ack": m.Ack(n=4),
    "command": m.Command(
        id="c1", control="profile", value={"active": 3, "ranks": [0]}, apply_at_step=12, requested_by="mia"
    ),
    "hello-features": m.Hello(run="r", writer="w", attempt="a", features=("schedule",)),
    "seen-step": m.Seen(command="c1", step=41),
    "frame-controls": m.Frame(
        n=5,
        records=(
            m.Declare(control="mode", type="enum", value="a", choices=("a", "b", 3), apply="each"),
            m.Declare(control="stop", type="action", confirm="End it?"),
            m.Result(command="again-1", control="mode", state="applied", step=0, time_ns=T, new="b", restores="c3"),
        ),
    ),
    "welcome-desired": m.Welcome(acked=0, desired=(m.Command(id="again-1", control="mode", value="b", restores="c3"),)),
    "command-hold": m.Command(id="c4", control="", value={"a": 1, "b": None}, seq=7, hold=True),
    "schedule": m.Schedule(command="c4", apply_at_step=44),
    "schedule-withdrawn": m.Schedule(command="c4", withdrawn=True),
    "refuse": m.Refuse(code="unavailable", message="the disk is full", retry=True),
    "trace-open": m.TraceOpen(
        run="r",
        attempt="a",
        rank=0,
        name="local-rank0-timeline-50.json.gz",
        step=50,
        size=5,
        sha256="ab" * 32,
        time_ns=T,
    ),
    "trace-chunk": m.TraceChunk(offset=0, data=b"\x1f\x8b\x00\xff\x01"),
    "trace-ack": m.TraceAck(offset=5),
    "trace-done": m.TraceReply(id="t1"),
}
DECODERS = {"trace": decode_trace, "client": decode_client, "server": decode_server}


def end_of(name: str, record: msgspec.Struct) -> str:
    if name.startswith("trace-"):
        return "trace"
    return "client" if isinstance(record, m.Hello | m.Frame | m.Seen) else "server"


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_record_reads_and_writes_as_ever(name: str) -> None:
    record = GOLDEN[name]
    data = (FOLDER / f"{name}.msgpack").read_bytes()
    assert DECODERS[end_of(name, record)](data) == record
    assert encode(record) == data


def test_every_golden_file_is_read() -> None:
    assert {path.stem for path in FOLDER.glob("*.msgpack")} == set(GOLDEN)


def test_every_record_has_a_golden_file() -> None:
    seen = {type(record) for record in GOLDEN.values()}
    seen |= {type(item) for record in GOLDEN.values() if isinstance(record, m.Frame) for item in record.records}
    records = {kind for kind in vars(m).values() if isinstance(kind, type) and issubclass(kind, m.Record)} - {m.Record}
    assert seen == records


if __name__ == "__main__":
    for name, record in GOLDEN.items():
        path = FOLDER / f"{name}.msgpack"
        if not path.exists():
            path.write_bytes(encode(record))
            sys.stdout.write(f"wrote {path}\n")
