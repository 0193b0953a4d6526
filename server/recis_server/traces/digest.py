"""Summarises a profiler trace, in a process of its own.

Owns what the events of `torch.profiler` mean: complete events (`ph` "X") with `ts` and `dur` in microseconds. Must not
know stores or sockets.

`python -m recis_server.traces.digest PATH CPU_S` writes a JSON object with a `summary` or an `error`. It runs at the
lowest priority, so that neither ingest nor a training on the same machine waits for it, uses at most `CPU_S` seconds of
CPU time and `MEMORY_BYTES` of memory, and exits when its standard input, a pipe held by the server, is closed.
"""

import contextlib
import json
import math
import os
import resource
import sys
import threading
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recis.wire.text import as_name
from recis_server.traces.events import Event, TraceFileError, TraceReader

__all__ = ["MAX_SUMMARY_BYTES", "MEMORY_BYTES", "digest"]

MAX_SUMMARY_BYTES = 64_000
MEMORY_BYTES = 512 << 20
MAX_OPERATORS = 2_000_000
MAX_NAMES = 50_000
_TOP = 20
_OTHERS = "(others)"
_NO_NAME = "(no name)"
_OPERATORS = "cpu_op"
_STEP = "ProfilerStep#"
_MOST_US = 1e15
"""Longest plausible duration: thirty years."""
_LAST_US = 1e19
_PAUSE_US = 1e6
_MOST_STRETCHES = 64
_SLICE = 1 << 16
_LOWEST_PRIORITY = 19


def digest(path: Path) -> dict[str, Any]:
    """Summarise the file at `path`.

    Returns:
        `events`: number of complete events; `steps`: number of profiled steps; `wall_ms`: time profiled, see
        `_Sums.wall_us`; `operators`: the 20 CPU operators with the most self time, each `name`, `calls`, `self_ms`,
        `total_ms`; `categories`: milliseconds per category for the 20 largest and for all others together, with nested
        events counted in each; `truncated`: whether operator calls beyond the first 2,000,000 were left out;
        `unreadable`: number of events skipped. Takes at most `MAX_SUMMARY_BYTES` as JSON.

    Raises:
        TraceFileError: the file is not a trace, is damaged or too large, or has no complete events.
        OSError: the file cannot be read.
    """
    reader = TraceReader(path)
    sums = _Sums()
    for events in reader.batches():
        for event in events:
            if event.ph == "X":
                sums.add(event)
    if sums.events == 0:
        why = f"; {reader.unreadable} could not be read, the first: {reader.problem}" if reader.unreadable else ""
        raise TraceFileError(f'expected complete events (ph "X", with ts and dur), found none{why}')
    return _fitting({**sums.result(), "unreadable": reader.unreadable})


class _Names:
    """Numbers names from 1 on; once there are `MAX_NAMES`, new ones share number 0."""

    def __init__(self) -> None:
        self.texts = [_OTHERS]
        self._numbers = {_OTHERS: 0}

    def number(self, name: Any) -> int:
        """Return the number of a name, which may be of any JSON type."""
        found = self._numbers.get(name) if isinstance(name, str) else None
        return self._add(name) if found is None else found

    def _add(self, name: Any) -> int:
        text = as_name(name if isinstance(name, str) else json.dumps(name)) or _NO_NAME
        if text not in self._numbers and len(self.texts) >= MAX_NAMES:
            return 0
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number


class _Clock:
    """Groups events into stretches without a pause of a second; events of another clock form other stretches."""

    def __init__(self) -> None:
        self._stretches: list[list[float]] = []  # first, last and number of events; at most `_MOST_STRETCHES`
        self._last_used = [math.inf, -math.inf, 0.0]

    def add(self, start_us: float, end_us: float) -> None:
        """Count one event."""
        stretch = self._last_used
        if not _touches(stretch, start_us, end_us):
            stretch = self._last_used = self._stretch(start_us, end_us)
        if start_us < stretch[0]:
            stretch[0] = start_us
        if end_us > stretch[1]:
            stretch[1] = end_us
        stretch[2] += 1

    def longest_us(self) -> float:
        """Return the length of the stretch with the most events."""
        joined: list[list[float]] = []
        for stretch in sorted(self._stretches):
            if joined and _touches(joined[-1], stretch[0], stretch[1]):
                joined[-1] = [joined[-1][0], max(joined[-1][1], stretch[1]), joined[-1][2] + stretch[2]]
            else:
                joined.append(stretch)
        first, last, _ = max(joined, key=lambda one: one[2])
        return last - first

    def _stretch(self, start_us: float, end_us: float) -> list[float]:
        for stretch in self._stretches:
            if _touches(stretch, start_us, end_us):
                return stretch
        stretch = [start_us, end_us, 0.0]
        if len(self._stretches) < _MOST_STRETCHES:
            self._stretches.append(stretch)
        return stretch


def _touches(stretch: list[float], start_us: float, end_us: float) -> bool:
    return start_us <= stretch[1] + _PAUSE_US and end_us >= stretch[0] - _PAUSE_US


class _Sums:
    """Running sums. Self time needs the operator calls in order of their start, so 24 bytes are kept for each."""

    def __init__(self) -> None:
        self.events = 0
        self._steps: set[str] = set()
        self._steps_us = (math.inf, -math.inf)
        self._clock = _Clock()
        self._categories = _Names()
        self._category_us: dict[int, float] = {}
        self._names = _Names()
        self._threads = _Names()
        self._truncated = False
        self._starts = array("d")
        self._durations = array("d")
        self._name_of = array("i")
        self._thread_of = array("i")

    def add(self, event: Event) -> None:
        """Count one complete event; skip one without a plausible time."""
        start_us, duration_us = _number(event.ts), _number(event.dur)
        if not (-_LAST_US <= start_us <= _LAST_US and 0 <= duration_us <= _MOST_US):  # false for NaN
            return
        self.events += 1
        end_us = start_us + duration_us
        self._clock.add(start_us, end_us)
        category = self._categories.number(event.cat or "")
        self._category_us[category] = self._category_us.get(category, 0.0) + duration_us
        name = event.name
        if isinstance(name, str) and name.startswith(_STEP):
            self._add_step(name, str(event.cat), start_us, end_us)
        elif event.cat == _OPERATORS:
            self._add_operator(event, start_us, duration_us)

    def _add_step(self, name: str, category: str, start_us: float, end_us: float) -> None:
        if len(self._steps) < MAX_NAMES:
            self._steps.add(as_name(name))
        if not category.startswith("gpu"):  # the device has a copy of each mark, in its own clock
            self._steps_us = min(self._steps_us[0], start_us), max(self._steps_us[1], end_us)

    def _add_operator(self, event: Event, start_us: float, duration_us: float) -> None:
        if len(self._starts) >= MAX_OPERATORS:
            self._truncated = True
            return
        self._starts.append(start_us)
        self._durations.append(duration_us)
        self._name_of.append(self._names.number(event.name))
        self._thread_of.append(self._threads.number(f"{event.pid}/{event.tid}"))

    def wall_us(self) -> float:
        """Return the time from the start of the first profiled step to the end of the last one.

        Without steps, return the length of the stretch with the most events: events of another clock, a device's or
        another tool's, must not count.
        """
        first_us, last_us = self._steps_us
        return last_us - first_us if first_us <= last_us else self._clock.longest_us()

    def result(self) -> dict[str, Any]:
        """Return the summary, see `digest`."""
        return {
            "events": self.events,
            "steps": len(self._steps),
            "wall_ms": _as_ms(self.wall_us()),
            "operators": self._operators(),
            "categories": self._categories_ms(),
            "truncated": self._truncated,
        }

    def _categories_ms(self) -> dict[str, float]:
        most = sorted(self._category_us.items(), key=lambda item: -item[1])
        found = {self._categories.texts[number]: us for number, us in most[:_TOP]}
        if most[_TOP:]:
            found[_OTHERS] = found.get(_OTHERS, 0.0) + sum(us for _, us in most[_TOP:])
        return {name: _as_ms(us) for name, us in found.items()}

    def _operators(self) -> list[dict[str, Any]]:
        names = np.array(self._name_of, dtype=np.int64)
        durations = np.array(self._durations)
        own = _self_times(np.array(self._starts), durations, np.array(self._thread_of))
        size = len(self._names.texts)
        self_us = np.bincount(names, own, size)
        total_us = np.bincount(names, durations, size)
        calls = np.bincount(names, minlength=size)
        order = [number for number in np.argsort(-self_us, kind="stable").tolist() if calls[number]]
        return [
            {
                "name": self._names.texts[number],
                "calls": int(calls[number]),
                "self_ms": _as_ms(float(self_us[number])),
                "total_ms": _as_ms(float(total_us[number])),
            }
            for number in order[:_TOP]
        ]


def _self_times(
    starts: npt.NDArray[np.float64], durations: npt.NDArray[np.float64], threads: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """Return each call's time without the calls directly inside it on its thread; all `[n]`, microseconds."""
    own = durations.copy()
    open_calls: list[tuple[int, int, float]] = []  # number, thread and end; each inside the one before
    # By thread and start; of equal starts the longer one is outside.
    order = np.lexsort((-durations, starts, threads))
    for first in range(0, len(order), _SLICE):  # Python numbers take several times the memory of numpy's
        part = order[first : first + _SLICE]
        values = (part, threads[part], starts[part], durations[part])
        for call, thread, start, duration in zip(*(one.tolist() for one in values), strict=True):
            while open_calls and not (open_calls[-1][1] == thread and start < open_calls[-1][2]):
                open_calls.pop()
            if open_calls:
                own[open_calls[-1][0]] -= duration
            open_calls.append((call, thread, start + duration))
    return np.maximum(own, 0.0)


def _number(value: Any) -> float:
    """Return a number, also one in quotes, as some profilers write them; NaN for anything else."""
    if isinstance(value, float):
        return value
    if isinstance(value, bool) or not isinstance(value, int | str) or (isinstance(value, str) and len(value) > 40):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _as_ms(microseconds: float) -> float:
    return round(microseconds / 1000, 3)


def _fitting(summary: dict[str, Any]) -> dict[str, Any]:
    """Drop operators and categories until the summary fits: 256 characters may take 3 kB as JSON."""
    while len(json.dumps(summary)) > MAX_SUMMARY_BYTES:
        if len(summary["operators"]) >= len(summary["categories"]):
            summary["operators"].pop()
        else:
            summary["categories"].popitem()
    return summary


def main(path: Path, cpu_s: int) -> str:
    """Return what the process writes."""
    os.nice(_LOWEST_PRIORITY)
    threading.Thread(target=_end_with_input, name="end-with-server", daemon=True).start()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, cpu_s)
    with contextlib.suppress(ValueError):  # macOS, which has reserved more from the start
        _limit(resource.RLIMIT_AS, _address_bytes() + MEMORY_BYTES)
    try:
        return json.dumps({"summary": digest(path)})
    except MemoryError:
        return json.dumps({"error": f"reading it takes more than {MEMORY_BYTES >> 20} MiB of memory"})
    except TraceFileError as error:
        return json.dumps({"error": str(error)})
    except OSError as error:  # whose text contains the path of the file, which clients must not see
        return json.dumps({"error": f"its file cannot be read: {error.strerror}"})


def _limit(kind: int, amount: int) -> None:
    _, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (amount if most == resource.RLIM_INFINITY else min(amount, most), most))


def _address_bytes() -> int:
    """Return the size of the address space now: libraries map gigabytes on a machine with many cores, mostly unused."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux
        return 4 << 30
    return pages * resource.getpagesize()


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1]), int(sys.argv[2])))
