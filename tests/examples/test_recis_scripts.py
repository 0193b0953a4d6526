"""Scripts in the style of RecIS, run as a user runs them, with the monitor connected to a real server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.processes import RunningCommand, get_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPTS = Path(__file__).parents[2] / "examples" / "recis"


@pytest.mark.parametrize(
    ("script", "steps", "tables", "metrics", "says"),
    [
        ("quickstart", 45, {"user_emb", "item_emb"}, {"loss", "accuracy"}, "trained 45 steps"),
        ("ctr", 60, {"price", "user", "item", "user_x_item", "tags"}, {"loss", "auc", "gauc"}, "held out: {'auc': "),
    ],
)
def test_a_script_trains_and_is_seen(
    script: str, steps: int, tables: set[str], metrics: set[str], says: str, tmp_path: Path
) -> None:
    with RunningCommand(tmp_path, "serve") as server:
        url = server.wait_for(r"Listening on (http://\S+)")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RECIS_")}
        environment |= {"RECIS_MONITOR_URL": url, "RECIS_MONITOR_NAME": script, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / f"{script}.py"), "--steps", str(steps)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        assert f"[INFO] [__main__] {says}" in done.stdout
        (run,) = get_json(f"{url}/api/v1/runs")["runs"]
        assert (run["name"], run["state"], run["last_step"]) == (script, "finished", steps)
        known = {metric["key"]: metric for metric in get_json(f"{url}/api/v1/runs/{run['id']}/metrics")["metrics"]}
        assert metrics <= known.keys()
        assert known["loss"]["count"] == steps
        assert {f"table/{table}/rows" for table in tables} <= known.keys()
        passes = get_json(f"{url}/api/v1/runs/{run['id']}/filters")["passes"]
        assert {each["table"] for each in passes} == tables
        assert sum(each["evicted"] for each in passes) > 0
