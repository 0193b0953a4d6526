"""What a browser has after the messages that it received."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

COLUMNS = ("x", "time", "min", "max", "mean", "last", "count", "nan")


@dataclass
class Page:
    """The data of one watch: the messages applied as the protocol says."""

    width: int = 0
    num_snapshots: int = 0
    series: dict[tuple[str | int, ...], dict[float, tuple[float, ...]]] = field(default_factory=dict)

    def apply(self, message: bytes) -> dict[str, Any]:
        length = int.from_bytes(message[:4], "little")
        head: dict[str, Any] = json.loads(message[4 : 4 + length])
        assert (4 + length) % 8 == 0
        if head["type"] == "snapshot":
            self.series = {}
            self.width = head["width"]
            self.num_snapshots += 1
        assert head["width"] == self.width
        for one in head["series"]:
            start = 4 + length + one["offset"]
            columns = np.frombuffer(message, "<f8", one["n"] * 8, start).reshape(8, one["n"])
            name = (one["key"], one["rank"], *([one["attempt"]] if one["superseded"] else []))
            buckets = self.series.setdefault(name, {})
            buckets.update({bucket[0]: tuple(bucket) for bucket in columns.T.tolist()})
        return head


@dataclass
class Browser:
    """A browser's socket that can be held, and what it was sent."""

    is_reading: bool = True
    texts: list[dict[str, Any]] = field(default_factory=list)
    binaries: list[bytes] = field(default_factory=list)
    pages: dict[int, Page] = field(default_factory=dict)
    num_writes: int = 0
    _rest: bytes = b""

    def is_ready(self) -> bool:
        return self.is_reading

    def write(self, frames: bytes) -> None:
        self.num_writes += 1
        self._rest += frames
        while self._rest:
            frame, size = parsed(self._rest)
            if frame is None:
                return
            self._rest = self._rest[size:]
            if frame.opcode is Opcode.TEXT:
                self.texts.append(json.loads(bytes(frame.data)))
            else:
                self.binaries.append(bytes(frame.data))
                page = Page()
                head_size = int.from_bytes(frame.data[:4], "little")
                head = json.loads(bytes(frame.data[4 : 4 + head_size]))
                self.pages.setdefault(head["id"], page).apply(bytes(frame.data))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.texts if message["type"] == kind]


def parsed(data: bytes) -> tuple[Frame | None, int]:
    """The first frame of a server, and its size; None if it is not there as a whole."""
    reader = StreamReader()
    reader.feed_data(data)
    parsing = Frame.parse(reader.read_exact, mask=False)
    try:
        next(parsing)
    except StopIteration as end:
        frame: Frame = end.value
        return frame, len(data) - len(reader.buffer)
    return None, 0
