"""Send what earlier processes left in a run's spool: alongside this process, or before it if they were the same rank.

Owns the order of the folders and the thread that sends them; how a folder is sent is `sync`'s.

A rank that is restarted while its job continues stays in the attempt, and of several values of a step in one attempt
the last to arrive counts. Therefore nothing of the new process may be sent before what the old one left
(docs/decisions/0005).
"""

import logging
import threading
import time
from pathlib import Path

from recis.bridge.address import ServerAddress
from recis.bridge.sender import Sender
from recis.bridge.spool import find_left_over, writer_lives
from recis.bridge.sync import Outcome, send_folder, writer_of
from recis.wire.messages import Hello

__all__ = ["LeftOver"]

TIMEOUT_S = 600.0
PAUSE_S = 0.25
MAX_TRIES = 3
_logger = logging.getLogger(__name__)


class LeftOver:
    """Start it once; the thread ends by itself after trying every folder.

    Args:
        root: the spool.
        own: the folder of this process in it.
        hello: identity of this process.
    """

    def __init__(self, root: Path, own: Path, hello: Hello) -> None:
        self._before: list[Path] = []
        self._others: list[Path] = []
        try:
            found = find_left_over(root)
        except OSError as error:
            found = []
            _logger.warning("cannot look for data of earlier trainings in %s: %s", root, error)
        for path in found:
            if path != own:
                (self._before if _same_rank(path, hello) else self._others).append(path)
        self._in_order = threading.Event()
        if not self._before:
            self._in_order.set()

    def is_in_order(self) -> bool:
        """Return whether nothing is left that has to be sent before this process's data."""
        return self._in_order.is_set()

    def start(self, address: ServerAddress, sender: Sender) -> None:
        """Start the thread; `sender` is this process's, and knows whether there is a server."""
        if self._before or self._others:
            work = threading.Thread(target=self._run, args=(address, sender), name="recis-left-over", daemon=True)
            work.start()

    def _run(self, address: ServerAddress, sender: Sender) -> None:
        for path in self._before:
            if not _send_first(path, address, sender):
                return  # the run ended without a server; the next start sends everything, in the same order
        self._in_order.set()
        for path in self._others:
            _try(path, address)


def _send_first(path: Path, address: ServerAddress, sender: Sender) -> bool:
    """Send a folder that comes before the run; return False if the run ends first."""
    tries = 0
    while sender.is_alive:
        if sender.connected:
            outcome = _try(path, address)
            if outcome in (Outcome.SENT, Outcome.SENT_IN_PART) or (outcome is Outcome.BUSY and writer_lives(path)):
                return True
            tries += outcome is Outcome.LEFT
            if tries >= MAX_TRIES:
                _logger.warning("the data left in %s is not sent first: it may replace newer values later", path)
                return True
        time.sleep(PAUSE_S)
    return False


def _try(path: Path, address: ServerAddress) -> Outcome:
    """Call `send_folder`; also return `SENT` if another attempt would be pointless."""
    try:
        return send_folder(path, address, timeout_s=TIMEOUT_S)
    except FileNotFoundError:
        return Outcome.SENT  # by another process of this start
    except Exception as error:  # noqa: BLE001 - boundary: one folder must not block the others
        _logger.warning("cannot send the data left in %s: %s", path, error)
        return Outcome.SENT


def _same_rank(path: Path, hello: Hello) -> bool:
    """Return whether the folder belongs to an earlier process of this rank in this attempt."""
    try:
        other = writer_of(path)
    except (OSError, ValueError):
        return False
    return (other.run, other.attempt, other.rank) == (hello.run, hello.attempt, hello.rank)
