"""Calling hooks: which arguments a callback wants, who wants which event, in which order, and what happens on failure.

Owns the one failure policy: an exception stops the training and passes through; `end` reaches every hook all the same.
Must not know the loop, metrics, or any particular hook.
"""

import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

from recis.errors import HookSignatureError
from recis.hooks.hook import EVENTS, Hook

__all__ = ["Call", "HookDispatcher", "bind_callback"]

Call: TypeAlias = Callable[[Any, Mapping[str, Any], int], None]
"""A callback in its uniform shape: (trainer, metrics, global_step)."""

_Parameter = inspect.Parameter
_SCALARS = (type(None), bool, int, float, str, bytes)
_logger = logging.getLogger(__name__)


class HookDispatcher:
    """The hooks of one trainer, in the order of adding, those with `runs_last` behind the others.

    Args:
        trainer: what callbacks with one parameter are given.
    """

    def __init__(self, trainer: object) -> None:
        self.hooks: list[Hook] = []
        self._trainer = trainer
        self._calls: dict[str, tuple[Call, ...]] = dict.fromkeys(EVENTS, ())
        self._bound: dict[int, dict[str, Call]] = {}
        self._states: dict[str, Mapping[str, Any]] = {}  # loaded ones of hooks that are not there yet

    def add(self, hook: Hook) -> None:
        """Add a hook; all its callbacks are looked at now.

        Raises:
            HookSignatureError: it is not a `Hook` instance, is there already, or a callback cannot be called.
        """
        _check_kind(hook)
        if id(hook) in self._bound:
            raise HookSignatureError(f"add_hook: {type(hook).__name__} object was added before; add each hook once")
        bound = {event: bind_callback(hook, event) for event in EVENTS}
        self._bound[id(hook)] = {event: call for event, call in bound.items() if call is not None}
        self.hooks.append(hook)
        self.hooks.sort(key=lambda each: each.runs_last)
        self._tabulate()
        self._hand_out_states()

    def remove(self, hook: Hook) -> None:
        """Take a hook out again; none of its callbacks is called any more, `end` included."""
        self.hooks.remove(hook)
        del self._bound[id(hook)]
        self._tabulate()

    def _tabulate(self) -> None:
        # New tuples, not changed ones: a hook may add a hook while an event is being fired.
        for event in EVENTS:
            found = (self._bound[id(each)].get(event) for each in self.hooks)
            self._calls[event] = tuple(call for call in found if call is not None)

    def wants(self, event: str) -> bool:
        """Whether anybody overrides `event`."""
        return bool(self._calls[event])

    def fire(self, event: str, metrics: Mapping[str, Any], step: int) -> None:
        """Call everybody who wants `event`; the first exception passes through."""
        for call in self._calls[event]:
            call(self._trainer, metrics, step)

    def state_dict(self) -> dict[str, Any]:
        """Return what the hooks want to keep across a restart, by class; a second hook of a class is `Class-2`.

        Raises:
            TypeError: a hook wants to keep what a checkpoint cannot hold, and would make it unreadable.
        """
        states = {name: hook.state_dict() for name, hook in self._named().items()}
        for name, state in states.items():
            _check_plain(f"{name}.state_dict()", state)
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Hand each hook what it has kept; hooks that are added later get theirs then. What nobody wants is left."""
        self._states = dict(state_dict)
        self._hand_out_states()

    def _hand_out_states(self) -> None:
        for name, hook in self._named().items() if self._states else ():
            if name in self._states:
                hook.load_state_dict(self._states.pop(name))

    def _named(self) -> dict[str, Hook]:
        kinds = [type(hook).__name__ for hook in self.hooks]
        numbers = [kinds[: place + 1].count(kind) for place, kind in enumerate(kinds)]
        names = [kind if number == 1 else f"{kind}-{number}" for kind, number in zip(kinds, numbers, strict=True)]
        return dict(zip(names, self.hooks, strict=True))

    def close(self, metrics: Mapping[str, Any], step: int, error: BaseException | None) -> None:
        """Fire `end` on every hook, whatever the others do.

        Args:
            metrics: as for `fire`.
            step: as for `fire`.
            error: what has ended the training, or None. With it, what `end` raises is logged and noted on it; without,
                the first exception from an `end` passes through when all are called, with the others noted on it.
        """
        first = error
        for call in self._calls["end"]:
            try:
                call(self._trainer, metrics, step)
            except BaseException as late:  # the border: the others must still be closed
                if first is None:
                    first = late
                else:
                    _logger.exception("A hook raised in end() after an earlier error")
                    first.add_note(f"After that, a hook raised in end(): {late!r}")
        if first is not None and first is not error:
            raise first


def _check_plain(where: str, value: object) -> None:
    if type(value) in (dict, OrderedDict):
        for key, item in cast("dict[Any, Any]", value).items():
            _check_plain(f"{where}[{key!r}]", item)
    elif type(value) in (list, tuple, set):
        for item in cast("list[Any]", value):
            _check_plain(where, item)
    elif type(value) not in _SCALARS and not type(value).__module__.startswith("torch"):
        expected = "tensors, numbers, text, and dicts, lists and tuples of them"
        raise TypeError(f"{where}: expected {expected}, got {type(value).__module__}.{type(value).__qualname__}")


def _check_kind(hook: object) -> None:
    if not isinstance(hook, Hook):
        hint = f"; did you mean {hook.__name__}()?" if isinstance(hook, type) and issubclass(hook, Hook) else ""
        raise HookSignatureError(f"add_hook: expected an instance of recis.hooks.Hook, got {hook!r}{hint}")


def bind_callback(hook: Hook, event: str) -> Call | None:
    """Return the callback of `hook` for `event` in its uniform shape, or None where it is not overridden.

    Required parameters decide by their number: none, one (the trainer), or two (metrics and global step; `after_step`
    only). A parameter with a default is filled only when it has one of those names; `*args` gets what the event has.

    Raises:
        HookSignatureError: no accepted form fits.
    """
    callback = getattr(hook, event)
    if getattr(callback, "__func__", None) is getattr(Hook, event):
        return None
    wanted = _wanted(callback, event)
    if wanted is None:
        raise HookSignatureError(_explain(hook, event, callback))
    return _shapes(callback)[wanted]


def _shapes(callback: Callable[..., Any]) -> tuple[Call, Call, Call]:
    return (
        lambda trainer, metrics, step: callback(),
        lambda trainer, metrics, step: callback(trainer),
        lambda trainer, metrics, step: callback(metrics, step),
    )


def _wanted(callback: object, event: str) -> int | None:
    """Return how many arguments the callback gets, or None if it fits no form."""
    # A coroutine or generator function would be "called" without ever running.
    if not callable(callback) or inspect.iscoroutinefunction(callback) or inspect.isgeneratorfunction(callback):
        return None
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind is _Parameter.KEYWORD_ONLY and each.default is _Parameter.empty for each in parameters):
        return None
    places = [
        each for each in parameters if each.kind in (_Parameter.POSITIONAL_ONLY, _Parameter.POSITIONAL_OR_KEYWORD)
    ]
    required = sum(each.default is _Parameter.empty for each in places)
    names = [each.name for each in places]
    pair = event == "after_step"
    if required > (2 if pair else 1):
        return None
    if required == 2 or (pair and names[:2] == ["metrics", "global_step"]):
        return 2
    if required == 1 or names[:1] == ["trainer"]:
        return 1
    if any(each.kind is _Parameter.VAR_POSITIONAL for each in parameters):
        return 2 if pair else 1
    return 0


def _explain(hook: Hook, event: str, callback: object) -> str:
    forms = [f"def {event}(self)", f"def {event}(self, trainer)"]
    if event == "after_step":
        forms.append(f"def {event}(self, metrics, global_step)")
    try:
        got = f"def {event}{inspect.signature(callback)}"  # type: ignore[arg-type]
    except (TypeError, ValueError):
        got = repr(callback)
    if inspect.iscoroutinefunction(callback):
        got = f"async {got}"
    elif inspect.isgeneratorfunction(callback):
        got = f"a generator, {got}"
    return f"{type(hook).__qualname__}.{event}: expected one of {_either(forms)}, got {got}"


def _either(forms: Iterable[str]) -> str:
    return " | ".join(f"`{form}`" for form in forms)
