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
from collections.abc import Mapping
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
"""Pauses between two looks at a command: the first one, and the longest."""
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

    def run(self, run_id: str) -> "RemoteRun":
        """Return a run by its identifier; whether the server has it shows at the first request.

        Raises:
            ValueError: the text cannot name a run.
        """
        check_run_id(run_id)
        return RemoteRun(self._address, run_id)

    def runs(
        self, *, project: str | None = None, state: str | None = None, q: str | None = None
    ) -> list[dict[str, Any]]:
        """Return all runs, newest first.

        Args:
            project: only runs of this project.
            state: only runs that are `running`, `stalled`, `disconnected`, `finished` or `failed`.
            q: only runs that have all of these words in their identifier, project, name or tags.

        Raises:
            ConnectionError, PermissionError, ValueError: as for `RemoteRun`.
        """
        given = {"project": project, "state": state, "q": q, "limit": "1000"}
        query = {name: value for name, value in given.items() if value is not None}
        return _all_pages(self._address, "/api/v1/runs", query, "runs")


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

    def controls(self) -> list[dict[str, Any]]:
        """Return the run's controls with their values on every rank."""
        return _listed(self._address, ask(self._address, f"{self._path}/controls"), "controls")

    def commands(self) -> list[dict[str, Any]]:
        """Return the newest 200 commands, oldest first."""
        return _listed(self._address, ask(self._address, f"{self._path}/commands"), "commands")

    def command(self, command_id: str) -> dict[str, Any]:
        """Return one command with its state on every rank."""
        return self._look(command_id, SILENCE_S)

    def _look(self, command_id: str, timeout_s: float) -> dict[str, Any]:
        path = f"{self._path}/commands/{quote(command_id, safe='')}"
        return _as_command(self._address, ask(self._address, path, timeout_s=min(timeout_s, SILENCE_S)))

    def audit(self) -> list[dict[str, Any]]:
        """Return who changed what, when and why, with the outcome on every rank, newest first."""
        return _all_pages(self._address, f"{self._path}/audit", {"limit": "1000"}, "audit")

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
        """Ask for new values of controls, all of which take effect at one step, or none; return the command.

        Args:
            settings: values by the names of controls, also those that cannot be keywords, as
                `{"table/user/filter_step": 100}`. An action takes None.
            reason: why; it is in the audit and in the training's log.
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
        """Ask for the values that a command has replaced; return the new command. Arguments are those of `set`."""
        _check_timeout(timeout_s)
        path = f"{self._path}/commands/{quote(command_id, safe='')}/revert"
        command = _as_command(
            self._address, ask(self._address, path, method="POST", body={"reason": reason}, scope="control")
        )
        return self.wait(command, timeout_s=timeout_s) if wait else command

    def wait(self, command: Mapping[str, Any], *, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Return a command once all connected ranks have applied it. A server that is away is asked again.

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


def _all_pages(address: ServerAddress, path: str, query: dict[str, str], key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = ask(address, f"{path}?{urlencode(query if cursor is None else {**query, 'cursor': cursor})}")
        found += _listed(address, page, key)
        before, cursor = cursor, page.get("next_cursor")
        if cursor is None or cursor == before:
            return found


def _as_command(address: ServerAddress, answer: dict[str, Any]) -> dict[str, Any]:
    if not {"id", "state", "values", "ranks", "away", "waiting_for"} <= set(answer):
        raise ConnectionError(f"expected a command from {address.base}, got an answer with {shown(sorted(answer))}")
    return answer


def _listed(address: ServerAddress, answer: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = answer.get(key)
    if not isinstance(found, list):
        raise ConnectionError(f"expected a recis-monitor server at {address.base}, got an answer without {key!r}")
    return found
