"""Assemble the parts of an open run: outbox, sender, uploads, values on a device, observer and console.

Owns the order in which they start, work and end; must not know what a user calls.
"""

from dataclasses import dataclass

from recis.bridge.console import Console
from recis.bridge.deferred_reports import DeferredReports
from recis.bridge.observer import Observer
from recis.bridge.outbox import Outbox
from recis.bridge.sender import Sender
from recis.bridge.traces import TraceUploads

__all__ = ["Parts"]

MOST_FULL = 0.25
"""Share of the spool up to which output is added to it: while the server is away, output must not displace values."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an open run; a disabled or finished run and a forked child have none.

    Attributes:
        console: the output of the process, None if it is not collected.
    """

    outbox: Outbox
    deferred: DeferredReports
    uploads: TraceUploads
    sender: Sender
    observer: Observer
    console: Console | None

    def start(self) -> None:
        """Start the threads, and follow the output."""
        self.sender.start()
        self.observer.start()
        if self.console is not None:
            self.console.open()

    def work(self) -> None:
        """Append values and lines that have arrived, and allocate room for further reports."""
        writer = self.outbox.writer
        self.deferred.resolve(writer)
        if self.console is not None and writer.share_used() <= MOST_FULL:
            for line in self.console.lines():
                writer.append(line)
        writer.prepare()

    def gather(self, timeout_s: float, crash: BaseException | None) -> None:
        """Append what is left at the end of a run, waiting for each source for at most `timeout_s`.

        Args:
            timeout_s: the limit.
            crash: what ends the training, if it is an exception.
        """
        self.observer.close(timeout_s)
        self.deferred.resolve(self.outbox.writer, wait_s=timeout_s)
        if self.console is not None:
            self.console.close(crash)
            for line in self.console.lines(whole=True):
                self.outbox.writer.append(line)

    def disown(self) -> None:
        """Leave everything to the parent, in a forked child."""
        if self.console is not None:
            self.console.leave()
