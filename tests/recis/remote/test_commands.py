"""`recis-monitor set`, `controls` and `runs --url`: arguments and exit codes, and changes to a real job."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import recis.monitor
from recis.cli import main
from recis.remote.commands import parse_setting, typed_value
from tests.control.job import Job, Server, until
from tests.recis.remote.test_client import answering, command
from tests.recis.remote.test_effects import effect
from tests.recis.test_cli import without_server_packages

CONTROLS = {"controls": [{"name": "a", "type": "int", "choices": None, "nullable": False}]}


@pytest.mark.parametrize(
    ("control", "text", "value"),
    [
        ({"type": "int"}, "200", 200),
        ({"type": "float"}, "1e-3", 0.001),
        ({"type": "bool"}, "true", True),
        ({"type": "int", "nullable": True}, "null", None),
        ({"type": "str"}, "200", "200"),
        ({"type": "str"}, "null", "null"),
        ({"type": "str", "nullable": True}, "null", None),
        ({"type": "str"}, "", ""),
        ({"type": "enum", "choices": ["1", "adam"]}, "1", "1"),
        ({"type": "enum", "choices": [1, 2]}, "1", 1),
        ({"type": "action"}, "null", None),
        ({"type": "profile"}, '{"active": 3}', {"active": 3}),
        ({"type": "int"}, "NaN", "NaN"),
        ({"type": "int"}, "many", "many"),
        ({"type": "int"}, "9" * 5000, "9" * 5000),
        ({}, "[" * 100_000, "[" * 100_000),
    ],
)
def test_a_text_is_read_by_the_type_of_its_control(control: dict[str, Any], text: str, value: Any) -> None:
    found = typed_value(control, text)
    assert (found, type(found)) == (value, type(value))


def test_a_setting_is_a_name_and_a_value() -> None:
    assert parse_setting("table/user/filter_step=a=b") == ("table/user/filter_step", "a=b")
    assert parse_setting("stop") == ("stop", None)
    for wrong in ("", "=1", "a b=1", "../a=1", "../a"):
        with pytest.raises(ValueError, match="expected NAME=VALUE"):
            parse_setting(wrong)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set", "job"], "recis-monitor set: the following arguments are required: NAME[=VALUE]"),
        (
            ["set", "job", "a b"],
            "expected NAME=VALUE, such as filter_interval=200, or the name of an action, such as stop, got",
        ),
        (["set", "job", "stop", "stop"], "recis-monitor set: expected each control once, got stop again"),
        (["set", "job", "a=1", "a=2"], "recis-monitor set: expected each control once, got a again"),
        (["set", "a/b", "a=1"], "recis-monitor set: run_id: expected"),
        (["set", "job", "a=1", "--timeout", "nan"], "argument --timeout: expected a finite number of seconds"),
        (["set", "job", "a=1", "--timeout", "-1"], "argument --timeout: expected a finite number of seconds"),
        (["effect", "job", "c1", "--window", "many"], "argument --window: invalid int value: 'many'"),
        (["forecast", "job", "log_step=5"], "expected filter_interval=STEPS, as filter_interval=200, got 'log_step=5'"),
        (["forecast", "job", "filter_interval=-5"], "expected filter_interval=STEPS"),
        (["controls", "job", "--url", "ftp://x"], "recis-monitor controls: url: expected an address"),
        (
            ["runs", "--url", "http://127.0.0.1:9", "--data", "."],
            "recis-monitor runs: expected --url or --data, got both",
        ),
    ],
)
def test_bad_usage_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    output = capsys.readouterr()
    assert (code, output.out, output.err.count("\n")) == (2, "", 1)
    assert said in output.err


@pytest.mark.parametrize(
    ("answer", "settled", "code"),
    [
        ((202, command("pending")), command("applied"), 0),
        ((202, command("pending")), command("rejected"), 3),
        ((202, command("pending")), command("expired"), 4),
        ((202, command("pending")), command("pending"), 4),
        ((202, command("pending")), command("superseded", superseded_by="c2"), 1),
        ((422, {"error": {"message": "a: expected at least 1, got 0"}}), None, 3),
        ((409, {"error": {"message": "run job has finished"}}), None, 3),
        ((404, {"error": {"message": "there is no run job"}}), None, 1),
        ((403, {"error": {"message": "expected another token"}}), None, 1),
        ((503, {"error": {"message": "the store is away"}}), None, 1),
    ],
)
def test_exit_codes(
    capsys: pytest.CaptureFixture[str], answer: tuple[int, Any], settled: dict[str, Any] | None, code: int
) -> None:
    with answering((200, CONTROLS), answer, (200, settled)) as (url, _):
        assert main(["set", "job", "a=1", "--wait", "--timeout", "0.3", "--url", url, "--json"]) == code
    output = capsys.readouterr()
    assert output.err.count("\n") == (0 if code == 0 else 1)
    assert (json.loads(output.out) if settled else output.out) == (settled or "")


def test_without_waiting_an_accepted_command_is_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    with answering((200, CONTROLS), (202, command("pending"))) as (url, _):
        assert main(["set", "job", "a=1", "--url", url]) == 0
    assert capsys.readouterr().out == "pending: a=1 (command c1)\n"


STOP = {"name": "stop", "type": "action", "choices": None, "nullable": False, "confirm": "End it\x1b[2J now?"}
STOPPABLE = {"controls": [*CONTROLS["controls"], STOP]}


@pytest.mark.parametrize(
    ("typed", "code"), [("y\n", 0), (" Yes \n", 0), ("\n", 1), ("n\n", 1), ("yesterday\n", 1), ("\x04", 1)]
)
def test_a_control_with_a_question_is_set_once_that_is_answered_at_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, code: int
) -> None:
    pty = pytest.importorskip("pty", reason="the terminals of this system are others")
    keyboard, terminal = pty.openpty()
    with (
        answering((200, STOPPABLE), (202, command("pending"))) as (url, asked),
        os.fdopen(keyboard, "rb", 0) as screen,
        os.fdopen(terminal, "r") as stdin,
        os.fdopen(os.dup(terminal), "w") as stderr,
    ):
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stderr", stderr)
        os.write(keyboard, typed.encode())
        assert main(["set", "job", "stop", "--url", url, "--json"]) == code
        stderr.flush()
        monkeypatch.undo()
        # The terminal returns the output in pieces.
        shown, last = "", "[y/N] " if code == 0 else "nothing was sent: the command was not confirmed"
        while last not in shown:
            shown += screen.read(4096).decode(errors="replace")
    assert "run job: stop: End it" in shown
    assert "\x1b" not in shown
    assert [method for method, *_ in asked] == (["GET", "PUT"] if code == 0 else ["GET"])
    assert bool(capsys.readouterr().out) == (code == 0)


def test_a_control_with_a_question_is_not_set_without_a_terminal_unless_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering((200, STOPPABLE)) as (url, asked):
        for stdin in (sys.stdin, None):
            monkeypatch.setattr(sys, "stdin", stdin)
            assert main(["set", "job", "stop", "--json", "--url", url]) == 2
            output = capsys.readouterr()
            assert (output.out, output.err.count("\n")) == ("", 1)
            assert (
                "nothing was sent: expected --yes, or a terminal to confirm at, got neither; stop: End it" in output.err
            )
    assert {method for method, *_ in asked} == {"GET"}
    for arguments in (["stop", "--yes"], ["a=1"]):  # the latter needs no confirmation
        with answering((200, STOPPABLE), (202, command("pending"))) as (url, asked):
            assert main(["set", "job", *arguments, "--url", url]) == 0
            assert [method for method, *_ in asked] == ["GET", "PUT"]


def test_the_effect_is_that_of_the_command_that_was_applied_last(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = effect("waiting", missing_steps=3, windows={"steps": 100, "cut": None, "by": None})
    commands = {"commands": [command("rejected"), {**command("applied"), "id": "c/2"}, command("pending")]}
    with answering((200, commands), (200, waiting)) as (url, asked):
        assert main(["effect", "job", "--window", "100", "--url", url]) == 0
    assert asked[-1][1] == "/api/v1/runs/job/commands/c%2F2/effect?window=100"
    assert "not enough steps yet: 3 more" in capsys.readouterr().out
    with answering((200, waiting)) as (url, asked):
        assert main(["effect", "job", "c1", "--json", "--url", url]) == 0
    assert [path for _, path, _ in asked] == ["/api/v1/runs/job/commands/c1/effect"]
    assert json.loads(capsys.readouterr().out) == waiting
    with answering((200, {"commands": [command("pending")]})) as (url, _):
        assert main(["effect", "job", "--url", url]) == 1
    assert "run job has no command that was applied" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_one_line_and_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with answering((200, {})) as (url, _):
        pass
    for arguments in (["set", "job", "a=1"], ["controls", "job"], ["runs"]):
        assert main([*arguments, "--url", url]) == 1
        output = capsys.readouterr()
        assert (output.out, output.err.count("\n")) == ("", 1)
        assert f"expected a server at {url}" in output.err


def test_names_from_a_server_cannot_write_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {"id": "job", "project": "p", "name": "a\x1b[2J\tb\nc", "state": "running", "last_step": None}
    with answering((200, {"runs": [run], "next_cursor": None})) as (url, _):
        monkeypatch.setenv("RECIS_MONITOR_URL", url)
        assert main(["runs"]) == 0
    assert capsys.readouterr().out == "job\tp\ta�[2J�b�c\trunning\t-\n"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_job_is_changed_from_a_terminal_and_from_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 2) as job:
        job.start(most=1000)

        def said(*arguments: str) -> "subprocess.CompletedProcess[str]":
            code = main([*arguments, "--url", server.url])
            return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

        def said_without_server_packages(*arguments: str) -> "subprocess.CompletedProcess[str]":
            return without_server_packages("recis.cli", *arguments, "--url", server.url)

        done = said_without_server_packages("set", "job", "a=5", "b=6", "--wait", "--why", "to see")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("applied at step ")
        assert all([value for value, _ in job.changes(rank, "a")] == [5] for rank in (0, 1))
        steps = {step for rank in (0, 1) for name in "ab" for _, step in job.changes(rank, name)}
        assert len(steps) == 1

        # Refused by the server, and by the training process.
        done = said("set", "job", "a=7", "b=0", "--wait")
        assert (done.returncode, done.stdout) == (3, "")
        assert "b: expected at least 1, got 0" in done.stderr
        done = said("set", "job", "a=many")
        assert (done.returncode, "a: expected an integer" in done.stderr) == (3, True)
        server_says = said("set", "job", "c=1")
        assert (server_says.returncode, "has no control 'c'" in server_says.stderr) == (1, True)
        done = said("set", "job", "a=999", "--json", "--wait")
        assert (done.returncode, json.loads(done.stdout)["values"]) == (0, {"a": 999})

        remote = recis.monitor.connect(server.url)
        run = remote.run("job")
        applied = run.set(free=9, reason="from Python", wait=True)
        assert {one["new"] for one in applied["ranks"].values()} == {9}
        assert run.command(applied["id"])["state"] == "applied"
        assert {(one["control"], one["value"]) for one in run.audit() if one["reason"] == "to see"} == {
            ("a", 5),
            ("b", 6),
        }
        assert [one["id"] for one in run.commands()][-1] == applied["id"]
        assert {one["new"] for one in run.revert(applied["id"], wait=True)["ranks"].values()} == {1}
        assert (run.info()["id"], [one["id"] for one in remote.runs(state="running")]) == ("job", ["job"])
        with pytest.raises(LookupError, match="there is no run 'nobody'"):
            remote.run("nobody").controls()

        listed = json.loads(said("controls", "job", "--json").stdout)["controls"]
        assert {one["name"]: one["value"] for one in listed} == {one["name"]: one["value"] for one in run.controls()}
        assert "b\tint\t6\t-\tat least 1, at most 1000\n" in said("controls", "job").stdout
        # Few steps were trained before it, or too few so far after it.
        assert run.effect(applied["id"])["state"] in ("waiting", "none")
        assert said("effect", "job", applied["id"]).stdout.startswith(f"command {applied['id']}: ")
        assert said("forecast", "job", "filter_interval=40").stdout == "There have been no filter passes yet.\n"
        refused = said("effect", "job", applied["id"], "--window", "3")
        assert (refused.returncode, "10" in refused.stderr, refused.stdout) == (3, True, "")
        assert [line.split("\t")[0] for line in said_without_server_packages("runs").stdout.splitlines()] == ["job"]
        assert [one["id"] for one in json.loads(said("runs", "--json").stdout)["runs"]] == ["job"]

        # A job that does not step: the command stays open.
        for child in job.ranks.values():
            child.send_signal(signal.SIGSTOP)
        done = said("set", "job", "b=8", "--wait", "--timeout", "0.5")
        assert (done.returncode, "was not applied within 0.5 s and stays open" in done.stderr) == (4, True)
        for child in job.ranks.values():
            child.send_signal(signal.SIGCONT)
        until(lambda: run.commands()[-1]["state"] == "applied", 30, "it is applied")
        done = said("set", "job", "b")
        assert (done.returncode, done.stderr) == (
            2,
            "recis-monitor set: expected a value for b, as b=8, got none; it takes: int, at least 1, at most 1000\n",
        )
        done = said("set", "job", "sotp")
        assert (done.returncode, done.stdout) == (1, "")
        assert "run job has no action 'sotp'; expected NAME=VALUE, or one of ['stop']" in done.stderr
        done = said("set", "job", "stop", "a=3", "--yes")
        assert (done.returncode, "expected settings only, got an action" in done.stderr) == (3, True)
        assert run.commands()[-1]["values"] == {"b": 8}
        done = said("set", "job", "stop", "--wait")
        assert (done.returncode, "expected --yes, or a terminal" in done.stderr) == (2, True)
        assert run.commands()[-1]["values"] == {"b": 8}
        assert said("set", "job", "stop", "--yes", "--wait", "--why", "enough").returncode == 0
        assert job.wait() == [0, 0]
        assert [(one["control"], one["reason"]) for one in run.audit(limit=1)] == [("stop", "enough")]
        until(lambda: run.info()["state"] == "finished", 30, "it has finished")
        assert said("set", "job", "a=2").returncode == 3


@pytest.mark.slow
def test_a_callback_that_refuses_is_a_rejection(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 1) as job:
        job.start(lockstep=False)
        command = [sys.executable, "-m", "recis.cli", "set", "job", "a=1313", "--wait"]
        environment = {**os.environ, "RECIS_MONITOR_URL": server.url}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
        assert "rejected: rank 0: " in done.stderr
        assert "1313 is bad luck" in done.stderr


@pytest.mark.slow
def test_a_token_needs_the_scope(tmp_path: Path) -> None:
    create = [sys.executable, "-m", "recis_server", "token", "create", "--data", str(tmp_path / "data"), "--scope"]
    with Server(tmp_path / "data") as server, Job(server, tmp_path / "job", 1) as job:
        job.start(lockstep=False)
        tokens = {
            scope: subprocess.run([*create, scope], capture_output=True, text=True, check=True).stdout.strip()
            for scope in ("view", "control")
        }
        until(lambda: _is_refused(server.url), 10, "a token is required")
        viewer = recis.monitor.connect(server.url, token=tokens["view"])
        assert [one["id"] for one in viewer.runs()] == ["job"]
        with pytest.raises(PermissionError, match="with the scope `control`"):
            viewer.run("job").set(a=2)
        assert recis.monitor.connect(server.url, tokens["control"]).run("job").set(a=2)["state"] == "pending"


def _is_refused(url: str) -> bool:
    try:
        recis.monitor.connect(url).runs()
    except PermissionError:
        return True
    return False
