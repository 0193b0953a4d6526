import gzip
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recis.errors import CaptureBusyError
from recis.hooks.profiler_hook import ProfilerHook, TraceFile
from recis.state import RunState


class Loop:
    """A plain loop around a hook, with a real layer trained in each step."""

    def __init__(self, hook: ProfilerHook) -> None:
        self.hook = hook
        self.step = 0
        self.layer = torch.nn.Linear(8, 4)

    def run(self, num_steps: int) -> None:
        for _ in range(num_steps):
            self.layer(torch.ones(2, 8)).sum().backward()
            self.step += 1
            self.hook.after_step(None, self.step)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def read(path: Path) -> dict[str, Any]:
    trace: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return trace


def step_marks(trace: dict[str, Any]) -> list[str]:
    names = {event.get("name", "") for event in trace["traceEvents"] if event.get("ph") == "X"}
    return sorted(name for name in names if name.startswith("ProfilerStep#"))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("APP_ID", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    return lambda *numbers, **options: ProfilerHook(*numbers, **{"output_dir": str(tmp_path / "traces"), **options})


def test_each_cycle_leaves_one_trace_with_real_operators_and_its_own_steps(make: Any, tmp_path: Path) -> None:
    got: list[TraceFile] = []
    hook = make(1, 1, 2, 2)
    hook.add_listener(got.append)
    Loop(hook).run(10)
    folder = tmp_path / "traces"
    assert files(folder) == ["local-rank0-timeline-4.json", "local-rank0-timeline-8.json"]
    assert [(trace.path.name, trace.step, trace.rank) for trace in got] == [(n, int(n[21]), 0) for n in files(folder)]
    trace = read(folder / "local-rank0-timeline-4.json")
    assert step_marks(trace) == ["ProfilerStep#3", "ProfilerStep#4"]
    operators = {event["name"] for event in trace["traceEvents"] if event.get("cat") == "cpu_op"}
    assert {"aten::addmm", "aten::sum"} <= operators
    assert trace["distributedInfo"] == {"rank": 0, "world_size": 1}
    assert trace["profile_memory"] == trace["record_shapes"] == trace["with_flops"] == 1
    assert "with_stack" not in trace


def test_the_file_is_named_by_application_and_rank(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ID", "team/app")
    monkeypatch.setenv("RANK", "3")
    Loop(make(0, 0, 1, 1)).run(2)
    assert files(tmp_path / "traces") == ["team_app-rank3-timeline-2.json"]


def test_a_file_is_compressed_and_has_stacks_on_request(make: Any, tmp_path: Path) -> None:
    Loop(make(0, 0, 1, 1, compress=True, with_stack=True)).run(2)
    assert files(tmp_path / "traces") == ["local-rank0-timeline-2.json.gz"]
    trace = json.loads(gzip.decompress((tmp_path / "traces" / "local-rank0-timeline-2.json.gz").read_bytes()))
    assert trace["with_stack"] == 1
    assert any(event.get("cat") == "python_function" for event in trace["traceEvents"])


@pytest.mark.parametrize("arguments", [(), (None,), (None, None)])
def test_a_step_without_a_number_is_the_next_one(arguments: tuple[Any, ...], make: Any, tmp_path: Path) -> None:
    hook = make(1, 0, 1, 1)
    for _ in range(2):
        hook.after_step(*arguments)
    assert files(tmp_path / "traces") == ["local-rank0-timeline-2.json"]


def test_a_step_may_be_told_by_name(make: Any, tmp_path: Path) -> None:
    hook = make(0, 0, 1, 1)
    for step in (7, 8):
        hook.after_step(metrics=None, global_step=step)
    assert files(tmp_path / "traces") == ["local-rank0-timeline-8.json"]


def test_without_a_wait_the_first_step_is_recorded_when_training_is_announced(make: Any, tmp_path: Path) -> None:
    hook = make(0, 0, 1, 2)
    hook.before_train(SimpleNamespace(state=RunState(global_step=0)))
    Loop(hook).run(4)
    assert files(tmp_path / "traces") == ["local-rank0-timeline-1.json", "local-rank0-timeline-2.json"]
    assert step_marks(read(tmp_path / "traces" / "local-rank0-timeline-1.json")) == ["ProfilerStep#1"]


def test_training_that_ends_inside_a_recording_keeps_what_there_is_once(make: Any, tmp_path: Path) -> None:
    hook = make(0, 1, 10, 1)
    Loop(hook).run(4)
    hook.after_train()
    hook.end()
    assert files(tmp_path / "traces") == ["local-rank0-timeline-4.json"]
    # The last mark is what came after step 4.
    marks = step_marks(read(tmp_path / "traces" / "local-rank0-timeline-4.json"))
    assert marks == ["ProfilerStep#3", "ProfilerStep#4", "ProfilerStep#5"]


def test_training_that_fails_inside_a_recording_keeps_the_failing_step(make: Any, tmp_path: Path) -> None:
    hook = make(0, 0, 5, 1)
    loop = Loop(hook)
    loop.run(1)
    loop.layer(torch.ones(2, 8))
    hook.end()
    assert files(tmp_path / "traces") == ["local-rank0-timeline-2.json"]
    trace = read(tmp_path / "traces" / "local-rank0-timeline-2.json")
    assert any(event["name"] == "aten::addmm" for event in trace["traceEvents"])


@pytest.mark.parametrize("num_steps", [1, 3])
def test_training_that_ends_before_a_recording_stops_the_profiler_and_leaves_nothing(
    num_steps: int, make: Any, tmp_path: Path
) -> None:
    hook = make(1, 2, 1, 1)
    Loop(hook).run(num_steps)
    hook.after_train()
    hook.end()
    assert files(tmp_path / "traces") == []
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        torch.ones(1).add(1)  # another profiler can start


def test_a_repeated_step_does_not_move_the_schedule(make: Any, tmp_path: Path) -> None:
    hook = make(1, 1, 1, 1)
    loop = Loop(hook)
    loop.run(2)
    for _ in range(5):
        hook.after_step(None, loop.step)
    assert files(tmp_path / "traces") == []
    loop.run(1)
    assert files(tmp_path / "traces") == ["local-rank0-timeline-3.json"]


def test_the_profiler_is_there_from_the_start_and_fresh_for_each_window(make: Any) -> None:
    hook = make(0, 0, 1, 2)
    assert isinstance(hook.prof, torch.profiler.profile)
    loop = Loop(hook)
    seen = set()
    for _ in range(3):
        loop.run(1)
        seen.add(id(hook.prof))
    assert len(seen) == 2
    assert hook.logger.name == "recis.hooks.profiler_hook"


def test_with_no_cycle_left_a_step_is_not_even_looked_at(make: Any) -> None:
    class Untouchable:
        def __int__(self) -> int:
            pytest.fail("the step was looked at")

    make(1, 1, 1, 0).after_step(None, Untouchable())


def test_a_capture_can_be_asked_for_from_another_thread(make: Any, tmp_path: Path) -> None:
    hook = make(1, 1, 1, 0)
    loop = Loop(hook)
    loop.run(5)
    thread = threading.Thread(target=hook.request_capture, args=(2,), name="asker")
    thread.start()
    thread.join()
    with pytest.raises(CaptureBusyError, match="waiting for the next step boundary"):
        hook.request_capture(1)
    loop.run(2)
    with pytest.raises(RuntimeError, match="is running"):
        hook.request_capture(1)
    loop.run(2)
    assert files(tmp_path / "traces") == ["local-rank0-timeline-9.json"]
    hook.request_capture(1, warmup=0)
    loop.run(2)
    assert files(tmp_path / "traces")[0] == "local-rank0-timeline-11.json"


def test_a_cycle_that_is_warming_up_gives_way_and_is_begun_again(make: Any, tmp_path: Path) -> None:
    hook = make(1, 10, 1, 1)
    loop = Loop(hook)
    loop.run(5)
    hook.request_capture(1, warmup=0)
    loop.run(2)
    assert files(tmp_path / "traces") == ["local-rank0-timeline-7.json"]
    loop.run(11)
    assert files(tmp_path / "traces") == ["local-rank0-timeline-18.json", "local-rank0-timeline-7.json"]


def test_a_folder_that_cannot_be_written_switches_profiling_off_and_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    hook = ProfilerHook(0, 0, 1, 3, output_dir=str(tmp_path / "file"))
    Loop(hook).run(6)
    hook.end()
    assert caplog.text.count("Profiling is disabled") == 1
    assert hook.broken is not None
    with pytest.raises(CaptureBusyError, match="disabled"):
        hook.request_capture(1)


def test_another_profiler_in_the_process_costs_a_window_and_one_warning(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook = make(0, 0, 2, 2)
    loop = Loop(hook)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        loop.run(2)
    loop.run(4)
    assert hook.broken is None
    assert caplog.messages.count("After step 1 a profiler window is abandoned: another torch profiler is in use") == 1
    assert caplog.text.count("is abandoned") == 1
    assert files(tmp_path / "traces") == ["local-rank0-timeline-5.json"]


def test_a_trace_that_is_cut_off_is_not_kept(
    make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(self: object, path: str) -> None:
        Path(path).write_text('{"traceEvents": [{"name": "aten::add"')

    monkeypatch.setattr(torch.profiler.profile, "export_chrome_trace", cut_off)
    hook = make(0, 0, 1, 1)
    Loop(hook).run(3)
    assert files(tmp_path / "traces") == []
    assert "expected a complete trace, got a truncated one" in caplog.text


@pytest.mark.parametrize("name", ["wait", "warmup", "active", "repeat"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "x", None])
def test_bad_numbers_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"ProfilerHook's {name}: expected .* int.*, got "):
        ProfilerHook(**{name: value})


@pytest.mark.parametrize("numbers", [(0, 1), (True, 1), (1, -1), (1, 1.5)])
def test_a_bad_request_is_refused(numbers: tuple[Any, Any], make: Any) -> None:
    with pytest.raises(ValueError, match="request_capture's"):
        make().request_capture(*numbers)


def test_a_recording_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="active: expected a positive int, got 0"):
        ProfilerHook(active=0)
