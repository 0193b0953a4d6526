"""`python -m recis.demo`, also under `torchrun`: arguments in, exit code out.

Owns the command line and the logging of the training process; must not know the model. The server is found through
`RECIS_MONITOR_URL`. Exit code 0: trained and every point acknowledged; 1: data or training failed; 3: trained, but
points are still in the spool.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from recis import environment
from recis.demo.incidents import BEGIN, INCIDENTS
from recis.demo.movielens import DEFAULT_CACHE, DataError, fetch
from recis.demo.train import Options, train

UNDELIVERED = 3


def main() -> int:
    """Run the training with the settings of the command line."""
    parser = argparse.ArgumentParser(prog="python -m recis.demo", description="Train a click model on MovieLens-100k.")
    parser.add_argument("--steps", type=int, default=Options.steps, help="stop after this many steps")
    parser.add_argument("--passes", type=int, default=Options.passes, help="replays of the data (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=Options.rate, help="steps per second, 0 for full speed (default: 4)"
    )
    parser.add_argument(
        "--incident", choices=INCIDENTS, help=f"what goes wrong from step {BEGIN} on (default: nothing)"
    )
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the data (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("output_dir"), help="folder of traces and spool")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop cleanly when the parent process ends")
    arguments = parser.parse_args()

    # Every rank streams to the server; only one rank logs to the terminal.
    logging.basicConfig(level=logging.INFO if environment.rank() == 0 else logging.WARNING, format="%(message)s")
    logging.getLogger("recis.hooks.filter_hook").setLevel(logging.WARNING)  # the page shows filter passes
    try:
        data = fetch(arguments.cache)
    except (DataError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if arguments.until_stdin_closes:
        # A daemon thread: only the end of stdin ends its read.
        threading.Thread(target=_stop_with_stdin, name="recis-demo-stdin", daemon=True).start()
    options = Options(steps=arguments.steps, passes=arguments.passes, rate=arguments.rate, incident=arguments.incident)
    return 0 if train(options, data, arguments.output).delivered else UNDELIVERED


def _stop_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
