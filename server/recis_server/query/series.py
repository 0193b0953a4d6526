"""Series as one binary message, in the layout that `/series` and `/ws/live` share.

Must not know where buckets come from, who asks, or HTTP.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from recis_server.store.values import ChartSeries

__all__ = ["encode_binary"]


def encode_binary(
    kind: Literal["snapshot", "delta"],
    watch_id: int,
    run: str,
    width: int,
    start: int | None,
    stop: int | None,
    series: Sequence[ChartSeries],
) -> bytes:
    """Series as one binary message in the layout of `docs/protocol.md`, `/ws/live`."""
    heads: list[dict[str, Any]] = []
    columns: list[bytes] = []
    offset = 0
    for one in series:
        body = np.concatenate(one.buckets.columns()).astype("<f8", copy=False).tobytes()
        head = {"key": one.key, "rank": one.rank, "attempt": one.attempt, "superseded": one.superseded}
        heads.append({**head, "n": len(one.buckets), "offset": offset})
        columns.append(body)
        offset += len(body)
    about = {"v": 1, "type": kind, "id": watch_id, "run": run, "width": width, "start": start, "stop": stop}
    text = json.dumps({**about, "series": heads}, separators=(",", ":")).encode()
    text += b" " * (-(4 + len(text)) % 8)
    return b"".join((len(text).to_bytes(4, "little"), text, *columns))
