"""Every record that crosses `/ws/ingest` and `/ws/trace`: frozen, tagged, with the protocol version and the limits.

Owns names, types and limits; must not know how bytes are made (`codec`), when they are sent (`session`), or torch.
`docs/protocol.md` describes the same records for other languages. Rules for change: a new field gets a default,
an unknown field is ignored, a meaning never changes under the same name.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

__all__ = [
    "ID_PATTERN",
    "INT64",
    "MAX_COUNT",
    "MAX_FRAME_BYTES",
    "MAX_KEY_CHARS",
    "MAX_RANKS",
    "MAX_TEXT_CHARS",
    "MAX_TRACE_CHUNK_BYTES",
    "PROTOCOL_VERSION",
    "Ack",
    "ClientRecord",
    "Command",
    "Count",
    "Declare",
    "Event",
    "Frame",
    "FrameRecord",
    "Hello",
    "Int64",
    "Line",
    "Number",
    "Pass",
    "Points",
    "Rank",
    "Refuse",
    "Result",
    "Schedule",
    "Seen",
    "ServerRecord",
    "Status",
    "TraceAck",
    "TraceChunk",
    "TraceOpen",
    "TraceRecord",
    "TraceReply",
    "Welcome",
    "WorldSize",
]

PROTOCOL_VERSION = 1
MAX_FRAME_BYTES = 4 << 20
"""Largest message on `/ws/ingest`; a larger one closes the connection with code 1009."""
MAX_TRACE_CHUNK_BYTES = 1 << 20
"""Largest file part in one `TraceChunk`."""
MAX_KEY_CHARS = 512
"""Longest series name; a client shortens a longer one (`names.as_key`)."""
MAX_TEXT_CHARS = 8192
"""Longest log line, alert, reason or message."""
INT64 = range(-(1 << 63), 1 << 63)
"""Integers that a record may hold."""
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
"""Pattern of the identifier of a run, writer, attempt, command or control."""
MAX_COUNT = 2**53 - 1
"""Largest count of anything: exact in JSON and in a float64, and a thousand of them fit an int64."""
MAX_RANKS = 2**31
"""Largest world size."""

# Bounds are part of the types: a record with a number outside of them is malformed, whoever decodes it.
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""A step, or a time in nanoseconds since the Unix epoch by a clock that may be wrong."""
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A position in a stream of frames."""
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Rank = Annotated[int, Meta(ge=0, lt=MAX_RANKS)]
WorldSize = Annotated[int, Meta(ge=1, le=MAX_RANKS)]


class Record(Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    """Base of all records: MessagePack maps whose key `t` holds the tag."""


# --- inside a frame -------------------------------------------------------------------------------------------------


class Points(Record, frozen=True, tag="points"):
    """Values of metrics that were reported together: one row per report, one column per key.

    Args:
        keys: the k series names, each 1 to `MAX_KEY_CHARS` characters, no two equal.
        steps: n little-endian int64, the step of each row.
        times: n little-endian int64, nanoseconds since the Unix epoch.
        values: k * n little-endian float64, key after key; NaN and infinities are values like others.
    """

    keys: tuple[str, ...]
    steps: bytes
    times: bytes
    values: bytes


class Pass(Record, frozen=True, tag="pass"):
    """One filter pass over one hash table on one rank; counts are rows, `bytes` is the size of the table after it."""

    table: str
    step: Int64
    time_ns: Int64
    interval: Int64 | None
    rows_before: Count
    evicted: Count
    rows_after: Count
    admitted: Count
    milliseconds: float
    bytes: Count


class Line(Record, frozen=True, tag="line"):
    """A line of the training's log: one that it reports, or with `stream` (`stdout`, `stderr`) of its output.

    `dropped` is how many lines the writer has lost before this one, to its own bounds.
    """

    time_ns: Int64
    text: str
    level: str = "info"
    step: Int64 | None = None
    stream: str = ""
    dropped: Count = 0


class Event(Record, frozen=True, tag="event"):
    """Something to draw on the charts: an alert, a lost trace, a value changed in code."""

    kind: str
    time_ns: Int64
    text: str
    level: Literal["info", "warning", "error"] = "info"
    step: Int64 | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Declare(Record, frozen=True, tag="declare"):
    """A control that this rank offers, with its current value; sent again whenever the value changes by itself.

    An `action` has no value: a command for it asks that something be done once. `confirm` is what users are asked
    first. `choices` are the values of an `enum`. `apply` says whether all ranks change at one step, or each for itself.
    """

    control: str
    type: Literal["int", "float", "bool", "str", "enum", "action", "profile"]
    value: Any = None
    step: Int64 | None = None
    time_ns: Int64 = 0
    minimum: float | None = None
    maximum: float | None = None
    nullable: bool = False
    unit: str = ""
    description: str = ""
    choices: tuple[Any, ...] = ()
    apply: Literal["together", "each"] = "together"
    confirm: str = ""


class Result(Record, frozen=True, tag="result"):
    """How a command ended on this rank: the value before and after, and the step at whose boundary it took effect.

    `restores` is that of the command.
    """

    command: str
    control: str
    state: Literal["applied", "rejected"]
    step: Int64
    time_ns: Int64
    old: Any = None
    new: Any = None
    message: str = ""
    restores: str = ""


class Status(Record, frozen=True, tag="status"):
    """The state of the rank's training: `running` as its first record, one of the others as its last."""

    state: Literal["running", "finished", "failed"]
    time_ns: Int64
    message: str = ""


FrameRecord = Points | Pass | Line | Event | Declare | Result | Status


# --- training process to server -------------------------------------------------------------------------------------


class Hello(Record, frozen=True, tag="hello"):
    """First record of every connection: the identity of the writer.

    A `writer` is one numbered stream of frames: one training process, or its spool sent later. `attempt` is equal on
    all ranks of one start of the job and new at the next start. `first` is the lowest frame number that the writer
    still has; lower ones that the server has not received are lost and are counted as missing. `started_ns` is when
    the writer was opened, by the same clock as `time_ns` (when this greeting was sent); 0 stands for now.
    `features` names additions to the protocol that the writer supports: `schedule` and `replay`.
    """

    run: str
    writer: str
    attempt: str
    project: str = "default"
    name: str = ""
    rank: Rank = 0
    world_size: WorldSize = 1
    first: Number = 1
    config: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    host: str = ""
    pid: Int64 = 0
    client: str = ""
    time_ns: Int64 = 0
    started_ns: Int64 = 0
    features: tuple[str, ...] = ()
    v: int = PROTOCOL_VERSION


class Frame(Record, frozen=True, tag="frame"):
    """A numbered batch of records: committed whole or not at all, acknowledged after the commit.

    `n` starts at 1 and rises by one per frame of the writer; the same number always carries the same records.
    `dropped` is how many points this writer has lost so far, to its own bounds or because they could not be sent.
    `span` is for writers that number something other than frames, such as the bytes of a file: the frame stands for so
    many numbers, the last of them `n`.
    """

    n: Number
    records: tuple[FrameRecord, ...]
    dropped: Count = 0
    span: Number = 1
    v: int = PROTOCOL_VERSION


class Seen(Record, frozen=True, tag="seen"):
    """The rank has received a command and will answer with a `Result`; not numbered, may be lost.

    `step` is the last step whose boundary the rank has passed, None before the first.
    """

    command: str
    step: Int64 | None = None
    v: int = PROTOCOL_VERSION


ClientRecord = Hello | Frame | Seen


# --- server to training process -------------------------------------------------------------------------------------


class Command(Record, frozen=True, tag="command"):
    """Set `control` to `value` at the boundary of step `apply_at_step`, or at the next boundary when it is None.

    With an empty `control` the command is for several controls: `value` maps their names to values, all of which take
    effect at that boundary, or none. Of two commands for one control the one with the lower `seq` takes effect first.
    With `hold` the step is not known yet, and a `Schedule` follows. `restores` names the earlier command whose value
    this one restores in a process that has just started.
    """

    id: str
    control: str
    value: Any = None
    apply_at_step: Int64 | None = None
    requested_by: str = ""
    reason: str = ""
    seq: Count = 0
    hold: bool = False
    restores: str = ""
    v: int = PROTOCOL_VERSION


class Schedule(Record, frozen=True, tag="schedule"):
    """When a command that is on hold takes effect: as `Command.apply_at_step`; `withdrawn`: never."""

    command: str
    apply_at_step: Int64 | None = None
    withdrawn: bool = False
    v: int = PROTOCOL_VERSION


class Welcome(Record, frozen=True, tag="welcome"):
    """Answer to `Hello`: the highest committed frame number of this writer, and the attempt's ordinal in the run.

    `watched` is as in `Ack`. `desired` has, for a process that has just started, a command for each control whose value
    it may have to change; only for a writer that understands `schedule`.
    """

    acked: Number
    attempt: Count = 1
    window_bytes: Count = 8 << 20
    max_frame_bytes: Count = MAX_FRAME_BYTES
    watched: bool = True
    desired: tuple[Command, ...] = ()
    v: int = PROTOCOL_VERSION


class Ack(Record, frozen=True, tag="ack"):
    """All frames up to and including `n` are committed.

    `watched` is whether somebody views the run now: a writer may send less often while nobody does. When somebody
    opens the run, an `Ack` says so at once, with a number that may have been acknowledged before.
    """

    n: Number
    watched: bool = True
    v: int = PROTOCOL_VERSION


class Refuse(Record, frozen=True, tag="refuse"):
    """Why the server closes the connection; the writer reconnects later if `retry`, and not at all otherwise."""

    code: str
    message: str
    retry: bool = False
    v: int = PROTOCOL_VERSION


ServerRecord = Welcome | Ack | Command | Schedule | Refuse


# --- /ws/trace ------------------------------------------------------------------------------------------------------


class TraceOpen(Record, frozen=True, tag="trace_open"):
    """Announce one finished trace file; `sha256` is 64 hex digits over its `size` bytes."""

    run: str
    attempt: str
    rank: Rank
    name: str
    step: Number
    size: Count
    sha256: str
    time_ns: Int64 = 0
    v: int = PROTOCOL_VERSION


class TraceChunk(Record, frozen=True, tag="trace_chunk"):
    """The file's bytes from `offset` on, 1 to `MAX_TRACE_CHUNK_BYTES` of them."""

    offset: Count
    data: bytes
    v: int = PROTOCOL_VERSION


class TraceAck(Record, frozen=True, tag="trace_ack"):
    """The server has the first `offset` bytes; answers `TraceOpen` (where to continue) and every chunk."""

    offset: Count
    v: int = PROTOCOL_VERSION


class TraceReply(Record, frozen=True, tag="trace_done"):
    """The whole file has arrived, its hash matches, and it can be downloaded under `id`."""

    id: str
    v: int = PROTOCOL_VERSION


TraceRecord = TraceOpen | TraceChunk | TraceAck | TraceReply | Refuse
