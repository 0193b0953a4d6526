"""AdamWTF for dense parameters and SparseAdamWTF for rows: both make the same update."""

import copy
from typing import Any

import pytest
import torch

from recis.nn import HashTable
from recis.optim import AdamWTF, SparseAdamWTF


def plain(start: torch.Tensor, grads: list[torch.Tensor], *, lr: float, decay: float, eps: float) -> torch.Tensor:
    """Return the result of TensorFlow's AdamW update, computed explicitly."""
    weight, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step, grad in enumerate(grads, 1):
        weight = weight - decay * weight
        first = 0.9 * first + 0.1 * grad
        second = 0.999 * second + 0.001 * grad * grad
        rate = lr * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step)
        weight = weight - rate * first / (second.sqrt() + eps)
    return weight


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_both_do_what_the_formula_says(decay: float, device: torch.device) -> None:
    made = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=made, dtype=torch.float64).to(device)
    grads = [torch.randn(4, 3, generator=made, dtype=torch.float64).to(device) for _ in range(30)]
    expected = plain(start, grads, lr=0.05, decay=decay, eps=1e-6)
    parameter = torch.nn.Parameter(start.clone())
    table = HashTable([3], dtype=torch.float64, device=device)
    table.insert(torch.arange(4, device=device), start)
    dense = AdamWTF([parameter], lr=0.05, eps=1e-6, weight_decay=decay)
    sparse = SparseAdamWTF({"t": table}, lr=0.05, eps=1e-6, weight_decay=decay)
    for grad in grads:
        parameter.grad = grad.clone()
        (table(torch.arange(4, device=device)) * grad).sum().backward()
        for optimizer in (dense, sparse):
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(table.embeddings(), expected, rtol=1e-10, atol=1e-12)


def test_defaults_are_those_of_recis() -> None:
    group = AdamWTF([torch.zeros(1, requires_grad=True)]).param_groups[0]
    assert {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")} == {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 1e-2,
    }
    sparse = SparseAdamWTF({"t": HashTable([1])}).param_groups[0]
    assert all(sparse[name] == group[name] for name in ("lr", "betas", "eps", "weight_decay"))


def test_it_is_an_optimizer_of_torch() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = AdamWTF([parameter, torch.nn.Parameter(torch.ones(1))], lr=torch.tensor(0.1), maximize=True, fuse=False)

    def closure() -> float:
        optimizer.zero_grad()
        loss = parameter.sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == 2.0
    assert (parameter > 1).all()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    optimizer.step(closure)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    twin = torch.nn.Parameter(parameter.detach().clone())
    resumed = AdamWTF([twin, torch.nn.Parameter(torch.ones(1))])
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each, its in ((parameter, optimizer), (twin, resumed)):
        each.grad = torch.ones(2)
        its.step()
    assert torch.equal(parameter, twin)


@pytest.mark.parametrize(
    "options",
    [{"lr": -1.0}, {"betas": (1.0, 0.9)}, {"betas": 0.9}, {"eps": "x"}, {"weight_decay": -1}, {"use_nesterov": True}],
)
def test_a_bad_argument_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        AdamWTF([torch.zeros(1, requires_grad=True)], **options)
    if "betas" not in options:
        with pytest.raises(ValueError, match=next(iter(options))):
            SparseAdamWTF({"t": HashTable([1])}, **options)


def test_a_sparse_gradient_is_refused() -> None:
    embedding = torch.nn.Embedding(3, 1, sparse=True)
    optimizer = AdamWTF(embedding.parameters())
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="SparseAdamWTF"):
        optimizer.step()
