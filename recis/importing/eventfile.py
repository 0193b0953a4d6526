"""Read one event file as a numbered stream of frames: the numbers are byte offsets.

Owns the identity of the writer (run, writer, attempt from the path) and how records become rows; must not know sockets.
A frame's `n` is the offset after its last record: the server's acknowledged number is where to continue, however the
file has grown and wherever an earlier import stopped.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recis.importing.attempts import Extent
from recis.importing.tfevents import Event, EventReader
from recis.importing.tfrecord import DamagedError, read_records
from recis.wire.codec import column, is_id
from recis.wire.messages import Frame, Hello, Points, Status
from recis.wire.names import as_key, distinct_name
from recis.wire.text import MAX_NAME_CHARS

__all__ = ["EventFile", "find_files"]

FRAME_POINTS = 16_384
FRAME_BYTES = 2 << 20
"""A frame ends at either limit; a point counts with its columns, a name with its largest size."""
_POINT_BYTES = 24
_NAME_BYTES = 64
_MARK = "tfevents"


@dataclass(slots=True)
class _Columns:
    steps: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def find_files(folder: Path) -> list[Path]:
    """Return the event files below a folder, as TensorBoard finds them; those of a folder ordered by name."""
    seen: set[Path] = set()
    found: list[Path] = []

    def look(place: Path) -> None:
        real = place.resolve()
        if real in seen:  # a link to a parent folder
            return
        seen.add(real)
        entries = sorted(place.iterdir())
        found.extend(path for path in entries if _MARK in path.name and path.is_file())
        for path in entries:
            if path.is_dir():
                look(path)

    look(folder)
    return found


class EventFile:
    """An event file of a TensorBoard writer, read as a numbered stream of frames.

    Args:
        path: the file.
        root: the imported folder; the path from it to the file is the run's name.
        project: the run's project.

    Attributes:
        hello: identity of the writer; the sender fills in `first` and `time_ns`.
        ignored: number of values read so far that are not scalars, by kind.
        num_points: number of scalars read so far.
        damage: why the rest of the file cannot be read, None if it can.
        position: the offset after the last record that was read.
    """

    def __init__(self, path: Path, root: Path, project: str) -> None:
        self.path = path
        self.num_points = 0
        self.damage: DamagedError | None = None
        self.position = 0
        self._reader = EventReader()
        self.ignored = self._reader.ignored
        folder = path.parent.resolve()
        relative = path.parent.relative_to(root).as_posix()
        name = root.resolve().name if relative == "." else relative
        writer = _digest(project, str(folder), path.name)[:24]
        # File names are bytes: what is not UTF-8 is replaced for display. Identifiers are digests of the real names.
        self.hello = Hello(
            run=_run_id(name, _digest(project, str(folder))[:8]),
            writer=writer,
            attempt=writer,
            project=distinct_name(project, MAX_NAME_CHARS),
            name=distinct_name(name, MAX_NAME_CHARS),
            config={"tensorboard": os.fsencode(folder).decode("utf-8", "backslashreplace")},
            client="recis-monitor import",
        )

    @property
    def size(self) -> int:
        """Return the current size of the file in bytes."""
        return self.path.stat().st_size

    def extent(self, *, alone: bool = False) -> Extent | None:
        """Return the times and steps of the file; None when it has no scalar (yet).

        Args:
            alone: stop at the first scalar, as there is no other file to compare with.
        """
        began_ns: int | None = None
        last_ns, purges_from = 0, None
        steps: dict[str, tuple[int, int]] = {}
        reader = EventReader()
        with self.path.open("rb") as file:
            for record, end in self._records(file, 0):
                self.position = end
                event = reader.read(record)
                time_ns = _ns(event.time_s)
                began_ns = max(1, time_ns) if began_ns is None else began_ns
                if event.starts:
                    purges_from = event.step
                for tag, _ in event.scalars:
                    low, high = steps.get(tag, (event.step, event.step))
                    steps[tag] = min(low, event.step), max(high, event.step)
                if event.scalars:
                    last_ns = max(last_ns, time_ns)
                    if alone:
                        break
        if began_ns is None or not steps:
            self.ignored.update(reader.ignored)
            return None
        self.damage = None  # `frames` finds it again
        return Extent(began_ns, last_ns, steps, purges_from)

    def frames(self, acked: int, progress: Callable[[int], None] = lambda position: None) -> Iterator[Frame]:
        """Yield the frames that the server lacks: the records after the offset `acked`; the last frame ends the run.

        Args:
            acked: the highest number that the server has committed of this writer.
            progress: called with the offset up to which the file is read.

        Raises:
            ValueError: the file is shorter than what was imported from it.
        """
        if acked > self.size:
            raise ValueError(f"{self.path}: expected more than the {acked} bytes imported earlier, got {self.size}")
        self.position, sent, last_ns = acked, acked, 0
        rows: dict[str, _Columns] = {}
        num_points = num_bytes = 0
        with self.path.open("rb") as file:
            for record, end in self._records(file, acked):
                # Only if there is more: the last frame ends the run.
                if num_points >= FRAME_POINTS or num_bytes >= FRAME_BYTES:
                    yield Frame(n=self.position, records=tuple(_records_of(rows)), span=self.position - sent)
                    rows, sent, num_points, num_bytes = {}, self.position, 0, 0
                event = self._reader.read(record)
                last_ns = _ns(event.time_s)
                num_bytes += _add(rows, event, last_ns)
                num_points += len(event.scalars)
                self.num_points += len(event.scalars)
                self.position = end
                progress(end)
        if self.position > sent:
            status = Status(state="finished", time_ns=last_ns)
            yield Frame(n=self.position, records=(*_records_of(rows), status), span=self.position - sent)

    def _records(self, file: BinaryIO, offset: int) -> Iterator[tuple[bytes, int]]:
        try:
            yield from read_records(file, offset)
        except DamagedError as error:
            self.damage = error


def _add(rows: dict[str, _Columns], event: Event, time_ns: int) -> int:
    """Add an event's scalars to the rows of its names; return their size."""
    added = 0
    for tag, value in event.scalars:
        key = as_key(tag)
        columns = rows.get(key)
        if columns is None:
            columns = rows[key] = _Columns()
            added += _NAME_BYTES + len(key.encode())
        columns.steps.append(event.step)
        columns.times.append(time_ns)
        columns.values.append(value)
        added += _POINT_BYTES
    return added


def _records_of(rows: dict[str, _Columns]) -> Iterator[Points]:
    """Yield the rows as records: names that were reported together share their steps and times, and one record."""
    together: dict[tuple[bytes, bytes], list[str]] = {}
    for key, columns in rows.items():
        together.setdefault((column(columns.steps, "<i8"), column(columns.times, "<i8")), []).append(key)
    for (steps, times), keys in together.items():
        values = np.concatenate([np.asarray(rows[key].values, "<f8") for key in keys])
        yield Points(tuple(keys), steps, times, values.tobytes())


def _ns(time_s: float) -> int:
    """Return seconds as ns; 0 for an invalid time."""
    if not (math.isfinite(time_s) and abs(time_s) < 9e9):
        return 0
    whole = math.floor(time_s)
    return whole * 10**9 + round((time_s - whole) * 1e9)


def _digest(*words: str) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _run_id(name: str, digest: str) -> str:
    """Return the name as far as an identifier allows, with a digest that makes it unique to this folder."""
    letters = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in name)
    text = f"{letters.strip('._-')[:100]}-{digest}".lstrip("-")
    assert is_id(text)
    return text
