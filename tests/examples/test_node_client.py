"""The JavaScript client, run as in its README: with a real server that is killed, and on golden records."""

import json
import re
import shutil
import signal
import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_golden import DECODERS, FOLDER, GOLDEN, end_of
from tests.e2e.processes import RunningCommand, get_json, put_json, until
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.waits]

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "examples" / "clients" / "node"
GOLDEN_FILES = sorted(FOLDER.glob("*.msgpack"))
REWRITE = """
import { readFileSync } from "node:fs";
import { decode, encode } from "./wire.mjs";
for (const path of process.argv.slice(1)) console.log(Buffer.from(encode(decode(readFileSync(path)))).toString("hex"));
"""
STEPS = 6000
"""At 200 steps a second long enough for a server to start again on a busy machine; the rest goes faster."""


_ESTABLISHED = "01"


def run(*command: str, cwd: Path = CLIENT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=110, check=False)


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """The packages that `npm ci` installs at the locked versions; reinstalled if they are missing or different."""
    assert shutil.which("npm"), "the JavaScript client needs node and npm"
    installed = CLIENT / "node_modules" / ".package-lock.json"
    wanted = json.loads((CLIENT / "package-lock.json").read_text())["packages"]
    present = json.loads(installed.read_text())["packages"] if installed.exists() else {}
    if present != {name: package for name, package in wanted.items() if name}:
        done = run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
        assert done.returncode == 0, done.stderr


class Training:
    """`train.mjs` as a process; its output is in `training.txt`."""

    def __init__(self, folder: Path, address: str, *options: str) -> None:
        self._log = folder / "training.txt"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["node", str(CLIENT / "train.mjs"), address, *options], stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")


@pytest.fixture
def trainings() -> Iterator[list[Training]]:
    """Processes started in a test end with it."""
    started: list[Training] = []
    yield started
    for training in started:
        training.process.kill()
        training.process.wait()


def serve(folder: Path, *options: str) -> RunningCommand:
    folder.mkdir(exist_ok=True)
    return RunningCommand(folder, "serve", *options)


def address_of(server: RunningCommand) -> str:
    return server.wait_for(r"Listening on (http://\S+)").rstrip("/")


def series(api: str, key: str) -> dict[int, float]:
    """Return the value of each raw point by step; no step may occur twice."""
    found = get_json(f"{api}/series?key={key}&points=0")["series"]
    if not found:
        return {}
    steps = found[0]["x"]
    assert found[0]["count"] == [1] * len(steps)
    assert len(set(steps)) == len(steps)
    return dict(zip(steps, found[0]["last"], strict=True))


def losses(steps: int) -> dict[int, float]:
    """The losses that `train.mjs` computes."""
    return {step: 1 / (1 + step / 100) for step in range(1, steps + 1)}


def unread_bytes(port: int) -> int:
    """Return the number of unread bytes in the kernel for the connections of a local server."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        int(line[4].partition(":")[2], 16)
        for line in lines
        if line[1].endswith(f":{port:04X}") and line[3] == _ESTABLISHED
    )


def is_at(api: str, step: int) -> bool:
    try:
        return (get_json(api)["last_step"] or 0) >= step
    except urllib.error.HTTPError as error:
        if error.code == 404:  # not known yet
            return False
        raise


def test_the_client_reads_the_golden_records() -> None:
    done = run("node", "--test", "golden.test.mjs", cwd=HERE)
    assert done.returncode == 0, done.stdout[-6000:]


def test_python_reads_what_the_client_writes() -> None:
    done = run("node", "--input-type=module", "--eval", REWRITE, *(str(path) for path in GOLDEN_FILES))
    assert done.returncode == 0, done.stderr
    for path, line in zip(GOLDEN_FILES, done.stdout.splitlines(), strict=True):
        record = GOLDEN[path.stem]
        assert DECODERS[end_of(path.stem, record)](bytes.fromhex(line)) == record


def test_every_point_arrives_once_over_a_killed_server_and_the_control_acts(
    tmp_path: Path, trainings: list[Training]
) -> None:
    server = serve(tmp_path / "server")
    address = address_of(server)
    api = f"{address}/api/v1/runs/js"
    training = Training(tmp_path, address, "--run", "js", "--steps", str(STEPS))
    trainings.append(training)
    until(lambda: is_at(api, 100), 60, "100 steps stored")
    # Frames that are sent but never read: they have to be sent again.
    server.process.send_signal(signal.SIGSTOP)
    port = int(address.rpartition(":")[2])
    until(lambda: unread_bytes(port) > 0, 60, "frames on their way")
    server.process.kill()
    server.process.wait()
    until(lambda: "no connection" in training.output, 60, "the client noticed")

    with serve(tmp_path / "server", "--port", str(port)) as server:
        address_of(server)
        before = get_json(api)["last_step"]
        until(lambda: is_at(api, before + 1), 60, "points after the restart")
        with pytest.raises(urllib.error.HTTPError, match="422"):
            put_json(f"{api}/controls/speed", {"value": 1001})
        command = put_json(f"{api}/controls/speed", {"value": 1000, "reason": "faster"})["id"]
        ended = until(lambda: answered(api, command), 60, "the command answered")
        assert ended is not None
        assert training.process.wait(timeout=60) == 0, training.output

        assert ended["state"] == "applied"
        assert (ended["ranks"]["0"]["old"], ended["ranks"]["0"]["new"]) == (200, 1000)
        step = ended["ranks"]["0"]["step"]
        assert before < step < STEPS
        assert series(api, "loss") == losses(STEPS)
        assert series(api, "speed") == {each: 200.0 if each <= step else 1000.0 for each in range(1, STEPS + 1)}
        stored = get_json(api)
        assert stored["received"] == {"points": 2 * STEPS, "missing": 0, "dropped": 0}
        assert (stored["state"], stored["project"], stored["config"]) == ("finished", "examples", {"steps": STEPS})
        [control] = get_json(f"{api}/controls")["controls"]
        assert (control["value"], control["minimum"], control["maximum"]) == (1000, 1, 1000)
    assert f"stored: {address}/run/js" in training.output


def answered(api: str, command: str) -> dict[str, Any] | None:
    row = get_json(f"{api}/commands/{command}")
    return row if row["state"] in ("applied", "rejected", "expired") else None


def test_frames_that_were_stored_but_not_acknowledged_are_not_doubled(
    tmp_path: Path, trainings: list[Training]
) -> None:
    with serve(tmp_path / "server") as server, Proxy(int(address_of(server).rpartition(":")[2])) as proxy:
        api = f"{address_of(server)}/api/v1/runs/cut"
        training = Training(tmp_path, proxy.address, "--run", "cut", "--steps", "800")
        trainings.append(training)
        until(lambda: is_at(api, 20), 60, "the first steps stored")
        proxy.newest.stall("down")
        answered_at = get_json(api)["last_step"]
        until(lambda: is_at(api, answered_at + 200), 60, "steps stored without an answer")
        proxy.cut()
        assert training.process.wait(timeout=60) == 0, training.output
        assert len(proxy.links) == 2
        assert series(api, "loss") == losses(800)
        assert get_json(api)["received"] == {"points": 1600, "missing": 0, "dropped": 0}


def test_a_token_opens_the_door_and_a_wrong_one_ends_the_training(tmp_path: Path, trainings: list[Training]) -> None:
    token = tmp_path / "token"
    with serve(tmp_path / "server", "--token-file", str(token)) as server:
        address = re.sub(r"\?.*", "", address_of(server)).rstrip("/")
        wrong = Training(tmp_path, address, "--token", "wrong")
        trainings.append(wrong)
        assert wrong.process.wait(timeout=60) == 1
        assert "refused (unauthorised)" in wrong.output
        right = Training(tmp_path, address, "--token", token.read_text().strip(), "--steps", "20")
        trainings.append(right)
        assert right.process.wait(timeout=60) == 0, right.output
