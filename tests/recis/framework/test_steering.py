"""`recis.framework.steering`: requests to a trainer, sent as the server sends them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recis.errors import ArgumentError
from recis.framework import Trainer, TrainingArguments
from recis.hooks import Control, Hook, MonitorHook
from recis.wire.messages import Command, Declare, Result, Status
from tests.recis.bridge.conftest import Spooled


class Ask(Hook):
    """Plays the server: offers commands just before some steps end."""

    def __init__(self, monitor: MonitorHook, **commands: tuple[int, Any]) -> None:
        self.monitor = monitor
        self.commands = commands
        self.evaluated: list[int] = []

    def after_step(self, metrics: Any, global_step: int) -> None:
        for control, (step, value) in self.commands.items():
            if step == global_step:
                assert self.monitor.run is not None
                command = Command(id=control, control=control, value=value, requested_by="mia", reason="to see")
                self.monitor.run.controls.offer(command)

    def after_evaluate(self, trainer: Trainer) -> None:
        self.evaluated.append(trainer.state.global_step)


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.top = torch.nn.Linear(4, 1)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.top(batch).square().mean()


@pytest.fixture
def spooled(tmp_path: Path) -> Spooled:
    return Spooled(tmp_path / "spool")


@pytest.fixture
def make(tmp_path: Path, spooled: Spooled) -> Callable[..., tuple[Trainer, Ask]]:
    def trainer(evaluates: bool = True, hooks: tuple[Hook, ...] = (), **commands: Any) -> tuple[Trainer, Ask]:
        model = Model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor = MonitorHook(mode="offline", spool_dir=str(spooled.root))
        ask = Ask(monitor, **commands)
        data = [torch.randn(2, 4) for _ in range(10)]
        made = Trainer(
            model,
            TrainingArguments(output_dir=str(tmp_path / "out")),
            data,
            data[:2] if evaluates else None,
            [ask, monitor, *hooks],
            (optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)),
        )
        return made, ask

    return trainer


def states(spooled: Spooled) -> dict[str, tuple[str, int]]:
    return {one.command: (one.state, one.step) for one in spooled.of(Result) if isinstance(one, Result)}


def test_a_checkpoint_an_evaluation_and_an_end_are_done_after_the_step(
    make: Callable[..., tuple[Trainer, Ask]], spooled: Spooled, tmp_path: Path
) -> None:
    trainer, ask = make(checkpoint=(3, None), evaluate=(5, True), stop=(7, None))
    trainer.train()
    assert states(spooled) == {"checkpoint": ("applied", 3), "evaluate": ("applied", 5), "stop": ("applied", 7)}
    assert trainer.state.global_step == 7
    assert ask.evaluated == [5]
    assert make()[0].restore() == 3
    last = spooled.of(Status)[-1]
    assert isinstance(last, Status)
    assert last.state == "finished"


def test_learning_rates_are_offered_only_when_asked_for_and_within_bounds(
    make: Callable[..., tuple[Trainer, Ask]], spooled: Spooled
) -> None:
    trainer, _ = make(lr=(2, 0.05))
    trainer.train()
    assert states(spooled) == {"lr": ("rejected", 2)}
    trainer, _ = make(lr=(2, 0.05))
    trainer.offer_learning_rates(0.01, 0.2)
    trainer.train()
    assert trainer.dense_optimizer is not None
    assert trainer.dense_optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert trainer.dense_scheduler.base_lrs == pytest.approx([0.05])
    with pytest.raises(ArgumentError, match="minimum <= maximum"):
        trainer.offer_learning_rates(1.0, 0.1)


def test_an_evaluation_is_offered_only_with_data_for_it(
    make: Callable[..., tuple[Trainer, Ask]], spooled: Spooled
) -> None:
    make(evaluates=False)[0].train()
    offered = {one.control for one in spooled.of(Declare) if isinstance(one, Declare)}
    assert {"checkpoint", "stop"} <= offered
    assert "evaluate" not in offered


class Temperature(Hook):
    """A hook of a user: it declares a control, and reports through the run."""

    def __init__(self) -> None:
        self.temperature = 1.0
        self.had_run = False

    def controls(self) -> list[Control]:
        return [
            Control(
                name="temperature",
                type="float",
                on_change=lambda value: setattr(self, "temperature", value),
                read=lambda: self.temperature,
                minimum=0.0,
                maximum=5.0,
            ),
            Control(name="my own/mode", type="enum", choices=["a", "b"], read=lambda: "a", on_change=lambda _: None),
        ]

    def before_train(self) -> None:
        self.had_run = self.run is not None and self.run.is_open

    def after_step(self, metrics: Any, global_step: int) -> None:
        if global_step == 6:
            self.temperature = 3.0


class Clumsy(Hook):
    """A hook that uses the same names for something else, and whose controls fail."""

    def run(self) -> str:  # type: ignore[override]
        return "mine"

    def controls(self) -> list[Control]:
        raise RuntimeError("not today")


def test_any_hook_can_declare_controls_and_has_the_run_before_the_training(
    make: Callable[..., tuple[Trainer, Ask]], spooled: Spooled
) -> None:
    hook, clumsy = Temperature(), Clumsy()
    trainer, _ = make(hooks=(clumsy, hook), temperature=(4, 2.0))
    trainer.train()
    assert hook.had_run
    assert hook.run is None
    assert clumsy.run() == "mine"
    assert states(spooled) == {"temperature": ("applied", 4)}
    declared = [(one.control, one.value, one.step) for one in spooled.of(Declare) if isinstance(one, Declare)]
    assert ("temperature", 1.0, None) in declared
    assert ("temperature", 3.0, 6) in declared
    assert [name.rpartition("-")[0] for name, *_ in declared if "mode" in name] == ["my_own_mode"]
    assert trainer.state.global_step == 10
