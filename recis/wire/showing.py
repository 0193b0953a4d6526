"""Turn any object into text: for a record, which needs valid Unicode of a bounded length, or for a message.

Nothing here raises, for any argument; must not know records or who reads the text.
"""

import reprlib

from recis.wire.messages import MAX_TEXT_CHARS
from recis.wire.text import as_text

__all__ = ["shown", "text_of"]

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 200


def text_of(value: object, most: int = MAX_TEXT_CHARS) -> str:
    """Return `str` of an object in at most `most` characters.

    Invalid characters are replaced; a longer text ends with an ellipsis.
    """
    try:
        text = str.__str__(value if isinstance(value, str) else str(value))
    except Exception as error:  # noqa: BLE001 - boundary: an object may fail in any way when it is shown
        text = f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    return as_text(text, most)


def shown(value: object, most: int = 80) -> str:
    """Return the `repr` of a value, abbreviated if it is long or nested."""
    try:
        text = _repr.repr(value)
    except Exception as error:  # noqa: BLE001 - boundary: as above
        text = f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    return text_of(text, most)
