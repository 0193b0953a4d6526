"""Messages to browsers, encoded once and shared by all who receive them: whole WebSocket frames.

Must not know who receives them.
"""

import json
from typing import Any

from websockets.frames import Frame, Opcode

from recis_server.query.charts import ID_AT, ID_BYTES, id_bytes

__all__ = ["ChartMessage", "text_message"]

_MAX_JOINED = 1 << 14
"""A larger message is passed on in two parts, of which all receivers share the second."""


def text_message(message: Any) -> bytes:
    """Return a JSON value, or JSON text, as a frame."""
    if not isinstance(message, str | bytes):
        message = json.dumps(message, separators=(",", ":"), allow_nan=False)
    return _framed(Opcode.TEXT, message.encode() if isinstance(message, str) else message)


class ChartMessage:
    """A message of a chart, which each receiver knows by an id of its own.

    Args:
        payload: from `query.charts.encode_binary`.
    """

    def __init__(self, payload: bytes) -> None:
        frame = _framed(Opcode.BINARY, payload)
        at = len(frame) - len(payload) + ID_AT
        self._before, self._after = frame[:at], frame[at + ID_BYTES :]
        self._joined: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._before) + ID_BYTES + len(self._after)

    def parts(self, watch_id: int) -> tuple[bytes, ...]:
        """Return the frame for a receiver's id."""
        if len(self._after) > _MAX_JOINED:
            return self._before + id_bytes(watch_id), self._after
        joined = self._joined.get(watch_id)
        if joined is None:
            joined = b"".join((self._before, id_bytes(watch_id), self._after))
            # Pages number their watches alike; ids beyond these are joined for each receiver.
            if len(self._joined) < 4:
                self._joined[watch_id] = joined
        return (joined,)


def _framed(opcode: Opcode, payload: bytes) -> bytes:
    return Frame(opcode, payload).serialize(mask=False)
