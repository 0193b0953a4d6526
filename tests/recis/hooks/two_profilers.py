"""Trainings in which a `ProfilerHook` meets another profiler of torch's: `python two_profilers.py FOLDER`.

Each runs in a forked process, because the failure to detect is a SIGSEGV of the process. Prints one JSON object: by
name of the training, how its process ended, the warnings, the traces, and whether the other profiler has its events.
"""

import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch._inductor.config  # otherwise each profiler imports it at its first start, in every fork again
from torch.autograd import profiler as autograd_profiler
from torch.autograd import profiler_legacy
from torch.profiler import ProfilerActivity, profile, schedule

from recis.errors import CaptureBusyError
from recis.hooks import ProfilerHook, profiler_session

LAYER = torch.nn.Linear(8, 1)
TRAININGS: dict[str, Callable[["Training"], None]] = {}


class Training:
    """A loop of twenty steps; windows of `hook` are the steps 3 to 6, 9 to 12 and 15 to 18."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hook = ProfilerHook(1, 1, 4, 3, str(folder), compress=False)
        self.hooks = [self.hook]
        self.found: dict[str, Any] = {}
        self.step = 0

    def run(self, until: int, inside: Callable[[int], None] | None = None) -> None:
        """Train up to and with step `until`; `inside` is called in the middle of each step."""
        while self.step < until:
            self.step += 1
            work()
            if inside is not None:
                inside(self.step)
            work()
            for hook in self.hooks:
                hook.after_step(None, self.step)

    def check_other(self, other: Any) -> None:
        """Record whether the other profiler has its events."""
        other.export_chrome_trace(str(self.folder / "other.txt"))
        events = json.loads((self.folder / "other.txt").read_text())["traceEvents"]
        self.found["other"] = any(event.get("name") == "aten::linear" for event in events)


def work() -> None:
    LAYER(torch.ones(4, 8)).sum().backward()


def other_profile(**options: Any) -> profile:
    return profile(activities=[ProfilerActivity.CPU], **options)


def training(act: Callable[[Training], None]) -> Callable[[Training], None]:
    TRAININGS[act.__name__] = act
    return act


def within(first: int, last: int, other: Any) -> Callable[[int], None]:
    """Start and stop `other` in the middle of these steps."""

    def inside(step: int) -> None:
        if step == first:
            other.start()
            work()
        if step == last:
            other.stop()

    return inside


@training
def inside_one_step(train: Training) -> None:
    other = other_profile()
    train.run(20, within(5, 5, other))
    train.check_other(other)


@training
def over_the_last_step_of_a_window(train: Training) -> None:
    other = other_profile()
    train.run(20, within(6, 7, other))
    train.check_other(other)


@training
def inside_the_warm_up(train: Training) -> None:
    other = other_profile()
    train.run(20, within(2, 2, other))
    train.check_other(other)


@training
def over_the_end_of_the_warm_up(train: Training) -> None:
    other = other_profile()
    train.run(20, within(2, 3, other))
    train.check_other(other)


@training
def stopped_while_a_window_would_be_open(train: Training) -> None:
    other = other_profile()
    other.start()
    train.run(20, within(0, 4, other))
    train.check_other(other)


@training
def started_between_two_windows(train: Training) -> None:
    other = other_profile()
    train.run(20, within(7, 10, other))
    train.check_other(other)


@training
def over_the_whole_training(train: Training) -> None:
    with other_profile() as other:
        train.run(20)
        train.hook.end()
    train.check_other(other)


@training
def with_a_schedule_of_its_own(train: Training) -> None:
    done: list[str] = []

    def ready(other: profile) -> None:
        train.check_other(other)
        done.append("ready")

    with other_profile(schedule=schedule(wait=0, warmup=2, active=1, repeat=4), on_trace_ready=ready) as other:
        train.run(20, lambda step: other.step())
    train.found["cycles"] = len(done)


@training
def warming_up_before_the_hook_was_made(train: Training) -> None:
    other = other_profile(schedule=schedule(wait=0, warmup=4, active=1, repeat=1))
    other.start()
    train.run(20, lambda step: other.step() if step < 6 else None)
    other.stop()
    train.check_other(other)


@training
def one_of_autograd(train: Training) -> None:
    other = autograd_profiler.profile()
    train.run(20, lambda step: enter_and_leave(other) if step == 5 else None)
    train.check_other(other)


@training
def one_of_the_old_kind_over_the_end_of_the_warm_up(train: Training) -> None:
    other = profiler_legacy.profile()

    def inside(step: int) -> None:
        if step == 2:
            other.__enter__()
        if step == 3:
            other.__exit__(None, None, None)

    train.run(20, inside)


@training
def ranges_for_another_tool(train: Training) -> None:
    train.run(20, lambda step: enter_and_leave(autograd_profiler.emit_itt()) if step == 5 else None)


def enter_and_leave(other: AbstractContextManager[Any]) -> None:
    with other:
        work()


@training
def two_hooks(train: Training) -> None:
    (train.folder / "second").mkdir()
    train.hooks.append(ProfilerHook(1, 1, 4, 3, str(train.folder / "second"), compress=False))
    train.run(20)
    train.found["second"] = len(list((train.folder / "second").iterdir()))


@training
def during_a_capture_on_demand(train: Training) -> None:
    train.run(19)
    train.hook.request_capture(4)
    other = other_profile()
    train.run(26, within(22, 22, other))
    train.hook.request_capture(1)
    train.run(30)
    train.check_other(other)
    with other:
        try:
            train.hook.request_capture(1)
        except CaptureBusyError as error:
            train.found["refused"] = str(error)
    train.hook.request_capture(1)


@training
def on_another_thread(train: Training) -> None:
    other = other_profile()

    def look() -> None:
        with other:
            for _ in range(5):
                work()

    thread = threading.Thread(target=look, name="other")
    train.run(4)
    thread.start()
    while not profiler_session._others:  # the other profiler waits for the end of the step
        time.sleep(0.001)
    # At most until the next window is due.
    train.run(20, lambda step: thread.join() if step == 6 else None)
    train.check_other(other)


@training
def on_another_thread_from_before(train: Training) -> None:
    other = other_profile()
    begun, done = threading.Event(), threading.Event()

    def look() -> None:
        with other:
            work()
            begun.set()
            done.wait()
            work()

    thread = threading.Thread(target=look, name="other")
    thread.start()
    begun.wait()
    train.run(4)
    done.set()
    thread.join()
    train.run(20)
    train.check_other(other)


@training
def stopped_by_somebody_else(train: Training) -> None:
    train.run(20, lambda step: train.hook.prof.stop() if step == 5 else None)


@training
def past_the_methods_that_are_wrapped(train: Training) -> None:
    def inside(step: int) -> None:
        if step == 5:
            torch.autograd._disable_profiler()  # type: ignore[attr-defined]

    train.run(20, inside)


@training
def in_a_forked_child(train: Training) -> None:
    def inside(step: int) -> None:
        if step == 5:
            child = os.fork()
            if child == 0:
                enter_and_leave(other_profile())
                os._exit(0)
            train.found["child"] = os.waitpid(child, 0)[1]

    train.run(20, inside)


@training
def never_given_way_to(train: Training) -> None:
    profiler_session.PATIENCE_S = 0.2
    train.run(4)

    def look() -> None:
        try:
            with other_profile():
                work()
        except RuntimeError as error:
            train.found["refused"] = str(error)

    thread = threading.Thread(target=look, name="other")
    thread.start()
    thread.join()
    train.run(20)


def run_one(name: str, folder: Path) -> None:
    """Run one training in the forked process."""
    warned: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned.append(record.getMessage())

    logging.getLogger("recis").addHandler(Collect(logging.WARNING))
    train = Training(folder)
    TRAININGS[name](train)
    train.hook.end()
    found = {"warned": warned, "broken": train.hook.broken, **train.found}
    (folder / "found.txt").write_text(json.dumps(found))


def main() -> None:
    os.environ.pop("APP_ID", None)
    results = {}
    for name in TRAININGS:
        folder = Path(sys.argv[1]) / name
        folder.mkdir()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run_one(name, folder)
                status = 0
            except BaseException:  # noqa: BLE001 - the process ends here
                traceback.print_exc()
            finally:
                os._exit(status)
        status = os.waitpid(child, 0)[1]
        found = json.loads((folder / "found.txt").read_text()) if status == 0 else {}
        traces = sorted(path.name for path in folder.glob("*.json"))
        results[name] = {
            "status": status,
            "traces": [int(each.split("-")[-1].split(".")[0]) for each in traces],
        } | found
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
