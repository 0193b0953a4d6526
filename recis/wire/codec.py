"""Encode records as bytes, and decode and check them.

Owns MessagePack, the checks of shapes that types cannot express, and error texts; must not know sockets or time.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import force_setattr

from recis.wire.messages import (
    ID_PATTERN,
    INT64,
    MAX_FRAME_BYTES,
    MAX_KEY_CHARS,
    MAX_TEXT_CHARS,
    MAX_TRACE_CHUNK_BYTES,
    PROTOCOL_VERSION,
    ClientRecord,
    Frame,
    FrameRecord,
    Hello,
    Points,
    ServerRecord,
    TraceChunk,
    TraceOpen,
    TraceRecord,
)
from recis.wire.names import is_name
from recis.wire.showing import shown, text_of
from recis.wire.text import MAX_NAME_CHARS, as_file_name

__all__ = [
    "WireError",
    "as_plain",
    "as_record",
    "column",
    "decode_client",
    "decode_server",
    "decode_trace",
    "encode",
    "is_id",
    "points_columns",
]

_encoder = msgspec.msgpack.Encoder()
_client = msgspec.msgpack.Decoder(ClientRecord)
_server = msgspec.msgpack.Decoder(ServerRecord)
_trace = msgspec.msgpack.Decoder(TraceRecord)
_frame_record = msgspec.msgpack.Decoder(FrameRecord)
_any = msgspec.msgpack.Decoder()
_NOT_MESSAGEPACK = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_is_id = re.compile(ID_PATTERN).fullmatch
_REMEMBERED_KEYS = 64
"""Longer lists of names are not cached. Of the others, the newest 512 are: some megabytes, 64 MiB at worst."""


class WireError(ValueError):
    """A message that violates the protocol: what was expected, what came, where in the message.

    Attributes:
        code: one of `malformed`, `version`, `too_large`; closes the connection.
        path: position in the record, `$` for the whole record.
    """

    def __init__(self, code: str, message: str, path: str = "$") -> None:
        super().__init__(f"{message} - at `{path}`")
        self.code = code
        self.path = path


def encode(record: msgspec.Struct) -> bytes:
    """Return one record as MessagePack."""
    return _encoder.encode(record)


def is_id(text: str) -> bool:
    """Return whether `text` may name a run, writer, attempt, command or control."""
    return _is_id(text) is not None


def as_record(record: FrameRecord) -> FrameRecord:
    """Return the record as its receiver will read it: plain numbers, valid texts of a bounded length.

    Raises:
        WireError: the receiver would refuse a field, and with it the whole frame.
    """
    try:
        taken: FrameRecord = _frame_record.decode(
            _encoder.encode(_mended(msgspec.to_builtins(record, enc_hook=_plain)))
        )
    except Exception as error:
        text, _, path = str(error).partition(" - at ")
        raise WireError("malformed", text, path.strip("`") or "$") from error
    return taken


def as_plain(value: Any) -> Any:
    """Return Python's own value of a numpy or torch scalar or of a subclass of a built-in type; else the value itself.

    Raises:
        Exception: whatever the value raises when it is read.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def _plain(value: Any) -> Any:
    plain = as_plain(value)
    if plain is value:
        raise TypeError(f"expected a value that MessagePack has, got {shown(value)}")
    return plain


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isprintable() and len(value) <= MAX_TEXT_CHARS else text_of(value)
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if type(value) is int and value not in INT64:
        raise ValueError(f"expected an integer that fits 64 bits, got {shown(value)}")
    return value


def column(values: Iterable[float] | npt.NDArray[Any], dtype: str) -> bytes:
    """Return numbers as a little-endian column; `dtype` is `<i8` or `<f8`."""
    return np.asarray(values, dtype=dtype).tobytes()


def points_columns(
    points: Points,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return views on a checked `Points`: steps `[n]` int64, times `[n]` int64 ns, values `[k, n]` float64."""
    steps = np.frombuffer(points.steps, "<i8")
    times = np.frombuffer(points.times, "<i8")
    values = np.frombuffer(points.values, "<f8").reshape(len(points.keys), len(steps))
    return steps, times, values


def decode_client(data: bytes) -> ClientRecord:
    """Decode a record of the training process.

    Raises:
        WireError: not MessagePack, not a known record, another protocol version, wrong shapes, or too large.
    """
    record: ClientRecord = _decode(_client, data, MAX_FRAME_BYTES)
    if isinstance(record, Frame):
        if record.n < 1:
            raise WireError("malformed", f"expected a frame number of at least 1, got {record.n}", "$.n")
        if not 1 <= record.span <= record.n:
            raise WireError("malformed", f"expected a span of 1 to n ({record.n}), got {record.span}", "$.span")
        for position, item in enumerate(record.records):
            if isinstance(item, Points):
                _check_points(item, position)
    elif isinstance(record, Hello):
        _check_ids(run=record.run, writer=record.writer, attempt=record.attempt)
        if not 0 <= record.rank < record.world_size:
            raise WireError(
                "malformed",
                f"expected 0 <= rank < world_size ({record.world_size}), got {record.rank}",
                "$.rank",
            )
    return record


def decode_server(data: bytes) -> ServerRecord:
    """Decode a record of the server; raises `WireError` as `decode_client`."""
    record: ServerRecord = _decode(_server, data, MAX_FRAME_BYTES)
    return record


def decode_trace(data: bytes) -> TraceRecord:
    """Decode a record of `/ws/trace`, either direction; raises `WireError` as `decode_client`."""
    record: TraceRecord = _decode(_trace, data, MAX_TRACE_CHUNK_BYTES + 1024)
    if isinstance(record, TraceOpen):
        _check_trace_open(record)
    elif isinstance(record, TraceChunk) and not 1 <= len(record.data) <= MAX_TRACE_CHUNK_BYTES:
        raise WireError("malformed", f"expected 1 to {MAX_TRACE_CHUNK_BYTES} bytes, got {len(record.data)}", "$.data")
    return record


def _check_trace_open(record: TraceOpen) -> None:
    _check_ids(run=record.run, attempt=record.attempt)
    if re.fullmatch(r"[0-9a-f]{64}", record.sha256) is None:
        raise WireError("malformed", f"expected 64 hex digits, got {record.sha256[:80]!r}", "$.sha256")
    if as_file_name(record.name) != record.name:
        raise WireError(
            "malformed",
            f"expected a file name of 1 to {MAX_NAME_CHARS} characters without control characters, '/' and '\\',"
            f" got {len(record.name)} characters: {record.name[:80]!r}",
            "$.name",
        )


def _decode(decoder: msgspec.msgpack.Decoder[Any], data: bytes, limit: int) -> Any:
    if len(data) > limit:
        raise WireError("too_large", f"expected at most {limit} bytes, got {len(data)}")
    try:
        record = decoder.decode(data)
    except msgspec.ValidationError as error:
        _check_version(data)
        text, _, place = str(error).partition(" - at ")
        path = place.strip("`") or "$"
        if ", got " not in text:
            text = f"{text}, got {repr(_find(data, path))[:80]}"
        raise WireError("malformed", text[:1].lower() + text[1:], path) from error
    except _NOT_MESSAGEPACK as error:
        raise WireError(
            "malformed", f"expected one MessagePack record, got {len(data)} bytes that are none: {error}"
        ) from error
    if getattr(record, "v", PROTOCOL_VERSION) != PROTOCOL_VERSION:
        _check_version(data)
    return record


def _check_version(data: bytes) -> None:
    """Report a different version as the reason, because such a record may fail the type checks first."""
    try:
        raw = _any.decode(data)
    except _NOT_MESSAGEPACK:
        return
    version = raw.get("v", PROTOCOL_VERSION) if isinstance(raw, dict) else PROTOCOL_VERSION
    if version != PROTOCOL_VERSION:
        raise WireError("version", f"expected protocol version {PROTOCOL_VERSION}, got {version!r}", "$.v")


def _find(data: bytes, path: str) -> Any:
    """Return the value at `path` in a message that failed its types, None if it cannot be read."""
    try:
        found = _any.decode(data)
        for name, number in re.findall(r"\.(\w+)|\[(\d+)\]", path):
            found = found[name or int(number)]
    except (*_NOT_MESSAGEPACK, LookupError, TypeError):
        return None
    return found


def _check_ids(**ids: str) -> None:
    for name, text in ids.items():
        if not is_id(text):
            raise WireError(
                "malformed",
                f"expected 1 to 128 letters, digits, '.', '_', '-' (the first a letter or digit), got {text[:80]!r}",
                f"$.{name}",
            )


def _check_points(points: Points, position: int) -> None:
    rows, uneven = divmod(len(points.steps), 8)
    columns = len(points.keys)
    if uneven or rows == 0 or columns == 0:
        raise WireError(
            "malformed",
            f"expected keys and a column of int64, got {columns} keys and {len(points.steps)} bytes",
            f"$.records[{position}].steps",
        )
    if len(points.times) != rows * 8:
        raise WireError(
            "malformed",
            f"expected {rows * 8} bytes for {rows} rows, got {len(points.times)}",
            f"$.records[{position}].times",
        )
    if len(points.values) != rows * columns * 8:
        raise WireError(
            "malformed",
            f"expected {rows * columns * 8} bytes for {columns} keys x {rows} rows, got {len(points.values)}",
            f"$.records[{position}].values",
        )
    try:
        # Equal names of reports become the same objects: hashing and comparing them again costs nothing.
        keys = (_checked_keys if columns <= _REMEMBERED_KEYS else _checked_keys.__wrapped__)(points.keys)
    except ValueError as error:
        raise WireError("malformed", str(error), f"$.records[{position}].keys") from None
    force_setattr(points, "keys", keys)


@lru_cache(maxsize=512)
def _checked_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first of equal `keys`, the names of series reported together.

    Raises:
        ValueError: they are invalid; such keys, which may be of any size, are not cached.
    """
    if len(set(keys)) != len(keys):
        raise ValueError("expected every key once")
    for key in keys:
        if not is_name(key, MAX_KEY_CHARS):
            raise ValueError(f"expected 1 to {MAX_KEY_CHARS} printable characters, got {len(key)}: {key[:80]!r}")
    return keys
