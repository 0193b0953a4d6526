import logging
import threading
from typing import Any

import numpy as np
import pytest
import torch

from recis.metrics.registry import (
    MAX_NAME_CHARS,
    MAX_NAMES,
    MetricsRegistry,
    bind_registry,
    claim_registry,
    current_registry,
    set_current_registry,
)


def test_take_has_what_was_set_since_the_last_take() -> None:
    registry = MetricsRegistry()
    registry.set("loss", 1.0)
    registry.set("auc", 0.5)
    assert registry.take() == {"loss": 1.0, "auc": 0.5}
    assert registry.take() == {}
    registry.set("auc", 0.5)
    assert registry.take() == {"auc": 0.5}


def test_take_is_in_the_order_of_setting() -> None:
    registry = MetricsRegistry()
    for name in ("a", "b", "a", "c"):
        registry.set(name, 1)
    assert list(registry.take()) == ["b", "a", "c"]


def test_readers_do_not_take_from_each_other() -> None:
    registry = MetricsRegistry()
    one, two = registry.reader(), registry.reader()
    registry.set("loss", 1.0)
    assert one.take() == registry.take() == two.take() == {"loss": 1.0}
    assert one.take() == two.take() == {}


def test_a_snapshot_is_a_copy_of_the_newest() -> None:
    registry = MetricsRegistry()
    registry.set("loss", 1.0)
    registry.set("loss", 2.0)
    snapshot = registry.snapshot()
    snapshot["loss"] = 3.0
    assert registry.snapshot() == {"loss": 2.0}


def test_what_was_cleared_is_reported_all_the_same_and_not_shown() -> None:
    registry = MetricsRegistry()
    registry.set("loss", 1.0)
    del registry.live["loss"]
    registry.set("auc", 0.5)
    assert registry.snapshot() == {"auc": 0.5}
    assert registry.take() == {"loss": 1.0, "auc": 0.5}


def test_what_comes_from_the_registry_is_told_from_what_does_not() -> None:
    registry = MetricsRegistry()
    assert registry.foreign({"loss": 1.0}) == {"loss": 1.0}
    registry.set("loss", torch.tensor(1.0))
    registry.set("note", "high")
    handed = dict(registry.live)
    assert registry.foreign(handed) == {}
    registry.live.clear()
    assert registry.foreign(handed) == {}
    assert registry.foreign({"note": 7}) == {"note": 7}
    assert registry.foreign({"loss": 2.0, "auc": 0.5}) == {"loss": 2.0, "auc": 0.5}


def test_the_first_training_gets_what_was_set_before_it() -> None:
    registry = current_registry()
    registry.set("lr", 0.1)
    assert claim_registry() is registry
    second = claim_registry()
    assert second is current_registry() is not registry
    assert second.snapshot() == {}


def test_an_array_changed_in_place_later_stays_as_it_was_set() -> None:
    registry = MetricsRegistry()
    total = np.array(1.0)
    registry.set("total", total)
    total += 1
    assert registry.snapshot()["total"].item() == 1.0
    assert registry.take() == {"total": 1.0}


def test_a_tensor_changed_in_place_later_stays_as_it_was_set() -> None:
    registry = MetricsRegistry()
    total = torch.tensor(1.0)
    registry.set("total", total)
    total += 1
    assert registry.snapshot()["total"].item() == 1.0
    assert registry.take() == {"total": 1.0}


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")

    def __float__(self) -> float:
        raise ZeroDivisionError

    shape = ()
    item = __float__


@pytest.mark.parametrize("name", ["", 3, None, "nul\0", "line\nbreak", "x" * (MAX_NAME_CHARS + 1), Unspeakable()])
def test_a_bad_name_is_one_warning_and_a_count(name: Any, caplog: pytest.LogCaptureFixture) -> None:
    registry = MetricsRegistry()
    registry.set(name, 1.0)
    registry.set(name, 1.0)
    assert registry.refused == 2
    assert len(caplog.records) == 1
    assert len(caplog.text) < 1000
    assert registry.snapshot() == {}


@pytest.mark.parametrize("name", ["../x", "<b>", "🚀", "x" * MAX_NAME_CHARS, "a b"])
def test_an_odd_name_is_a_name(name: str) -> None:
    registry = MetricsRegistry()
    registry.set(name, 1.0)
    assert registry.take() == {name: 1.0}


def test_a_bad_value_is_one_warning_a_name_and_loses_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    registry = MetricsRegistry()
    registry.set("loss", 1.0)
    for value in ("x", None, torch.zeros(3), Unspeakable()):
        registry.set("loss", value)
        registry.set("auc", value)
    assert registry.refused == 8
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "expected a real number" in caplog.text
    assert registry.take() == {"loss": 1.0}


def test_names_and_warnings_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    registry = MetricsRegistry()
    for number in range(MAX_NAMES + 10):
        registry.set(f"m{number}", 1)
    assert registry.refused == 10
    assert len(caplog.records) == 1
    registry.set("m0", 2)
    assert registry.snapshot()["m0"] == 2
    assert len(registry.take()) == MAX_NAMES
    for number in range(1000):
        registry.set(f"bad{number}", "x")
    assert len(caplog.records) < 200


def test_threads_may_set_and_take_at_once() -> None:
    registry = MetricsRegistry()
    reader = registry.reader()
    taken: list[int | float | torch.Tensor] = []

    def write(number: int) -> None:
        for step in range(500):
            registry.set(f"t{number}", step)

    threads = [threading.Thread(target=write, args=(n,), name=f"writer-{n}") for n in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken.extend(reader.take().values())
    taken.extend(reader.take().values())
    assert registry.snapshot() == {f"t{n}": 499 for n in range(4)}
    assert taken.count(499) == 4


def test_a_bound_registry_is_current_in_its_context_only() -> None:
    outer, inner = current_registry(), MetricsRegistry()
    with bind_registry(inner):
        assert current_registry() is inner
        seen: list[MetricsRegistry] = []
        thread = threading.Thread(target=lambda: seen.append(current_registry()), name="other")
        thread.start()
        thread.join()
        assert seen == [outer]
    assert current_registry() is outer


def test_outside_of_any_context_the_last_one_made_current_counts() -> None:
    mine = MetricsRegistry()
    set_current_registry(mine)
    assert current_registry() is mine
