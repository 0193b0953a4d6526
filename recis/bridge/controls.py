"""Controls that this process offers, and the commands that wait for a step boundary.

Owns declaration, the inbox, the second check of every value and the answer; must not know sockets or hooks. Commands
arrive on the sender thread and are applied on the training thread, between two steps.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from recis.wire.controls import check_control_value, check_declaration
from recis.wire.messages import Command, Declare, FrameRecord, Result
from recis.wire.showing import shown, text_of

__all__ = ["Controls"]

MAX_WAITING = 256
MAX_CONTROLS = 1024
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Offer:
    declare: Declare
    on_change: Callable[[Any], object]


class Controls:
    """See the module; `send` puts a record on its way to the server, `wake` is called when a command begins to wait."""

    def __init__(self, send: Callable[[FrameRecord], None], wake: Callable[[], None]) -> None:
        self._send = send
        self._wake = wake
        self._offers: dict[str, _Offer] = {}
        self._lock = threading.RLock()
        self._choosing = False  # so that a signal handler that reports meanwhile does not choose the same
        self._waiting: list[Command] = []
        self._known: deque[str] = deque(maxlen=4 * MAX_WAITING)
        self.waiting = False
        """Whether a command waits."""

    def declare(self, declare: Declare, on_change: Callable[[Any], object]) -> None:
        """Offers a control; `on_change` gets each new value on the training thread, and refuses it by raising.

        A second declaration of a name takes the place of the first.

        Raises:
            ValueError: there are too many controls.
        """
        if declare.control not in self._offers and len(self._offers) >= MAX_CONTROLS:
            raise ValueError(f"expected at most {MAX_CONTROLS} controls, got {declare.control} as well")
        self._offers[declare.control] = _Offer(declare, on_change)
        self._send(declare)

    def changed(self, name: str, value: Any, step: int | None) -> None:
        """The value has changed other than by a command: tells the server, if it is a change that can be."""
        offer = self._offers.get(name)
        if offer is None or offer.declare.value == value:
            return
        try:
            check_declaration(msgspec.structs.replace(offer.declare, value=value))
        except ValueError as error:
            _logger.warning("not told to the server: %s", error)
            return
        self._set(name, offer, value, step)
        self._send(self._offers[name].declare)

    def offer(self, command: Command) -> bool:
        """Takes a command from the server; False for one that is known already or when too many wait."""
        with self._lock:
            if command.id in self._known or len(self._waiting) >= MAX_WAITING:
                return False
            self._known.append(command.id)
            self._waiting.append(command)
            self.waiting = True
        self._wake()
        return True

    def apply_due(self, step: int) -> None:
        """Applies what is due at the boundary after `step`, in order of arrival, and answers each."""
        with self._lock:
            if self._choosing:
                return
            self._choosing = True
            try:
                due = [item for item in self._waiting if item.apply_at_step is None or item.apply_at_step <= step]
                self._waiting = [item for item in self._waiting if item not in due]
                self.waiting = bool(self._waiting)
            finally:
                self._choosing = False
        for command in due:
            self._send(self._apply(command, step))

    def _apply(self, command: Command, step: int) -> Result:
        offer = self._offers.get(command.control)
        old = offer.declare.value if offer else None
        try:
            if offer is None:
                raise ValueError(f"expected one of {sorted(self._offers)}, got {shown(command.control)}")
            value = check_control_value(offer.declare, command.value)
            offer.on_change(value)
        except Exception as error:  # noqa: BLE001 - a border: the callback is the user's, and its refusal is an answer
            why = text_of(error, 1000)
            _logger.warning("refused %s = %s: %s", command.control, shown(command.value), why)
            return self._result(command, step, state="rejected", old=old, new=old, message=why)
        if offer.declare.type != "profile":  # a capture is an act, not a value that stays
            self._set(command.control, offer, value, step)
        _logger.info("applied %s = %s at step %d (was %s)", command.control, shown(value), step, shown(old))
        return self._result(command, step, state="applied", old=old, new=value)

    def _set(self, name: str, offer: _Offer, value: Any, step: int | None) -> None:
        declare = msgspec.structs.replace(offer.declare, value=value, step=step, time_ns=time.time_ns())
        self._offers[name] = replace(offer, declare=declare)

    @staticmethod
    def _result(command: Command, step: int, **fields: Any) -> Result:
        return Result(command=command.id, control=command.control, step=step, time_ns=time.time_ns(), **fields)
