"""A server and its runs as objects: list runs, read controls and commands, change a live run and wait for the outcome.

Owns the requests and the wait; `http` owns the transport. Answers have the shapes of the HTTP interface. Nothing is
kept open between two calls.

    with_server = RemoteServer(address)
    with_server.run("night-job").set(filter_interval=200, reason="evict less often", wait=True)
"""

import json
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from recis.bridge.address import ServerAddress
from recis.bridge.identity import check_run_id
from recis.remote.http import SILENCE_S, ask
from recis.wire.codec import as_plain
from recis.wire.controls import is_control_name
from recis.wire.showing import shown
from recis.wire.text import as_name

__all__ = ["WAIT_S", "CommandError", "CommandTimeoutError", "RemoteRun", "RemoteServer"]

WAIT_S = 60.0
"""How long `set` waits by default."""
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 0.5
"""Pauses between two requests for a command's state: the first one, and the longest."""
MAX_PAGE = 1000
"""Items in one answer of a list."""
SETTLED = ("applied", "rejected", "expired", "superseded")


class CommandError(RuntimeError):
    """A command that was accepted has not taken effect; `command` has its state on every rank."""

    def __init__(self, message: str, command: dict[str, Any]) -> None:
        super().__init__(message)
        self.command = command


class CommandTimeoutError(CommandError, TimeoutError):
    """A command has not taken effect in time. One whose state is not `expired` is still open."""


class RemoteServer:
    """A server; each method is one or a few requests.

    Args:
        address: of the server, with its token.
    """

    def __init__(self, address: ServerAddress) -> None:
        self._address = address

    @property
    def url(self) -> str:
        """Return the server's address, without a token."""
        return self._address.base

    def __repr__(self) -> str:
        """Return the address without the token."""
        return f"<RemoteServer {self.url}>"

    def meta(self) -> dict[str, Any]:
        """Return the server's version, and the strongest scope of the token."""
        return ask(self._address, "/api/v1/meta")

    def run(self, run_id: str) -> "RemoteRun":
        """Return a run by its identifier; the first request to it checks whether the server has it.

        Raises:
            ValueError: the text cannot name a run.
        """
        check_run_id(run_id)
        return RemoteRun(self._address, run_id)

    def runs(
        self,
        *,
        project: str | None = None,
        state: str | None = None,
        q: str | None = None,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return runs, newest first.

        Args:
            project: only runs of this project.
            state: only runs that are `running`, `stalled`, `disconnected`, `finished` or `failed`.
            q: only runs that have all of these words in their identifier, project, name or tags.
            fields: members of each run to return besides `id`; all by default.
            limit: maximum number of runs; all by default.

        Raises:
            ConnectionError, PermissionError, ValueError: as for `RemoteRun`.
        """
        members = None if fields is None else ",".join(fields)
        query = _given(project=project, state=state, q=q, fields=members)
        return _pages(self._address, "/api/v1/runs", query, "runs", limit)


class RemoteRun:
    """A run on a server.

    All methods raise `LookupError` if the server does not have the run or what was asked for, `PermissionError` if it
    requires another token, and `ConnectionError` if it cannot be reached.

    Args:
        address: of the server, with its token.
        run_id: the run's identifier.
    """

    def __init__(self, address: ServerAddress, run_id: str) -> None:
        self._address = address
        self._id = run_id
        self._path = f"/api/v1/runs/{quote(run_id, safe='')}"

    @property
    def id(self) -> str:
        """Return the run's identifier."""
        return self._id

    def __repr__(self) -> str:
        """Return the identifier and the server's address."""
        return f"<RemoteRun {self._id!r} of {self._address.base}>"

    def info(self) -> dict[str, Any]:
        """Return the run: state, last step, summary, configuration."""
        return ask(self._address, self._path)

    def update(
        self,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
        archived: bool | None = None,
    ) -> dict[str, Any]:
        """Change the given attributes, and return the run. Its identifier stays the same.

        Args:
            name: 1 to 256 characters.
            tags: replace those that the run has, at most 64 of at most 128 characters.
            notes: at most 8,192 characters.
            archived: whether lists leave the run out unless archived runs are requested.

        Raises:
            ValueError: a value does not fit; nothing was changed.
        """
        if isinstance(tags, str):
            raise TypeError(f"tags: expected a sequence of texts, got {shown(tags)}")
        given = {"name": name, "tags": None if tags is None else list(tags), "notes": notes, "archived": archived}
        body = {member: value for member, value in given.items() if value is not None}
        if not body:
            raise ValueError("expected at least one of name, tags, notes and archived, got none")
        return ask(self._address, self._path, method="PATCH", body=body, scope="control")

    def metrics(self) -> list[dict[str, Any]]:
        """Return the names of the run's series, with their ranks, counts and last values."""
        return self._list("metrics")

    def series(
        self,
        keys: Sequence[str],
        *,
        rank: int | str | None = None,
        start: int | None = None,
        stop: int | None = None,
        points: int = 1000,
        superseded: bool = False,
    ) -> dict[str, Any]:
        """Return series in buckets with their true extremes, or point by point: `series`, and `resolution` in steps.

        Args:
            keys: names of series, at most 100; those that the run does not have are left out.
            rank: a rank, `all`, `band` or `summary`; the lowest rank by default.
            start: first step.
            stop: step after the last one.
            points: maximum number of buckets of a series; 0 for every point.
            superseded: also return points superseded by a later attempt, as separate series.
        """
        query = _given(rank=rank, start=start, stop=stop, points=points, superseded=str(superseded).lower())
        return self._answer(f"{self._path}/series", [*query, *(("key", key) for key in keys)], "series")

    def passes(
        self,
        *,
        table: str | None = None,
        rank: int | None = None,
        start: int | None = None,
        stop: int | None = None,
        limit: int = 10_000,
    ) -> list[dict[str, Any]]:
        """Return the filter passes of the hash tables, the newest `limit` at most, in order of step."""
        return self._list("filters", "passes", _given(table=table, rank=rank, start=start, stop=stop, limit=limit))

    def events(self, *, limit: int = 1000) -> list[dict[str, Any]]:
        """Return alerts, changes of controls, attempts and lost connections, at most the newest `limit`, in order."""
        return self._list("events", query=_given(limit=limit))

    def traces(self) -> list[dict[str, Any]]:
        """Return the profiler traces with their summaries, newest first."""
        return self._list("traces")

    def _list(self, path: str, key: str = "", query: Sequence[tuple[str, str]] = ()) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._answer(f"{self._path}/{path}", query, key or path)[key or path]
        return found

    def _answer(self, path: str, query: Sequence[tuple[str, str]], key: str) -> dict[str, Any]:
        """Return an answer with a list under `key`."""
        answer = ask(self._address, f"{path}?{urlencode(query)}" if query else path)
        _listed(self._address, answer, key)
        return answer

    def controls(self) -> list[dict[str, Any]]:
        """Return the run's controls with their values on every rank."""
        return self._list("controls")

    def commands(self) -> list[dict[str, Any]]:
        """Return the newest 200 commands, oldest first."""
        return self._list("commands")

    def command(self, command_id: str) -> dict[str, Any]:
        """Return one command with its state on every rank."""
        return self._look(command_id, SILENCE_S)

    def _look(self, command_id: str, timeout_s: float) -> dict[str, Any]:
        path = f"{self._path}/commands/{quote(command_id, safe='')}"
        return _as_command(self._address, ask(self._address, path, timeout_s=min(timeout_s, SILENCE_S)))

    def effect(self, command_id: str, *, window: int | None = None) -> dict[str, Any]:
        """Return what a command has changed: loss, speed and hash tables in equal windows of steps before and after it.

        Args:
            command_id: an applied command. While there are not enough steps after it, `state` is `waiting`.
            window: steps before and after, 10 to 10,000; by default 100, or five filter intervals if these are more.
        """
        path = f"{self._path}/commands/{quote(command_id, safe='')}/effect"
        return self._answer(path, _given(window=window), "metrics")

    def forecast(self, *, filter_interval: int) -> dict[str, Any]:
        """Return the predicted effect of another filter interval on the hash tables, from their last passes."""
        return self._answer(f"{self._path}/filters/forecast", _given(filter_interval=filter_interval), "tables")

    def audit(self, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Return the audit: who changed what, when and why, with the outcome on every rank, newest first.

        Args:
            limit: maximum number of entries, one for each control and rank of a command; all by default.
        """
        return _pages(self._address, f"{self._path}/audit", [], "audit", limit)

    def set(
        self,
        settings: Mapping[str, Any] | None = None,
        /,
        *,
        reason: str = "",
        wait: bool = False,
        timeout_s: float = WAIT_S,
        **values: Any,
    ) -> dict[str, Any]:
        """Request new values of controls; all take effect at one step, or none does. Return the command.

        Args:
            settings: values by the names of controls, also those that cannot be keywords, as
                `{"table/user/filter_step": 100}`. An action takes None.
            reason: the reason, for the audit and the training's log.
            wait: return only when all connected ranks have applied it.
            timeout_s: limit for waiting, in seconds.
            **values: more values, by names.

        Raises:
            ValueError: a value does not fit, or the run has finished; nothing was stored.
            CommandError: with `wait`, a rank has rejected the command, or a newer one has superseded it.
            CommandTimeoutError: with `wait`, it has not taken effect in time.
        """
        wanted = _checked_settings(settings, values)
        _check_timeout(timeout_s)
        body = {"values": wanted, "reason": reason, "id": uuid.uuid4().hex}
        command = _as_command(
            self._address, ask(self._address, f"{self._path}/controls", method="PUT", body=body, scope="control")
        )
        return self.wait(command, timeout_s=timeout_s) if wait else command

    def revert(
        self, command_id: str, *, reason: str = "", wait: bool = False, timeout_s: float = WAIT_S
    ) -> dict[str, Any]:
        """Request the values that a command has replaced; return the new command. Arguments are those of `set`."""
        _check_timeout(timeout_s)
        path = f"{self._path}/commands/{quote(command_id, safe='')}/revert"
        command = _as_command(
            self._address, ask(self._address, path, method="POST", body={"reason": reason}, scope="control")
        )
        return self.wait(command, timeout_s=timeout_s) if wait else command

    def wait(self, command: Mapping[str, Any], *, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Return a command once all connected ranks have applied it. If the server is away, the request is repeated.

        Raises:
            CommandError: a rank has rejected it, or a newer command has superseded it.
            CommandTimeoutError: it has not taken effect in time.
        """
        _check_timeout(timeout_s)
        end = time.monotonic() + timeout_s
        pause, last, fault = FIRST_LOOK_S, dict(command), ""
        while last.get("state") not in SETTLED and (left := end - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_LOOK_S)
            try:
                last, fault = self._look(str(last.get("id")), max(left, FIRST_LOOK_S)), ""
            except ConnectionError as error:
                fault = f"; {error}"
        if last.get("state") == "applied":
            return last
        raise _failure(self._id, last, timeout_s, fault)


def _checked_settings(settings: Mapping[str, Any] | None, values: Mapping[str, Any]) -> dict[str, Any]:
    if settings is not None and not isinstance(settings, Mapping):
        raise TypeError(f"settings: expected a mapping from names of controls to values, got {shown(settings)}")
    wanted = {**(settings or {}), **values}
    if not wanted:
        raise ValueError("settings: expected at least one control and its value, got none")
    for name, value in wanted.items():
        if not is_control_name(name):
            raise ValueError(f"settings: expected the name of a control, got {shown(name)}")
        wanted[name] = as_plain(value)
        try:
            json.dumps(wanted[name], allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"{name}: expected a finite number or another value of JSON, got {shown(value)}") from None
    return wanted


def _check_timeout(timeout_s: float) -> None:
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 <= timeout_s < math.inf:
        raise ValueError(f"timeout_s: expected a finite number of seconds, at least 0, got {shown(timeout_s)}")


def _failure(run: str, command: dict[str, Any], timeout_s: float, fault: str) -> CommandError:
    """Return the exception for a command that has not been applied."""
    state = command.get("state")
    what = f"run {run}: command {command.get('id')} "
    if state == "superseded":
        return CommandError(f"{what}was superseded by {command.get('superseded_by')} before it took effect", command)
    ranks = command.get("ranks") or {}
    said = [f"rank {rank}: {as_name(str(one['message']))}" for rank, one in ranks.items() if one["state"] == state]
    if state == "rejected":
        return CommandError(f"{what}was rejected: {'; '.join(said)}", command)
    if state == "expired":
        return CommandTimeoutError(f"{what}has expired: {'; '.join(said)}", command)
    waiting = [
        f"{word} {command[key]}"
        for key, word in (("waiting_for", "ranks"), ("away", "disconnected ranks"))
        if command.get(key)
    ]
    return CommandTimeoutError(
        f"{what}was not applied within {timeout_s:g} s and stays open: {state}, waiting for"
        f" {' and '.join(waiting) or 'the server'}{fault}",
        command,
    )


def _given(**query: Any) -> list[tuple[str, str]]:
    """Return the parameters of a request that are not None."""
    return [(name, str(value)) for name, value in query.items() if value is not None]


def _pages(
    address: ServerAddress, path: str, query: list[tuple[str, str]], key: str, limit: int | None
) -> list[dict[str, Any]]:
    """Return the items of all pages, or of as many pages as `limit` items require."""
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        size = MAX_PAGE if limit is None else min(MAX_PAGE, limit - len(found))
        page = ask(address, f"{path}?{urlencode([*query, *_given(limit=size, cursor=cursor)])}")
        found += _listed(address, page, key)
        before, cursor = cursor, page.get("next_cursor")
        if cursor is None or cursor == before or (limit is not None and len(found) >= limit):
            return found[:limit]


def _as_command(address: ServerAddress, answer: dict[str, Any]) -> dict[str, Any]:
    if not {"id", "state", "values", "ranks", "away", "waiting_for"} <= set(answer):
        raise ConnectionError(f"expected a command from {address.base}, got an answer with {shown(sorted(answer))}")
    return answer


def _listed(address: ServerAddress, answer: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = answer.get(key)
    if not isinstance(found, list):
        raise ConnectionError(f"expected a recis-monitor server at {address.base}, got an answer without {key!r}")
    return found
