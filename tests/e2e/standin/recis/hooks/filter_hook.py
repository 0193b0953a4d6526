"""The filter hook, with the attributes and the interval of RecIS's."""

from typing import Any


class HashTableFilterHook:
    """Filters every `filter_interval` steps; `passes` has the steps."""

    def __init__(self, filter_interval: int | None = 100) -> None:
        self.filter_interval = filter_interval
        self.last_filter_step = 0
        self.passes: list[int] = []

    def reset_filter_interval(self, interval: int | None = 100) -> None:
        """Set the interval."""
        self.filter_interval = interval

    def after_step(self, _: Any, gstep: Any) -> None:
        """Filter if it is due."""
        if self.last_filter_step == 0:
            self.last_filter_step = gstep.item()
        if self.filter_interval is not None and gstep - self.last_filter_step >= self.filter_interval:
            self.passes.append(gstep.item())
            self.last_filter_step = gstep.item()

    def end(self) -> None:
        """Do nothing."""
