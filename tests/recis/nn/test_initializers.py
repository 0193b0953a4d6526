"""Initializers: their distributions, that rows do not depend on the batch size, and their use as in RecIS."""

import copy
import json
import math
import pickle
from typing import Any

import pytest
import torch

from recis.nn import HashTable
from recis.nn.initializers import (
    ConstantInitializer,
    Initializer,
    KaimingNormalInitializer,
    KaimingUniformInitializer,
    NormalInitializer,
    TruncNormalInitializer,
    UniformInitializer,
    XavierNormalInitializer,
    XavierUniformInitializer,
)

BLOCK, DIM = 100, 8
RANDOM = [
    UniformInitializer,
    NormalInitializer,
    TruncNormalInitializer,
    XavierUniformInitializer,
    XavierNormalInitializer,
    KaimingUniformInitializer,
    KaimingNormalInitializer,
]
XAVIER_STD = 2.0 * math.sqrt(2 / (BLOCK + DIM))
KAIMING_STD = math.sqrt(2 / DIM)
MOMENTS = [
    (ConstantInitializer(3.0), 3.0, 0.0, 0.0),
    (UniformInitializer(-1.0, 3.0), 1.0, 4 / math.sqrt(12), 2.0),
    (NormalInitializer(1.0, 2.0), 1.0, 2.0, None),
    (TruncNormalInitializer(0.0, 0.5), 0.0, 0.5, 2.0),
    (XavierUniformInitializer(2.0), 0.0, XAVIER_STD, math.sqrt(3) * XAVIER_STD),
    (XavierNormalInitializer(2.0), 0.0, XAVIER_STD, None),
    (KaimingUniformInitializer(), 0.0, KAIMING_STD, math.sqrt(3) * KAIMING_STD),
    (KaimingNormalInitializer(), 0.0, KAIMING_STD, None),
    (KaimingNormalInitializer(mode="FAN_OUT", nonlinearity="Tanh"), 0.0, 5 / 3 / math.sqrt(BLOCK), None),
]


@pytest.mark.parametrize(("initializer", "mean", "std", "reach"), MOMENTS, ids=lambda value: repr(value))
def test_rows_have_the_distribution(initializer: Initializer, mean: float, std: float, reach: float | None) -> None:
    torch.manual_seed(0)
    rows = HashTable([DIM], block_size=BLOCK, initializer=initializer)(torch.arange(20_000)).detach()
    assert rows.mean().item() == pytest.approx(mean, abs=0.02 * max(std, 0.01))
    assert rows.std().item() == pytest.approx(std, rel=0.02, abs=1e-6)
    if reach is not None:
        assert (rows - mean).abs().max() <= reach * (1 + 1e-6)


@pytest.mark.parametrize("kind", RANDOM)
def test_a_row_does_not_depend_on_how_many_come_with_it(kind: type[Initializer]) -> None:
    def spread(at_once: int) -> float:
        torch.manual_seed(1)
        table = HashTable([DIM], block_size=BLOCK, initializer=kind())
        for ids in torch.arange(10_000).split(at_once):
            table(ids)
        return table.embeddings().std().item()

    assert spread(10_000) == pytest.approx(spread(20), rel=0.03)


@pytest.mark.parametrize("kind", RANDOM)
def test_rows_come_from_a_generator_of_ones_own(kind: Any) -> None:
    def rows(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(5)
        return HashTable([DIM], initializer=kind(generator=generator))(torch.arange(50)).detach()

    before = torch.get_rng_state()
    assert torch.equal(rows(1), rows(2))
    torch.set_rng_state(before)
    HashTable([DIM], initializer=kind(generator=torch.Generator()))(torch.arange(50))
    assert torch.equal(torch.get_rng_state(), before)


def test_tables_built_from_one_initializer_keep_their_own_shapes() -> None:
    initializer = XavierNormalInitializer()
    wide = HashTable([512], block_size=8, initializer=initializer)
    HashTable([2], block_size=8, initializer=initializer)
    assert wide(torch.arange(500)).std().item() == pytest.approx(math.sqrt(2 / 520), rel=0.03)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", [ConstantInitializer, *RANDOM])
def test_every_dtype_of_rows_is_filled(kind: Any, dtype: torch.dtype) -> None:
    rows = HashTable([4], dtype=dtype, initializer=kind())(torch.arange(100)).detach()
    assert rows.dtype == dtype
    assert rows.isfinite().all()
    assert (rows == 0).all() == (kind is ConstantInitializer)


@pytest.mark.parametrize("kind", [ConstantInitializer, *RANDOM])
def test_it_can_be_used_by_itself_as_in_recis(kind: Any) -> None:
    initializer = kind()
    initializer.set_shape([8, 8])
    initializer.set_dtype()
    with pytest.raises(RuntimeError, match="build method is not called"):
        initializer.generate()
    initializer.build()
    first, second = initializer.generate(), initializer.generate()
    assert first.shape == (8, 8)
    assert torch.equal(first, second) == (kind is ConstantInitializer)
    with pytest.raises(RuntimeError, match="rebuild initializer"):
        initializer.build()


def test_it_reads_well() -> None:
    initializer = TruncNormalInitializer(std=0.01)
    assert repr(initializer) == "TruncNormalInitializer(mean=0.0, std=0.01, a=-2.0, b=2.0)"
    assert json.loads(str(initializer))["std"] == 0.01
    assert str(initializer) == str(TruncNormalInitializer(std=0.01))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_copy_draws_the_same(copied: Any) -> None:
    initializer = NormalInitializer(generator=torch.Generator().manual_seed(3))
    twin = copied(initializer)
    rows, others = torch.empty(5, 2), torch.empty(5, 2)
    initializer(rows)
    twin(others)
    assert torch.equal(rows, others)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ConstantInitializer("0"),  # type: ignore[arg-type]
            "ConstantInitializer's init_val: expected a finite number, got '0'",
        ),
        (lambda: NormalInitializer(std=-1), "NormalInitializer's std: expected a finite number >= 0, got -1"),
        (lambda: NormalInitializer(mean=float("nan")), "mean"),
        (lambda: UniformInitializer(2, 1), r"UniformInitializer's a and b: expected a <= b, got \(2, 1\)"),
        (lambda: XavierUniformInitializer(gain=None), "gain"),  # type: ignore[arg-type]
        (lambda: KaimingUniformInitializer(mode="fan"), "mode: expected 'fan_in' or 'fan_out', got 'fan'"),
        (lambda: KaimingNormalInitializer(nonlinearity="relo"), "nonlinearity: .* got 'relo'"),
    ],
)
def test_a_bad_argument_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
