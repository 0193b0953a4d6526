"""The training loop: steps, epochs, evaluation, updates, and the moments at which hooks are called.

Must not know what any hook does, how a checkpoint lies on disk, or the bridge. Reads from the outside in: training,
epoch, step, evaluation, checkpoint.
"""

import logging
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from recis import environment
from recis import hooks as hook_library
from recis.errors import ArgumentError, CheckpointError
from recis.framework.arguments import TrainingArguments
from recis.framework.batches import num_samples, read_batches, to_device
from recis.framework.checkpoint import CheckpointFolder
from recis.framework.evaluation import WeightedMeans, merge_means
from recis.framework.randomness import RandomStreams
from recis.framework.ranks import Ranks
from recis.hooks.cadence import Cadence, check_interval, check_optional_interval
from recis.hooks.dispatch import HookDispatcher
from recis.hooks.hook import Hook
from recis.hooks.logger_hook import LoggerHook
from recis.metrics.registry import MetricsRegistry, bind_registry, set_current_registry
from recis.metrics.scalars import Value
from recis.state import Phase, RunState

__all__ = ["Trainer"]

_END = object()
_NO_METRICS: Mapping[str, Value] = MappingProxyType({})

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Progress:
    """What the running training has done so far; a checkpoint has it, so that a restored training does the rest."""

    steps: int = 0
    epochs: int = 0
    epoch_steps: int = 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the running training is to do; None: no limit."""

    epochs: int
    steps: int | None = None
    epoch_steps: int | None = None
    evaluates: bool = False
    eval_steps: int | None = None
    progress: _Progress = field(default_factory=_Progress)

    def wants_step(self) -> bool:
        """Whether another step of this epoch is within both limits."""
        done = self.progress
        return self.wants_any() and (self.epoch_steps is None or done.epoch_steps < self.epoch_steps)

    def wants_any(self) -> bool:
        """Whether another step at all is within the limit of the training."""
        return self.steps is None or self.progress.steps < self.steps


class Trainer:
    """Trains `model` on `train_dataset` and calls the hooks.

    One step is one batch: `model(batch)` returns the loss, a 0-dim tensor, whose gradients are added up over
    `args.gradient_accumulation_steps` steps into one update. The loss is the metric `loss`.

    Args:
        model: the model, on the device where it trains.
        args: see `TrainingArguments`.
        train_dataset: an iterable of batches, or of RecIS's `(stop_flag, batch)`; iterated anew for each epoch.
        eval_dataset: the same, for `evaluate`.
        hooks: hooks to add. A `LoggerHook(args.log_steps)` is added unless there is one, and a `MonitorHook()` where
            `RECIS_MONITOR_URL` is set and there is none.
        dense_optimizers: the optimizer and the learning rate scheduler (stepped after each update); either may be None.
        sparse_optimizer: the optimizer of the hash tables' rows, from `recis.optim`.
        data_to_cuda: whether to move each batch to the model's CUDA device.

    Attributes:
        state: the loop's `RunState`.
        metrics: this trainer's `MetricsRegistry`; `add_metric` writes here while it trains.

    Raises:
        ArgumentError: `data_to_cuda` without CUDA, or `dense_optimizers` that are no pair.
        HookSignatureError: a hook cannot be called.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments | None = None,
        train_dataset: Iterable[Any] | None = None,
        eval_dataset: Iterable[Any] | None = None,
        hooks: Iterable[Hook] | None = None,
        dense_optimizers: tuple[torch.optim.Optimizer | None, Any] = (None, None),
        sparse_optimizer: Any = None,
        data_to_cuda: bool = False,
    ) -> None:
        if data_to_cuda and not torch.cuda.is_available():
            raise ArgumentError("Trainer's data_to_cuda", "False where there is no CUDA device", data_to_cuda)
        self.model = model
        self.args = args or TrainingArguments()
        self.train_dataset = train_dataset
        self.eval_dataset = eval_dataset
        self.dense_optimizer, self.dense_scheduler = _pair(dense_optimizers)
        self.sparse_optimizer = sparse_optimizer
        if hasattr(sparse_optimizer, "set_grad_accum_steps"):
            sparse_optimizer.set_grad_accum_steps(1)  # `step` is called when all gradients of an update are there
        self.state = RunState()
        self.metrics = MetricsRegistry()
        set_current_registry(self.metrics)
        self._data_to_cuda = data_to_cuda
        self._fresh = self.metrics.reader()
        self._ranks = Ranks(model)
        self._checkpoints = CheckpointFolder(self.args.output_dir, max_to_keep=self.args.max_to_keep, ranks=self._ranks)
        self._save_cadence = Cadence(self.args.save_steps) if self.args.save_steps is not None else None
        self._save_wanted = False
        self._saved_step = 0
        self._forward: nn.Module = model
        self._accumulated = 0
        self._restored: _Progress | None = None
        self._random = RandomStreams()
        self._dispatch = HookDispatcher(self)
        self._automatic: list[Hook] = []
        self.add_hooks(hooks or ())
        self._add_automatic_hooks()

    # -- hooks -------------------------------------------------------------------------------------------------------

    @property
    def hooks(self) -> list[Hook]:
        """The hooks in the order in which they are called; a copy."""
        return list(self._dispatch.hooks)

    def add_hook(self, hook: Hook) -> None:
        """Add a hook behind those that are there; one of the same class replaces a hook that was added automatically.

        Raises:
            HookSignatureError: it is not a `Hook` instance, is there already, or a callback cannot be called.
        """
        self._dispatch.add(hook)
        for automatic in self._automatic:
            if isinstance(hook, type(automatic)):
                self._dispatch.remove(automatic)
        self._automatic = [each for each in self._automatic if not isinstance(hook, type(each))]

    def add_hooks(self, hooks: Iterable[Hook]) -> None:
        """Add several hooks, in their order."""
        for hook in hooks:
            self.add_hook(hook)

    def _add_automatic_hooks(self) -> None:
        wanted: list[Hook] = []
        if not any(isinstance(hook, LoggerHook) for hook in self.hooks):
            wanted.append(LoggerHook(self.args.log_steps))
        # The monitor's class is looked up only where it is wanted: it brings the bridge with it.
        if environment.monitor_url() and not any(isinstance(each, hook_library.MonitorHook) for each in self.hooks):
            wanted.append(hook_library.MonitorHook())
        self.add_hooks(wanted)
        self._automatic = wanted

    def _fire(self, event: str) -> None:
        self._dispatch.fire(event, _NO_METRICS, self.state.global_step)

    # -- training ----------------------------------------------------------------------------------------------------

    def train(self, train_steps: int | None = None) -> None:
        """Train for `args.train_epoch` epochs, and for at most `train_steps` (else `args.train_steps`) steps.

        Raises:
            ArgumentError: `train_steps` is no positive int, or there is no training data.
            Exception: whatever the model, the data, an optimizer or a hook raises; `end` is called on all hooks first.
        """
        limit = check_optional_interval("Trainer.train's train_steps", train_steps)
        self._run(_Plan(epochs=self.args.train_epoch, steps=limit or self.args.train_steps))

    def train_and_evaluate(
        self, epochs: int = 1, train_steps: int | None = None, eval_steps: int | None = None
    ) -> None:
        """Train for `epochs` epochs of at most `train_steps` steps each, with an evaluation after each epoch.

        Raises: as `train` and `evaluate`.
        """
        where = "Trainer.train_and_evaluate's"
        check_interval(f"{where} epochs", epochs)
        steps = check_optional_interval(f"{where} train_steps", train_steps)
        self._require(self.eval_dataset, "eval_dataset")
        self._run(_Plan(epochs=epochs, epoch_steps=steps, evaluates=True, eval_steps=eval_steps))

    def _run(self, plan: _Plan) -> None:
        """Do one training: the only place that fires `end`."""
        dataset = self._require(self.train_dataset, "train_dataset")
        state = self.state
        state.error = state.stop_reason = None
        with bind_registry(self.metrics), self._ranks:
            try:
                self._train(dataset, plan)
            except BaseException as error:
                state.error = error
                raise
            finally:
                state.phase = Phase.IDLE
                self._forward = self.model
                self._dispatch.close(_NO_METRICS, state.global_step, state.error)

    def _train(self, dataset: Iterable[Any], plan: _Plan) -> None:
        self._resume(plan)
        self.state.phase = Phase.TRAIN
        self._forward = self._ranks.wrap()
        self.model.train()
        self._fire("before_train")
        while plan.progress.epochs < plan.epochs and plan.wants_any() and self._goes_on():
            self._fire("before_epoch")
            complete = self._train_epoch(dataset, plan)
            empty = complete and plan.progress.epoch_steps == 0
            if complete and not empty:
                self.state.epoch += 1
                plan.progress.epochs += 1
                plan.progress.epoch_steps = 0
            self._fire("after_epoch")
            if empty:
                _logger.warning("The training data has no batch for epoch %d; is it an iterator?", self.state.epoch)
                break
            if complete and plan.evaluates:
                self.evaluate(plan.eval_steps)
        if self._save_cadence is not None:
            self._save(plan.progress)
        self._fire("after_train")

    def _resume(self, plan: _Plan) -> None:
        """Count what a restored checkpoint has done of this training; once, for the next training only."""
        self._accumulated = 0
        self._zero_grad()
        if self._restored is not None:
            done, self._restored = self._restored, None
            for name, value in asdict(done).items():
                setattr(plan.progress, name, value)

    def _train_epoch(self, dataset: Iterable[Any], plan: _Plan) -> bool:
        """Train one pass; whether it is complete, cut neither by the limit of the training nor by a request."""
        state, progress = self.state, plan.progress
        self._random.start_epoch(progress.epoch_steps)
        with closing(read_batches(dataset)) as batches:
            for _ in range(progress.epoch_steps):  # trained before the checkpoint was written
                next(batches, _END)
            self._random.caught_up()
            while plan.wants_step():
                batch = next(batches, _END)
                # All ranks end together, at the first one that has no more data or is asked to stop: a rank that went
                # on alone would wait for ever in the averaging of gradients.
                more, going = self._ranks.all_of(batch is not _END, state.stop_reason is None)
                if not going:
                    state.request_stop("another rank was asked to stop")
                    break
                if not more:
                    break
                self._train_step(batch, progress)
        if self._accumulated:
            self._update()
        return self._goes_on() and plan.wants_any()

    def _goes_on(self) -> bool:
        """Whether no rank was asked to stop; the ranks ask together, so that all take the same way from here."""
        going = self._ranks.all_of(self.state.stop_reason is None)[0]
        if not going:
            self.state.request_stop("another rank was asked to stop")
        return going

    # -- one step ----------------------------------------------------------------------------------------------------

    def _train_step(self, batch: Any, progress: _Progress) -> None:
        state = self.state
        self._fire("before_step")
        self._learn(batch)
        state.samples += num_samples(batch)
        state.global_step += 1
        progress.steps += 1
        progress.epoch_steps += 1
        if self._dispatch.wants("after_step"):
            self._dispatch.fire("after_step", self._fresh.take(), state.global_step)
            self._fresh.take()  # what hooks have set by now belongs to this step, and not to the next one as well
        if self._save_cadence is not None:
            self._save_wanted |= self._save_cadence.due(state.global_step)
        # Between two updates a checkpoint would lose the gradients that are added up so far.
        if self._save_wanted and not self._accumulated:
            self._save(progress)

    def _learn(self, batch: Any) -> None:
        """Forward, backward and, where it is its turn, the update; the loss and its graph are gone on return."""
        loss = self._forward(to_device(batch, self._device()) if self._data_to_cuda else batch)
        if not isinstance(loss, torch.Tensor) or loss.dim():
            shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else ""
            raise TypeError(f"model(batch): expected the loss as a 0-dim tensor, got {type(loss).__name__}{shape}")
        self.metrics.set("loss", loss)
        share = self.args.gradient_accumulation_steps
        (loss if share == 1 else loss / share).backward()  # type: ignore[no-untyped-call]
        self._accumulated += 1
        if self._accumulated == share:
            self._update()

    def _update(self) -> None:
        self._accumulated = 0
        for optimizer in (self.dense_optimizer, self.sparse_optimizer):
            if optimizer is not None:
                optimizer.step()
        if self.dense_scheduler is not None:
            self.dense_scheduler.step()
        self._zero_grad()

    def _zero_grad(self) -> None:
        for optimizer in (self.dense_optimizer, self.sparse_optimizer):
            if optimizer is not None:
                optimizer.zero_grad()

    def _device(self) -> torch.device:
        parameter = next((each for each in self.model.parameters() if each.is_cuda), None)
        return torch.device("cuda", torch.cuda.current_device()) if parameter is None else parameter.device

    # -- evaluation --------------------------------------------------------------------------------------------------

    def evaluate(self, eval_steps: int | None = None) -> dict[str, float]:
        """Evaluate on at most `eval_steps` (else `args.eval_steps`) batches of `eval_dataset`, without gradients.

        Returns the means over all batches and ranks, each batch weighted by its samples: `loss` where the model returns
        a 0-dim loss, and every metric that was set while evaluating. They become the training's metrics `eval/loss`
        and so on. No step event fires, no step is counted, and every module's mode is as before afterwards.

        Raises:
            ArgumentError: `eval_steps` is no positive int, or there is no evaluation data.
        """
        limit = check_optional_interval("Trainer.evaluate's eval_steps", eval_steps) or self.args.eval_steps
        dataset = self._require(self.eval_dataset, "eval_dataset")
        phase = self.state.phase
        modes = [(module, module.training) for module in self.model.modules()]
        with bind_registry(self.metrics), self._ranks:
            self.state.phase = Phase.EVALUATE
            self.model.eval()
            try:
                self._fire("before_evaluate")
                means = self._evaluate_batches(dataset, limit)
            finally:
                for module, mode in modes:
                    module.training = mode
                self.state.phase = phase
            for name, mean in means.items():
                self.metrics.set(f"eval/{name}", mean)
            self._fire("after_evaluate")
            self._fresh.take()  # an evaluation's metrics are no step's
        return means

    @torch.no_grad()
    def _evaluate_batches(self, dataset: Iterable[Any], limit: int | None) -> dict[str, float]:
        means = WeightedMeans()
        metrics = MetricsRegistry()  # a model that calls add_metric must not mix this with its training
        fresh = metrics.reader()
        with bind_registry(metrics), closing(read_batches(dataset)) as batches:
            for batch in islice(batches, limit):
                # The bare model: ranks may have different numbers of batches here, so nothing is averaged on the way.
                output = self.model(to_device(batch, self._device()) if self._data_to_cuda else batch)
                if isinstance(output, torch.Tensor) and output.dim() == 0:
                    metrics.set("loss", output)
                means.add(fresh.take(), num_samples(batch) or 1)
        return merge_means(self._ranks.gather(means.totals()))

    def _require(self, dataset: Iterable[Any] | None, name: str) -> Iterable[Any]:
        if dataset is None:
            raise ArgumentError(f"Trainer's {name}", "an iterable of batches", dataset)
        return dataset

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def restore(self) -> int | None:
        """Take over the newest whole checkpoint of `args.output_dir`; the next training then does what is left of it.

        Returns the step of the checkpoint, or None where there is none. A training that was complete trains nothing.

        Raises:
            CheckpointError: the checkpoint does not fit the model, the optimizers or the number of ranks.
        """
        with self._ranks:
            content = self._checkpoints.load()
        if content is None:
            return None
        try:
            self.model.load_state_dict(content["model"])
            for name, part in self._stateful().items():
                part.load_state_dict(content[name])
            for name, extra in self._continued().items():
                if name in content:
                    extra.load_state_dict(content[name])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.args.output_dir}: the checkpoint does not fit this trainer: {error}"
            ) from error
        self.state.global_step = self._saved_step = content["global_step"]
        self.state.epoch = content["epoch"]
        self._restored = _Progress(**content["progress"])
        return self.state.global_step

    def _save(self, progress: _Progress) -> None:
        self._save_wanted = False
        step = self.state.global_step
        if step == self._saved_step:
            return
        parts = {**self._stateful(), **self._continued()}
        content: dict[str, Any] = {name: part.state_dict() for name, part in parts.items()}
        content |= {"model": self.model.state_dict(), "global_step": step, "epoch": self.state.epoch}
        content["progress"] = asdict(progress)
        self._checkpoints.save(step, content)
        self._saved_step = step

    def _stateful(self) -> dict[str, Any]:
        parts = {
            "dense_optimizer": self.dense_optimizer,
            "dense_scheduler": self.dense_scheduler,
            "sparse_optimizer": self.sparse_optimizer,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _continued(self) -> dict[str, Any]:
        """Return what lets a training go on exactly as it would have; one without it goes on all the same."""
        return {"hooks": self._dispatch, "random": self._random}


def _pair(optimizers: object) -> tuple[torch.optim.Optimizer | None, Any]:
    if not isinstance(optimizers, tuple | list) or len(optimizers) != 2:
        raise ArgumentError("Trainer's dense_optimizers", "a pair (optimizer, scheduler)", type(optimizers).__name__)
    optimizer, scheduler = optimizers
    return optimizer, scheduler
