"""Provide the attributes of a run that users of other trackers expect: configuration, summary, name, project and step.

Owns these names. Must not know how a run reports.
"""

import time
from collections.abc import Mapping
from typing import Any

from recis.bridge.config import plain_config
from recis.bridge.refusals import Refusals, guarded
from recis.bridge.run_config import RunConfig, RunSummary
from recis.wire.messages import Event, FrameRecord
from recis.wire.showing import text_of

__all__ = ["FamiliarRun"]


class FamiliarRun:
    """Base of `Run`.

    Attributes:
        name: the name shown for the run.
        project: the group of runs that it belongs to.
        config: its configuration; items set later are added to that on the server.
        summary: single values; an item that is set is logged at the current step.
        refusals: what was not accepted, counted and logged.
    """

    refusals: Refusals
    _step: int

    def __init__(self, name: str) -> None:
        self.name = name
        self.project = ""
        self.config = RunConfig(self._report_config)
        self.summary = RunSummary(self._report_summary)

    @property
    def step(self) -> int:
        """Return the step of the last report, 0 before the first."""
        return max(self._step, 0)

    @guarded
    def define_metric(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing except log one notice: a metric needs no definition."""
        self.refusals.warn("define_metric", "not needed: metrics are drawn over steps or time, as chosen on the page")

    def ignore(self, where: str, others: Mapping[str, object]) -> None:
        """Warn once about arguments that other trackers have and this one does not."""
        if others:
            self.refusals.warn(where, f"accepted, but not used here: {', '.join(map(text_of, others))}")

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Report values of one step."""
        raise NotImplementedError

    def append(self, record: FrameRecord) -> None:
        """Add a record."""
        raise NotImplementedError

    @guarded
    def _report_summary(self, changed: dict[str, Any]) -> None:
        self.log(changed, self.step)

    @guarded
    def _report_config(self, changed: dict[str, Any]) -> None:
        plain, told = plain_config(changed)
        if told:
            self.refusals.warn("config", f"not shown as it was given: {told}")
        text = text_of(f"config: {', '.join(plain)}")
        self.append(Event(kind="config", time_ns=time.time_ns(), text=text, data=plain))
