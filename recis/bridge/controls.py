"""Controls that this process offers, and the commands that wait for a step boundary.

Owns declaration, the inbox, the second check of every value, the order in which commands take effect, and the answers;
must not know sockets or hooks. Commands arrive on the sender thread and are applied on the training thread, between
two steps.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from recis.wire.codec import as_plain
from recis.wire.controls import check_control_value, check_declaration, keeps_value, settings_of
from recis.wire.messages import Command, Declare, FrameRecord, Result, Schedule, Seen
from recis.wire.showing import shown, text_of

__all__ = ["Controls"]

MAX_WAITING = 256
MAX_CONTROLS = 1024
STOP = Declare(
    control="stop",
    type="action",
    description="End the training after the current step, as if it were complete.",
    confirm="End this training now? It cannot be continued from the page.",
)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Offer:
    declare: Declare
    on_change: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A command in the inbox; one on hold has no step yet."""

    command: Command
    settings: Mapping[str, Any]
    is_held: bool

    def is_due(self, step: int) -> bool:
        at = self.command.apply_at_step
        return not self.is_held and (at is None or at <= step)


class Controls:
    """The controls of a process, and the commands that wait for its next step boundary.

    Args:
        send: sends a record to the server.
        wake: called when a command is queued.
        answered: called after commands have been answered.
        reported: returns the last reported step, -1 before the first.
    """

    def __init__(
        self,
        send: Callable[[FrameRecord], None],
        wake: Callable[[], None],
        answered: Callable[[], None] = lambda: None,
        reported: Callable[[], int] = lambda: -1,
    ) -> None:
        self._send = send
        self._wake = wake
        self._answered = answered
        self._reported = reported
        self._offers: dict[str, _Offer] = {}
        self._lock = threading.RLock()
        self._choosing = False  # so that a signal handler that reports meanwhile does not take the same command
        self._inbox: list[_Waiting] = []  # in the order in which they take effect
        self._known: deque[str] = deque(maxlen=4 * MAX_WAITING)
        self._desired: dict[str, Command] = {}  # for controls not declared yet; bounded by MAX_WAITING
        self._is_welcome = False
        self._is_to_stop = False
        self._newest: dict[str, int] = {}  # by control: the `seq` of the last command that took effect
        self.waiting = False
        """Whether a command waits for a boundary; one on hold does not yet."""
        self.step = -1
        """The last step boundary that was passed, -1 before the first; `Run.step_boundary` sets it."""

    # --- on the training thread

    def declare(self, declare: Declare, on_change: Callable[[Any], object]) -> None:
        """Declare a control; `on_change` gets each new value on the training thread, and rejects it by raising.

        A second declaration of a name replaces the first.

        Raises:
            ValueError: there are too many controls.
        """
        if declare.control not in self._offers and len(self._offers) >= MAX_CONTROLS:
            raise ValueError(f"expected at most {MAX_CONTROLS} controls, got {declare.control} as well")
        self._offers[declare.control] = _Offer(declare, on_change)
        self._send(declare)
        with self._lock:
            desired = self._desired.pop(declare.control, None)
        if desired is not None:
            self.offer(desired)

    def changed(self, name: str, value: Any, step: int | None) -> None:
        """Report a value changed other than by a command to the server, if the change is valid."""
        offer = self._offers.get(name)
        if offer is None:
            return
        try:
            value = as_plain(value)
            if offer.declare.value == value:
                return
            check_declaration(msgspec.structs.replace(offer.declare, value=value))
        except ValueError as error:
            _logger.warning("not told to the server: %s", error)
            return
        self._set(name, value, step)
        self._send(self._offers[name].declare)

    def should_stop(self, *, is_open: bool) -> bool:
        """Return whether the action `stop` was requested; the first call on an open run declares it."""
        if is_open and STOP.control not in self._offers:
            self.declare(STOP, lambda _: None)
        return self._is_to_stop

    def close(self) -> None:
        """Drop everything: callbacks reference what they change, which may be as large as a model.

        Does not take the lock, which another thread may have held when this process was forked.
        """
        self.waiting = False
        self._offers, self._inbox, self._desired = {}, [], {}

    def apply_due(self, step: int) -> None:
        """Apply the commands due at the boundary after `step`, in order, and answer each."""
        self.step = step
        with self._lock:
            if self._choosing:
                return
            self._choosing = True
            try:
                due = self._take_due(step)
            finally:
                self._choosing = False
        for command, settings in due:
            result = self._apply(command, settings, step)
            if result is not None:
                self._send(result)
        if due:
            self._answered()

    def _take_due(self, step: int) -> list[tuple[Command, Mapping[str, Any]]]:
        """Remove due commands from the inbox; a command that is not due delays later ones for the same control."""
        due, left, blocked = [], [], set[str]()
        for item in self._inbox:
            if item.is_due(step) and blocked.isdisjoint(item.settings):
                due.append((item.command, item.settings))
            else:
                left.append(item)
                blocked.update(item.settings)
        self._inbox = left
        self._note_waiting()
        return due

    # --- on the sender's thread

    def receive(self, record: Command | Schedule) -> Seen | None:
        """Handle a command record of the server, and return the answer."""
        if isinstance(record, Schedule):
            self._schedule(record)
            return None
        self.offer(record)
        step = max(self.step if type(self.step) is int else -1, self._reported())
        return Seen(command=record.id, step=step if step >= 0 else None)

    def welcomed(self, desired: Iterable[Command]) -> None:
        """Take the commands for a newly started process: once, each applied when its control is declared."""
        if self._is_welcome:
            return
        self._is_welcome = True
        for command in desired:
            with self._lock:
                is_early = any(name not in self._offers for name in settings_of(command.control, command.value))
                if is_early and command.control and len(self._desired) < MAX_WAITING:
                    self._desired[command.control] = command
                    continue
            self.offer(command)

    def offer(self, command: Command) -> bool:
        """Queue a command from the server; return False if it is already known or too many are queued.

        A command on hold that arrives again with its step becomes scheduled.
        """
        with self._lock:
            if command.id in self._known:
                if not command.hold:
                    self._schedule(Schedule(command=command.id, apply_at_step=command.apply_at_step))
                return False
            if len(self._inbox) >= MAX_WAITING:
                return False
            self._known.append(command.id)
            item = _Waiting(command, settings_of(command.control, command.value), command.hold)
            self._inbox.append(item)
            if command.seq:
                # Commands of an older server are ordered by arrival only; `sort` is stable and keeps that order.
                self._inbox.sort(key=lambda one: one.command.seq)
            if not command.hold:
                self._drop_overtaken(item)
            self._note_waiting()
        if self.waiting:
            self._wake()
        return True

    def _schedule(self, record: Schedule) -> None:
        with self._lock:
            place = next((at for at, one in enumerate(self._inbox) if one.command.id == record.command), None)
            if place is None or not self._inbox[place].is_held:
                return
            held = self._inbox[place]
            if record.withdrawn:
                del self._inbox[place]
            else:
                command = msgspec.structs.replace(held.command, apply_at_step=record.apply_at_step, hold=False)
                self._inbox[place] = _Waiting(command, held.settings, is_held=False)
                self._drop_overtaken(self._inbox[place])
            self._note_waiting()
        if self.waiting:
            self._wake()

    def _drop_overtaken(self, item: _Waiting) -> None:
        """Drop older commands on hold: the server schedules in order and has withdrawn them."""
        seq = item.command.seq
        self._inbox = [
            one
            for one in self._inbox
            if not (one.is_held and 0 < one.command.seq < seq and not item.settings.keys().isdisjoint(one.settings))
        ]

    def _note_waiting(self) -> None:
        self.waiting = any(not one.is_held for one in self._inbox)

    # --- one command

    def _apply(self, command: Command, settings: Mapping[str, Any], step: int) -> Result | None:
        """Apply a command entirely or not at all; return None if the value to restore is already set."""
        old = {name: self._value(name) for name in settings}
        if command.restores and old == settings:
            return None
        # A restarted process may be given the newest value of one control, and then an older command for that control
        # and others. Applying the rest of that command gives the same result as applying both in order.
        kept = {name: old[name] for name in settings if 0 < command.seq < self._newest.get(name, 0)}
        try:
            if kept and len(kept) == len(settings):
                raise ValueError("a newer command has already taken effect")
            new = self._checked(command, {name: value for name, value in settings.items() if name not in kept})
            self._change(old, new)
        except Exception as error:  # noqa: BLE001 - boundary: user callback; its exception is the answer
            why = text_of(error, 1000)
            _logger.warning("refused %s%s: %s", _shown(settings), _asked(command), why)
            return self._result(command, step, "rejected", old, {name: self._value(name) for name in settings}, why)
        self._is_to_stop |= command.control == STOP.control
        for name, value in new.items():
            self._newest[name] = max(command.seq, self._newest.get(name, 0))
            if keeps_value(self._offers[name].declare.type):
                self._set(name, value, step)
        _logger.info("applied %s at step %d (was %s)%s", _shown(new), step, _shown(old), _asked(command))
        why = f"a newer command has already set {', '.join(kept)}" if kept else ""
        return self._result(command, step, "applied", old, {**new, **kept}, why)

    def _checked(self, command: Command, settings: Mapping[str, Any]) -> dict[str, Any]:
        if not settings:
            raise ValueError(f"expected one of {sorted(self._offers)}, got {shown(command.control)}")
        taken = {}
        for name, value in settings.items():
            offer = self._offers.get(name)
            if offer is None:
                raise ValueError(f"expected one of {sorted(self._offers)}, got {shown(name)}")
            taken[name] = check_control_value(offer.declare, value)
        return taken

    def _change(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Call the callbacks; if one raises, restore the old values of those before it."""
        done: list[str] = []
        try:
            for name, value in new.items():
                self._offers[name].on_change(value)
                done.append(name)
        except Exception as error:
            for name in reversed(done):
                if not keeps_value(self._offers[name].declare.type):
                    continue
                try:
                    self._offers[name].on_change(old[name])
                except Exception as again:  # the answer is the first exception, with this one appended
                    self._set(name, new[name], None)
                    raise ValueError(
                        f"{text_of(error, 400)}; {name} could not be restored and stays {shown(new[name])}:"
                        f" {text_of(again, 400)}"
                    ) from again
            raise

    def _value(self, name: str) -> Any:
        offer = self._offers.get(name)
        return offer.declare.value if offer else None

    def _set(self, name: str, value: Any, step: int | None) -> None:
        offer = self._offers[name]
        declare = msgspec.structs.replace(offer.declare, value=value, step=step, time_ns=time.time_ns())
        self._offers[name] = replace(offer, declare=declare)

    @staticmethod
    def _result(
        command: Command, step: int, state: Any, old: Mapping[str, Any], new: Mapping[str, Any], message: str
    ) -> Result:
        one = command.control
        return Result(
            command=command.id,
            control=one,
            state=state,
            step=step,
            time_ns=time.time_ns(),
            old=old.get(one) if one else dict(old),
            new=new.get(one) if one else dict(new),
            message=message,
            restores=command.restores,
        )


def _shown(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {shown(value)}" for name, value in settings.items()) or "nothing"


def _asked(command: Command) -> str:
    """Return the requester of a command and the reason, as the end of a log line."""
    who = f", asked by {text_of(command.requested_by, 200)}" if command.requested_by else ""
    return f"{who}: {text_of(command.reason, 400)}" if command.reason else who
