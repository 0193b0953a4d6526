import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from recis_server.cli import main

from tests.server.httpserver import Site, ask, serve
from tests.server.realserver import points


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "recis_server", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def filled(folder: Path) -> None:
    async def scenario(site: Site) -> None:
        await site.filled()
        await site.run("other", points([1], loss=[2.0]), name="two\nlines\x1b[31m")

    ask(folder, scenario)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "--port", "99999"], "--port: Input should be less than or equal to 65535, got 99999"),
        (["serve", "--port", "x"], "invalid int value: 'x'"),
        (["serve", "--host", "0.0.0.0", "--data", "{tmp}"], "expected a token for a non-loopback address"),
        (["serve", "--store", "mysql://x"], "--store: expected sqlite:///PATH or postgresql://…, got 'mysql://x'"),
        (["serve", "--bus", "redis://x", "--data", "{tmp}"], "--bus: expected memory:// or nats://HOST[:PORT],…, got"),
        (["serve", "--bus", "nats://x", "--data", "{tmp}"], "--store: expected postgresql://… for servers that share"),
        (["serve", "--blobs", "ftp://x", "--data", "{tmp}"], "or az://CONTAINER[/PREFIX], got 'ftp://x'"),
        (["serve", "--data", "{tmp}/file/data"], "expected a writable data folder, got {tmp}/file/data"),
        (["serve", "--token-file", "{tmp}/no/token", "--data", "{tmp}"], "--token-file: expected a file with a token"),
        (["serve", "--colour"], "unrecognized arguments: --colour"),
        (["export", "nobody", "--format", "csv", "--data", "{tmp}"], "there is no run 'nobody'"),
        (["export", "nobody", "--format", "xls"], "invalid choice: 'xls'"),
        (["serve", "--auth-proxy-header", "X-User", "--data", "{tmp}"], "expected --auth-proxy-from ADDRESS and"),
        (["token", "revoke", "x", "--data", "{tmp}"], "there is no token 'x'"),
        (["token", "create", "--scope", "all"], "invalid choice: 'all'"),
        (["token", "create", "--scope", "view", "--expires", "soon"], "such as 12h, 30d or 8w, got 'soon'"),
        (["fly"], "invalid choice: 'fly'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (tmp_path / "file").write_text("")
    try:
        code = main([argument.format(tmp=tmp_path) for argument in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    output = capsys.readouterr()
    assert code == 2
    assert output.out == ""
    assert said.format(tmp=tmp_path) in output.err
    assert output.err.count("\n") == 1


def test_a_store_of_a_newer_version_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path)
    db = sqlite3.connect(tmp_path / "recis.db")
    db.execute("PRAGMA user_version = 99")
    db.execute("UPDATE meta SET value = 99 WHERE name = 'compatible_from'")
    db.commit()
    db.close()
    assert main(["serve", "--data", str(tmp_path), "--port", "0"]) == 2
    assert "was written by a newer version" in capsys.readouterr().err


@pytest.mark.parametrize("harm", ["noise", "header", "short", "other"])
@pytest.mark.parametrize("arguments", [["serve", "--port", "0"], ["runs"], ["export", "r", "--format", "csv"]])
def test_a_file_that_is_no_store_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str, arguments: list[str]
) -> None:
    path = tmp_path / "recis.db"
    if harm == "other":
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE run (a)")
        db.close()
    else:
        filled(tmp_path)
        data = path.read_bytes()
        noise = os.urandom(9000)
        path.write_bytes({"noise": noise, "header": data[:100] + noise, "short": data[:20_000]}[harm])
    before = path.read_bytes()[100:]
    assert main([*arguments, "--data", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert f"{path} is another file or damaged" in output.err
    assert output.err.count("\n") == 1
    if harm != "other":
        assert path.read_bytes()[100:] == before


def test_a_port_in_use_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--data", str(tmp_path), "--port", str(port)]) == 2
    assert f"expected a free port, got 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


def test_runs_are_listed_for_people_and_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path)
    assert main(["runs", "--data", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == ["other\tdefault\ttwo\ufffdlines\ufffd[31m\trunning\t1", "r\tdefault\tr\trunning\t3"]
    assert main(["runs", "--json", "--data", str(tmp_path)]) == 0
    assert {run["id"] for run in json.loads(capsys.readouterr().out)["runs"]} == {"r", "other"}


def test_a_run_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path)
    file = tmp_path / "out.jsonl"
    assert main(["export", "r", "--format", "jsonl", "-o", str(file), "--data", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["key"], line["step"], line["value"]) for line in lines[:3]] == [
        ("loss", 1, 3.0),
        ("loss", 2, "NaN"),
        ("loss", 3, 1.0),
    ]
    assert len(lines) == 6
    assert main(["export", "r", "--format", "csv", "-o", str(tmp_path), "--data", str(tmp_path)]) == 2
    assert "--output: expected a file that can be written" in capsys.readouterr().err


def test_tokens_are_made_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path)]
    assert main(["token", "create", "--scope", "view", "--name", "wall", *data]) == 0
    token = capsys.readouterr().out.strip()
    assert token.encode() not in (tmp_path / "recis.db").read_bytes()
    assert main(["token", "list", *data]) == 0
    number, scope, name, *times = capsys.readouterr().out.strip().split("\t")
    assert (scope, name, times) == ("view", "wall", ["expires never", "last used never"])

    async def scenario(site: Site) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        assert (await site.client.get("/api/v1/runs")).status_code == 401
        assert (await site.client.get("/api/v1/runs", headers=headers)).status_code == 200

    ask(tmp_path, scenario)
    assert main(["token", "create", "--scope", "write", "--expires", "30d", *data]) == 0
    capsys.readouterr()
    assert main(["token", "list", *data]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r".*\texpires never\tlast used 20\d\d-\d\d-\d\dT\d\d:\d\dZ", first)
    assert re.fullmatch(r".*\twrite\t\texpires 20\d\d-\d\d-\d\dT\d\d:\d\dZ\tlast used never", second)
    assert main(["token", "revoke", second.split("\t")[0], *data]) == 0
    assert main(["token", "revoke", number, *data]) == 0
    assert main(["token", "list", *data]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_serve_says_where_it_listens_and_with_which_token(tmp_path: Path) -> None:
    with serve(tmp_path / "data", "--token-file", str(tmp_path / "token")) as server:
        token = (tmp_path / "token").read_text().strip()
        assert server.first_line == f"Listening on {server.url}/?token={token}\n"
        assert httpx.get(f"{server.url}/?token={token}").status_code == 303
        assert httpx.get(f"{server.url}/api/v1/runs").status_code == 401
        # Tools work while the server runs; a second server does not.
        assert command("runs", "--data", str(tmp_path / "data")).returncode == 0
        second = command("serve", "--port", "0", "--data", str(tmp_path / "data"))
        assert second.returncode == 2
        assert f"in use by process {server.child.pid}" in second.stderr
        assert second.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_server_does_not_load_torch() -> None:
    code = "import sys, recis_server.cli; assert 'torch' not in sys.modules; assert 'recis.bridge' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_the_environment_names_the_data_folder(tmp_path: Path) -> None:
    filled(tmp_path)
    done = command("runs", "--json", RECIS_MONITOR_DATA=str(tmp_path))
    assert len(json.loads(done.stdout)["runs"]) == 2
