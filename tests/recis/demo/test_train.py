"""The training as a whole: it learns with filtering on, and writes what its hooks promise."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recis.demo.train import Options, train

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


def test_one_pass_with_filtering_learns_to_rank_ratings_of_the_future(movielens: Path, tmp_path: Path) -> None:
    outcome = train(Options(passes=1, rate=0), movielens, tmp_path)
    assert outcome.steps == 352
    assert outcome.auc >= 0.70
    assert outcome.loss < 0.66
    assert outcome.delivered
    traces = sorted(path.name for path in (tmp_path / "traces").iterdir())
    assert traces == [f"local-rank0-timeline-{step}.json.gz" for step in (25, 50, 75)]
    content = json.loads(gzip.decompress((tmp_path / "traces" / traces[0]).read_bytes()))
    names = {event["name"] for event in content["traceEvents"]}
    assert "aten::addmm" in names


def test_sigterm_ends_a_paced_training_well_and_soon(movielens: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recis.demo", "--rate", "5", "--output", str(tmp_path)]
    with subprocess.Popen(command, env=os.environ.copy(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "<gstep=10>" in line)
        process.terminate()
        _, rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Held out" in rest
