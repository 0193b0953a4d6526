"""`docs/hooks.md` is up to date: its examples run, and its list of events is what a real training fires."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from recis.framework import Trainer, TrainingArguments
from recis.hooks.hook import EVENTS, Hook

PAGE = Path(__file__).parents[3] / "docs" / "hooks.md"
TEXT = PAGE.read_text(encoding="utf-8")


class Recorder(Hook):
    """Records every event."""

    def __init__(self) -> None:
        self.events: list[str] = []


def _recording(event: str) -> Any:
    def callback(self: Recorder) -> None:
        self.events.append(event)

    return callback


for _event in EVENTS:
    setattr(Recorder, _event, _recording(_event))


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.layer(batch).square().mean()


def test_a_real_training_fires_the_documented_events_in_the_documented_order(tmp_path: Path) -> None:
    section = TEXT.split("### Order of events", 1)[1]
    listed = re.search(r"```text\n(.*?)```", section, re.DOTALL)
    assert listed is not None
    model, recorder = Line(), Recorder()
    data = [torch.ones(3, 2), torch.ones(3, 2)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    args = TrainingArguments(output_dir=str(tmp_path))
    Trainer(model, args, data, data, [recorder], (optimizer, None)).train_and_evaluate()
    assert recorder.events == listed[1].split()
    assert set(recorder.events) == set(EVENTS)


def test_every_event_has_its_row() -> None:
    for event in EVENTS:
        assert f"\n| `{event}` |" in TEXT


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECIS_MONITOR_URL", raising=False)
    caplog.set_level("INFO")
    namespace: dict[str, Any] = {}
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)):
        exec(compile(code, f"{PAGE.name} example {number}", "exec"), namespace)
    assert len(list(Path("traces").glob("*.json"))) == 1
    assert "<gstep=10> <lstep=10> <qps=" in caplog.text
