"""Names as the wire takes them: printable, of a bounded length, and as many of them as there were before.

Owns how a name that cannot be sent is mended. Nothing here raises, whatever it is given; must not know what is named.
"""

import hashlib
from numbers import Integral
from typing import Any

from recis.wire.messages import MAX_KEY_CHARS

__all__ = ["as_key", "distinct_name", "is_name", "spell"]

_DIGEST_CHARS = 8


def is_name(text: str, most: int) -> bool:
    """Return whether `text` is a name as it stands: 1 to `most` printable characters."""
    return 0 < len(text) <= most and text.isprintable()


def distinct_name(text: str, most: int) -> str:
    """Return `text` itself where it is a name, else what can be kept of it and a digest of the whole.

    The digest keeps two names apart that differ in a control character or behind the cut only. It depends on nothing
    but the text: all ranks, all attempts of a run and every repeated import mend a name in the same way.
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
    """Return a dict's key as text, and whether the text stands for the key: a text does, and an integer, as in JSON."""
    if type(key) is str:
        return key, True
    try:
        if isinstance(key, str):
            return str.__str__(key), True
        if isinstance(key, Integral) and key is not True and key is not False:
            return str(int(key)), True
        return str.__str__(repr(key)), False
    except Exception:  # noqa: BLE001 - border: a caller's object may raise whatever it is asked
        return f"<{type(key).__name__}>", False
