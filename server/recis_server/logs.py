"""The format of the server's log and its highest rate: a client that is refused repeatedly must not fill a disk.

Must not know what is logged.
"""

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["LineLimit", "set_up_logging"]

MOST_LINES = 20
PERIOD_S = 60.0
MOST_KINDS = 1024


def set_up_logging() -> None:
    """Write records of level INFO and above to standard error, unless logging has been set up already."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(LineLimit())
    logging.basicConfig(level=logging.INFO, handlers=[handler])  # leaves the handlers of others as they are
    # Two lines for every connection: with a thousand trainers nothing else could be read.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


@dataclass(slots=True)
class _Kind:
    began_s: float
    num_lines: int = 0
    num_left_out: int = 0


class LineLimit(logging.Filter):
    """Pass at most `MOST_LINES` records of one kind in `PERIOD_S`; the next period begins with the number dropped.

    Records are of one kind if they have the same logger, level and message before formatting.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._kinds: OrderedDict[tuple[str, int, str], _Kind] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write the record."""
        place = record.name, record.levelno, str(record.msg)
        now_s = self._monotonic()
        kind = self._kinds.get(place)
        if kind is None or now_s - kind.began_s >= PERIOD_S:
            if kind is not None and kind.num_left_out:
                record.msg = f"{record.msg} (before it {kind.num_left_out} lines like this one were left out)"
            kind = self._kinds[place] = _Kind(now_s)
            self._kinds.move_to_end(place)
            if len(self._kinds) > MOST_KINDS:
                self._kinds.popitem(last=False)
        kind.num_lines += 1
        kind.num_left_out += kind.num_lines > MOST_LINES
        return kind.num_lines <= MOST_LINES
