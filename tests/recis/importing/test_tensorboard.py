"""Event files imported into a real server: each value once, however often they are imported, while they grow and after
restarts.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tensorboardX import SummaryWriter

import recis.monitor
from recis.bridge.address import ServerAddress
from recis.importing.tensorboard import import_folder, main
from tests.recis.importing.writing import scalar_event, write_events
from tests.server.httpserver import Process, serve

GOLDEN = Path(__file__).parent / "golden"
pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    with serve(tmp_path / "data") as process:
        yield process


def runs(server: Process) -> dict[str, dict[str, Any]]:
    return {run["name"]: run for run in httpx.get(f"{server.url}/api/v1/runs").json()["runs"]}


def points(server: Process, run: str, key: str, *, superseded: bool = False) -> list[tuple[int, float]]:
    series = recis.monitor.read(server.url, run, [key], superseded=superseded)[key]
    return list(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def test_what_a_writer_has_written_is_there_once(tmp_path: Path, server: Process) -> None:
    logs = tmp_path / "logs"
    for name in ("one", "two/deep"):
        with SummaryWriter(str(logs / name)) as writer:
            for step in range(3000):
                writer.add_scalar("train/loss", 1 / (step + 1), step)
                writer.add_scalar("auc", step / 4, step)
            writer.add_text("note", "hello")
    address = ServerAddress.parse(server.url)
    outcome = import_folder(logs, address, "shop")
    assert outcome.line() == "2 runs, 2 files: 12,000 new points; not imported: 2 text"
    found = runs(server)
    assert {name: (run["project"], run["state"], run["last_step"]) for name, run in found.items()} == {
        "one": ("shop", "finished", 2999),
        "two/deep": ("shop", "finished", 2999),
    }
    assert points(server, found["one"]["id"], "auc") == [(step, step / 4) for step in range(3000)]
    assert found["one"]["received"] == {"points": 6000, "missing": 0, "dropped": 0}
    # Nothing new, then one more file in the run and one more run.
    assert import_folder(logs, address, "shop").line() == "2 runs, 2 files: 0 new points"
    assert runs(server) == found
    with SummaryWriter(str(logs / "one"), filename_suffix=".later") as writer:
        for step in range(2000, 2500):
            writer.add_scalar("auc", -1.0, step)
    with SummaryWriter(str(logs / "three")) as writer:
        writer.add_scalar("auc", 1.0, 1)
    assert import_folder(logs, address, "shop").points == 501
    # Points before which a restart went back are superseded.
    run = found["one"]["id"]
    assert points(server, run, "auc") == [
        *((step, step / 4) for step in range(2000)),
        *((step, -1.0) for step in range(2000, 2500)),
    ]
    assert len(points(server, run, "auc", superseded=True)) == 3500
    assert runs(server)["one"]["attempts"] == 2


def test_a_file_that_grows_under_a_torn_tail(tmp_path: Path, server: Process) -> None:
    address = ServerAddress.parse(server.url)
    path = tmp_path / "logs" / "events.out.tfevents.1"
    write_events(path, [scalar_event("loss", float(step), step, 1.7e9 + step) for step in range(100)])
    whole = path.read_bytes()
    for size, new in ((len(whole) - 5, 99), (len(whole) - 5, 0), (len(whole), 1)):
        path.write_bytes(whole[:size])
        outcome = import_folder(tmp_path / "logs", address, "p")
        assert (outcome.points, outcome.torn) == (new, int(size < len(whole)))
    write_events(path, [scalar_event("loss", 5.0, 50, 1.8e9)])
    assert import_folder(tmp_path / "logs", address, "p").points == 1
    run = runs(server)["logs"]
    assert points(server, run["id"], "loss") == [(step, float(step) if step != 50 else 5.0) for step in range(100)]
    assert run["received"] == {"points": 101, "missing": 0, "dropped": 0}


def test_two_writers_that_grow_side_by_side_are_no_restart(tmp_path: Path, server: Process) -> None:
    logs = tmp_path / "logs"
    address = ServerAddress.parse(server.url)
    began_s = 1_700_000_000.0
    steps: list[int] = []

    def write(name: str, *new: int) -> None:
        path = logs / f"events.out.tfevents.{name}"
        began = began_s + (new[0] - 0.5 if not path.exists() else 0)
        write_events(path, [scalar_event("loss", float(step), step, began_s + step) for step in new], began_s=began)
        steps.extend(new)

    write("b", *range(50))
    import_folder(logs, address, "p")
    for step in range(50, 60, 2):  # each is imported before the other continues, the later one first
        write("a", step + 1)
        import_folder(logs, address, "p")
        write("b", step)
        import_folder(logs, address, "p")
    write("c", *range(60, 90, 3))
    write("b", *range(61, 90, 3))
    write("a", *range(62, 90, 3))
    import_folder(logs, address, "p")
    run = runs(server)["logs"]
    assert points(server, run["id"], "loss") == [(step, float(step)) for step in sorted(steps)]
    assert points(server, run["id"], "loss", superseded=True) == points(server, run["id"], "loss")
    # Both restart from a checkpoint.
    for name, first in (("d", 41), ("e", 40)):
        events = [scalar_event("loss", -1.0, step, began_s + 200 + step) for step in range(first, 60, 2)]
        write_events(logs / f"events.out.tfevents.{name}", events, began_s=began_s + 200 + first)
    assert import_folder(logs, address, "p").points == 20
    assert points(server, run["id"], "loss") == [
        *((step, float(step)) for step in range(40)),
        *((step, -1.0) for step in range(40, 60)),
    ]
    assert runs(server)["logs"]["attempts"] == 2


def test_a_folder_whose_name_is_no_utf8(tmp_path: Path, server: Process, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    for name in (b"m\xfcller", b"m\xf6ller"):
        path = root / os.fsdecode(name) / os.fsdecode(b"x.tfevents.\xff")
        write_events(path, [scalar_event("loss", 1.0, 1, 1.0)])
    with path.open("ab") as file:
        file.write(b"\xff" * 12)
    for new in (2, 0):
        assert main([str(root), "--url", server.url, "--project", "caf\udce9"]) == 1
        output = capsys.readouterr()
        assert f"2 runs, 2 files: {new} new point" in output.out
        assert "damaged at byte" in output.err
    found = runs(server)
    assert len(found) == 2
    assert all(name.startswith("m\N{REPLACEMENT CHARACTER}ller~") for name in found)
    assert points(server, next(iter(found.values()))["id"], "loss") == [(1, 1.0)]


def test_a_run_that_was_deleted_comes_again(tmp_path: Path, server: Process) -> None:
    address = ServerAddress.parse(server.url)
    write_events(tmp_path / "logs" / "x.tfevents", [scalar_event("loss", 1.0, 1, 1.0)])
    import_folder(tmp_path / "logs", address, "p")
    run = runs(server)["logs"]["id"]
    assert httpx.delete(f"{server.url}/api/v1/runs/{run}").status_code == 200
    assert import_folder(tmp_path / "logs", address, "p").points == 1
    assert points(server, run, "loss") == [(1, 1.0)]


def test_the_command(tmp_path: Path, server: Process, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "logs"
    (logs / "tf2").mkdir(parents=True)
    for path in GOLDEN.iterdir():
        (logs / "tf2" / path.name).write_bytes(path.read_bytes())
    write_events(logs / "bad" / "x.tfevents", [scalar_event("loss", 1.0, 1, 1.0)])
    with (logs / "bad" / "x.tfevents").open("ab") as file:
        file.write(b"\xff" * 12)
    write_events(logs / "empty" / "x.tfevents", [])
    assert main([str(logs), "--url", server.url]) == 1
    output = capsys.readouterr()
    assert output.out == (
        "2 runs, 4 files: 23 new points; not imported: 1 histograms, 1 images, 1 tensors, 1 text;"
        " 1 file without scalars\n"
    )
    assert "x.tfevents: damaged at byte" in output.err
    assert output.err.count("\n") == 1
    assert set(runs(server)) == {"tf2", "bad"}
    metrics = httpx.get(f"{server.url}/api/v1/runs/{runs(server)['tf2']['id']}/metrics").json()["metrics"]
    assert json.dumps(next(one for one in metrics if one["key"] == "odd")["nan_count"]) == "3"


def test_a_server_that_wants_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_events(tmp_path / "logs" / "x.tfevents", [scalar_event("loss", 1.0, 1, 1.0)])
    with serve(tmp_path / "data", "--token-file", str(tmp_path / "token")) as server:
        assert main([str(tmp_path / "logs"), "--url", server.url]) == 1
        assert "expected a token with the scope write, got none (RECIS_MONITOR_TOKEN" in capsys.readouterr().err
        token = (tmp_path / "token").read_text().strip()
        assert main([str(tmp_path / "logs"), "--url", f"{server.url}/?token={token}"]) == 0
        assert "1 run, 1 file: 1 new point\n" in capsys.readouterr().out


def test_bad_usage_is_one_line_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert main([str(folder)]) == 2
        assert "expected a folder with event files (*tfevents*), got" in capsys.readouterr().err
    write_events(tmp_path / "x.tfevents", [scalar_event("loss", 1.0, 1, 1.0)])
    assert main([str(tmp_path), "--url", "ftp://x"]) == 2
    assert main([str(tmp_path), "--url", "http://127.0.0.1:9"]) == 1
    assert "no connection to http://127.0.0.1:9" in capsys.readouterr().err
