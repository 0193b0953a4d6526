"""A script written for W&B with only its import changed, with a real server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.processes import RunningCommand, get_json

pytestmark = pytest.mark.slow

SCRIPT = """
import argparse
import recis.monitor as wandb

args = argparse.Namespace(lr=0.1, epochs=3)
run = wandb.init(project="shop", entity="team", name="night", config=args, id="familiar", tags=["x"])
wandb.define_metric("auc", step_metric="epoch")
for epoch in range(args.epochs):
    wandb.log({"epoch": epoch}, commit=False)
    wandb.log({"auc": epoch / 10})
wandb.config.update({"depth": 4, "lr": 0.2}, allow_val_change=True)
wandb.config.width = 64
wandb.run.summary["best"] = 0.2
wandb.alert("Half time", level=wandb.AlertLevel.ERROR, wait_duration=5)
wandb.finish(exit_code=EXIT)
"""


@pytest.mark.parametrize(("exit_code", "state"), [(0, "finished"), (3, "failed")])
def test_a_script_for_wandb_is_seen_as_its_user_expects(exit_code: int, state: str, tmp_path: Path) -> None:
    with RunningCommand(tmp_path, "serve") as server:
        url = server.wait_for(r"Listening on (http://\S+)")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RECIS_")}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT.replace("EXIT", str(exit_code))],
            cwd=tmp_path,
            env=environment | {"RECIS_MONITOR_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("accepted, but not used here: entity") == 1
        run = get_json(f"{url}/api/v1/runs/familiar")
        assert (run["state"], run["project"], run["name"], run["tags"]) == (state, "shop", "night", ["x"])
        assert run["config"] == {"lr": 0.2, "epochs": 3, "depth": 4, "width": 64}
        found = {each["key"]: each["count"] for each in get_json(f"{url}/api/v1/runs/familiar/metrics")["metrics"]}
        assert found == {"epoch": 3, "auc": 3, "best": 1}
        events = get_json(f"{url}/api/v1/runs/familiar/events")["events"]
        assert sorted(event["kind"] for event in events) == ["alert", "config", "config"]
