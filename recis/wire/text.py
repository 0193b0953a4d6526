"""Text from outside as everything that holds or shows it can take it.

Owns what a text may not have and how a long one ends; must not know where texts come from.
"""

__all__ = ["valid_text"]

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def valid_text(text: str, limit: int | None = None) -> str:
    """Return `text` with at most `limit` characters, an ellipsis at the end where some were cut.

    Lone surrogates, which UTF-8 and JSON cannot say, and U+0000, which PostgreSQL cannot hold, become U+FFFD.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    try:
        text.encode()
    except UnicodeEncodeError:
        # By way of UTF-16, so that two halves of one character that came apart become that character.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", _REPLACEMENT)
