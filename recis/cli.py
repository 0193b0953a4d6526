"""The command `recis-monitor` of the base install: `sync` and the commands that query a server; the server has the
others.

Owns the choice of the command. Imports the server only for its own commands; a server process loads neither the sender
nor the client.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from recis_server import __main__ as server
from recis_server.commands import BAD_USAGE, COMMANDS, INSTALL, CommandParser, add_export_options

from recis import __version__
from recis.installation import check_installation

__all__ = ["main"]


_PASSED_ON = {name: purpose for name, purpose in COMMANDS.items() if name not in ("runs", "export")}
"""The server's commands, except those that can query a server and then need none of its packages."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 for success, 2 for a usage error."""
    check_installation()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in _PASSED_ON:
        return server.main(given)
    options = _parser().parse_args(given)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        code: int = options.command(options)
        return code
    except ValueError as error:
        sys.stderr.write(f"recis-monitor {options.name}: {error}\n")
        return BAD_USAGE


def _parser() -> CommandParser:
    from recis.bridge import sync
    from recis.remote import commands as remote

    parser = CommandParser(
        prog="recis-monitor",
        description="Watch recommender models train, and control them while they do.",
        epilog="All commands but sync, set, controls, effect, forecast, mcp, runs --url and export --url need the"
        f" server's packages: {INSTALL}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"recis-monitor {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name")
    purpose = "send the data that a killed or offline training left"
    one = commands.add_parser("sync", help=purpose, description=purpose)
    sync.add_arguments(one)
    one.set_defaults(command=sync.main)
    remote.add_commands(commands)
    remote.add_mcp(commands)
    remote.add_runs(commands, lambda options: server.main(["runs", *options]))
    remote.add_export(commands, add_export_options, lambda options: server.main(["export", *options]))
    for name, purpose in _PASSED_ON.items():
        # Only listed; the server parses its options itself.
        commands.add_parser(name, help=purpose).set_defaults(command=lambda options: server.main([options.name]))
    return parser


if __name__ == "__main__":
    sys.exit(main())
