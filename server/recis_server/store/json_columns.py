"""JSON columns: encoding, and tolerant decoding of damaged ones.

Must not know SQL, runs or sockets.
"""

import json
from typing import Any

import msgspec

from recis.wire.messages import MAX_TEXT_CHARS
from recis.wire.text import as_text

__all__ = ["dump", "load", "load_or", "load_summary"]

MAX_DEPTH = 64
"""The deepest nesting of a value."""
MAX_SUMMARY_CHARS = 64 << 10


def dump(value: Any) -> str:
    """Return any value as JSON text; NaN and infinities remain (`load` reads them), other types become text.

    Omit what is nested deeper than `MAX_DEPTH`.
    """
    return json.dumps(_encodable(value, MAX_DEPTH), separators=(",", ":"))


def load(text: str) -> Any:
    """Return the value of a JSON column."""
    return json.loads(text)


def load_or(text: str, instead: Any) -> Any:
    """Return the value of a JSON column, or `instead` if it is damaged: one row must not make a list fail."""
    try:
        return load(text)
    except (ValueError, RecursionError):
        return instead


def load_summary(text: str) -> dict[str, Any] | None:
    """Return a stored summary.

    Raises:
        ValueError: it is too large, is not a JSON object, or is not valid JSON in UTF-8.
    """
    if len(text) > MAX_SUMMARY_CHARS:
        raise ValueError(f"expected a stored summary of at most {MAX_SUMMARY_CHARS} characters, got {len(text)}")
    try:
        return msgspec.json.decode(text, type=dict[str, Any] | None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected a stored summary in valid JSON: {error}") from error


def _encodable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict | list | tuple):
        if depth == 0:
            return "…"
        if isinstance(value, dict):
            return {as_text(str(key)): _encodable(item, depth - 1) for key, item in value.items()}
        return [_encodable(item, depth - 1) for item in value]
    return value if value is None or isinstance(value, int | float) else as_text(str(value), MAX_TEXT_CHARS)
