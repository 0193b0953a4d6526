"""Which of a run's metrics are its loss and its speed, whatever they are called.

`web/js/data/headline.js` chooses in the same way for the page. Must not know where names come from.
"""

import re
from collections.abc import Iterable
from typing import Literal

__all__ = ["Role", "metric_of"]

Role = Literal["loss", "rate"]


def _patterns(*texts: str) -> tuple[re.Pattern[str], ...]:
    # As in JavaScript: case is ignored for ASCII letters only, and the end is the end of the text.
    return tuple(re.compile(text, re.IGNORECASE | re.ASCII) for text in texts)


_PATTERNS: dict[Role, tuple[re.Pattern[str], ...]] = {
    "rate": _patterns(
        r"^qps\Z",
        r"(^|[/_.])qps\Z",
        r"(samples|examples|steps|iterations|it)_per_s(ec|econd)?\Z",
        r"throughput\Z",
    ),
    "loss": _patterns(
        r"^loss\Z",
        r"^(train|training)[/_.]([^\n\r\u2028\u2029]*[/_.])?loss\Z",
        r"(^|[/_.])loss\Z",
        r"loss",
    ),
}
"""Patterns for the name of a metric, best first."""
_FOREIGN = re.compile(r"(monitor|system|table|time)/")
"""Metrics that are reported about the training rather than by it."""


def metric_of(keys: Iterable[str], role: Role) -> str | None:
    """Return the metric that plays a role: the first of the shortest names that match the best pattern."""
    candidates = [key for key in keys if not _FOREIGN.match(key)]
    for pattern in _PATTERNS[role]:
        found = [key for key in candidates if pattern.search(key)]
        if found:
            return min(found, key=_length)
    return None


def _length(key: str) -> int:
    """Return the length in UTF-16 units, as JavaScript counts."""
    return len(key) + sum(character > "\uffff" for character in key)
