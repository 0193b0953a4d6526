"""Event files for tests: written by tensorboardX, or record by record."""

import struct
from collections.abc import Iterable
from pathlib import Path

import google_crc32c
from tensorboardX.proto.event_pb2 import Event

__all__ = ["framed", "scalar_event", "write_events"]


def framed(data: bytes) -> bytes:
    """Return a record with the framing of the format."""

    def masked(part: bytes) -> bytes:
        checksum = google_crc32c.value(part)
        return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def scalar_event(tag: str, value: float, step: int, time_s: float) -> bytes:
    """Return one scalar as most writers write it."""
    event = Event(wall_time=time_s, step=step)
    event.summary.value.add(tag=tag, simple_value=value)
    return bytes(event.SerializeToString())


def write_events(path: Path, events: Iterable[bytes], *, began_s: float = 1_700_000_000.0) -> None:
    """Add records to a file, which begins as every event file does."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if new:
            file.write(framed(Event(wall_time=began_s, file_version="brain.Event:2").SerializeToString()))
        for event in events:
            file.write(framed(event))
