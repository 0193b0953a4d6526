"""Dispatch of events to hooks: callback signatures, subscription, order, and failure handling.

Owns the failure policy: an exception stops the training and propagates; `end` is still called on every hook.
Must not know the loop, metrics, or any particular hook.
"""

import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, MutableSequence
from pathlib import Path
from typing import Any, TypeAlias, cast, overload

from recis.errors import HookSignatureError
from recis.hooks.hook import EVENTS, Hook
from recis.state import StepNumber

__all__ = ["Call", "HookDispatcher", "HookList", "bind_callback"]

Call: TypeAlias = Callable[[Any, Mapping[str, Any], int], None]
"""A callback in its uniform shape: (trainer, metrics, global_step)."""

_Parameter = inspect.Parameter
_SCALARS = (type(None), bool, int, float, str, bytes)
_logger = logging.getLogger(__name__)


class HookDispatcher:
    """The hooks of one trainer, in the order they were added, those with `runs_last` after the others.

    Args:
        trainer: passed to callbacks with one parameter.

    Attributes:
        hooks: the hooks in the order in which they are called; changing this list adds and removes hooks.
    """

    def __init__(self, trainer: object) -> None:
        self.hooks = HookList(self)
        self._hooks: list[Hook] = []
        self._automatic: list[Hook] = []
        self._trainer = trainer
        self._calls: dict[str, tuple[Call, ...]] = dict.fromkeys(EVENTS, ())
        self._bound: dict[int, dict[str, Call]] = {}
        self._states: dict[str, Mapping[str, Any]] = {}  # loaded states of hooks that are not added yet

    def __len__(self) -> int:
        return len(self._hooks)

    def __getitem__(self, place: Any) -> Any:
        return self._hooks[place]

    def add(self, hook: Hook, *, place: int | None = None, automatic: bool = False) -> None:
        """Add a hook and check the signatures of its callbacks.

        Args:
            hook: the hook.
            place: index of the hook to insert before, or None to append.
            automatic: added by default; it is removed when another hook of its class is added.

        Raises:
            HookSignatureError: it is not a `Hook` instance, is there already, or a callback cannot be called.
        """
        _check_kind(hook)
        if id(hook) in self._bound:
            raise HookSignatureError(f"add_hook: {type(hook).__name__} object was added before; add each hook once")
        bound = {event: bind_callback(hook, event) for event in EVENTS}
        self._bound[id(hook)] = {event: call for event, call in bound.items() if call is not None}
        self._hooks.insert(len(self._hooks) if place is None else place, hook)
        self._hooks.sort(key=lambda each: each.runs_last)
        self._tabulate()
        for other in [each for each in self._automatic if isinstance(hook, type(each))]:
            self.remove(other)
        if automatic:
            self._automatic.append(hook)
        self._hand_out_states()

    def remove(self, hook: Hook) -> None:
        """Remove a hook; none of its callbacks is called again, not even `end`."""
        del self._bound[id(hook)]
        for hooks in (self._hooks, self._automatic):
            hooks[:] = [each for each in hooks if each is not hook]
        self._tabulate()

    def _tabulate(self) -> None:
        # New tuples instead of mutated ones: a hook may add a hook while an event is being fired.
        for event in EVENTS:
            found = (self._bound[id(each)].get(event) for each in self._hooks)
            self._calls[event] = tuple(call for call in found if call is not None)

    def wants(self, event: str) -> bool:
        """Return whether any hook overrides `event`."""
        return bool(self._calls[event])

    def open_runs(self) -> None:
        """Let monitoring hooks open their run before `before_train`, so that all hooks have it there."""
        for hook in list(self._hooks):
            opening = getattr(hook, "open_run", None)
            if callable(opening):
                opening(self._trainer)

    def report_checkpoint(self, folder: Path) -> None:
        """Let monitoring hooks report a checkpoint that was written to `folder`."""
        for hook in list(self._hooks):
            reporting = getattr(hook, "checkpoint_written", None)
            if callable(reporting):
                reporting(self._trainer, folder)

    def fire(self, event: str, metrics: Mapping[str, Any], step: int) -> None:
        """Call all hooks that override `event`; the first exception propagates."""
        if calls := self._calls[event]:
            number = StepNumber(step)
            for call in calls:
                call(self._trainer, metrics, number)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the hooks by class name; a second hook of a class is `Class-2`.

        Raises:
            TypeError: a state has a value that a checkpoint cannot hold, which would make it unreadable.
        """
        states = {name: _plain(f"{name}.state_dict()", hook.state_dict()) for name, hook in self._named().items()}
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the state of each hook, also of hooks added later. States without a hook are ignored."""
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
        """Fire `end` on every hook, even if others fail.

        Args:
            metrics: as for `fire`.
            step: as for `fire`.
            error: the exception that ended the training, or None. If set, exceptions from `end` are logged and added to
            it as notes; otherwise the first one propagates after all calls, with the others as notes.
        """
        first = error
        number = StepNumber(step)
        for call in self._calls["end"]:
            try:
                call(self._trainer, metrics, number)
            except BaseException as late:  # boundary: the others must still be closed
                if first is None:
                    first = late
                else:
                    _logger.exception("A hook raised in end() after an earlier error")
                    first.add_note(f"After that, a hook raised in end(): {late!r}")
        if first is not None and first is not error:
            raise first


class HookList(MutableSequence[Hook]):
    """The hooks of a dispatcher as a list; items put in are added to the dispatcher, with the same checks."""

    def __init__(self, dispatcher: HookDispatcher) -> None:
        self._dispatcher = dispatcher

    def __len__(self) -> int:
        return len(self._dispatcher)

    @overload
    def __getitem__(self, place: int) -> Hook: ...
    @overload
    def __getitem__(self, place: slice) -> list[Hook]: ...
    def __getitem__(self, place: int | slice) -> Hook | list[Hook]:
        found: Hook | list[Hook] = self._dispatcher[place]
        return found

    def insert(self, index: int, value: Hook) -> None:
        """Insert a hook before the one at `index`."""
        self._dispatcher.add(value, place=index)

    def __delitem__(self, place: int | slice) -> None:
        removed = self[place]
        for hook in removed if isinstance(removed, list) else [removed]:
            self._dispatcher.remove(hook)

    def __setitem__(self, place: int | slice, value: Any) -> None:
        wanted = list(self)
        wanted[place] = value
        kept = {id(hook) for hook in wanted}
        for hook in [each for each in self if id(each) not in kept]:
            self._dispatcher.remove(hook)
        for index, hook in enumerate(wanted):
            if not any(hook is each for each in self):
                self._dispatcher.add(hook, place=index)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, HookList | list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        return repr(list(self))


def _plain(where: str, value: object) -> Any:
    """Return a state as a checkpoint stores it: the value, with step numbers as plain ints."""
    if isinstance(value, StepNumber):
        return int(value)
    kind: Any = type(value)
    if kind in (dict, OrderedDict):
        items = cast("dict[Any, Any]", value).items()
        return kind((_plain(where, key), _plain(f"{where}[{key!r}]", item)) for key, item in items)
    if kind in (list, tuple, set):
        return kind(_plain(where, item) for item in cast("list[Any]", value))
    if type(value) not in _SCALARS and not type(value).__module__.startswith("torch"):
        expected = "tensors, numbers, text, and dicts, lists and tuples of them"
        raise TypeError(f"{where}: expected {expected}, got {type(value).__module__}.{type(value).__qualname__}")
    return value


def _check_kind(hook: object) -> None:
    if not isinstance(hook, Hook):
        hint = f"; did you mean {hook.__name__}()?" if isinstance(hook, type) and issubclass(hook, Hook) else ""
        raise HookSignatureError(f"add_hook: expected an instance of recis.hooks.Hook, got {hook!r}{hint}")


def bind_callback(hook: Hook, event: str) -> Call | None:
    """Return the callback of `hook` for `event` with a uniform signature, or None if it is not overridden.

    The number of required parameters decides: none, one (the trainer), or two (metrics and global step; `after_step`
    only). A parameter with a default is passed only if it has one of those names. In `after_step`, metrics and global
    step are also passed for a first parameter called `metrics`, a second one like `gstep=0`, and `*args`.

    Raises:
        HookSignatureError: the signature matches no accepted form.
    """
    callback = getattr(hook, event)
    if getattr(callback, "__func__", None) is getattr(Hook, event):
        return None
    shape = _shape(callback, event)
    if shape is None:
        raise HookSignatureError(_explain(hook, event, callback))
    return shape


def _shape(callback: Callable[..., Any], event: str) -> Call | None:
    """Return a function that calls the callback with its arguments, or None if its signature matches no form."""
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
    is_open = any(each.kind is _Parameter.VAR_POSITIONAL for each in parameters)
    is_step = event == "after_step"
    if required > (2 if is_step else 1):
        return None
    if is_step and (required == 2 or _asks_for_pair(names, required, is_open)):
        return lambda trainer, metrics, step: callback(metrics, step)
    if is_step and names[:1] == ["metrics"]:
        return lambda trainer, metrics, step: callback(metrics)
    if required == 1 or names[:1] == ["trainer"] or (is_open and not names):
        return lambda trainer, metrics, step: callback(trainer)
    return lambda trainer, metrics, step: callback()


def _asks_for_pair(names: list[str], required: int, is_open: bool) -> bool:
    if names[:1] == ["trainer"] or (len(names) < 2 and not is_open):
        return False
    is_named = names[:1] == ["metrics"] or (required == 1 and len(names) > 1 and names[1].endswith("step"))
    return is_named or (is_open and len(names) == required)


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
