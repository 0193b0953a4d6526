"""`recis.bridge.controls`: the inbox of commands, their order, and the answers."""

from typing import Any

import pytest

from recis.bridge.controls import MAX_WAITING, Controls
from recis.wire.messages import Command, Declare, FrameRecord, Result, Schedule, Seen


class Process:
    """Controls of a process, the records they have sent, and the calls of their callbacks."""

    def __init__(self, **values: int) -> None:
        self.sent: list[FrameRecord] = []
        self.changes: list[tuple[str, Any]] = []
        self.refuses: set[Any] = set()
        self.controls = Controls(self.sent.append, lambda: None)
        for name, value in values.items():
            self.declare(name, value)

    def declare(self, name: str, value: int) -> None:
        self.controls.declare(Declare(control=name, type="int", value=value), lambda value: self.change(name, value))

    def change(self, name: str, value: Any) -> None:
        if value in self.refuses:
            raise ValueError(f"not {value}")
        self.changes.append((name, value))

    @property
    def results(self) -> list[Result]:
        return [one for one in self.sent if isinstance(one, Result)]


def command(number: int, value: Any, control: str = "a", **more: Any) -> Command:
    return Command(id=f"c{number}", control=control, value=value, seq=number, **more)


def test_a_command_on_hold_waits_for_its_step_and_says_where_the_rank_is() -> None:
    process = Process(a=1)
    process.controls.step = 7
    assert process.controls.receive(command(1, 5, hold=True)) == Seen(command="c1", step=7)
    assert not process.controls.waiting
    process.controls.apply_due(8)
    assert process.changes == []
    assert process.controls.receive(Schedule(command="c1", apply_at_step=10)) is None
    assert process.controls.waiting
    for step in (9, 10, 11):
        process.controls.apply_due(step)
    assert process.changes == [("a", 5)]
    assert [(one.state, one.step, one.old, one.new) for one in process.results] == [("applied", 10, 1, 5)]


def test_a_command_that_is_withdrawn_is_never_applied() -> None:
    process = Process(a=1)
    process.controls.receive(command(1, 5, hold=True))
    process.controls.receive(Schedule(command="c1", withdrawn=True))
    process.controls.receive(Schedule(command="c1", apply_at_step=1))
    process.controls.apply_due(5)
    assert process.changes == []


def test_commands_for_one_control_keep_their_order_whatever_their_steps_and_arrival() -> None:
    process = Process(a=1, b=1)
    process.controls.offer(command(2, 20, apply_at_step=3))
    process.controls.offer(command(1, 10, apply_at_step=9))
    process.controls.offer(command(3, 30, control="b"))
    for step in range(1, 12):
        process.controls.apply_due(step)
    assert process.changes == [("b", 30), ("a", 10), ("a", 20)]
    # A command that arrives after a newer one has taken effect is never applied.
    process.controls.offer(Command(id="old", control="b", value=7, seq=1))
    process.controls.apply_due(12)
    assert process.results[-1].state == "rejected"
    assert "newer" in process.results[-1].message


def test_one_on_hold_that_a_newer_one_has_overtaken_holds_back_nothing() -> None:
    process = Process(a=1)
    process.controls.offer(command(1, 10, hold=True))
    process.controls.offer(command(2, 20))
    process.controls.apply_due(1)
    assert process.changes == [("a", 20)]


def test_several_settings_are_applied_or_none() -> None:
    process = Process(a=1, b=2)
    process.controls.offer(command(1, {"a": 5, "b": 6}, control=""))
    process.controls.apply_due(1)
    process.refuses = {8}
    process.controls.offer(command(2, {"a": 7, "b": 8}, control=""))
    process.controls.offer(command(3, {"a": 9, "b": "x"}, control=""))
    process.controls.offer(command(4, {"a": 9, "c": 1}, control=""))
    process.controls.offer(command(5, "odd", control=""))
    process.controls.apply_due(2)
    assert process.changes == [("a", 5), ("b", 6), ("a", 7), ("a", 5)]
    assert [one.state for one in process.results] == ["applied", *["rejected"] * 4]
    assert process.results[0].old == {"a": 1, "b": 2}
    assert process.results[1].new == {"a": 5, "b": 6}


def test_of_several_settings_those_that_a_newer_command_has_set_are_kept() -> None:
    process = Process(a=1, b=2)
    process.controls.offer(command(9, 90, control="b"))
    process.controls.apply_due(0)
    process.controls.offer(command(3, {"a": 5, "b": 6}, control=""))
    process.controls.apply_due(1)
    assert process.changes == [("b", 90), ("a", 5)]
    last = process.results[-1]
    assert (last.state, last.old, last.new) == ("applied", {"a": 1, "b": 90}, {"a": 5, "b": 90})
    assert last.message == "a newer command has already set b"
    # It does not count as the newest command for the controls that it has not changed.
    process.controls.offer(command(8, 80, control="b"))
    process.controls.offer(command(4, {"a": 7, "b": 7}, control=""))
    process.controls.offer(command(2, {"a": 1, "b": 1}, control=""))
    process.controls.apply_due(2)
    assert [one.state for one in process.results[2:]] == ["rejected", "applied", "rejected"]
    assert process.changes[2:] == [("a", 7)]


def test_a_value_that_cannot_be_set_back_is_said() -> None:
    process = Process(a=1, b=2)
    process.refuses = {1, 8}
    process.controls.offer(command(1, {"a": 7, "b": 8}, control=""))
    process.controls.apply_due(1)
    (result,) = process.results
    assert "stays 7" in result.message
    assert result.new == {"a": 7, "b": 2}


def test_what_the_greeting_brings_waits_for_the_declaration_and_is_answered_only_where_it_changes_something() -> None:
    process = Process(a=1)
    restored = [Command(id=f"again-{name}", control=name, value=5, restores="c9") for name in ("a", "b", "same")]
    process.controls.welcomed(restored)
    process.controls.welcomed([Command(id="later", control="a", value=77)])
    process.declare("same", 5)
    process.controls.apply_due(0)
    assert process.changes == [("a", 5)]
    process.declare("b", 2)
    process.controls.apply_due(3)
    assert process.changes == [("a", 5), ("b", 5)]
    assert [(one.command, one.restores, one.step) for one in process.results] == [
        ("again-a", "c9", 0),
        ("again-b", "c9", 3),
    ]


def test_a_stop_is_offered_with_the_first_question() -> None:
    process = Process()
    assert not process.controls.should_stop(is_open=True)
    assert not process.controls.should_stop(is_open=True)
    assert [one.control for one in process.sent if isinstance(one, Declare)] == ["stop"]
    process.controls.offer(command(1, None, control="stop"))
    process.controls.apply_due(4)
    assert process.controls.should_stop(is_open=False)


def test_the_inbox_is_bounded() -> None:
    process = Process(a=1)
    taken = [process.controls.offer(command(number, number)) for number in range(1, MAX_WAITING + 10)]
    assert taken.count(True) == MAX_WAITING
    assert not process.controls.offer(command(1, 1))


def test_who_and_why_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    process = Process(a=1)
    with caplog.at_level("INFO", "recis.bridge.controls"):
        process.controls.offer(command(1, 5, requested_by="mia", reason="too slow"))
        process.controls.apply_due(3)
    assert "applied a = 5 at step 3 (was a = 1), asked by mia: too slow" in caplog.text
