"""`recis-monitor set`, `controls`, `effect`, `forecast`, `mcp`, `runs --url` and `export --url`, which query a server.

Owns the options, the output and the exit codes; the requests are those of `client` and `export`.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from recis import environment
from recis.bridge.address import DEFAULT_URL, ServerAddress
from recis.remote.client import WAIT_S, CommandError, CommandTimeoutError, RemoteServer
from recis.remote.effects import effect_lines, forecast_lines
from recis.remote.export import export_run
from recis.remote.http import RefusedError
from recis.wire.controls import is_control_name
from recis.wire.showing import shown
from recis.wire.text import as_name

__all__ = ["add_commands", "add_export", "add_mcp", "add_runs", "parse_setting", "typed_value"]

FAILED, BAD_USAGE, REJECTED, TIMED_OUT, INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes; 0 means applied, or accepted without `--wait`."""


class DeclinedError(Exception):
    """The user has not confirmed a command; nothing was sent."""


def add_commands(commands: Any) -> None:
    """Add the parsers of `set`, `controls`, `effect` and `forecast`."""
    purpose = "change controls of a run, or request an action"
    one = commands.add_parser(
        "set",
        help=purpose,
        description=f"{purpose}; all values take effect at one step, or none. Exit codes: 0 applied, or accepted"
        " without --wait; 1 not confirmed, or another error; 2 bad usage; 3 rejected by server or rank; 4 timed out",
    )
    one.add_argument("run", metavar="RUN", help="the run's identifier")
    one.add_argument(
        "settings",
        metavar="NAME[=VALUE]",
        nargs="+",
        help="a control and its new value as in JSON, the value of a text control as it is; of an action only the name",
    )
    one.add_argument("--wait", action="store_true", help="wait until all connected ranks have applied it")
    one.add_argument(
        "--timeout",
        type=_seconds,
        default=WAIT_S,
        metavar="SECONDS",
        help=f"limit for --wait (default: {WAIT_S:g})",
    )
    one.add_argument("--why", default="", metavar="TEXT", help="reason, for the audit and the training's log")
    one.add_argument(
        "--yes", action="store_true", help="send it without asking, even if a control, such as stop, has a question"
    )
    one.add_argument("--json", action="store_true", help="print one JSON object")
    _add_server_options(one)
    one.set_defaults(command=_run(_set))

    _add_reading(commands, "controls", "list the controls of a run", _controls)
    one = _add_reading(commands, "effect", "show what a command has changed: loss, speed and hash tables", _effect)
    one.add_argument("changed_by", metavar="COMMAND", nargs="?", help="default: the newest one that was applied")
    one.add_argument(
        "--window",
        type=int,
        metavar="STEPS",
        help="steps before and after the command (default: 100, or five filter intervals if these are more)",
    )
    one = _add_reading(commands, "forecast", "show what another filter interval would mean for hash tables", _forecast)
    one.add_argument("setting", metavar="filter_interval=STEPS", help="the interval, as for set")


def _add_reading(
    commands: Any, name: str, purpose: str, command: Callable[[RemoteServer, argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """Add the parser of a command that reads data of a run, and return it."""
    one: argparse.ArgumentParser = commands.add_parser(name, help=purpose, description=purpose)
    one.add_argument("run", metavar="RUN", help="the run's identifier")
    one.add_argument("--json", action="store_true", help="print one JSON object")
    _add_server_options(one)
    one.set_defaults(command=_run(command))
    return one


def add_runs(commands: Any, list_store: Callable[[list[str]], int]) -> None:
    """Add the parser of `runs`, which lists a server's runs, or through `list_store` those of a store."""
    purpose = "list the runs of a server or a store"
    one = commands.add_parser("runs", help=purpose, description=f"{purpose}: {_WHICH_PLACE}")
    one.add_argument("--json", action="store_true", help="print one JSON object")
    _add_place_options(one)

    def runs(options: argparse.Namespace) -> int:
        of_store = _store_options(options)
        if of_store is not None:
            return list_store([*of_store, *(["--json"] if options.json else [])])
        return _run(_runs)(options)

    one.set_defaults(command=runs)


def add_export(
    commands: Any, add_options: Callable[[argparse.ArgumentParser], None], export_store: Callable[[list[str]], int]
) -> None:
    """Add the parser of `export`, which reads from a server, or through `export_store` from a store."""
    purpose = "export every point of a run"
    one = commands.add_parser(
        "export",
        help=purpose,
        description=f"{purpose}: {_WHICH_PLACE}. Exit codes: 0 exported; 1 no connection, an insufficient token, or"
        " an interrupted download; 2 bad usage, no such run, or a file that cannot be written",
    )
    add_options(one)
    _add_place_options(one)

    def export(options: argparse.Namespace) -> int:
        of_store = _store_options(options)
        if of_store is None:
            return _export(options)
        given = [f"--key={key}" for key in options.key or ()]
        given += ["--no-superseded"] if options.no_superseded else []
        given += [] if options.output is None else [f"--output={options.output}"]
        given += ["--json"] if options.json else []
        return export_store([*of_store, f"--format={options.format}", *given, "--", options.run])

    one.set_defaults(command=export)


def add_mcp(commands: Any) -> None:
    """Add the parser of `mcp`."""
    purpose = "offer the runs of a server to agents, as a server of the Model Context Protocol"
    one = commands.add_parser(
        "mcp",
        help=purpose,
        description=f"{purpose}, on standard input and output; started by the agent. Tools that change a training are"
        f" offered if the token has the scope `control`. Needs {_MCP}",
    )
    _add_server_options(one)
    one.set_defaults(command=_mcp)


_MCP = "pip install 'recis-monitor[mcp]'"
_WHICH_PLACE = (
    "of a server with --url, or if RECIS_MONITOR_URL is set and neither --data nor --store is given; else of the store,"
    " without a server"
)


def _add_place_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="data folder (default: ./recis-data)")
    parser.add_argument(
        "--store", metavar="URL", help="sqlite:///PATH or postgresql://… (default: recis.db in the folder)"
    )
    _add_server_options(parser, default=None)


def _store_options(options: argparse.Namespace) -> list[str] | None:
    """Return the options of the store to read, or None to query a server, whose address is then set."""
    of_store = [f"--{name}={value}" for name in ("data", "store") if (value := getattr(options, name)) is not None]
    if options.url is not None and of_store:
        raise ValueError(f"expected --url or {of_store[0].partition('=')[0]}, got both")
    options.url = options.url or (None if of_store else environment.monitor_url())
    return of_store if options.url is None else None


def _add_server_options(parser: argparse.ArgumentParser, default: str | None = DEFAULT_URL) -> None:
    parser.add_argument(
        "--url",
        default=default and (environment.monitor_url() or default),
        metavar="URL",
        help=f"the server's address (default: RECIS_MONITOR_URL{f', or {default}' if default else ''})",
    )
    parser.add_argument(
        "--token", metavar="TOKEN", help="token, if the server requires one (default: RECIS_MONITOR_TOKEN)"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a finite number of seconds, at least 0, got {text!r}")
    return seconds


def _run(command: Callable[[RemoteServer, argparse.Namespace], None]) -> Callable[[argparse.Namespace], int]:
    """Wrap a command: open its server, and turn its errors into one line and an exit code."""

    def run(options: argparse.Namespace) -> int:
        server = RemoteServer(_address(options))
        try:
            command(server, options)
            return 0
        except BrokenPipeError:
            return 0
        except KeyboardInterrupt:
            return INTERRUPTED
        except CommandError as error:
            if options.json:
                _print_json(error.command)
            is_rejected = error.command.get("state") == "rejected"
            code = TIMED_OUT if isinstance(error, CommandTimeoutError) else REJECTED if is_rejected else FAILED
            return _complain(options, str(error), code)
        except RefusedError as error:
            return _complain(options, str(error), REJECTED)
        except (DeclinedError, LookupError, OSError) as error:
            return _complain(options, str(error), FAILED)

    return run


def _address(options: argparse.Namespace) -> ServerAddress:
    return ServerAddress.parse(options.url, options.token or environment.monitor_setting("TOKEN"))


def _complain(options: argparse.Namespace, message: str, code: int) -> int:
    sys.stderr.write(f"recis-monitor {options.name}: {' '.join(message.split())}\n")
    return code


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    sys.stdout.flush()


def _print_row(*cells: object) -> None:
    sys.stdout.write("\t".join(as_name(str(cell)) for cell in cells) + "\n")


# --- set


def _set(server: RemoteServer, options: argparse.Namespace) -> None:
    texts: dict[str, str | None] = {}
    for argument in options.settings:
        name, text = parse_setting(argument)
        if name in texts:
            raise ValueError(f"expected each control once, got {name} again")
        texts[name] = text
    run = server.run(options.run)
    declared = {one["name"]: one for one in run.controls()}
    for name, text in texts.items():
        if text is None:
            _check_action(options.run, name, declared)
    # The server reports a control that is not declared.
    wanted = {name: None if text is None else typed_value(declared.get(name, {}), text) for name, text in texts.items()}
    if not options.yes:
        _confirm(options.run, [declared[name] for name in wanted if name in declared])
    command = run.set(wanted, reason=options.why, wait=options.wait, timeout_s=options.timeout)
    if options.json:
        _print_json(command)
    else:
        sys.stdout.write(f"{_outcome(command)}\n")


def parse_setting(argument: str) -> tuple[str, str | None]:
    """Return name and value of `NAME=VALUE`; the value of a `NAME` alone is None.

    Raises:
        ValueError: another form.
    """
    name, equals, text = argument.partition("=")
    if not is_control_name(name):
        raise ValueError(
            f"expected NAME=VALUE, such as filter_interval=200, or the name of an action, such as stop,"
            f" got {shown(argument)}"
        )
    return name, text if equals else None


def _check_action(run: str, name: str, declared: Mapping[str, Mapping[str, Any]]) -> None:
    """Reject a name without a value that is not an action.

    Raises:
        ValueError: a control that takes a value.
        LookupError: the run has no such control.
    """
    control = declared.get(name)
    if control is None:
        actions = sorted(other for other, one in declared.items() if one["type"] == "action")
        raise LookupError(f"run {run} has no action {name!r}; expected NAME=VALUE, or one of {actions}")
    if control["type"] != "action":
        now, values = json.dumps(control["value"]), _range(control)
        takes = control["type"] if values == "-" else f"{control['type']}, {values}"
        raise ValueError(as_name(f"expected a value for {name}, as {name}={now}, got none; it takes: {takes}", 1024))


def _confirm(run: str, controls: Iterable[Mapping[str, Any]]) -> None:
    """Ask at the terminal whether to send a command, if one of its controls requires confirmation.

    Raises:
        ValueError: there is no terminal to ask at.
        DeclinedError: the answer is not yes.
    """
    asked = "; ".join(f"{one['name']}: {as_name(one['confirm'], 1024)}" for one in controls if one.get("confirm"))
    if not asked:
        return
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise ValueError(f"nothing was sent: expected --yes, or a terminal to confirm at, got neither; {asked}")
    # Not on standard output, which may be redirected and with --json contains only one object.
    sys.stderr.write(f"run {run}: {asked} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise DeclinedError("nothing was sent: the command was not confirmed")


def typed_value(control: Mapping[str, Any], text: str) -> Any:
    """Return the value of `text` for a control: parsed as JSON, except for text controls and texts among choices.

    A text that is not JSON is kept, so that the server can say what it expected.
    """
    if text == "null" and control.get("nullable"):
        return None
    if control.get("type") == "str" or text in (control.get("choices") or ()):
        return text
    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text


def _outcome(command: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name}={json.dumps(value)}" for name, value in command["values"].items())
    steps = sorted({one["step"] for one in command["ranks"].values() if one["step"] is not None})
    where = f" at step {steps[0]}" if len(steps) == 1 else f" at steps {steps[0]} to {steps[-1]}" if steps else ""
    away = f"; ranks {command['away']} are disconnected and get it when they reconnect" if command["away"] else ""
    return as_name(f"{command['state']}{where}: {settings} (command {command['id']}){away}", 4096)


# --- effect and forecast


def _effect(server: RemoteServer, options: argparse.Namespace) -> None:
    run = server.run(options.run)
    command_id = options.changed_by or next(
        (one["id"] for one in reversed(run.commands()) if one["state"] == "applied"), None
    )
    if command_id is None:
        raise LookupError(f"run {options.run} has no command that was applied")
    _print_answer(options, run.effect(command_id, window=options.window), effect_lines)


def _forecast(server: RemoteServer, options: argparse.Namespace) -> None:
    name, _, text = options.setting.partition("=")
    if name != "filter_interval" or not (text.isascii() and text.isdigit()):
        raise ValueError(f"expected filter_interval=STEPS, as filter_interval=200, got {shown(options.setting)}")
    _print_answer(options, server.run(options.run).forecast(filter_interval=int(text)), forecast_lines)


def _print_answer(
    options: argparse.Namespace, answer: dict[str, Any], as_lines: Callable[[Mapping[str, Any]], Iterable[str]]
) -> None:
    if options.json:
        _print_json(answer)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in as_lines(answer)))


# --- export


def _export(options: argparse.Namespace) -> int:
    try:
        export_run(_address(options), options)
        return 0
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except (LookupError, ValueError) as error:  # the same exit code as for a store
        return _complain(options, str(error), BAD_USAGE)
    except OSError as error:
        return _complain(options, str(error), FAILED)


# --- mcp


def _mcp(options: argparse.Namespace) -> int:
    try:
        from recis.remote.mcp_server import make_server
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "recis":
            raise
        return _complain(options, f"this command needs the package mcp, and {error.name} is missing: {_MCP}", BAD_USAGE)
    try:
        make_server(RemoteServer(_address(options))).run("stdio")
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except PermissionError as error:
        return _complain(options, str(error), FAILED)


# --- lists


def _controls(server: RemoteServer, options: argparse.Namespace) -> None:
    controls = server.run(options.run).controls()
    if options.json:
        _print_json({"controls": controls})
        return
    for one in controls:
        value, desired = json.dumps(one["value"]), json.dumps(one["desired"])
        shown_value = value if value == desired else f"{value} -> {desired}"
        values = _range(one) + (f", ranks {one['differs']} differ" if one["differs"] else "")
        _print_row(one["name"], one["type"], shown_value, one["unit"] or "-", values.removeprefix("-, "))


def _range(control: Mapping[str, Any]) -> str:
    """Return which values a control accepts."""
    parts = []
    if control["choices"]:
        parts.append("one of " + ", ".join(json.dumps(choice) for choice in control["choices"]))
    parts += [f"at least {control['minimum']:g}"] if control["minimum"] is not None else []
    parts += [f"at most {control['maximum']:g}"] if control["maximum"] is not None else []
    parts += ["or null"] if control["nullable"] else []
    return ", ".join(parts) or "-"


def _runs(server: RemoteServer, options: argparse.Namespace) -> None:
    runs = server.runs()
    if options.json:
        _print_json({"runs": runs})
        return
    for run in runs:
        step = "-" if run["last_step"] is None else run["last_step"]
        _print_row(run["id"], run["project"], run["name"], run["state"], step)
