"""The hook system as RecIS documents it: each example as a user would paste it, in an unconfigured process.

The calls and the checked guarantees are those of the documentation.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

USERS = """
import torch
from recis.framework import Trainer, TrainingArguments
from recis.framework.metrics import add_metric
from recis.nn import FilterHook, HashTable
from recis.nn.modules.hashtable import filter_out_sparse_param
from recis.optim import SparseAdamW

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = HashTable([4], name="item", filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 5}))
        self.dense = torch.nn.Linear(4, 1)

    def forward(self, ids):
        scores = self.dense(self.table(ids)).squeeze(-1)
        return torch.nn.functional.binary_cross_entropy_with_logits(scores, (ids % 2).float())

def make_trainer(steps=100):
    model = Model()
    return Trainer(
        model=model,
        args=TrainingArguments(output_dir="out"),
        train_dataset=[(0, torch.arange(step, step + 8)) for step in range(steps)] + [(1, None)],
        dense_optimizers=(torch.optim.AdamW(model.parameters(), lr=1e-3), None),
        sparse_optimizer=SparseAdamW(filter_out_sparse_param(model), lr=1e-3),
    )

trainer = make_trainer()
"""


def run(script: str, folder: Path) -> list[str]:
    """Run a user's code with the pasted example; return the lines on standard output."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RECIS_", "APP_ID", "RANK"))}
    done = subprocess.run(
        [sys.executable, "-c", USERS + script],
        cwd=folder,
        env=kept | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


LOGGER = """
from recis.hooks import LoggerHook
from recis.framework.metrics import add_metric
add_metric("loss", 0.123)
add_metric("accuracy", 0.95)
add_metric("learning_rate", 0.001)
logger_hook = LoggerHook(log_step=50)
trainer.add_hook(logger_hook)
trainer.train()
"""


def test_a_line_comes_every_log_step_with_loss_and_accuracy(tmp_path: Path) -> None:
    lines = run(LOGGER, tmp_path)
    assert len(lines) == 2
    number = r"[0-9.e+-]+"
    for line, step in zip(lines, (50, 100), strict=True):
        pattern = (
            rf"<gstep={step}> <lstep={step}> <qps={number}> <loss=({number})> <accuracy=0.95> <learning_rate=0.001>"
        )
        found = re.fullmatch(pattern, line)
        assert found, line
        assert found[1] != "0.123"  # that of the training, at that step


def test_the_automatic_logger_logs_every_log_steps(tmp_path: Path) -> None:
    lines = run("trainer.train()", tmp_path)
    assert [line.split("> ")[0] for line in lines] == ["<gstep=100"]
    assert "<loss=" in lines[0]


PROFILER = """
from recis.hooks import ProfilerHook
profiler_hook = ProfilerHook(wait=1, warmup=28, active=2, repeat=1, output_dir="./timeline/")
trainer.add_hook(profiler_hook)
assert isinstance(profiler_hook.prof, torch.profiler.profile)
assert profiler_hook.output_dir == "./timeline/"
trainer.train()
profiler_hook.logger.info("done with %s", profiler_hook.output_dir)
"""


def test_the_profiler_leaves_files_that_the_trace_viewer_takes(tmp_path: Path) -> None:
    lines = run(PROFILER, tmp_path)
    (path,) = (tmp_path / "timeline").iterdir()
    assert path.name == "local-rank0-timeline-31.json"
    assert f"Wrote the profiler trace timeline/{path.name}" in lines
    assert "done with ./timeline/" in lines
    assert_is_chrome_trace(path.read_bytes())


def assert_is_chrome_trace(content: bytes) -> None:
    """Check the JSON object form of the Trace Event Format, as strictly as chrome://tracing parses it."""

    def no_constant(text: str) -> Any:
        raise AssertionError(f"{text} is no JSON")

    trace = json.loads(content.decode("utf-8"), parse_constant=no_constant)
    events = trace["traceEvents"]
    assert {event["ph"] for event in events} <= set("BEXiIMstfPNODabenCR")
    for event in events:
        assert isinstance(event.get("name", ""), str)
        assert isinstance(event.get("args", {}), dict)
        if event["ph"] != "M":
            assert isinstance(event["ts"], int | float)
            assert {"pid", "tid"} <= event.keys()
        if event["ph"] == "X":
            assert event["dur"] >= 0
    complete = [event for event in events if event["ph"] == "X"]
    assert {"ProfilerStep#30", "ProfilerStep#31"} <= {event["name"] for event in complete}
    operators = [event for event in complete if event.get("cat") == "cpu_op"]
    assert any(event.get("args", {}).get("Input Dims") for event in operators)  # shapes
    assert trace["with_flops"] == trace["profile_memory"] == 1
    assert any(event["name"] == "[memory]" for event in events)


FILTER = """
from recis.hooks.filter_hook import HashTableFilterHook
filter_hook = HashTableFilterHook(filter_interval=20)
model, global_step, num_epochs = trainer.model, 0, 2
dataloader = [torch.arange(step, step + 8) for step in range(30)]
for epoch in range(num_epochs):
    for step, batch in enumerate(dataloader):
        model(batch).backward()
        trainer.dense_optimizer.step()
        trainer.dense_optimizer.zero_grad()
        filter_hook.after_step(None, global_step)
        global_step += 1
filter_hook.filter_interval = 5
for global_step in range(global_step, global_step + 10):
    filter_hook.after_step(None, global_step)
off = HashTableFilterHook(filter_interval=None)
for global_step in range(200):
    off.after_step(None, global_step)
"""


def test_each_filter_pass_is_logged(tmp_path: Path) -> None:
    lines = run(FILTER, tmp_path)
    pattern = r"table item: filter pass after step (\d+) evicted (\d+) of (\d+) rows, (\d+) left, .*"
    passes = [tuple(map(int, found.groups())) for line in lines if (found := re.match(pattern, line))]
    assert [step for step, *_ in passes] == [20, 40, 60, 65]
    assert all(before - evicted == after for _, evicted, before, after in passes)
    assert passes[0][1] > 0
    assert len(lines) == len(passes)


CUSTOM = """
from recis.hooks import Hook

class CustomHook(Hook):
    def __init__(self, custom_param):
        self.custom_param = custom_param

    def before_train(self, trainer):
        print(f"Training started with {self.custom_param}")

    def after_step(self, trainer):
        if trainer.state.global_step % 25 == 0:
            self.custom_logic(trainer)

    def custom_logic(self, trainer):
        print(f"custom logic at {trainer.state.global_step}")

class Bare(Hook):
    def __init__(self, custom_param):
        self.custom_param, self.steps = custom_param, 0

    def before_train(self):
        print(f"Training started with {self.custom_param}")

    def before_step(self):
        self.steps += 1

    def after_step(self):
        pass

    def after_train(self):
        print(f"{self.steps} steps")

class OfRecis(Hook):
    def after_step(self, metrics, gstep=0):
        if gstep.item() % 50 == 0:
            print(f"{metrics['epoch']} {gstep} {metrics['loss'].item() > 0}")

    def end(self):
        print("the end")

custom_hook = CustomHook("my_parameter")
trainer.add_hook(custom_hook)
trainer.add_hooks([Bare("another")])
trainer.hooks.append(OfRecis())
trainer.train()
"""


def test_custom_hooks_are_called(tmp_path: Path) -> None:
    lines = [line for line in run(CUSTOM, tmp_path) if not line.startswith("<gstep=")]
    assert lines == [
        "Training started with my_parameter",
        "Training started with another",
        "custom logic at 25",
        "custom logic at 50",
        "0 50 True",
        "custom logic at 75",
        "custom logic at 100",
        "0 100 True",
        "100 steps",
        "the end",
    ]
