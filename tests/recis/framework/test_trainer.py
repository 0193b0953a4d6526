import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recis.errors import ArgumentError, CheckpointError
from recis.framework import Trainer, TrainingArguments
from recis.framework.metrics import GLOBAL_METRICS, add_metric, get_global_metrics
from recis.hooks import Hook, LoggerHook, ProfilerHook
from recis.state import Phase
from tests.recis.framework.conftest import click_model

Make = Callable[..., Trainer]
Data = list[dict[str, torch.Tensor]]


class Scale(torch.nn.Module):
    """A minimal model: `weight * batch`."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, batch: Any) -> torch.Tensor:
        return self.weight * torch.as_tensor(batch, dtype=torch.float32).mean()


def flat(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal_models(one: torch.nn.Module, two: torch.nn.Module) -> None:
    first, second = flat(one), flat(two)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=0, atol=0)


# -- the loop ----------------------------------------------------------------------------------------------------------


def test_training_learns_rows_and_dense_part(make_trainer: Make, data: Data) -> None:
    trainer = make_trainer(data, data, train_epoch=6)
    before = trainer.evaluate()["loss"]
    trainer.train()
    assert trainer.evaluate()["loss"] < before / 2
    assert (trainer.state.global_step, trainer.state.epoch, trainer.state.phase) == (60, 6, Phase.IDLE)
    assert trainer.state.samples == 60 * 16
    assert len(click_model(trainer).table) == 50


def test_the_limits_of_steps_hold(make_trainer: Make, data: Data) -> None:
    trainer = make_trainer(data, train_epoch=3, train_steps=14)
    trainer.train()
    assert (trainer.state.global_step, trainer.state.epoch) == (14, 1)
    trainer.train(train_steps=4)
    assert (trainer.state.global_step, trainer.state.epoch) == (18, 1)


def test_a_limit_of_steps_holds_per_epoch_when_evaluating(make_trainer: Make, data: Data, recorder: Any) -> None:
    hook = recorder()
    trainer = make_trainer(data, data, [hook])
    trainer.train_and_evaluate(epochs=3, train_steps=2, eval_steps=1)
    assert (trainer.state.global_step, trainer.state.epoch) == (6, 3)
    assert hook.events.count("before_evaluate") == hook.events.count("after_evaluate") == 3
    assert hook.events.count("end") == 1


def test_a_loader_without_a_length_is_data() -> None:
    class Stream(torch.utils.data.IterableDataset[float]):
        def __iter__(self) -> Iterator[float]:
            yield from (1.0, 2.0, 3.0)

    loader = torch.utils.data.DataLoader(Stream(), batch_size=2)
    trainer = Trainer(Scale(), TrainingArguments(train_epoch=2), loader, loader)
    trainer.train()
    assert (trainer.state.global_step, trainer.state.samples) == (4, 6)
    assert trainer.evaluate() == {"loss": pytest.approx(2.0)}


def test_stop_flags_end_an_epoch(make_trainer: Make, data: Data) -> None:
    pairs: list[tuple[Any, Any]] = [(torch.tensor(False), batch) for batch in data[:3]] + [(True, data[0])]
    trainer = make_trainer(pairs, train_epoch=2)
    trainer.train()
    assert (trainer.state.global_step, trainer.state.epoch) == (6, 2)


def test_an_iterator_that_is_used_up_ends_training_with_a_warning(
    make_trainer: Make, data: Data, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(iter(data), train_epoch=5)
    trainer.train()
    assert (trainer.state.global_step, trainer.state.epoch) == (10, 1)
    assert caplog.text.count("is it an iterator?") == 1


def test_gradients_are_accumulated_and_a_rest_is_used() -> None:
    model = Scale()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    seen: list[float] = []

    class Watch(Hook):
        def after_step(self) -> None:
            seen.append(model.weight.item())

        def after_epoch(self) -> None:
            seen.append(model.weight.item())

    args = TrainingArguments(gradient_accumulation_steps=2)
    Trainer(model, args, [0.1, 0.3, 0.2], None, [Watch()], (optimizer, None)).train()
    assert seen == pytest.approx([1.0, 0.8, 0.8, 0.7])


def test_accumulated_steps_equal_one_step_over_all_their_samples(make_trainer: Make, data: Data) -> None:
    halves = [
        dict(zip(batch, parts, strict=True))
        for batch in data
        for parts in zip(*(tensor.chunk(2) for tensor in batch.values()), strict=True)
    ]
    whole, accumulated = make_trainer(data), make_trainer(halves, gradient_accumulation_steps=2)
    whole.train()
    accumulated.train()
    one, other = click_model(whole), click_model(accumulated)
    for name, tensor in one.dense.state_dict().items():
        torch.testing.assert_close(other.dense.state_dict()[name], tensor)
    torch.testing.assert_close(other.table.embeddings().sum(), one.table.embeddings().sum())


def test_a_model_without_optimizers_can_be_run() -> None:
    trainer = Trainer(Scale(), None, [1.0])
    trainer.train()
    assert trainer.state.global_step == 1


@pytest.mark.parametrize("loss", [3.0, None, torch.ones(2, requires_grad=True)])
def test_a_loss_that_is_none_is_refused(loss: object) -> None:
    class Wrong(Scale):
        def forward(self, batch: Any) -> Any:
            return loss

    with pytest.raises(TypeError, match="expected the loss as a 0-dim tensor, got"):
        Trainer(Wrong(), None, [1.0]).train()


def test_what_a_step_made_is_gone_after_it() -> None:
    made: list[weakref.ref[torch.Tensor]] = []

    class Watched(Scale):
        def forward(self, batch: Any) -> torch.Tensor:
            loss = super().forward(batch)
            made.append(weakref.ref(loss))
            return loss

    class Check(Hook):
        def after_step(self) -> None:
            gc.collect()
            assert made[-1]() is None

    Trainer(Watched(), None, [1.0, 2.0], None, [Check()]).train()
    assert len(made) == 2


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_bad_limits_are_refused_before_anything_happens(
    steps: Any, make_trainer: Make, data: Data, recorder: Any
) -> None:
    hook = recorder()
    trainer = make_trainer(data, data, [hook])
    for call in (
        lambda: trainer.train(steps),
        lambda: trainer.evaluate(steps),
        lambda: trainer.train_and_evaluate(epochs=steps),
        lambda: trainer.train_and_evaluate(train_steps=steps),
    ):
        with pytest.raises(ValueError, match="expected a positive int"):
            call()
    assert hook.events == []


def test_missing_data_is_said(make_trainer: Make, data: Data) -> None:
    with pytest.raises(ArgumentError, match="train_dataset: expected an iterable of batches, got None"):
        make_trainer().train()
    with pytest.raises(ArgumentError, match="eval_dataset"):
        make_trainer(data).evaluate()
    with pytest.raises(ArgumentError, match="eval_dataset"):
        make_trainer(data).train_and_evaluate()


def test_data_can_go_to_cuda_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="data_to_cuda"):
        Trainer(Scale(), data_to_cuda=True)


@pytest.mark.parametrize("optimizers", [None, (), torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])])
def test_optimizers_that_are_no_pair_are_refused(optimizers: Any) -> None:
    with pytest.raises(ValueError, match=r"dense_optimizers: expected a pair \(optimizer, scheduler\)"):
        Trainer(Scale(), dense_optimizers=optimizers)


# -- hooks -------------------------------------------------------------------------------------------------------------


def test_after_step_gets_the_latest_of_every_metric_and_the_epoch(make_trainer: Make, data: Data) -> None:
    seen: list[tuple[Any, ...]] = []

    class Pair(Hook):
        def before_step(self, trainer: Trainer) -> None:
            if trainer.state.global_step == 1:
                add_metric("once", 1)

        def after_step(self, metrics: dict[str, Any], global_step: Any) -> None:
            loss, step = metrics["loss"], global_step.item()
            assert type(step) is int
            assert (type(loss), loss.dim(), loss.requires_grad) == (torch.Tensor, 0, False)
            assert loss.item() == get_global_metrics()["loss"].item()
            seen.append((step, metrics["epoch"], metrics.get("once"), metrics.get("late")))
            add_metric("late", step)

    trainer = make_trainer(data[:2], data, [Pair()])
    trainer.train_and_evaluate(epochs=2, eval_steps=1)
    assert seen == [(1, 0, None, None), (2, 0, 1, 1), (3, 1, 1, 2), (4, 1, 1, 3)]


def test_metrics_that_were_set_before_the_first_trainer_are_its_own(make_trainer: Make, data: Data) -> None:
    add_metric("learning_rate", 0.1)
    held = get_global_metrics()
    first, second = make_trainer(data), make_trainer(data)
    assert first.metrics.live is held
    assert "learning_rate" not in second.metrics.live
    second.train(1)
    assert "loss" in GLOBAL_METRICS
    assert "loss" not in held


def test_hooks_can_be_put_into_the_list(make_trainer: Make, data: Data, recorder: Any) -> None:
    trainer, hooks = make_trainer(data[:1]), [recorder() for _ in range(4)]
    trainer.hooks.append(hooks[0])
    trainer.hooks += [hooks[1]]  # type: ignore[operator]  # mypy looks for `+` on what the setter takes
    trainer.hooks.insert(0, hooks[2])
    trainer.hooks.extend([hooks[3]])
    assert [hook for hook in trainer.hooks if hook in hooks] == [hooks[2], hooks[0], hooks[1], hooks[3]]
    trainer.hooks.remove(hooks[3])
    trainer.train()
    assert [hook.events.count("after_step") for hook in hooks] == [1, 1, 1, 0]

    class Impossible(Hook):
        def before_step(self, a: int, b: int, c: int) -> None: ...

    with pytest.raises(TypeError, match=r"Impossible\.before_step"):
        trainer.hooks.append(Impossible())
    trainer.hooks.append(LoggerHook(3))
    assert loggers(trainer) == [3]
    trainer.hooks = [hooks[3]]
    assert trainer.hooks == [hooks[3]]


def test_changed_arguments_hold_for_the_next_training(make_trainer: Make, data: Data, tmp_path: Path) -> None:
    trainer = make_trainer(data)
    trainer.args.log_steps, trainer.args.train_steps, trainer.args.save_steps = 3, 4, 2
    trainer.args.output_dir = str(tmp_path / "other")
    trainer.train()
    assert loggers(trainer) == [3]
    assert trainer.state.global_step == 4
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == [f"step-{step:012d}" for step in (2, 4)]


def test_a_step_can_be_overridden_as_in_recis(data: Data, tmp_path: Path) -> None:
    class Twice(Trainer):
        def _train_step(self, data: Any, epoch: int, metrics: dict[str, Any]) -> None:
            assert self.dense_optimizer is not None
            self.dense_optimizer.zero_grad()
            with self.accelerator.autocast():
                loss = self.model(data)
            metrics.update(epoch=epoch)
            metrics.update(loss=loss, twice=2 * loss)
            self.accelerator.backward(loss)
            self.dense_optimizer.step()
            self.dense_lr_scheduler.step()

    model = Scale()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    trainer = Twice(model, TrainingArguments(), [0.25, 0.5], dense_optimizers=(optimizer, scheduler))
    trainer.train()
    assert model.weight.item() == 1.0 - 0.25 - 0.25
    assert trainer.metrics.live["twice"].item() == 2 * trainer.metrics.live["loss"].item() == 0.75
    assert "epoch" not in trainer.metrics.live
    assert trainer.dense_scheduler is trainer.dense_lr_scheduler is scheduler


@pytest.mark.parametrize(
    ("precision", "expected"), [(None, torch.float32), ("no", torch.float32), ("bf16", torch.bfloat16)]
)
def test_mixed_precision_is_that_of_autocast(precision: Any, expected: torch.dtype) -> None:
    seen: list[torch.dtype] = []

    class Dense(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.layer(batch)
            seen.append(out.dtype)
            return out.float().mean()

    batch = [torch.ones(3, 2)]
    Trainer(Dense(), TrainingArguments(mixed_precision=precision), batch).train()
    Trainer(Dense(), None, None, batch, mixed_precision=precision).evaluate()
    assert seen == [expected, expected]


def test_a_hook_that_raises_stops_training_and_every_hook_is_ended_once(
    make_trainer: Make, data: Data, recorder: Any
) -> None:
    first, second = recorder("after_step", at=3), recorder()
    trainer = make_trainer(data, data, [first, second])
    with pytest.raises(RuntimeError, match="after_step at 3") as caught:
        trainer.train_and_evaluate()
    assert trainer.state.global_step == 3
    assert second.events == ["before_train", "before_epoch", *["before_step", "after_step"] * 2, "before_step", "end"]
    assert first.errors == second.errors == [caught.value]
    assert trainer.state.error is caught.value
    assert trainer.state.phase is Phase.IDLE


@pytest.mark.parametrize("event", ["before_train", "before_epoch", "before_step", "before_evaluate", "after_train"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_end_is_called_once_however_training_ended(
    event: str, error: type[BaseException], make_trainer: Make, data: Data, recorder: Any
) -> None:
    hook = recorder(event, at=0 if event.startswith(("before_t", "before_ep", "before_s")) else 2, error=error)
    with pytest.raises(error):
        make_trainer(data[:2], data[:1], [hook]).train_and_evaluate()
    assert hook.events.count("end") == 1
    assert hook.events[-1] == "end"


def test_an_error_in_the_data_ends_training_with_end(make_trainer: Make, data: Data, recorder: Any) -> None:
    def broken() -> Iterator[Any]:
        yield data[0]
        raise OSError("the disk is gone")

    hook = recorder()
    with pytest.raises(OSError, match="the disk is gone"):
        make_trainer(broken(), None, [hook]).train()
    assert hook.events[-1] == "end"


def test_a_second_training_has_its_own_end_and_no_old_error(make_trainer: Make, data: Data, recorder: Any) -> None:
    hook = recorder("after_step", at=1)
    trainer = make_trainer(data[:2], None, [hook])
    with pytest.raises(RuntimeError):
        trainer.train()
    trainer.train()
    assert hook.events.count("end") == 2
    assert hook.errors[1] is None
    assert trainer.state.global_step == 3


def test_a_stop_request_ends_training_well_at_the_next_boundary(make_trainer: Make, data: Data, recorder: Any) -> None:
    class Stop(Hook):
        def after_step(self, trainer: Trainer) -> None:
            if trainer.state.global_step == 4:
                trainer.state.request_stop("enough")

    hook = recorder()
    trainer = make_trainer(data, data, [Stop(), hook])
    trainer.train_and_evaluate(epochs=3)
    assert (trainer.state.global_step, trainer.state.epoch, trainer.state.stop_reason) == (4, 0, "enough")
    assert hook.events[-3:] == ["after_epoch", "after_train", "end"]
    trainer.train()
    assert trainer.state.global_step == 14


def test_a_hook_with_an_impossible_signature_is_refused_when_added(make_trainer: Make) -> None:
    class Impossible(Hook):
        def before_step(self, a: int, b: int, c: int) -> None: ...

    with pytest.raises(TypeError, match=r"Impossible\.before_step"):
        make_trainer(hooks=[Impossible()])
    with pytest.raises(TypeError, match=r"Impossible\.before_step"):
        make_trainer().add_hook(Impossible())


def loggers(trainer: Trainer) -> list[int]:
    return [hook.log_step for hook in trainer.hooks if isinstance(hook, LoggerHook)]


def test_a_logger_is_added_unless_there_is_one(make_trainer: Make) -> None:
    assert loggers(make_trainer(log_steps=7)) == [7]
    assert loggers(make_trainer(hooks=[LoggerHook(3)])) == [3]
    trainer = make_trainer()
    trainer.add_hook(LoggerHook(3))
    trainer.add_hooks([LoggerHook(4)])
    assert loggers(trainer) == [3, 4]


def test_a_monitor_is_added_where_the_environment_names_a_server(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recis.hooks.MonitorHook", type("MonitorHook", (Hook,), {}), raising=False)
    monkeypatch.setattr("recis.environment.monitor_url", lambda: "http://127.0.0.1:1")
    names = [type(hook).__name__ for hook in make_trainer().hooks]
    assert names == ["LoggerHook", "MonitorHook"]
    monkeypatch.setattr("recis.environment.monitor_url", lambda: None)
    assert [type(hook).__name__ for hook in make_trainer().hooks] == ["LoggerHook"]


def test_lines_and_traces_come_out_of_a_real_training(
    make_trainer: Make, data: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "recis.hooks.logger_hook")
    profiler = ProfilerHook(wait=0, warmup=1, active=1, repeat=1, output_dir=str(tmp_path))
    trainer = make_trainer(data, data, [profiler], log_steps=5)
    trainer.train_and_evaluate(epochs=2)
    assert [path.name for path in tmp_path.glob("*.json")] == ["local-rank0-timeline-2.json"]
    lines = [record.message for record in caplog.records if record.message.startswith("<gstep=")]
    assert [line.split("> ")[0] for line in lines] == ["<gstep=5", "<gstep=10", "<gstep=15", "<gstep=20"]
    assert "<eval/loss=" in lines[2]
    assert "samples_per_second" in trainer.metrics.snapshot()


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_two_trainers_do_not_see_each_other(make_trainer: Make, data: Data) -> None:
    class Mark(Hook):
        def __init__(self, name: str) -> None:
            self.name = name

        def after_step(self) -> None:
            add_metric(self.name, 1)
            barrier.wait(timeout=20)

    barrier = threading.Barrier(2)
    trainers = [make_trainer(data, None, [Mark(name)]) for name in ("one", "two")]
    threads = [threading.Thread(target=trainer.train, name=f"train-{n}") for n, trainer in enumerate(trainers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [{"one", "two"} & set(trainer.metrics.snapshot()) for trainer in trainers] == [{"one"}, {"two"}]


def test_metrics_are_had_after_training_too(make_trainer: Make, data: Data) -> None:
    trainer = make_trainer(data)
    add_metric("before", 1)
    trainer.train()
    assert {"before", "loss"} <= set(get_global_metrics())


# -- evaluation --------------------------------------------------------------------------------------------------------


class Graded(Scale):
    """Its loss is the batch's mean; it reports a metric in both modes."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = torch.nn.Dropout().eval()
        self.seen: list[tuple[bool, bool]] = []

    def forward(self, batch: Any) -> torch.Tensor:
        self.seen.append((self.training, torch.is_grad_enabled()))
        add_metric("top", batch.max())
        return super().forward(batch)


def test_an_evaluation_has_weighted_means_and_keeps_them_apart_from_training() -> None:
    model = Graded()
    trainer = Trainer(model, None, [torch.tensor([1.0])], [torch.tensor([1.0, 3.0, 5.0]), torch.tensor([7.0])])
    trainer.train()
    model.frozen.eval()
    assert trainer.evaluate() == {"loss": pytest.approx(4.0), "top": pytest.approx(5.5)}
    assert model.seen == [(True, True), (False, False), (False, False)]
    assert model.training
    assert not model.frozen.training
    assert trainer.state.global_step == 1
    snapshot = trainer.metrics.snapshot()
    assert (snapshot["top"], snapshot["eval/top"], snapshot["eval/loss"]) == (1.0, 5.5, 4.0)


def test_the_limit_of_an_evaluation_holds() -> None:
    model = Graded()
    trainer = Trainer(model, TrainingArguments(eval_steps=2), None, [torch.ones(1)] * 5)
    trainer.evaluate()
    trainer.evaluate(eval_steps=1)
    assert len(model.seen) == 3


def test_an_evaluation_alone_fires_its_events_and_no_end(make_trainer: Make, data: Data, recorder: Any) -> None:
    hook = recorder()
    make_trainer(None, data, [hook]).evaluate()
    assert hook.events == ["before_evaluate", "after_evaluate"]


def test_an_evaluation_that_fails_restores_the_mode(make_trainer: Make, recorder: Any) -> None:
    hook = recorder()
    trainer = make_trainer(None, [{}], [hook])
    with pytest.raises(KeyError):
        trainer.evaluate()
    assert trainer.model.training
    assert trainer.state.phase is Phase.IDLE
    assert hook.events == ["before_evaluate"]


def test_an_evaluation_does_not_change_tables(make_trainer: Make, data: Data) -> None:
    trainer = make_trainer(None, data)
    trainer.evaluate()
    assert len(click_model(trainer).table) == 0


# -- checkpoints -------------------------------------------------------------------------------------------------------


class Killed(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("killed_at", [4, 10, 13])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_killed_training_started_again_ends_like_one_that_was_not(
    killed_at: int, accumulation: int, make_trainer: Make, data: Data, tmp_path: Path
) -> None:
    class Kill(Hook):
        def after_step(self, trainer: Trainer) -> None:
            if trainer.state.global_step == killed_at:
                raise Killed

    arguments: dict[str, Any] = {"train_epoch": 2, "save_steps": 2, "gradient_accumulation_steps": accumulation}
    whole = make_trainer(data, output_dir=str(tmp_path / "whole"), **arguments)
    whole.train()
    with pytest.raises(Killed):
        make_trainer(data, None, [Kill()], **arguments).train()
    again = make_trainer(data, **arguments)
    step = again.restore()
    assert step is not None
    assert 0 < step < killed_at
    assert again.state.global_step == step
    again.train()
    assert (again.state.global_step, again.state.epoch) == (20, 2)
    assert_equal_models(again.model, whole.model)
    assert again.dense_scheduler.state_dict() == whole.dense_scheduler.state_dict()


def test_a_training_that_was_complete_trains_nothing_more(make_trainer: Make, data: Data, recorder: Any) -> None:
    make_trainer(data, save_steps=100).train()
    hook = recorder()
    again = make_trainer(data, None, [hook], save_steps=100)
    assert again.restore() == 10
    again.train()
    assert again.state.global_step == 10
    assert hook.events == ["before_train", "after_train", "end"]
    again.train()
    assert again.state.global_step == 20


def test_a_training_that_was_asked_to_stop_goes_on_where_it_stopped(make_trainer: Make, data: Data) -> None:
    class Stop(Hook):
        def after_step(self, trainer: Trainer) -> None:
            if trainer.state.global_step == 7:
                trainer.state.request_stop("maintenance")

    make_trainer(data, None, [Stop()], save_steps=100).train()
    again = make_trainer(data, save_steps=100)
    assert again.restore() == 7
    again.train()
    assert (again.state.global_step, again.state.epoch) == (10, 1)


def test_the_trainer_alone_adds_up_gradients(make_trainer: Make, data: Data) -> None:
    arguments: dict[str, Any] = {"gradient_accumulation_steps": 3, "train_epoch": 2}
    plain, told = make_trainer(data, **arguments), make_trainer(data, **arguments)
    told.sparse_optimizer.set_grad_accum_steps(3)  # as scripts for RecIS do outside of a trainer
    again = Trainer(
        told.model,
        told.args,
        data,
        dense_optimizers=(told.dense_optimizer, told.dense_scheduler),
        sparse_optimizer=told.sparse_optimizer,
    )
    plain.train()
    again.train()
    assert_equal_models(again.model, plain.model)


def test_no_checkpoint_is_written_unless_asked_for(make_trainer: Make, data: Data, tmp_path: Path) -> None:
    trainer = make_trainer(data)
    trainer.train()
    assert not (tmp_path / "out").exists()
    assert trainer.restore() is None


def test_a_checkpoint_of_another_model_is_refused(make_trainer: Make, data: Data) -> None:
    make_trainer(data, save_steps=5).train()
    with pytest.raises(CheckpointError, match="does not fit"):
        make_trainer(data, model=Scale()).restore()
