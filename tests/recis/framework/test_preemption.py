"""A job that is preempted repeatedly learns and filters exactly like one that is not, bit by bit."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recis.framework import Trainer, TrainingArguments
from recis.hooks import HashTableFilterHook, Hook
from recis.nn.modules.hashtable_hook_impl import HashtableHookFactory
from tests.recis.framework.preempted import FILTER_INTERVAL, SAVE_STEPS, outcome, train

STEPS = 66  # six epochs of eleven


class Preempted(Exception):  # noqa: N818
    pass


def preempt() -> None:
    raise Preempted


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove registered rules, and attach no monitor."""
    monkeypatch.setattr(HashtableHookFactory, "_filters", dict(HashtableHookFactory._filters))
    monkeypatch.delenv("RECIS_MONITOR_URL", raising=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of the uninterrupted training, and its filter passes."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HashtableHookFactory, "_filters", dict(HashtableHookFactory._filters))
        patch.delenv("RECIS_MONITOR_URL", raising=False)
        learned = outcome(train(folder, 0, preempt))
    assert learned["step"] == STEPS
    return learned, passes(folder)


def passes(folder: Path) -> list[dict[str, Any]]:
    """Return the passes of all processes of a training; those trained twice occur twice and must be equal."""
    found = [json.loads(line) for line in (folder / "passes.jsonl").read_text().splitlines()]
    once = {(report["step"], report["table"]): report for report in found}
    assert all(once[report["step"], report["table"]] == report for report in found)
    return [once[key] for key in sorted(once)]


def assert_equal(ours: Any, theirs: Any, where: str = "") -> None:
    if isinstance(theirs, Tensor):
        assert ours.dtype == theirs.dtype, where
        assert torch.equal(ours, theirs), where
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs), where
        for key in theirs:
            assert_equal(ours[key], theirs[key], f"{where}/{key}")
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), where
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(one, other, f"{where}/{place}")
    else:
        assert ours == theirs, where


def lives(seed: int) -> Iterator[int]:
    """Return the step at which each process of a training ends, which is after the checkpoint that it started from."""
    drawn = random.Random(seed)
    step = 0
    while (step := step // SAVE_STEPS * SAVE_STEPS + drawn.randint(1, 3 * SAVE_STEPS)) < STEPS:
        yield step
    yield 0


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_training_preempted_at_random_steps_equals_the_undisturbed_one(
    seed: int, whole: tuple[dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    for step in lives(seed):
        if step:
            with pytest.raises(Preempted):
                train(tmp_path, step, preempt)
        else:
            learned = outcome(train(tmp_path, 0, preempt))
    assert_equal(learned, whole[0])
    assert passes(tmp_path) == whole[1]


def test_a_job_preempted_every_eight_steps_filters_every_ten(
    whole: tuple[dict[str, Any], list[dict[str, Any]]], tmp_path: Path
) -> None:
    for step in range(SAVE_STEPS + 1, STEPS, SAVE_STEPS):  # just after each checkpoint
        with pytest.raises(Preempted):
            train(tmp_path, step, preempt)
    train(tmp_path, 0, preempt)
    steps = [report["step"] for report in passes(tmp_path) if report["table"] == "user"]
    assert steps == list(range(FILTER_INTERVAL, STEPS, FILTER_INTERVAL))
    assert passes(tmp_path) == whole[1]
    assert all(any(report["evicted"] for report in whole[1] if report["table"] == name) for name in ("user", "item"))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_processes_come_to_the_same(whole: tuple[dict[str, Any], list[dict[str, Any]]], tmp_path: Path) -> None:
    here = Path(__file__).parent
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RECIS_")}
    environment |= {"PYTHONPATH": str(here.parents[2])}
    for step in (13, 29, 51, 0):
        done = subprocess.run(
            [sys.executable, str(here / "preempted.py"), str(tmp_path), str(step)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == (-signal.SIGKILL if step else 0), done.stderr[-4000:]
    assert_equal(torch.load(tmp_path / "outcome.pt", weights_only=True), whole[0])
    assert passes(tmp_path) == whole[1]


class Counter(Hook):
    def __init__(self) -> None:
        self.seen = 0

    def after_step(self) -> None:
        self.seen += 1

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: Any) -> None:
        self.seen = state_dict["seen"]


def a_trainer(tmp_path: Path, hooks: list[Hook]) -> Trainer:
    model = torch.nn.Linear(1, 1)
    arguments = TrainingArguments(output_dir=str(tmp_path / "out"), save_steps=2, train_epoch=2)
    loss = torch.nn.Sequential(model, torch.nn.Flatten(0))
    loss.forward = lambda batch: model(batch).square().mean()  # type: ignore[method-assign]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Trainer(loss, arguments, [torch.ones(2, 1)] * 3, hooks=hooks, dense_optimizers=(optimizer, None))


def test_any_hook_can_keep_something_across_a_restart(tmp_path: Path) -> None:
    a_trainer(tmp_path, [Counter(), Counter(), HashTableFilterHook()]).train()
    first, late = Counter(), Counter()
    again = a_trainer(tmp_path, [first])  # the others are gone
    assert again.restore() == 6
    assert first.seen == 6
    again.add_hook(late)
    assert late.seen == 6, "a hook that comes after restore gets its state too"


def test_what_a_checkpoint_cannot_hold_is_said_when_it_is_written(tmp_path: Path) -> None:
    class Odd(Counter):
        def state_dict(self) -> dict[str, Any]:
            return {"where": [tmp_path]}

    with pytest.raises(TypeError, match=r"Odd.state_dict\(\)\['where'\]: expected tensors, numbers, text.*PosixPath"):
        a_trainer(tmp_path, [Odd()]).train()


def test_a_checkpoint_without_hooks_and_generators_is_restored_all_the_same(tmp_path: Path) -> None:
    a_trainer(tmp_path, [Counter()]).train()
    newest = max((tmp_path / "out").iterdir())
    content = torch.load(newest / "rank0.pt", weights_only=True)
    del content["hooks"], content["random"]
    torch.save(content, newest / "rank0.pt")
    index = json.loads((newest / "checkpoint.json").read_text())
    index["files"]["rank0.pt"] = (newest / "rank0.pt").stat().st_size
    (newest / "checkpoint.json").write_text(json.dumps(index))
    counter = Counter()
    again = a_trainer(tmp_path, [counter])
    assert again.restore() == 6
    assert counter.seen == 0
