"""One rank of a job that trains nothing: it steps at a given rate, alone or in lockstep, and logs the changes it
receives.

    python -m tests.control.rank JOURNAL [--barrier HOST:PORT] [--rate STEPS] [--steps N] [--first STEP] [--slow S]

The journal has one JSON object a line: `{"step", "time", "control", "value"}` for each change, `{"step", "time",
"event"}` for others. In its name `%r` is the rank. With `gloo` as the barrier, the ranks sum a tensor at each step.
"""

import argparse
import json
import os
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

import recis.monitor


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("journal", type=Path)
    parser.add_argument("--barrier")
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--most", type=int)
    options = parser.parse_args()
    step = options.first
    path = options.journal.with_name(options.journal.name.replace("%r", os.environ.get("RANK", "0")))
    barrier = _AllReduce() if options.barrier == "gloo" else _Barrier(options.barrier)
    with path.open("a", buffering=1) as journal, barrier as wait:

        def write(**entry: Any) -> None:
            journal.write(json.dumps({"step": step, "time": time.time(), **entry}) + "\n")

        def change(control: str, value: Any) -> None:
            time.sleep(options.slow)
            if value == 1313:
                raise ValueError("1313 is bad luck")
            write(control=control, value=value)

        with recis.monitor.init(spool_dir=str(options.journal.parent / "spool")) as run:
            applied: dict[str, Literal["together", "each"]] = {"a": "together", "b": "together", "free": "each"}
            for name, apply in applied.items():
                run.control(
                    name,
                    type="int",
                    value=1,
                    minimum=1,
                    maximum=options.most,
                    apply=apply,
                    on_change=partial(change, name),
                )
            write(event="started", pid=os.getpid())
            run.await_settings(step)
            write(event="begins")
            while step < options.first + options.steps and not run.should_stop:
                time.sleep(1 / options.rate)
                wait()
                step += 1
                run.log({"loss": 1.0 / step}, step)
            write(event="stopped" if run.should_stop else "done")
    return 0


class _Barrier:
    """Waits at each step for all other ranks: sends a byte to the launcher and waits for one back."""

    def __init__(self, address: str | None) -> None:
        host, _, port = (address or "").partition(":")
        self._socket = socket.create_connection((host, int(port))) if port else None

    def __enter__(self) -> Any:
        return self.wait

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def wait(self) -> None:
        if self._socket is not None:
            self._socket.sendall(b"x")
            if not self._socket.recv(1):
                sys.exit(3)


class _AllReduce:
    """Waits at each step for the sum of a tensor over all ranks."""

    def __enter__(self) -> Any:
        import torch
        import torch.distributed as dist

        dist.init_process_group("gloo")
        one = torch.ones(1)

        def wait() -> None:
            total = one.clone()
            dist.all_reduce(total)
            assert total.item() == dist.get_world_size()

        return wait

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            import torch.distributed as dist

            dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
