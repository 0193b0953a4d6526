import functools
import logging
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from recis.errors import HookSignatureError
from recis.hooks.dispatch import HookDispatcher
from recis.hooks.hook import EVENTS, Hook

TRAINER = object()
METRICS = {"loss": 0.5}


def called_with(callback: Any, event: str) -> tuple[Any, ...]:
    """Return the arguments that a hook with this callback gets when the event fires."""
    kind = type("Sample", (Hook,), {event: callback})
    hook = kind()
    dispatcher = HookDispatcher(TRAINER)
    dispatcher.add(hook)
    dispatcher.fire(event, METRICS, 7)
    got: tuple[Any, ...] = hook.got
    return got


def record(self: Any, *args: Any) -> None:
    self.got = args


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_may_be_written_without_parameters(event: str) -> None:
    def callback(self: Any) -> None:
        record(self)

    assert called_with(callback, event) == ()


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_may_ask_for_the_trainer(event: str) -> None:
    def callback(self: Any, trainer: Any) -> None:
        record(self, trainer)

    assert called_with(callback, event) == (TRAINER,)


def test_after_step_may_ask_for_metrics_and_step() -> None:
    def callback(self: Any, metrics: Any, global_step: Any) -> None:
        record(self, metrics, global_step)

    assert called_with(callback, "after_step") == (METRICS, 7)


@pytest.mark.parametrize(("event", "expected"), [("after_step", (METRICS, 7)), ("before_step", (TRAINER,))])
def test_open_parameters_get_what_the_event_has(event: str, expected: tuple[Any, ...]) -> None:
    assert called_with(record, event) == expected


def passed_through(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)

    return wrapper


class Forms:
    """One callback per line, with its expected arguments in `after_step`."""

    def any_name(self, t) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        record(self, t)

    def default_trainer(self, trainer: Any = None) -> None:
        record(self, trainer)

    def default_pair(self, metrics: Any = None, global_step: int = -1) -> None:
        record(self, metrics, global_step)

    def half_default_pair(self, metrics: Any, global_step: int = -1) -> None:
        record(self, metrics, global_step)

    def step_default(self, metrics: Any, gstep: int = 0) -> None:
        record(self, metrics, gstep)

    def step_default_of_any(self, m: Any, step: int = 0) -> None:
        record(self, m, step)

    def metrics_and_open(self, metrics: Any, *args: Any) -> None:
        record(self, metrics, *args)

    def any_and_open(self, m: Any, *args: Any, **kwargs: Any) -> None:
        record(self, m, *args)

    def trainer_and_open(self, trainer: Any, *args: Any) -> None:
        record(self, trainer, *args)

    def own_default_and_open(self, verbose: bool = True, *args: Any) -> None:
        record(self, verbose, *args)

    def only_metrics(self, metrics: Any) -> None:
        record(self, metrics)

    def own_default(self, verbose: bool = True) -> None:
        record(self, verbose)

    def trainer_and_default(self, trainer: Any, verbose: bool = True) -> None:
        record(self, trainer, verbose)

    def keyword_default(self, trainer: Any, *, verbose: bool = True) -> None:
        record(self, trainer, verbose)

    def keywords(self, **kwargs: Any) -> None:
        record(self, kwargs)

    def positional_only(self, metrics: Any, global_step: int, /) -> None:
        record(self, metrics, global_step)

    @passed_through
    def decorated(self, trainer: Any) -> None:
        record(self, trainer)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("any_name", (TRAINER,)),
        ("default_trainer", (TRAINER,)),
        ("default_pair", (METRICS, 7)),
        ("half_default_pair", (METRICS, 7)),
        ("step_default", (METRICS, 7)),
        ("step_default_of_any", (METRICS, 7)),
        ("metrics_and_open", (METRICS, 7)),
        ("any_and_open", (METRICS, 7)),
        ("trainer_and_open", (TRAINER,)),
        ("own_default_and_open", (True,)),
        ("only_metrics", (METRICS,)),
        ("own_default", (True,)),
        ("trainer_and_default", (TRAINER, True)),
        ("keyword_default", (TRAINER, True)),
        ("keywords", ({},)),
        ("positional_only", (METRICS, 7)),
        ("decorated", (TRAINER,)),
    ],
)
def test_defaults_keywords_and_decorators_are_understood(form: str, expected: tuple[Any, ...]) -> None:
    assert called_with(getattr(Forms, form), "after_step") == expected


def test_static_methods_callables_and_instance_attributes_are_callbacks() -> None:
    got: list[Any] = []

    class Callable_:
        def __call__(self, trainer: Any) -> None:
            got.append(("callable", trainer))

    class Sample(Hook):
        @staticmethod
        def before_step() -> None:
            got.append("static")

        @classmethod
        def after_train(cls, trainer: Any) -> None:
            got.append(("class", trainer))

        after_epoch = functools.partialmethod(lambda self, word, trainer: got.append((word, trainer)), "partial")

    hook = Sample()
    hook.end = Callable_()  # type: ignore[method-assign]
    dispatcher = HookDispatcher(TRAINER)
    dispatcher.add(hook)
    for event in ("before_step", "after_train", "after_epoch", "end"):
        dispatcher.fire(event, METRICS, 1)
    assert got == ["static", ("class", TRAINER), ("partial", TRAINER), ("callable", TRAINER)]


async def coroutine(self: Any) -> None: ...


def generator(self: Any) -> Any:
    yield


@pytest.mark.parametrize(
    ("event", "callback", "named"),
    [
        ("before_train", lambda self, a, b: None, "(a, b)"),
        ("after_step", lambda self, a, b, c: None, "(a, b, c)"),
        ("after_step", lambda self, *, metrics: None, "(*, metrics)"),
        ("end", coroutine, "async"),
        ("before_step", generator, "generator"),
        ("before_epoch", None, "None"),
        ("before_epoch", 3, "3"),
    ],
)
def test_a_signature_that_fits_no_form_is_refused_when_added(event: str, callback: object, named: str) -> None:
    class Impossible(Hook):
        pass

    setattr(Impossible, event, callback)
    dispatcher = HookDispatcher(TRAINER)
    with pytest.raises(TypeError, match=rf"Impossible\.{event}: expected one of `def {event}\(self\)`") as caught:
        dispatcher.add(Impossible())
    assert named in str(caught.value)
    assert ("metrics, global_step" in str(caught.value)) is (event == "after_step" or "global_step" in named)
    assert dispatcher.hooks == []
    assert not any(dispatcher.wants(each) for each in EVENTS)


@pytest.mark.parametrize("thing", [object(), None, Hook])
def test_only_hook_instances_can_be_added(thing: Any) -> None:
    with pytest.raises(HookSignatureError, match=r"expected an instance of recis\.hooks\.Hook") as caught:
        HookDispatcher(TRAINER).add(thing)
    assert ("did you mean Hook()?" in str(caught.value)) is (thing is Hook)


def test_a_hook_is_added_once() -> None:
    dispatcher = HookDispatcher(TRAINER)
    hook = Hook()
    dispatcher.add(hook)
    with pytest.raises(HookSignatureError, match="added before"):
        dispatcher.add(hook)
    assert dispatcher.hooks == [hook]


def test_the_step_is_an_int_with_the_item_of_a_tensor() -> None:
    def callback(self: Any, metrics: Any, global_step: Any) -> None:
        record(self, global_step, global_step.item(), type(global_step.item()))

    assert called_with(callback, "after_step") == (7, 7, int)


def test_a_state_has_plain_ints_for_step_numbers() -> None:
    class Keeps(Hook):
        def after_step(self, metrics: Any, global_step: Any) -> None:
            self.seen = {"last": global_step, "all": [global_step, (global_step,)]}

        def state_dict(self) -> dict[str, Any]:
            return self.seen

    dispatcher = HookDispatcher(TRAINER)
    dispatcher.add(Keeps())
    dispatcher.fire("after_step", METRICS, 7)
    (state,) = dispatcher.state_dict().values()
    assert state == {"last": 7, "all": [7, (7,)]}
    assert type(state["last"]) is type(state["all"][0]) is type(state["all"][1][0]) is int


def test_the_list_of_hooks_adds_and_removes() -> None:
    dispatcher = HookDispatcher(TRAINER)
    hooks, (a, b, c) = dispatcher.hooks, (Named("a"), Named("b"), Named("c"))
    hooks.append(b)
    hooks.insert(0, a)
    hooks += [Reporter("r")]
    dispatcher.fire("before_step", METRICS, 1)
    assert Named.log == ["a.before_step", "b.before_step", "r.before_step"]
    hooks[1] = c
    assert (hooks[:2], len(hooks), hooks.index(c), b in hooks) == ([a, c], 3, 1, False)
    assert hooks.pop(0) is a
    with pytest.raises(HookSignatureError, match="added before"):
        hooks.append(c)
    with pytest.raises(HookSignatureError, match="expected an instance"):
        hooks.append(object())  # type: ignore[arg-type]
    hooks.clear()
    dispatcher.fire("after_step", METRICS, 1)
    assert len(Named.log) == 3
    assert list(hooks) == []
    assert repr(hooks) == "[]"


def test_a_hook_that_nobody_asked_for_gives_way_to_one_of_its_class() -> None:
    dispatcher = HookDispatcher(TRAINER)
    automatic, other, asked = Named("automatic"), Reporter("other"), Named("asked")
    dispatcher.add(automatic, automatic=True)
    dispatcher.add(other, automatic=True)
    dispatcher.hooks.append(asked)
    assert dispatcher.hooks == [asked, other]


class Named(Hook):
    """Records its name, and fails where requested."""

    log: ClassVar[list[str]] = []

    def __init__(self, name: str, failing: str = "") -> None:
        self.name = name
        self.failing = failing

    def before_step(self) -> None:
        self.note("before_step")

    def after_step(self) -> None:
        self.note("after_step")

    def end(self) -> None:
        self.note("end")

    def note(self, event: str) -> None:
        self.log.append(f"{self.name}.{event}")
        if event == self.failing:
            raise RuntimeError(f"{self.name} failed")


class Reporter(Named):
    runs_last = True


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    Named.log.clear()


def dispatcher_of(*hooks: Hook) -> HookDispatcher:
    dispatcher = HookDispatcher(TRAINER)
    for hook in hooks:
        dispatcher.add(hook)
    return dispatcher


@pytest.mark.parametrize("event", ["before_step", "after_step", "end"])
def test_hooks_run_in_the_order_of_adding_and_reporters_behind_them(event: str) -> None:
    dispatcher = dispatcher_of(Reporter("r"), Named("a"), Named("b"))
    dispatcher.fire(event, METRICS, 1)
    assert Named.log == [f"a.{event}", f"b.{event}", f"r.{event}"]


def test_an_event_that_nobody_overrides_calls_nobody() -> None:
    dispatcher = dispatcher_of(Hook(), Named("a"))
    assert dispatcher.wants("after_step")
    assert not dispatcher.wants("before_epoch")
    dispatcher.fire("before_epoch", METRICS, 1)
    assert Named.log == []


def test_an_override_inherited_from_a_base_is_called() -> None:
    class Child(Named):
        pass

    dispatcher_of(Child("c")).fire("after_step", METRICS, 1)
    assert Named.log == ["c.after_step"]


def test_a_removed_hook_is_called_no_more() -> None:
    one, two = Named("a"), Named("b")
    dispatcher = dispatcher_of(one, two)
    dispatcher.remove(one)
    dispatcher.close(METRICS, 1, None)
    assert Named.log == ["b.end"]
    assert dispatcher.hooks == [two]


def test_an_exception_passes_through_at_once() -> None:
    with pytest.raises(RuntimeError, match="a failed"):
        dispatcher_of(Named("a", "after_step"), Named("b")).fire("after_step", METRICS, 1)
    assert Named.log == ["a.after_step"]


def test_close_reaches_every_hook_and_raises_the_first_error(caplog: pytest.LogCaptureFixture) -> None:
    dispatcher = dispatcher_of(Named("a", "end"), Named("b", "end"), Named("c"))
    with pytest.raises(RuntimeError, match="a failed") as caught:
        dispatcher.close(METRICS, 1, None)
    assert Named.log == ["a.end", "b.end", "c.end"]
    assert caught.value.__notes__ == ["After that, a hook raised in end(): RuntimeError('b failed')"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_close_does_not_hide_the_error_of_the_training(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("the loss")
    dispatcher_of(Named("a", "end"), Named("b")).close(METRICS, 1, error)
    assert Named.log == ["a.end", "b.end"]
    assert error.__notes__ == ["After that, a hook raised in end(): RuntimeError('a failed')"]
    assert "a failed" in caplog.text
