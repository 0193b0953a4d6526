"""Lines of a run's log: validation of requests, and the form of the answer.

Must not know HTTP or how lines are stored.
"""

from typing import Any

from recis_server.errors import InvalidValue
from recis_server.query.shapes import lines_shape
from recis_server.store.interface import Store
from recis_server.store.values import LinesWanted

__all__ = ["REPORTED", "read_log"]

MAX_WORDS = 16
REPORTED = "reported"
"""Name of the stream of reported lines."""


async def read_log(
    store: Store,
    run: str,
    *,
    after: int | None,
    before: int | None,
    text: str,
    stream: str | None,
    limit: int,
    **only: Any,
) -> dict[str, Any]:
    """Return lines of a run; `only` has values of `rank`, `attempt` and `level`, None for any.

    Raises:
        InvalidValue: two cursors, or too many words.
    """
    if after is not None and before is not None:
        raise InvalidValue("before", f"expected after or before, got both: {after} and {before}")
    words = tuple(text.lower().split())
    if len(words) > MAX_WORDS:
        raise InvalidValue("q", f"expected at most {MAX_WORDS} words, got {len(words)}")
    stored = "" if stream == REPORTED else stream
    wanted = LinesWanted(after=after, before=before, stream=stored, words=words, limit=limit, **only)
    return lines_shape(await store.lines(run, wanted))
