import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recis.bridge import process_info
from recis.bridge.process_info import read_gpus, read_process, read_program, read_repository
from recis.wire.codec import as_record
from recis.wire.messages import Event


def test_a_process_describes_itself_and_shows_no_secret(tmp_path: Path) -> None:
    script = (
        "import json; from recis.bridge.process_info import read_process, read_program, read_repository; import sys\n"
    )
    script += (
        "print(json.dumps([read_process(whole=True), read_repository() | read_program(), 'torch' in sys.modules]))"
    )
    (tmp_path / "train.py").write_text(script)
    environment = {**os.environ, "OMP_NUM_THREADS": "3", "MY_TOKEN": "hush", "NCCL_SECRET": "hush", "OTHER": "hush"}
    command = [sys.executable, "train.py", "--lr", "0.1", "--api-key", "hush"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    info, program, has_torch = json.loads(done.stdout)
    assert "hush" not in done.stdout
    assert not has_torch
    assert info["command"] == f"{sys.executable} train.py --lr 0.1 --api-key '***'"
    assert info["folder"] == str(tmp_path)
    assert info["python"].startswith(platform.python_version())
    assert info["host"] == platform.node()
    assert info["cpu"]["count"] == os.cpu_count()
    assert info["memory_bytes"] > 1 << 28
    assert info["versions"]["torch"].startswith("2.")
    assert info["environment"]["OMP_NUM_THREADS"] == "3"
    assert {info["environment"][name] for name in ("MY_TOKEN", "NCCL_SECRET", "OTHER", "PATH")} == {None}
    assert program["packages"]["msgspec"]
    assert "git" not in program
    assert "devices" not in info


def test_other_ranks_say_less_and_what_cannot_be_read_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "platform", lambda: 1 / 0)
    info = read_process(whole=False)
    assert {"command", "environment", "os", "folder"}.isdisjoint(info)
    assert {"host", "python", "cpu"} <= info.keys()


def test_all_of_it_is_a_valid_record() -> None:
    data = {**read_process(whole=True), **read_repository(), **read_program()}
    record = as_record(Event(kind="process", time_ns=1, text="process", data=data))
    assert isinstance(record, Event)
    assert record.data == data


def test_names_that_are_no_text_and_many_of_them_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_info, "MAX_VARIABLES", 5)
    monkeypatch.setattr(process_info, "MAX_PACKAGES", 3)
    monkeypatch.setenv("A" * 1000, "x")
    monkeypatch.setitem(os.environ, "A\udcff", "x")
    environment = read_process(whole=True)["environment"]
    assert len(environment) <= 5
    assert max(map(len, environment)) <= 256
    json.dumps(environment).encode()
    assert len(read_program()["packages"]) == 3


@pytest.mark.parametrize("is_initialised", [True, False])
def test_devices_are_those_that_torch_has_initialised(monkeypatch: pytest.MonkeyPatch, is_initialised: bool) -> None:
    def properties(number: int) -> Any:
        assert is_initialised, "this would initialise the device"
        return SimpleNamespace(name=f"GPU {number}", total_memory=1 << 30)

    cuda = SimpleNamespace(
        is_initialized=lambda: is_initialised, device_count=lambda: 2, get_device_properties=properties
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    names = ["GPU 0", "GPU 1"] if is_initialised else []
    assert [device["name"] for device in read_gpus()] == names
    monkeypatch.delitem(sys.modules, "torch")
    assert read_gpus() == []
