"""EmbeddingEngine: many features, shared tables, and features that are passed through."""

from typing import Any

import pytest
import torch
from torch import nn

from recis.nn import AdmitHook, EmbeddingEngine, EmbeddingOption, FilterHook, filter_out_sparse_param
from recis.nn.initializers import NormalInitializer, TruncNormalInitializer
from recis.optim import SparseAdamW
from recis.ragged.tensor import RaggedTensor


def engine() -> EmbeddingEngine:
    small = TruncNormalInitializer(std=0.1)
    tile: dict[str, Any] = {"combiner": "tile", "combiner_kwargs": {"tile_len": 3}}
    return EmbeddingEngine(
        {
            "item": EmbeddingOption(embedding_dim=4, shared_name="items", initializer=small),
            "seen": EmbeddingOption(
                embedding_dim=4, shared_name="items", initializer=TruncNormalInitializer(std=0.1), combiner="mean"
            ),
            "user": EmbeddingOption(embedding_dim=2, shared_name="user.id", initializer=small),
            "last": EmbeddingOption(embedding_dim=4, shared_name="items", initializer=small, **tile),
        }
    )


def test_features_share_tables_by_name_and_others_go_through(device: torch.device) -> None:
    model = engine().to(device)
    ragged = RaggedTensor(torch.tensor([5, 6, 7]), torch.tensor([0, 1, 3])).to(device)
    label = torch.tensor([0.0, 1.0], device=device)
    batch = {
        "item": torch.tensor([[5], [6]], device=device),
        "seen": ragged,
        "user": torch.tensor([1, 2], device=device),
        "last": ragged,
        "label": label,
        "price": RaggedTensor(torch.tensor([1.5, 2.5]), torch.tensor([0, 0, 2])).to(device),
        "name": "as it is",
    }
    out = model(batch)
    assert {name: tuple(out[name].shape) for name in ("item", "seen", "user", "last")} == {
        "item": (2, 4),
        "seen": (2, 4),
        "user": (2, 2),
        "last": (2, 3, 4),
    }
    assert torch.equal(out["item"][0], out["seen"][0])
    assert torch.equal(out["last"][0, 0], out["item"][0])
    assert out["label"] is label
    assert out["price"].tolist() == [[0, 0], [1.5, 2.5]]
    assert out["name"] == "as it is"
    assert sorted(model.table("items").ids().tolist()) == [5, 6, 7]
    assert set(batch) == set(out), "the batch itself is left alone"
    assert model({"last": torch.tensor([[5, 6]], device=device)})["last"].shape == (1, 12), "dense ids in one row"


def test_tables_are_trained_and_saved_by_their_names() -> None:
    model = engine()
    tables = filter_out_sparse_param(model)
    assert set(tables) == {"items", "user.id"}
    optimizer = SparseAdamW(tables, lr=0.1)
    batch = {"item": torch.tensor([1, 2]), "user": torch.tensor([3, 3])}
    for _ in range(3):
        optimizer.zero_grad()
        sum(each.sum() for each in model(batch).values()).backward()
        optimizer.step()
    again = engine()
    again.load_state_dict(model.state_dict())
    for name, rows in model.eval()(batch).items():
        assert torch.equal(again.eval()(batch)[name], rows)


def test_names_that_modules_do_not_allow_are_fine() -> None:
    names = ["items", "keys", "training", "a.b", "a%2Eb", "table:a"]
    model = EmbeddingEngine({name: EmbeddingOption(shared_name=name) for name in names})
    assert {table.name for table in filter_out_sparse_param(model).values()} == {*names}
    assert all(model.table(name).name == name for name in names)


def test_rules_hold_for_their_feature() -> None:
    rule = FilterHook("GlobalStepFilter", {"filter_step": 2})
    model = EmbeddingEngine(
        {
            "known": EmbeddingOption(shared_name="ids", filter_hook=rule, admit_hook=AdmitHook("ReadOnly")),
            "all": EmbeddingOption(shared_name="ids", filter_hook=rule),
        }
    )
    model({"known": torch.tensor([1])})
    assert len(model.table("ids")) == 0
    model({"all": torch.tensor([1])})
    assert model.table("ids").run_filter(2).evicted == 1


@pytest.mark.parametrize(
    "other",
    [
        {"embedding_dim": 4},
        {"dtype": torch.float64},
        {"initializer": NormalInitializer()},
        {"grad_reduce_by": "id"},
        {"filter_hook": FilterHook("GlobalStepFilter", {"filter_step": 3})},
    ],
)
def test_features_that_want_different_tables_of_one_name_are_refused(other: dict[str, Any]) -> None:
    options = {"a": EmbeddingOption(shared_name="x"), "b": EmbeddingOption(shared_name="x", **other)}
    (name,) = other
    with pytest.raises(ValueError, match=rf"feature 'b', which shares the table 'x' with 'a': expected {name}=.*got"):
        EmbeddingEngine(options)


@pytest.mark.parametrize("options", [EmbeddingOption(), [EmbeddingOption()], {"a": 3}, None])
def test_only_options_by_feature_are_taken(options: Any) -> None:
    with pytest.raises(TypeError, match="emb_options: expected EmbeddingOptions by feature"):
        EmbeddingEngine(options)


def test_a_sparse_feature_is_refused() -> None:
    with pytest.raises(TypeError, match="feature 'x': expected a dense or a RaggedTensor, got a sparse tensor"):
        engine()({"x": torch.ones(2).to_sparse()})


def test_it_is_part_of_a_model() -> None:
    model = nn.Sequential(engine())
    assert list(model.parameters()) == []
    assert len(list(model.modules())) > 2
