"""`recis.monitor.connect`: the requests to a server, their results, and the exception for each outcome."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import recis.monitor
from recis.monitor import CommandError, CommandTimeoutError
from recis.remote.http import RefusedError


def command(state: str, **more: Any) -> dict[str, Any]:
    ranks = {"0": {"state": state, "message": "too\nlate", "step": None}}
    return {"id": "c1", "state": state, "values": {"a": 1}, "ranks": ranks, "away": [], "waiting_for": [0], **more}


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers requests in turn with a status and a body, repeating the last one. Records the requests."""

    answers: list[tuple[int, Any]]
    asked: list[tuple[str, str, Any]]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.command, self.path, json.loads(body) if body else None))
        status, answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_POST = do_PATCH = do_GET  # noqa: N815 - names of the standard library

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def answering(*answers: tuple[int, Any]) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """Run a server with these answers; yield its address and the requests."""
    handler = type("Handler", (Answers,), {"answers": list(answers), "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", handler.asked  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join(10)


def test_the_values_of_one_call_are_one_request() -> None:
    with answering((202, command("pending"))) as (url, asked):
        run = recis.monitor.connect(url).run("job")
        found = run.set({"table/user/filter_step": np.int64(7)}, filter_interval=200, reason="why")
    assert found["state"] == "pending"
    ((method, path, body),) = asked
    assert (method, path) == ("PUT", "/api/v1/runs/job/controls")
    assert body["values"] == {"table/user/filter_step": 7, "filter_interval": 200}
    assert (body["reason"], len(body["id"])) == ("why", 32)


def test_an_update_changes_what_is_given() -> None:
    with answering((200, {"id": "job", "name": "wide"})) as (url, asked):
        run = recis.monitor.connect(url).run("job")
        assert run.update(name="wide", tags=("a",), archived=False)["name"] == "wide"
        assert asked == [("PATCH", "/api/v1/runs/job", {"name": "wide", "tags": ["a"], "archived": False})]
        with pytest.raises(TypeError, match="tags: expected a sequence of texts, got 'ab'"):
            run.update(tags="ab")
        with pytest.raises(ValueError, match="at least one of name, tags, notes and archived"):
            run.update()
        assert len(asked) == 1


def test_waiting_outlasts_a_server_that_fails_for_a_while() -> None:
    away = (503, {"error": {"code": "unavailable", "message": "the store cannot be read"}})
    with answering((202, command("pending")), (200, command("delivered")), away, (200, command("applied"))) as (
        url,
        asked,
    ):
        assert recis.monitor.connect(url).run("job").set(a=1, wait=True)["state"] == "applied"
    assert [path for _, path, _ in asked[1:]] == ["/api/v1/runs/job/commands/c1"] * 3


@pytest.mark.parametrize(
    ("settled", "error", "said"),
    [
        (command("rejected"), CommandError, "run job: command c1 was rejected: rank 0: too.late"),
        (command("superseded", superseded_by="c2"), CommandError, "was superseded by c2"),
        (command("expired"), CommandTimeoutError, "has expired: rank 0"),
    ],
)
def test_a_command_without_effect_is_an_error_that_has_it(
    settled: dict[str, Any], error: type[CommandError], said: str
) -> None:
    with answering((202, command("pending")), (200, settled)) as (url, _), pytest.raises(error, match=said) as caught:
        recis.monitor.connect(url).run("job").set(a=1, wait=True)
    assert caught.value.command == settled


def test_waiting_ends_in_time_and_says_what_for() -> None:
    open_one = command("delivered", away=[1])
    with answering((202, open_one)) as (url, _), pytest.raises(TimeoutError) as caught:
        recis.monitor.connect(url).run("job").set(a=1, wait=True, timeout_s=0.2)
    assert str(caught.value) == (
        "run job: command c1 was not applied within 0.2 s and stays open: delivered, waiting for ranks [0] and"
        " disconnected ranks [1]"
    )


@pytest.mark.parametrize(
    ("status", "answer", "error"),
    [
        (422, {"error": {"message": "a: expected an integer, got 'x'"}}, RefusedError),
        (409, {"error": {"message": "run job has finished"}}, RefusedError),
        (404, {"error": {"message": "there is no run job"}}, LookupError),
        (401, {"error": {"message": "expected a token"}}, PermissionError),
        (500, {"error": {"message": "our mistake"}}, ConnectionError),
        (404, b"<html>", ConnectionError),
        (202, b"<html>", ConnectionError),
        (202, [], ConnectionError),
        (202, {}, ConnectionError),
        (202, b"[" * 100_000, ConnectionError),
    ],
)
def test_what_a_server_refuses_and_what_is_none(status: int, answer: Any, error: type[Exception]) -> None:
    with answering((status, answer)) as (url, _), pytest.raises(error, match=url):
        recis.monitor.connect(url).run("job").set(a=1)


def test_all_pages_are_read() -> None:
    pages = [{"runs": [{"id": str(n)}], "next_cursor": c} for n, c in ((1, "x y"), (2, None))]
    with answering(*((200, page) for page in pages)) as (url, asked):
        assert recis.monitor.connect(url).runs(project="p") == [{"id": "1"}, {"id": "2"}]
    assert asked[1][1] == "/api/v1/runs?project=p&limit=1000&cursor=x+y"


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}, object(), {1, 2}])
def test_a_value_that_json_does_not_have(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^a: expected a finite number or another value of JSON, got"):
        recis.monitor.connect("http://127.0.0.1:9").run("job").set(a=value)


def test_arguments_that_are_none() -> None:
    run = recis.monitor.connect("http://127.0.0.1:9").run("job")
    with pytest.raises(ValueError, match="expected at least one control"):
        run.set()
    with pytest.raises(ValueError, match=r"expected the name of a control, got '\.\./stop'"):
        run.set({"../stop": 1})
    with pytest.raises(ValueError, match="timeout_s: expected a finite number of seconds"):
        run.set(a=1, timeout_s=float("nan"))
    with pytest.raises(ValueError, match="run_id: expected"):
        recis.monitor.connect().run("../meta")
    with pytest.raises(ValueError, match="expected an address"):
        recis.monitor.connect("ftp://x")


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIS_MONITOR_URL", "http://there:1")
    assert recis.monitor.connect().url == "http://there:1"
    assert recis.monitor.connect("http://here:2/?token=secret").url == "http://here:2"
    monkeypatch.delenv("RECIS_MONITOR_URL")
    assert recis.monitor.connect().url == "http://127.0.0.1:8765"
