"""Convert any name to one that the protocol accepts: printable and of a bounded length, keeping distinct names
distinct.

Owns how a name that cannot be sent is replaced. Nothing here raises, for any argument; must not know what is named.
"""

import hashlib
from numbers import Integral
from typing import Any

from recis.wire.messages import MAX_KEY_CHARS

__all__ = ["SYSTEM_PREFIX", "as_key", "distinct_name", "is_name", "spell"]

SYSTEM_PREFIX = "system/"
"""Prefix of the names of series about machine and process, which do not indicate progress of the training."""

_DIGEST_CHARS = 8


def is_name(text: str, most: int) -> bool:
    """Return whether `text` is a valid name: 1 to `most` printable characters."""
    return 0 < len(text) <= most and text.isprintable()


def distinct_name(text: str, most: int) -> str:
    """Return `text` if it is a valid name, otherwise its valid part and a digest of the whole text.

    The digest distinguishes names that differ only in a control character or after the truncation. It depends on
    nothing but the text: all ranks, all attempts of a run and every repeated import give the same name.
    """
    if 0 < len(text) <= most and text.isprintable():
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    kept = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:most])
    return f"{(kept or '(empty)')[: most - 1 - _DIGEST_CHARS]}~{digest}"


def as_key(text: str) -> str:
    """Return the name of a series for `text`; see `distinct_name`."""
    return distinct_name(text, MAX_KEY_CHARS)


def spell(key: Any) -> tuple[str, bool]:
    """Return a dict's key as text, and whether it is a usable name: strings are, and integers, as in JSON."""
    if type(key) is str:
        return key, True
    try:
        if isinstance(key, str):
            return str.__str__(key), True
        if isinstance(key, Integral) and key is not True and key is not False:
            return str(int(key)), True
        return str.__str__(repr(key)), False
    except Exception:  # noqa: BLE001 - boundary: a caller's object may raise anything
        return f"<{type(key).__name__}>", False
