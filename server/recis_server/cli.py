"""The server's commands: parse options, print the result or a one-line error, return an exit code.

The only file of this package that writes to the terminal, configures logging and handles signals. Other modules do the
work.
"""

import argparse
import asyncio
import gc
import importlib.util
import json
import re
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recis_server import demo, exporting, importing
from recis_server.access import SCOPES, digest_of, make_token
from recis_server.commands import BAD_USAGE, COMMANDS, CommandParser, add_export_options
from recis_server.errors import NotFound, ServerError
from recis_server.logs import set_up_logging
from recis_server.query.shapes import run_shape
from recis_server.serving import Serving, serving
from recis_server.settings import Settings
from recis_server.store import Store, open_store
from recis_server.store.values import RunsWanted, TokenRow

__all__ = ["main"]

_SERVE_FIELDS = (
    "host",
    "port",
    "data",
    "store",
    "retain_raw",
    "max_lines",
    "bus",
    "blobs",
    "token_file",
    "auth_view",
    "auth_control",
    "auth_proxy_header",
    "auth_proxy_groups_header",
    "auth_proxy_from",
    "auth_proxy_secret_file",
    "oidc_issuer",
    "oidc_client_id",
    "oidc_client_secret_file",
    "oidc_claim",
    "tls_cert",
    "tls_key",
    "root_path",
    "insecure",
    "allow_host",
    "ping_interval",
    "command_wait",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 for success, 2 for errors that the caller can correct."""
    set_up_logging()
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        return code
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else "options"
        return _complain(f"{option}: {first['msg']}, got {first['input']!r}")
    except (ServerError, ValueError) as error:
        return _complain(str(error))
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130


def _complain(message: str) -> int:
    sys.stderr.write(f"recis-monitor: {' '.join(message.split())}\n")
    return BAD_USAGE


# --- options


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="recis-monitor")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = _command(commands, "serve", _serve)
    _add_serve_options(one)
    one = _command(commands, "demo", demo.main)
    _add_serve_options(one)
    demo.add_arguments(one)
    one = _command(commands, "runs", _runs)
    _add_store_options(one)
    one.add_argument("--json", action="store_true", help="print one JSON object")
    one = _command(commands, "export", _export)
    _add_store_options(one)
    add_export_options(one)
    sources = _command(commands, "import", None).add_subparsers(required=True, metavar="TOOL")
    one = _command(
        sources, "tensorboard", _import, "import TensorBoard event files; a repeated import adds only what is new"
    )
    _add_store_options(one)
    importing.add_arguments(one)
    _add_token_commands(_command(commands, "token", None))
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int] | None, text: str | None = None
) -> argparse.ArgumentParser:
    text = text or COMMANDS[name]
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    if run is not None:
        parser.set_defaults(command=run)
    return parser


def _add_token_commands(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    one = _command(actions, "create", _create_token, "create a token and print it, this once")
    _add_store_options(one)
    one.add_argument("--scope", choices=SCOPES, required=True)
    one.add_argument("--name", default="")
    one.add_argument(
        "--expires", type=_duration, metavar="TIME", help="time for which it is valid, such as 12h, 30d or 8w"
    )
    _add_store_options(_command(actions, "list", _list_tokens, "list all tokens"))
    one = _command(actions, "revoke", _revoke_token, "revoke a token")
    _add_store_options(one)
    one.add_argument("id", metavar="ID")


def _add_store_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder (default: ./recis-data)")
    parser.add_argument(
        "--store", metavar="URL", help="sqlite:///PATH or postgresql://… (default: recis.db in the data folder)"
    )


def _add_serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on, 0 for a free one (default: 8765)")
    _add_store_options(parser)
    parser.add_argument(
        "--retain-raw",
        action="append",
        metavar="DAYS",
        help="days after which raw points are dropped while their buckets remain; PROJECT=DAYS for one project; may be"
        " repeated (default: forever)",
    )
    parser.add_argument(
        "--max-lines",
        type=int,
        metavar="N",
        help="log lines kept per run; the oldest beyond are deleted (default: 100000)",
    )
    parser.add_argument(
        "--bus",
        metavar="URL",
        help="memory:// (default), or nats://HOST,… for several servers on one --store postgresql://…",
    )
    parser.add_argument(
        "--blobs",
        metavar="URL",
        help="file://FOLDER, s3://BUCKET[/PREFIX], gs://… or az://… (default: blobs in the data folder)",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="F", help="file with a token for all scopes; created if missing"
    )
    parser.add_argument(
        "--tls-cert",
        type=Path,
        metavar="F",
        help="certificate with its chain, as PEM; the server then speaks https only",
    )
    parser.add_argument("--tls-key", type=Path, metavar="F", help="private key of the certificate, as PEM")
    parser.add_argument("--root-path", metavar="P", help="path under which a proxy serves this server")
    parser.add_argument(
        "--allow-host",
        action="append",
        metavar="NAME",
        help="additional hostname to accept, or the origin that browsers use, such as https://NAME; may be repeated",
    )
    parser.add_argument(
        "--ping-interval",
        type=float,
        metavar="S",
        help="seconds between two pings on a connection; less than the idle timeout of a proxy (default: 20)",
    )
    parser.add_argument(
        "--insecure", action="store_true", default=None, help="disable authentication on non-loopback addresses"
    )
    parser.add_argument(
        "--command-wait",
        type=float,
        metavar="S",
        help="seconds that a command waits for a rank that is away (default: 604800, 7 days)",
    )
    _add_sign_in_options(parser)


def _add_sign_in_options(parser: argparse.ArgumentParser) -> None:
    who = "a name, @GROUP, or * for every authenticated user; may be repeated"
    parser.add_argument("--auth-view", action="append", metavar="WHO", help=f"person who may view: {who}")
    parser.add_argument(
        "--auth-control", action="append", metavar="WHO", help=f"person who may change live runs: {who}"
    )
    parser.add_argument(
        "--auth-proxy-header", metavar="NAME", help="header in which a proxy names its user, such as X-Forwarded-User"
    )
    parser.add_argument(
        "--auth-proxy-groups-header", metavar="NAME", help="header with the user's groups (default: X-Forwarded-Groups)"
    )
    parser.add_argument(
        "--auth-proxy-from",
        action="append",
        metavar="ADDRESS",
        help="address or network of the proxy, from which alone the header is accepted; may be repeated",
    )
    parser.add_argument(
        "--auth-proxy-secret-file",
        type=Path,
        metavar="F",
        help="file with the secret that the proxy sends in X-Recis-Monitor-Secret",
    )
    parser.add_argument("--oidc-issuer", metavar="URL", help="OpenID Connect provider with which people sign in")
    parser.add_argument("--oidc-client-id", metavar="ID", help="name of this server at the provider")
    parser.add_argument(
        "--oidc-client-secret-file", type=Path, metavar="F", help="file with the secret of this server at the provider"
    )
    parser.add_argument(
        "--oidc-claim", metavar="NAME", help="claim of the ID token with a person's groups (default: groups)"
    )


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(**_given(options))


def _given(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name, None) for name in _SERVE_FIELDS}
    return {name: value for name, value in given.items() if value is not None}


# --- serve


def _serve(options: argparse.Namespace) -> int:
    # uvloop exists for CPython on Linux and macOS only.
    loops = importlib.import_module("uvloop" if importlib.util.find_spec("uvloop") else "asyncio")
    with asyncio.Runner(loop_factory=loops.new_event_loop) as runner:
        runner.run(_serve_until_signal(_settings(options)))
    return 0


async def _serve_until_signal(settings: Settings) -> None:
    async with serving(settings) as server:
        # What is loaded now stays; scanning it in every garbage collection costs more than ingesting frames.
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        _announce(server)
        await server.stopped()


def _announce(server: Serving) -> None:
    token = f"/?token={server.token}" if server.token is not None else ""
    sys.stdout.write(f"Listening on {server.url}{token}\n")
    sys.stdout.flush()


# --- the store without a server


def _with_store(options: argparse.Namespace, work: Callable[[Store], Awaitable[None]]) -> int:
    async def run() -> None:
        store = open_store(_settings(options).store_url, exclusive=False)
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())
    return 0


def _runs(options: argparse.Namespace) -> int:
    async def work(store: Store) -> None:
        runs = []
        cursor = None
        while True:
            page = await store.runs(RunsWanted(cursor=cursor))
            runs += [run_shape(row, row.state) for row in page.runs]
            cursor = page.next_cursor
            if cursor is None:
                break
        if options.json:
            sys.stdout.write(json.dumps({"runs": runs}, indent=2) + "\n")
            return
        for run in runs:
            step = "-" if run["last_step"] is None else run["last_step"]
            sys.stdout.write(f"{run['id']}\t{run['project']}\t{_line(run['name'])}\t{run['state']}\t{step}\n")

    return _with_store(options, work)


def _export(options: argparse.Namespace) -> int:
    return _with_store(options, lambda store: exporting.export_run(store, options))


def _import(options: argparse.Namespace) -> int:
    return importing.main(options, _given(options))


def _create_token(options: argparse.Namespace) -> int:
    token = make_token()
    now_ns = time.time_ns()
    expires_ns = None if options.expires is None else now_ns + options.expires * 10**9
    row = TokenRow(secrets.token_hex(4), options.name[:256], options.scope, digest_of(token), now_ns, expires_ns)

    async def work(store: Store) -> None:
        await store.add_token(row)
        sys.stdout.write(f"{token}\n")

    return _with_store(options, work)


def _list_tokens(options: argparse.Namespace) -> int:
    async def work(store: Store) -> None:
        for row in await store.tokens():
            is_over = row.expires_ns is not None and row.expires_ns <= time.time_ns()
            times = (f"{'expired' if is_over else 'expires'} {_day(row.expires_ns)}", f"last used {_day(row.used_ns)}")
            sys.stdout.write("\t".join((row.id, row.scope, _line(row.name), *times)) + "\n")

    return _with_store(options, work)


def _revoke_token(options: argparse.Namespace) -> int:
    async def work(store: Store) -> None:
        if not await store.delete_token(options.id):
            raise NotFound(f"there is no token {options.id!r}; recis-monitor token list shows them")

    return _with_store(options, work)


def _duration(text: str) -> int:
    """Return the seconds of `12h`, `30d` or `8w`."""
    match = re.fullmatch(r"([1-9][0-9]{0,3})([hdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"expected a number of hours, days or weeks, such as 12h, 30d or 8w, got {text!r}"
        )
    return int(match[1]) * {"h": 3600, "d": 86_400, "w": 7 * 86_400}[match[2]]


def _day(time_ns: int | None) -> str:
    """Return a time to the minute, in UTC."""
    return "never" if time_ns is None else time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(time_ns // 10**9))


def _line(text: str) -> str:
    """Return untrusted text for a terminal: one line without control characters."""
    return "".join(char if char.isprintable() else "·" for char in text)
