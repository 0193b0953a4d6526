"""Text from outside as text that every part can hold: a database, JSON, UTF-8.

Owns what a text may not have and how a long one ends; must not know where texts come from or where they go.
"""

__all__ = ["as_text"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def as_text(text: str, limit: int | None = None) -> str:
    """Return `text` with U+FFFD for every character that not every part can hold.

    Those are lone surrogates, which UTF-8 and JSON cannot say, and U+0000, which PostgreSQL cannot.

    Args:
        text: one line or many.
        limit: most characters; an ellipsis stands for those that were cut. None for any number.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    try:
        text.encode()
    except UnicodeEncodeError:
        # By way of UTF-16, so that two halves of one character that came apart become that character.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", _REPLACEMENT)
