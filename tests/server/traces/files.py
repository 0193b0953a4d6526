"""Trace files for tests."""

import gzip
import json
from pathlib import Path
from typing import Any

__all__ = ["call", "trace", "write"]


def call(name: Any, start: Any, length: Any, *, tid: Any = 1, cat: Any = "cpu_op", **more: Any) -> dict[str, Any]:
    """Return one complete event."""
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": tid, "ts": start, "dur": length, **more}


def trace(events: list[Any], *, array: bool = False, indent: int | None = None) -> bytes:
    """Return the text of a trace as `torch.profiler` writes it, or as an array."""
    head = {"schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "H200"}], "distributedInfo": {"rank": 0}}
    whole: Any = events if array else {**head, "traceEvents": events, "traceName": "x.json"}
    return json.dumps(whole, indent=indent).encode()


def write(path: Path, events: list[Any], *, packed: bool = False, **form: Any) -> Path:
    """Write a trace to a file."""
    text = trace(events, **form)
    path.write_bytes(gzip.compress(text) if packed else text)
    return path
