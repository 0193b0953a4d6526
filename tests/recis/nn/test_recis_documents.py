"""The examples and guarantees of RecIS's documents on admission and filtering, as its users would write them."""

import torch

from recis.hooks.filter_hook import FilterPass, HashTableFilterHook
from recis.nn import DynamicEmbedding, EmbeddingEngine, EmbeddingOption, HashTable
from recis.nn.hashtable_hook import AdmitHook, FilterHook
from recis.nn.initializers import ConstantInitializer, TruncNormalInitializer
from recis.nn.modules.hashtable import filter_out_sparse_param
from recis.nn.modules.hashtable_hook_impl import HashtableHookFactory
from recis.optim import SparseAdamWTF
from recis.ragged.tensor import RaggedTensor


def seen_in(step: int) -> torch.Tensor:
    """Return twenty ids that occur only in this step, and some that occur in many."""
    return torch.cat((torch.arange(20) + 1_000 * step, torch.arange(step % 7, step % 7 + 3)))


def test_a_table_that_is_looked_up_read_only() -> None:
    table = HashTable(embedding_shape=[8], initializer=ConstantInitializer(1.0))
    table(torch.tensor([1, 2]))
    rows = table(torch.tensor([2, 3]), admit_hook=AdmitHook("ReadOnly"))
    assert rows[:, 0].tolist() == [1, 0]
    assert sorted(table.ids().tolist()) == [1, 2]


def test_an_embedding_that_is_read_only() -> None:
    option = EmbeddingOption(
        embedding_dim=64,
        shared_name="user_embedding",
        combiner="sum",
        initializer=TruncNormalInitializer(std=0.01),
        admit_hook=AdmitHook("ReadOnly"),
    )
    embedding = DynamicEmbedding(option)
    assert torch.equal(embedding(torch.LongTensor([1, 2, 3, 4])), torch.zeros(4, 64))


def test_an_engine_with_one_read_only_feature() -> None:
    engine = EmbeddingEngine(
        {
            "user_emb": EmbeddingOption(embedding_dim=64, shared_name="user_emb", admit_hook=AdmitHook("ReadOnly")),
            "item_emb": EmbeddingOption(embedding_dim=64, shared_name="item_emb", combiner="sum"),
        }
    )
    out = engine({"user_emb": torch.tensor([[1], [2]]), "item_emb": torch.tensor([[5], [6]])})
    assert out["user_emb"].shape == out["item_emb"].shape == (2, 64)
    assert [len(engine.table(name)) for name in ("user_emb", "item_emb")] == [0, 2]


def test_ids_that_do_not_appear_for_ten_steps_are_filtered_out() -> None:
    rule = FilterHook("GlobalStepFilter", {"filter_step": 10})
    engine = EmbeddingEngine({"user_emb": EmbeddingOption(embedding_dim=4, shared_name="user_emb", filter_hook=rule)})
    hook = HashTableFilterHook(2)
    for step in range(100):
        engine({"user_emb": seen_in(step)[:, None]})
        hook.after_step(None, step)
        held = {int(each) for each in engine.table("user_emb").ids() if each >= 1_000}
        if step % 2 == 0 and step >= 2:  # a pass
            expected = {int(each) for s in range(max(0, step - 9), step + 1) for each in seen_in(s) if each >= 1_000}
            assert held == expected


def test_the_boundary_is_that_of_recis() -> None:
    """With `filter_step=50` the ids of step 17 are evicted after step 67; with 1, one step without them is enough."""
    options = {
        "fast": EmbeddingOption(
            embedding_dim=8, shared_name="fast", filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 1})
        ),
        "slow": EmbeddingOption(
            embedding_dim=2,
            shared_name="slow",
            initializer=ConstantInitializer(init_val=8.0),
            filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 50}),
        ),
    }
    engine = EmbeddingEngine(options)
    optimizer = SparseAdamWTF(filter_out_sparse_param(engine))
    hook = HashTableFilterHook(1)
    passes: list[FilterPass] = []
    hook.add_listener(passes.append)
    for step in range(8):
        engine({"fast": seen_in(step)[:, None]})
        hook.after_step(-1, step)
        if step >= 2:
            assert {*engine.table("fast").ids().tolist()} == {*seen_in(step).tolist()}
    hook.reset_filter_interval(10)
    for step in range(8, 69):
        ids = torch.arange(100) + 1_000 * step
        engine({"slow": RaggedTensor(ids, torch.arange(101))})["slow"].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        hook.after_step(-1, step)
        if step == 67:
            assert {int(each) // 1_000 for each in engine.table("slow").ids()} == {*range(18, 68)}
    evicted = {report.step: report.evicted for report in passes if report.table == "slow"}
    assert evicted == dict.fromkeys(evicted, 0) | {67: 1_000}
    assert [step for step in evicted if step > 8] == [17, 27, 37, 47, 57, 67]
    slow = engine.table("slow")
    free = torch.ones(len(slow.weight()), dtype=torch.bool)
    free[slow.slots()] = False
    engine({"slow": torch.tensor([[-1]])})
    slot = slow.slots(torch.tensor([-1]))
    assert free[slot].all()
    assert slow.weight()[slot].tolist() == [[8.0, 8.0]]
    assert not slow.state("exp_avg")[slot].any()


def test_the_rules_in_use_can_be_looked_at() -> None:
    table = HashTable([1], filter_hook=FilterHook("GlobalStepFilter", {"filter_step": 3}))
    factory = HashtableHookFactory()
    for rules in factory.get_filters().values():
        for of, rule in rules.items():
            assert callable(rule.do_filter)
            if of is table:
                break
    assert factory.get_filters()["GlobalStepFilter"][table].filter_step == 3


def test_declarations_say_what_they_are() -> None:
    admit, filtering = AdmitHook("ReadOnly"), FilterHook("GlobalStepFilter", {"filter_step": 3})
    assert (admit.type, filtering.type) == ("admit", "filter")
    assert str(filtering) == '{"name": "GlobalStepFilter", "params": {"filter_step": 3}}'
    assert (filtering.name, filtering.params) == ("GlobalStepFilter", {"filter_step": 3})
