"""Measure what the monitor itself costs: time on the training thread, bytes sent, values waiting and lost.

Owns the measurement and the names of its series; must not know what is measured. About one call a second is measured,
on the fast or the slow path, and at least one in `MOST_APART`: measuring every call would itself be a large part of the
cost. `add` runs on the training thread, `report` on the sender's: the race between them can at worst lose one sample.
"""

import time
from array import array

__all__ = ["COST_KEYS", "REPORT_S", "MonitorCost"]

REPORT_S = 5.0
SAMPLE_S = 1.0
MOST_APART = 256
RING = 1024

COST_KEYS = (
    "monitor/step_cost_us_p50",
    "monitor/step_cost_us_p99",
    "monitor/time_share",
    "monitor/queue_depth",
    "monitor/bytes_per_s",
    "monitor/dropped",
)
"""Microseconds a step (of the newest samples), share of the wall time, values waiting, bytes a second, values lost."""


class MonitorCost:
    """The newest `RING` samples, and sums since the last report.

    Attributes:
        apart: number of calls that the next sample stands for; the last of them is measured.
    """

    def __init__(self) -> None:
        self.apart = 1
        self._sampled_ns = time.perf_counter_ns()
        self._ring = array("q", bytes(8 * RING))
        self._count = 0
        self._total_ns = 0
        self._reported = (time.perf_counter_ns(), 0, 0)
        self._bytes_reported = 0

    def add(self, cost_ns: int) -> None:
        """Add a sample: the time that one step spent in the monitor, standing for `apart` steps."""
        count = self._count
        self._ring[count & (RING - 1)] = cost_ns
        self._count = count + 1
        self._total_ns += cost_ns * self.apart
        now = time.perf_counter_ns()
        in_a_while = int(self.apart * SAMPLE_S * 1e9 / max(now - self._sampled_ns, 1))
        self.apart = max(1, min(in_a_while, 2 * self.apart, MOST_APART))
        self._sampled_ns = now

    def is_due(self) -> bool:
        """Return whether the last report was `REPORT_S` ago and there are samples since."""
        then, count, _ = self._reported
        return self._count > count and time.perf_counter_ns() - then >= REPORT_S * 1e9

    def report(self, *, queue_depth: int, bytes_sent: int, dropped: int) -> list[float]:
        """Return the values for `COST_KEYS` since the last report. Call it when a report is due."""
        now = time.perf_counter_ns()
        then, _, total = self._reported
        elapsed_s = (now - then) / 1e9
        samples = sorted(self._ring[: min(self._count, RING)])
        share = (self._total_ns - total) / 1e9 / elapsed_s
        rate = (bytes_sent - self._bytes_reported) / elapsed_s
        self._reported = (now, self._count, self._total_ns)
        self._bytes_reported = bytes_sent
        p50, p99 = (samples[int(len(samples) * part)] / 1e3 for part in (0.5, 0.99))
        return [p50, p99, share, float(queue_depth), rate, float(dropped)]
