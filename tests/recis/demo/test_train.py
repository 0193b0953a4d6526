"""The training as a whole: it learns with filtering enabled, and writes the files and lines of its hooks."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recis.demo.train import Options, train
from recis.framework.metrics import add_metric

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIS_MONITOR_MODE", "disabled")
    monkeypatch.delenv("RECIS_MONITOR_URL", raising=False)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_training_with_filtering_learns_to_rank_ratings_of_the_future_and_keeps_doing_so(
    movielens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics: dict[str, list[float]] = {}

    def recorded(name: str, value: Any) -> None:
        metrics.setdefault(name, []).append(float(value))
        add_metric(name, value)

    monkeypatch.setattr("recis.demo.train.add_metric", recorded)
    outcome = train(Options(steps=500, passes=2, rate=0), movielens, tmp_path)
    assert outcome.steps == 500
    assert outcome.auc >= 0.68  # a model of the films alone ranks the held-out ratings with 0.71
    assert outcome.loss < 0.66
    assert outcome.delivered
    # Progressive validation rises and stays high; the estimate from which likes are drawn ranks them with 0.763.
    early, *later = quarters(metrics["auc"])
    assert early + 0.03 < min(later)
    assert later[-1] >= max(later) - 0.01
    assert 0.73 < later[-1] < 0.763
    assert quarters(metrics["logloss"])[-1] < 0.6
    assert metrics["eval/auc"][1] >= metrics["eval/auc"][0] - 0.01
    traces = sorted(path.name for path in (tmp_path / "traces").iterdir())
    assert traces == [f"local-rank0-timeline-{step}.json.gz" for step in (25, 50, 75)]
    content = json.loads(gzip.decompress((tmp_path / "traces" / traces[0]).read_bytes()))
    names = {event["name"] for event in content["traceEvents"]}
    assert "aten::addmm" in names


def quarters(values: list[float]) -> list[float]:
    """Return the means of the four quarters of a curve."""
    size = len(values) // 4
    return [sum(values[start : start + size]) / size for start in range(0, 4 * size, size)]


def test_sigterm_ends_a_paced_training_well_and_soon(movielens: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recis.demo", "--rate", "5", "--output", str(tmp_path)]
    with subprocess.Popen(command, env=os.environ.copy(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "<gstep=10>" in line)
        process.terminate()
        _, rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Held out" in rest
