"""Make text valid and bounded, so that a database, JSON, UTF-8 and a line of the page can all hold it.

The only place that decides which text is valid. Must not know where text comes from or where it goes.
"""

import re

__all__ = ["MAX_NAME_CHARS", "as_file_name", "as_name", "as_text", "close_reason"]

MAX_NAME_CHARS = 256
"""Longest name of anything but a series: a run, a tag, a file, an operator, a unit."""
_MARK = "\N{REPLACEMENT CHARACTER}"
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
"""Lone surrogates, which UTF-8 cannot encode, and U+0000, which PostgreSQL cannot store."""
_NOT_NAME = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""The above, other control characters, line and paragraph separators, and overrides of the writing direction."""
_SEPARATOR = re.compile(r"[/\\]")
_REASON_BYTES = 120


def as_text(text: str, limit: int | None = None) -> str:
    """Return `text` with U+FFFD in place of U+0000 and lone surrogates.

    Args:
        text: one line or several; other control characters are kept.
        limit: maximum number of characters; a longer text is truncated and ends with an ellipsis. None means no limit.
    """
    return _NOT_TEXT.sub(_MARK, _shorten(text, limit))


def as_name(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """Return `text` as a single line of at most `limit` characters, with U+FFFD in place of control characters."""
    short = _shorten(text, limit)
    return short if short.isprintable() else _NOT_NAME.sub(_MARK, short)


def as_file_name(text: str) -> str:
    """Return `text` as a file name without a folder: a name in which `_` replaces path separators."""
    name = _SEPARATOR.sub("_", as_name(text))
    return "_" if name in ("", ".", "..") else name


def close_reason(message: str) -> str:
    """Return as much of `message` as fits in a WebSocket close frame, which holds 123 bytes."""
    return as_name(message, _REASON_BYTES).encode()[:_REASON_BYTES].decode("utf-8", "ignore")


def _shorten(text: str, limit: int | None) -> str:
    return text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
