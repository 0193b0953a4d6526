"""`HashTableFilterHook`: when tables are filtered, and the statistics of each pass.

Owns the interval, the distance between passes and their listeners. Must not know which rows are evicted (the tables'
rules decide), or what listeners do with a pass.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from weakref import ref

from torch import Tensor, nn

from recis.errors import ArgumentError
from recis.hooks.console import hook_logger, refresh_console
from recis.hooks.control import Control
from recis.hooks.hook import Hook
from recis.metrics.step_timer import timed
from recis.nn.modules.hashtable import HashTable, live_tables, num_tables_made
from recis.nn.modules.hashtable_hook_impl import HashtableHookFactory
from recis.nn.modules.table_names import distinct_names, warn_of_shared_names
from recis.numerals import as_int

__all__ = ["FilterPass", "HashTableFilterHook"]


@dataclass(frozen=True, slots=True)
class FilterPass:
    """One filter pass over one table.

    Attributes:
        table: the table's name; a second table of the same name is called `name-2`, and so on.
        step: the training step after which the pass ran.
        time_ns: when it ran, in nanoseconds since the epoch.
        interval: the filter interval in force, in steps.
        rows_before: rows when the pass began.
        evicted: rows that it evicted.
        rows_after: remaining rows.
        admitted: rows added since the table's last pass.
        milliseconds: how long the pass over this table took.
        bytes: device memory held by the table: index, rows, last-seen steps, optimizer state.
    """

    table: str
    step: int
    time_ns: int
    interval: int
    rows_before: int
    evicted: int
    rows_after: int
    admitted: int
    milliseconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class _Watched:
    """A weak reference to a table that the hook acts on, and the name of its series."""

    table: "ref[HashTable]"
    name: str


class HashTableFilterHook(Hook):
    """Advances the tables' step clock after every training step, and filters them every `filter_interval` steps.

    In a trainer it acts on the tables of its model; called manually, it acts on all tables of the process. Tables
    created later are found too. A pass is due when at least `filter_interval` steps lie between the last pass (at
    first, the start or resumption of the run) and the step that has just ended. Each table's pass produces one log
    line and one call of each listener.

    Args:
        filter_interval: steps between two passes, or None for no filtering. See `reset_filter_interval`.

    Attributes:
        logger: where each pass is logged.

    Raises:
        ValueError: the interval is neither a positive int nor None.
    """

    def __init__(self, filter_interval: int | None = 100) -> None:
        self.reset_filter_interval(filter_interval)
        self.logger = hook_logger(__name__)
        self._listeners: list[Callable[[FilterPass], None]] = []
        self._model: ref[nn.Module] | None = None
        self._tables: list[_Watched] = []
        self._num_made = -1  # number of tables the process had created when `_tables` was filled
        self._last_step = -1
        self._last_pass = 0

    @property
    def filter_interval(self) -> int | None:
        """Steps between two passes, None when filtering is off; assigning calls `reset_filter_interval`."""
        return self._filter_interval

    @filter_interval.setter
    def filter_interval(self, interval: int | None) -> None:
        self.reset_filter_interval(interval)

    def reset_filter_interval(self, interval: int | None = 100) -> None:
        """Change the interval from the next step boundary. Safe to call from any thread.

        Raises:
            ValueError: the interval is neither a positive int nor None; the old interval is kept.
        """
        number = None if interval is None else as_int(interval)
        if interval is not None and (number is None or number < 1):
            raise ArgumentError("filter_interval", "a positive int (steps) or None (off)", interval)
        self._filter_interval = number  # one atomic write, which `after_step` reads once

    def add_listener(self, callback: Callable[[FilterPass], None]) -> None:
        """Register a function that is called on the training thread with the `FilterPass` of each table and pass."""
        self._listeners.append(callback)

    def controls(self) -> Iterable[Control]:
        """Return controls for the interval and for `filter_step` of each current table whose rule has one."""
        yield Control(
            name="filter_interval",
            type="int",
            on_change=self.reset_filter_interval,
            read=lambda: self._filter_interval,
            minimum=1,
            nullable=True,
            unit="steps",
            description="Steps between two filter passes over the hash tables; off when empty.",
        )
        if self._model is not None:  # called manually, it acts on the tables of the process found at its first step
            self._watch()
        for watched in self._tables:
            table = watched.table()
            rule = _rule_of(table)
            if hasattr(rule, "filter_step"):
                yield _filter_step_control(rule, watched.name)

    def before_train(self, trainer: Any) -> None:
        """Act on this trainer's model from its current step. Not needed when the hook is called manually."""
        self._model, self._num_made = ref(trainer.model), -1
        step = trainer.state.global_step
        if step != self._last_step:
            self._last_step = self._last_pass = step

    def after_step(self, metrics: object, global_step: int | Tensor) -> None:
        """Advance the tables' step clock, and filter them if a pass is due.

        Args:
            metrics: not used.
            global_step: number of the step that has just ended; an int or a 0-dim tensor (read on the host, which
                waits for a GPU). Numbers may start anywhere. When they go back, a full interval starts again.

        Raises:
            Exception: raised by a custom filter rule, after all other tables have been filtered.
        """
        step = int(global_step)
        interval = self._filter_interval
        if self._num_made != num_tables_made():
            self._watch()
        for watched in self._tables:
            table = watched.table()
            if table is not None:
                table.tick(step)
        if self._last_step < 0 or step < self._last_step:
            # The first number of a manually driven run. Counting from 1 means steps done, starting at 0.
            self._last_pass = 0 if step == 1 else step
        self._last_step = step
        if interval is not None and step - self._last_pass >= interval:
            self._last_pass = step
            with timed("filter_pass"):
                self._filter(step, interval)
            self._num_made = -1  # a table may have been put into the model since it was made

    def end(self) -> None:
        """Forget the trainer's model."""
        self._model, self._num_made = None, -1

    def state_dict(self) -> Mapping[str, Any]:
        """Return the phase of the interval: the last step, and that of the last pass."""
        return {"last_step": self._last_step, "last_pass": self._last_pass}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the phase of a `state_dict`: the next pass runs when it would have run without the interruption.

        Raises:
            ValueError: the state is not that of a filter hook.
        """
        last_step, last_pass = (as_int(state_dict.get(key)) for key in ("last_step", "last_pass"))
        if last_step is None or last_pass is None:
            raise ArgumentError("state of HashTableFilterHook", "ints last_step and last_pass", dict(state_dict))
        self._last_step, self._last_pass = last_step, last_pass

    def _watch(self) -> None:
        """Find the tables to act on, without walking the model at every step, which would dominate the hook's cost."""
        self._num_made = num_tables_made()
        tables = list(live_tables().values())
        model = self._model() if self._model is not None else None
        if model is not None:
            modules = set(model.modules())
            tables = [table for table in tables if table in modules]
        warn_of_shared_names(tables)
        # A table keeps the name of its series for its lifetime.
        named = {watched.table(): watched.name for watched in self._tables}
        new = [table for table in tables if table not in named]
        names = distinct_names([table.name for table in new], {named[table] for table in tables if table in named})
        named.update(zip(new, names, strict=True))
        self._tables = [_Watched(ref(table), named[table]) for table in tables]

    def _filter(self, step: int, interval: int) -> None:
        with ExitStack() as passes:
            # The stack runs all of them, in reverse, even when one raises; the error comes out at its end.
            for watched in reversed(self._tables):
                passes.callback(self._filter_one, watched, step, interval)

    def _filter_one(self, watched: _Watched, step: int, interval: int) -> None:
        table, name = watched.table(), watched.name
        if table is None:
            return
        time_ns = time.time_ns()
        start = time.perf_counter()
        try:
            counts = table.run_filter(step)
        except Exception as error:
            error.add_note(f"in the filter pass over table {name!r} after step {step}")
            raise
        report = FilterPass(
            table=name,
            step=step,
            time_ns=time_ns,
            interval=interval,
            rows_before=counts.rows_before,
            evicted=counts.evicted,
            rows_after=counts.rows_after,
            admitted=counts.admitted,
            milliseconds=(time.perf_counter() - start) * 1e3,
            bytes=counts.bytes,
        )
        refresh_console()
        self.logger.info(
            "table %s: filter pass after step %d evicted %d of %d rows, %d left, %d admitted since the last pass "
            "(%.2f ms, %.1f MiB)",
            *(name, step, report.evicted, report.rows_before, report.rows_after, report.admitted),
            *(report.milliseconds, report.bytes / 2**20),
        )
        for listener in self._listeners:
            listener(report)
        if self.run is not None:
            self.run.filter_pass(report)


def _rule_of(table: HashTable | None) -> Any:
    """Return the filter rule of a table, or None if it has none."""
    rules = HashtableHookFactory().get_filters().values()
    return next((by_table[table] for by_table in rules if table is not None and table in by_table), None)


def _filter_step_control(rule: Any, name: str) -> Control:
    return Control(
        name=f"table/{name}/filter_step",
        type="int",
        on_change=lambda value: setattr(rule, "filter_step", value),
        read=lambda: rule.filter_step,
        minimum=1,
        unit="steps",
        description=f"Rows of {name} not seen for this many steps are evicted by the next filter pass.",
    )
