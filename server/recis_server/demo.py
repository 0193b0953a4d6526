"""`recis-monitor demo`: a server and a real training as two child processes, stopped together.

Owns the processes and the order in which they start and stop; must not import the training side or torch, and knows no
routes.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import IO, NoReturn

from recis_server.settings import Settings

__all__ = ["INCIDENTS", "add_arguments", "main", "training_command"]

INTERRUPTED = 130
INCIDENTS: Mapping[str, str] = MappingProxyType(
    {
        "slow-rank": "From step 200 on, the last rank waits for its data three times as long as a step took.\n"
        "  Open the run: the speed (qps) falls on all ranks, since they wait for each other. Choose the rank\n"
        "  'median and band' and search for data_wait: that chart names the slowest rank. Choose this rank: it\n"
        "  waits for data, says the chart of where a step's time goes.",
        "nan": "From step 200 on, labels are damaged: the loss is NaN, and soon everything that the model computes.\n"
        "  Open the run: the line of the loss ends, triangles at its upper edge mark the values that are not numbers,\n"
        "  the card counts them, and an alert says at which step it began.",
        "growing-table": "From step 200 on, every lookup in the table user_x_genre is a new id.\n"
        "  Open the run and its Hash tables: the rows of this table climb many times above those of before, and each\n"
        "  pass admits and later evicts many more. Lower table/user_x_genre/filter_step there, and the table shrinks.",
    }
)
"""What can go wrong in the demo, and what to look at; `recis.demo.incidents` plays it."""
_READY = "Listening on "
_SERVE_OPTIONS = ("host", "port", "data", "store", "bus", "blobs", "token_file", "root_path", "allow_host", "insecure")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A training waits some seconds for acknowledgements, and evaluates once more.
_STOP_TRAINING_S = 30.0
_STOP_SERVER_S = 15.0
# torchrun would set one thread too, with a warning; this also hides torch's remarks on profiling.
_TRAINING_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "KINETO_LOG_LEVEL": "6", "TORCH_CPP_LOG_LEVEL": "ERROR"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the demo; the caller adds those of `serve`."""
    parser.add_argument(
        "--steps",
        type=_positive,
        metavar="N",
        help="number of training steps (default: 14432, an hour at 4 per second)",
    )
    parser.add_argument(
        "--rate", type=_rate, default=4.0, metavar="S", help="steps per second, 0 for full speed (default: 4)"
    )
    parser.add_argument(
        "--ranks", type=_positive, metavar="R", help="number of training processes (default: 1; 4 for slow-rank)"
    )
    parser.add_argument(
        "--incident", choices=INCIDENTS, help="let this go wrong after 200 steps, and say what to look at on the page"
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="folder for the downloaded ratings")
    parser.add_argument("--no-browser", action="store_true", help="print the page's address only")
    parser.add_argument("--exit", action="store_true", help="exit when all steps are trained and acknowledged")


def main(options: argparse.Namespace) -> int:
    """Run the demo until it is interrupted, or to its end with `--exit`; return the exit code."""
    if importlib.util.find_spec("torch") is None:
        sys.stderr.write("The demo trains with PyTorch, which is not installed: pip install torch==2.13.0\n")
        return 1
    cache = ["--cache", str(options.cache)] if options.cache else []
    if subprocess.run([sys.executable, "-m", "recis.demo.movielens", *cache], check=False).returncode:  # noqa: S603
        return 1

    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as children:
            try:
                return _run(options, cache, children)
            finally:
                for number in _SIGNALS:
                    signal.signal(number, signal.SIG_IGN)  # stopping has its own limits of time
    except KeyboardInterrupt:
        return INTERRUPTED if options.exit else 0


def _run(options: argparse.Namespace, cache: list[str], children: ExitStack) -> int:
    server = _start([sys.executable, "-m", "recis_server", "serve", *_serve_arguments(options)], stdout=subprocess.PIPE)
    children.callback(_stop, "server", server, _STOP_SERVER_S)
    assert server.stdout is not None
    url = _wait_until_ready(server.stdout)
    if url is None:
        return server.wait() or 1
    sys.stdout.write(f"\n  Watch the training at {url}\n\n")
    if options.incident:
        sys.stdout.write(f"  {INCIDENTS[options.incident]}\n\n")
    sys.stdout.flush()
    if not options.no_browser:
        _open_page(url)

    training = _start(
        training_command(options, cache),
        stdin=subprocess.PIPE,
        environment=_TRAINING_ENVIRONMENT | {"RECIS_MONITOR_URL": url},
    )
    children.callback(_stop, "training", training, _STOP_TRAINING_S)
    while training.poll() is None:
        if server.poll() is not None:
            sys.stderr.write(f"The server ended with code {server.returncode}; stopping the training.\n")
            return 1
        with suppress(subprocess.TimeoutExpired):
            training.wait(timeout=0.5)
    if options.exit:
        return training.returncode
    sys.stdout.write(f"The training ended with code {training.returncode}. {url} remains available until Ctrl-C.\n")
    sys.stdout.flush()
    return server.wait()


def _start(
    command: list[str],
    *,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> "subprocess.Popen[str]":
    # In its own session a child does not receive Ctrl-C from the terminal: the children are stopped in order, training
    # first.
    return subprocess.Popen(  # noqa: S603
        command, stdin=stdin, stdout=stdout, text=True, start_new_session=True, env={**os.environ, **environment}
    )


def _serve_arguments(options: argparse.Namespace) -> list[str]:
    arguments = []
    for name in _SERVE_OPTIONS:
        option, value = f"--{name.replace('_', '-')}", getattr(options, name)
        if value is True:
            arguments.append(option)
        elif value is not None:
            for each in value if isinstance(value, list) else [value]:
                arguments += [option, str(each)]
    return arguments


def training_command(options: argparse.Namespace, cache: list[str]) -> list[str]:
    """Return the command of the training for the options of the demo; `cache` are its arguments for the ratings."""
    command = [sys.executable, "-m"]
    ranks = _ranks(options)
    if ranks > 1:
        command += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
    output = Path(options.data or Settings().data) / "demo"
    command += ["recis.demo", "--until-stdin-closes", "--rate", str(options.rate), "--output", str(output), *cache]
    if options.incident:
        command += ["--incident", options.incident]
    if options.steps is not None:
        # As many passes as necessary: with --steps, the number of steps alone determines the end.
        command += ["--steps", str(options.steps), "--passes", str(options.steps)]
    return command


def _ranks(options: argparse.Namespace) -> int:
    """Return the number of ranks: a slow rank stands out only among several others."""
    if options.incident == "slow-rank":
        return max(2, options.ranks or 4)
    return options.ranks or 1


def _wait_until_ready(output: IO[str]) -> str | None:
    """Return the server's address, or None if it ended without one; forward its later output."""
    for line in output:
        if line.startswith(_READY):
            threading.Thread(target=_pass_on, args=(output,), name="recis-demo-output", daemon=True).start()
            return line.removeprefix(_READY).strip()
        sys.stdout.write(line)
    return None


def _pass_on(output: IO[str]) -> None:
    for line in output:
        sys.stdout.write(line)


def _open_page(url: str) -> None:
    with suppress(webbrowser.Error):
        browser = webbrowser.get()
        # Browsers in a text terminal have exactly this class; they would take the place of the training's output.
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(url)


def _stop(name: str, child: "subprocess.Popen[str]", limit_s: float) -> None:
    if child.poll() is not None:
        return
    if child.stdin is not None:
        child.stdin.close()  # reaches every rank; torchrun would answer a signal of its own with a traceback
    else:
        child.terminate()
    try:
        child.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"The {name} did not stop within {limit_s:.0f} s; killing it.\n")
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return number


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate < float("inf"):
        raise argparse.ArgumentTypeError(f"expected steps per second, or 0 for full speed, got {text}")
    return rate
