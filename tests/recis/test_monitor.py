"""`recis.monitor`: arguments and environment, and calls in the wrong order."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recis.monitor
from recis.bridge.files import read_checked
from recis.monitor import check_options
from tests.recis.raising import Hidden, Raises


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mode": "onlin"}, "mode: expected one of online, offline, disabled, got 'onlin'"),
        ({"url": "ftp://x"}, "url: expected an address like http://127.0.0.1:8765, got 'ftp://x'"),
        ({"url": ""}, None),
        ({"run_id": "../x"}, r"run_id: expected 1 to 128 letters"),
        ({"run_id": "x" * 10_000}, r"run_id: expected 1 to 128 letters"),
        ({"run_id": "🚂"}, r"run_id: expected 1 to 128 letters"),
        ({"run_id": 7}, r"run_id: expected 1 to 128 letters"),
        ({"url": 8765}, "url: expected an address"),
        ({"token": 7}, "token: expected a text"),
        ({"mode": ["online"]}, "mode: expected one of"),
    ],
)
def test_wrong_options_teach(options: dict[str, Any], expected: str | None) -> None:
    whole = {"url": None, "token": None, "mode": None, "run_id": None} | options
    if expected is None:
        check_options(**whole)
        return
    with pytest.raises(ValueError, match=expected) as caught:
        check_options(**whole)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("option", ["url", "token", "mode", "run_id"])
@pytest.mark.parametrize("odd", [Raises, Hidden, lambda: np.zeros(2), lambda: np.zeros(1, dtype=[("a", "i4")])])
def test_an_option_that_raises_when_it_is_looked_at_teaches(option: str, odd: Any) -> None:
    with pytest.raises(ValueError, match=f"{option}: expected"):
        check_options(**{"url": None, "token": None, "mode": None, "run_id": None, option: odd()})


@pytest.mark.parametrize("odd", [Raises, Hidden, lambda: np.zeros(2)])
def test_a_description_that_raises_when_it_is_looked_at_is_mended(tmp_path: Path, odd: Any) -> None:
    options = {what: odd() for what in ("project", "name", "tags", "config")}
    with recis.monitor.init(mode="offline", spool_dir=tmp_path / "spool", **options) as run:
        run.log({"a": 1.0}, 1)
    assert (run.refused, run.failures) == (0, 0)
    with pytest.raises(ValueError, match="spool_dir: expected the path of a folder"):
        recis.monitor.init(mode="offline", spool_dir=odd())


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIS_MONITOR_URL", "http://10.1.1.1:1?token=abc")
    monkeypatch.setenv("RECIS_MONITOR_MODE", "offline")
    monkeypatch.setenv("RECIS_MONITOR_RUN_ID", "from-env")
    mode, address, run_id = check_options(url=None, token=None, mode=None, run_id=None)
    assert (mode, address.base, address.token, run_id) == ("offline", "http://10.1.1.1:1", "abc", "from-env")
    mode, address, run_id = check_options(url="localhost:9", token="t", mode="disabled", run_id="mine")
    assert (mode, address.base, address.token, run_id) == ("disabled", "http://localhost:9", "t", "mine")


@pytest.mark.parametrize("project", [None, "", "default"])
def test_a_project_that_is_not_given_is_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: str | None
) -> None:
    monkeypatch.setenv("RECIS_MONITOR_PROJECT", "shop")
    with recis.monitor.init(mode="offline", spool_dir=tmp_path / "spool", project=project, run_id=np.str_("r1")):
        [writer] = (tmp_path / "spool").glob("r1-0-*/writer.json")
        assert read_checked(writer)["project"] == "shop"


def test_a_spool_that_is_no_path_teaches() -> None:
    with pytest.raises(ValueError, match="spool_dir: expected the path of a folder, got 7"):
        recis.monitor.init(mode="offline", spool_dir=7)  # type: ignore[arg-type]


def test_calls_before_init_are_warnings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(recis.monitor, "_current", None)
    recis.monitor.log({"a": 1.0})
    recis.monitor.alert("x")
    recis.monitor.finish()
    assert caplog.text.count("called before init") == 3


def test_works_without_torch() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "import recis.monitor, recis.wire.codec\n"
        "run = recis.monitor.init(mode='disabled'); run.log({'a': 1.0}); run.finish()\n"
        "assert sys.modules['torch'] is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_script_for_another_tracker_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECIS_MONITOR_MODE", "offline")
    monkeypatch.setattr(recis.monitor, "_current", None)
    wandb: Any = recis.monitor
    before = wandb.run
    assert before is None
    with pytest.raises(AttributeError, match="expected a run, got none; call init first"):
        wandb.config  # noqa: B018
    run = wandb.init(
        project="shop",
        entity="team",
        id="abc123",
        name="night",
        config={"lr": 0.1},
        tags=["x"],
        resume="allow",
        dir=".",
    )
    assert wandb.run is run
    assert (run.id, wandb.run.name, wandb.config.lr) == ("abc123", "night", 0.1)
    wandb.config.update({"epochs": 2}, allow_val_change=True)
    wandb.define_metric("loss", summary="min")
    for epoch in range(wandb.config["epochs"]):
        wandb.log({"loss": 1.0}, commit=False)
        wandb.log({"train": {"auc": 0.5 + epoch}})
    wandb.summary["best"] = 1.5
    wandb.run.summary["best"] = 1.5
    wandb.alert(title="half", text="time", level=wandb.AlertLevel.WARN, wait_duration=60)
    wandb.finish(exit_code=0)
    assert wandb.run is None
    assert run.refused == run.failures == 0
    warnings = [record.message for record in caplog.records if "logged once" in record.message]
    assert [message.split(" (logged once)")[0] for message in warnings] == [
        "run abc123, init",
        "run abc123, define_metric",
        "run abc123, alert",
    ]
    assert warnings[0].endswith("accepted, but not used here: entity, resume, dir")


def test_a_name_that_is_not_here_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"module 'recis.monitor' has no attribute 'Image'; it has .*log.*summary"):
        recis.monitor.Image  # type: ignore[attr-defined]  # noqa: B018
    exec("from recis.monitor import *", {})


@pytest.mark.parametrize("options", [{"run_id": "mine", "id": "theirs"}, {"id": "mine"}])
def test_an_id_is_a_run_id(options: dict[str, Any]) -> None:
    with recis.monitor.init(mode="disabled", **options) as run:
        assert run.id == "mine"
