import math
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from recis.metrics.scalars import PendingScalars, to_value


class Raises:
    """An object whose conversions raise."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("repr")


class Lies:
    """An object that claims to be a tensor."""

    __class__ = torch.Tensor  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (3, 3),
        (2.5, 2.5),
        (True, 1),
        (Fraction(1, 4), 0.25),
        (Decimal("0.5"), 0.5),
        (Decimal("Infinity"), math.inf),
        (np.ma.array(2.5), 2.5),
        (torch.tensor(1.5, dtype=torch.bfloat16), 1.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.array(1.5), 1.5),
        (np.array(True), 1),
        (torch.tensor(0.25), 0.25),
        (torch.tensor(9), 9),
        (torch.tensor(True), 1),
        (10**400, math.inf),
        (-(10**400), -math.inf),
    ],
)
def test_a_host_value_is_kept_as_a_plain_number(metric: object, expected: float) -> None:
    value = to_value(metric)
    assert type(value) in (int, float)
    assert value == expected


@pytest.mark.parametrize("metric", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_a_value(metric: float) -> None:
    assert to_value(metric) is metric


@pytest.mark.parametrize(
    ("metric", "named"),
    [
        ("0.5", "str '0.5'"),
        (None, "NoneType None"),
        (1j, "complex"),
        ([1.0], "list"),
        (np.complex64(1j), "complex64"),
        (Decimal("sNaN"), "which raised ValueError"),
        (np.ma.masked, "Masked"),
        (np.ma.array(1.0, mask=True), "MaskedArray"),
        (np.void(b"x"), "void"),
        (np.datetime64("2024-01-01"), "datetime64"),
        pytest.param(Raises(), "Raises that cannot be shown (RuntimeError), which raised RuntimeError", id="raises"),
        pytest.param(Lies(), "Lies", id="lies"),
        (np.zeros(2), "shape (2,)"),
        (np.array("x"), "shape ()"),
        (torch.zeros(1), "shape (1,)"),
        (torch.zeros(2, 3), "shape (2, 3)"),
        (torch.tensor(1j), "complex64"),
        ("x" * 10_000, "..."),
    ],
)
def test_anything_else_is_refused_with_what_it_is(metric: object, named: str) -> None:
    with pytest.raises(TypeError, match="expected") as caught:
        to_value(metric)
    assert named in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_interruption_by_the_user_goes_through() -> None:
    class Interrupted(Raises):
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_value(Interrupted())


def test_a_tensor_loses_its_graph_and_its_identity() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    assert to_value(weight * 3) == 6.0


def test_a_device_scalar_is_copied_on_the_device_and_not_waited_for(fake_cuda: Any) -> None:
    total = fake_cuda.scalar(1.0)
    kept = to_value(total)
    total.add_(1.0)
    pending = PendingScalars.start([kept])
    fake_cuda.done = True
    assert pending.numbers() == [1.0]


def test_numbers_are_ready_at_once_and_in_order() -> None:
    pending = PendingScalars.start([1, 2.5, math.inf, torch.tensor(4.0)])
    assert pending.ready()
    assert pending.numbers() == [1.0, 2.5, math.inf, 4.0]


def test_device_scalars_of_one_dtype_travel_in_one_copy(fake_cuda: Any) -> None:
    big = (1 << 53) - 1
    pending = PendingScalars.start(
        [fake_cuda.scalar(1.0), 2, fake_cuda.scalar(3.0), fake_cuda.scalar(big), fake_cuda.scalar(5.0)]
    )
    assert fake_cuda.num_copies == 2
    assert not pending.ready()
    fake_cuda.done = True
    assert pending.ready()
    assert pending.numbers() == [1.0, 2.0, 3.0, float(big), 5.0]
    assert pending.numbers() == [1.0, 2.0, 3.0, float(big), 5.0]
    assert fake_cuda.waits == 0


def test_numbers_waits_where_the_device_is_not_done(fake_cuda: Any) -> None:
    assert PendingScalars.start([fake_cuda.scalar(1.0)]).numbers() == [1.0]
    assert fake_cuda.waits == 1


def test_a_device_value_without_a_number_is_none_and_costs_no_other(fake_cuda: Any) -> None:
    class Broken(type(fake_cuda.scalar(1.0))):  # type: ignore[misc]
        @classmethod
        def __torch_dispatch__(cls, *_: Any) -> Any:
            raise RuntimeError("device-side assert")

    broken = Broken(torch.tensor(0.0))
    pending = PendingScalars.start(
        [fake_cuda.scalar(1.0), 2, broken, torch.zeros((), device="meta"), fake_cuda.scalar(3.0)]
    )
    fake_cuda.done = True
    assert pending.ready()
    assert pending.numbers() == [1.0, 2.0, None, None, 3.0]
    assert pending.error is not None


def test_a_device_that_fails_when_it_is_asked_is_ready_and_has_no_numbers(
    fake_cuda: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("device-side assert")

    pending = PendingScalars.start([fake_cuda.scalar(1.0), 2])
    event = pending._copies[0]._event
    monkeypatch.setattr(type(event), "query", fails)
    monkeypatch.setattr(type(event), "synchronize", fails)
    assert pending.ready()
    assert pending.numbers() == [None, 2.0]
    assert "device-side" in str(pending.error)


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_waits_for_a_real_device_until_the_numbers_are_read(device: str) -> None:
    total = torch.ones((), device=device)
    before = torch.cuda.get_sync_debug_mode() if device == "cuda" else 0
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        kept = [to_value(total), to_value(total.add_(1).long()), 0.5]
        pending = PendingScalars.start(kept)
        total.add_(1)
        pending.ready()
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode(before)
    assert pending.numbers() == [1.0, 2.0, 0.5]


def test_plain_numbers_need_no_torch() -> None:
    code = (
        "import sys; from recis.metrics.scalars import *; import recis.framework.metrics as m; m.add_metric('a', 1);"
        "assert PendingScalars.start([1, 2.5]).numbers() == [1.0, 2.5]; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
