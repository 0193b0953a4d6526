"""The training loop: steps, epochs, evaluation, updates, and the events at which hooks are called.

Must not know what any hook does, the layout of a checkpoint on disk, or the bridge. Ordered from the outside in:
training, epoch, step, evaluation, checkpoint.
"""

import logging
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from itertools import islice
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from recis import environment
from recis import hooks as hook_library
from recis.errors import ArgumentError
from recis.framework.accelerator import Accelerator
from recis.framework.arguments import TrainingArguments
from recis.framework.batches import num_samples, read_batches, to_device
from recis.framework.evaluation import WeightedMeans, merge_means
from recis.framework.foreign import take_over
from recis.framework.plan import Plan, Progress
from recis.framework.randomness import RandomStreams
from recis.framework.ranks import Ranks
from recis.framework.saving import CheckpointManager
from recis.framework.steering import Steering
from recis.hooks.cadence import check_interval, check_optional_interval
from recis.hooks.control import Control
from recis.hooks.dispatch import HookDispatcher, HookList
from recis.hooks.hook import Hook
from recis.hooks.logger_hook import LoggerHook
from recis.metrics.registry import MetricsRegistry, bind_registry, claim_registry
from recis.metrics.scalars import Value
from recis.metrics.step_timer import StepTimer, bind_timer
from recis.state import Phase, RunState

__all__ = ["Trainer"]

_END = object()
_NO_METRICS: Mapping[str, Value] = MappingProxyType({})

_logger = logging.getLogger(__name__)


class Trainer:
    """Trains `model` on `train_dataset` and calls the hooks.

    One step is one batch: `model(batch)` returns the loss, a 0-dim tensor, whose gradients are accumulated over
    `args.gradient_accumulation_steps` steps into one update. The loss is the metric `loss`.

    Args:
        model: the model, on its training device.
        args: see `TrainingArguments`.
        train_dataset: an iterable of batches, or of RecIS's `(stop_flag, batch)`; iterated anew for each epoch.
        eval_dataset: the same, for `evaluate`.
        hooks: hooks to add. A `LoggerHook(args.log_steps)` is added unless there is one, and a `MonitorHook()` where
            `RECIS_MONITOR_URL` is set and there is none.
        dense_optimizers: the optimizer and the learning rate scheduler (stepped after each update); either may be None.
        sparse_optimizer: the optimizer of the hash tables' rows, from `recis.optim`.
        data_to_cuda: whether to move each batch to the model's CUDA device.
        **others: `mixed_precision`, `gradient_accumulation_steps` and `resume` as in `TrainingArguments`; `ddp_…` for
            `DistributedDataParallel`; and those that RecIS forwards to Accelerate, with one warning for unused ones.

    Attributes:
        state: the loop's `RunState`.
        metrics: this trainer's `MetricsRegistry`; `add_metric` writes here while it trains.
        step_timer: divides the time of each step into phases; a `MonitorHook` reports them as `time/…`.
        checkpoint_manager: `save()` and `restore()` for hooks.
        accelerator: for an overridden `_train_step` in RecIS's style.

    Raises:
        ArgumentError: `data_to_cuda` without CUDA, or `dense_optimizers` is not a pair.
        HookSignatureError: a hook cannot be called.
        TypeError: an unknown keyword argument.
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
        **others: Any,
    ) -> None:
        if data_to_cuda and not torch.cuda.is_available():
            raise ArgumentError("Trainer's data_to_cuda", "False where there is no CUDA device", data_to_cuda)
        self.model = model
        self.args = args or TrainingArguments()
        self.train_dataset = train_dataset
        self.eval_dataset = eval_dataset
        self.dense_optimizer, self.dense_lr_scheduler = _pair(dense_optimizers)
        self.sparse_optimizer = sparse_optimizer
        if hasattr(sparse_optimizer, "set_grad_accum_steps"):
            sparse_optimizer.set_grad_accum_steps(1)  # `step` is called when all gradients of an update are accumulated
        self.state = RunState()
        self.metrics = claim_registry()
        self.step_timer = StepTimer()
        self._ddp = take_over(self.args, others)
        self._data_to_cuda = data_to_cuda
        self._ranks = Ranks(model)
        self._dispatch = HookDispatcher(self)
        self.checkpoint_manager = CheckpointManager(self, self._ranks, self._dispatch.report_checkpoint)
        self.accelerator = Accelerator(self, self._ranks)
        self._wrapped: nn.Module = model
        self._accumulated = 0
        self._random = RandomStreams()
        self._steering = Steering(self)
        self._logger = LoggerHook(self.args.log_steps)
        self._log_steps = self.args.log_steps
        self.add_hooks(hooks or ())
        self._add_automatic_hooks()

    # -- hooks -------------------------------------------------------------------------------------------------------

    @property
    def hooks(self) -> HookList:
        """The hooks in call order, as a mutable list."""
        return self._dispatch.hooks

    @hooks.setter
    def hooks(self, hooks: Iterable[Hook]) -> None:
        if hooks is not self._dispatch.hooks:  # as after `trainer.hooks += [hook]`
            self._dispatch.hooks[:] = list(hooks)

    def add_hook(self, hook: Hook) -> None:
        """Append a hook; it replaces a hook of the same class that was added automatically.

        Raises:
            HookSignatureError: it is not a `Hook` instance, was added before, or a callback cannot be called.
        """
        self._dispatch.add(hook)

    def add_hooks(self, hooks: Iterable[Hook]) -> None:
        """Add several hooks in order."""
        for hook in hooks:
            self.add_hook(hook)

    def _add_automatic_hooks(self) -> None:
        if not any(isinstance(hook, LoggerHook) for hook in self.hooks):
            self._dispatch.add(self._logger, automatic=True)
        # The monitor's class is imported only when needed, because it imports the bridge.
        if environment.monitor_url() and not any(isinstance(each, hook_library.MonitorHook) for each in self.hooks):
            self._dispatch.add(hook_library.MonitorHook(), automatic=True)

    def controls(self) -> Iterable[Control]:
        """Return the controls of this trainer: `checkpoint`, `evaluate`, `stop`, and learning rates if offered."""
        return self._steering.controls()

    def offer_learning_rates(self, minimum: float, maximum: float) -> None:
        """Allow users to set the learning rates `lr` and `sparse_lr` within these bounds, from the next training on.

        Raises:
            ArgumentError: the bounds are invalid.
        """
        self._steering.offer_learning_rates(minimum, maximum)

    def _fire(self, event: str) -> None:
        self._dispatch.fire(event, _NO_METRICS, self.state.global_step)

    # -- training ----------------------------------------------------------------------------------------------------

    @property
    def dense_scheduler(self) -> Any:
        """Alias of `dense_lr_scheduler`."""
        return self.dense_lr_scheduler

    def train(self, train_steps: int | None = None) -> None:
        """Train for `args.train_epoch` epochs, and for at most `train_steps` (else `args.train_steps`) steps.

        Raises:
            ArgumentError: `train_steps` is not a positive int, or there is no training data.
            Exception: raised by the model, the data, an optimizer or a hook; `end` is called on all hooks first.
        """
        limit = check_optional_interval("Trainer.train's train_steps", train_steps)
        self._run(Plan(epochs=self.args.train_epoch, steps=limit or self.args.train_steps))

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
        self._run(Plan(epochs=epochs, epoch_steps=steps, evaluates=True, eval_steps=eval_steps))

    def _run(self, plan: Plan) -> None:
        """Run one training; the only place that fires `end`."""
        dataset = self._require(self.train_dataset, "train_dataset")
        state = self.state
        state.error = state.stop_reason = None
        self.step_timer = StepTimer(self.device)
        with bind_registry(self.metrics), bind_timer(self.step_timer), self._ranks:
            try:
                self._train(dataset, plan)
            except BaseException as error:
                state.error = error
                raise
            finally:
                state.phase = Phase.IDLE
                self._wrapped = self.model
                self._dispatch.close(_NO_METRICS, state.global_step, state.error)

    def _train(self, dataset: Iterable[Any], plan: Plan) -> None:
        self._resume(plan)
        if self._log_steps != self.args.log_steps:
            self._log_steps = self._logger.log_step = self.args.log_steps
        self.state.phase = Phase.TRAIN
        self._wrapped = self._ranks.wrap(**self._ddp)
        self.model.train()
        self._dispatch.open_runs()
        self._fire("before_train")
        self.step_timer.restart()
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
        if self.args.save_steps is not None:
            self.checkpoint_manager.write(plan.progress)
        self._fire("after_train")

    def _resume(self, plan: Plan) -> None:
        """Apply the progress of a restored checkpoint; once, for the next training only."""
        self.checkpoint_manager.prepare()
        self._accumulated = 0
        self._zero_grad()
        if (done := self.checkpoint_manager.take_restored()) is not None:
            for name, value in asdict(done).items():
                setattr(plan.progress, name, value)

    def _train_epoch(self, dataset: Iterable[Any], plan: Plan) -> bool:
        """Train one pass; return whether it is complete, ended neither by a limit nor by a request."""
        state, progress = self.state, plan.progress
        self._random.start_epoch(progress.epoch_steps)
        with closing(read_batches(dataset)) as batches:
            for _ in range(progress.epoch_steps):  # trained before the checkpoint was written
                next(batches, _END)
            self._random.caught_up()
            while plan.wants_step():
                with self.step_timer.phase("data_wait"):
                    batch = next(batches, _END)
                # All ranks end together with the first one that runs out of data or is asked to stop: a rank continuing
                # alone would wait forever for the averaging of gradients.
                more, going, *votes = self._ranks.all_of(
                    batch is not _END, state.stop_reason is None, *self._steering.wanted()
                )
                self._steering.agree(votes)
                if not going:
                    state.request_stop("another rank was asked to stop")
                    break
                if not more:
                    break
                self._step(batch, progress)
        if self._accumulated:
            self._update()
        return self._goes_on() and plan.wants_any()

    def _goes_on(self) -> bool:
        """Return whether no rank was asked to stop; a collective call, so that all ranks decide alike."""
        going = self._ranks.all_of(self.state.stop_reason is None)[0]
        if not going:
            self.state.request_stop("another rank was asked to stop")
        return going

    # -- one step ----------------------------------------------------------------------------------------------------

    def _step(self, batch: Any, progress: Progress) -> None:
        state = self.state
        with self.step_timer.phase("hooks"):
            self._fire("before_step")
        self._learn(batch)
        state.samples += num_samples(batch)
        state.global_step += 1
        progress.steps += 1
        progress.epoch_steps += 1
        if self._dispatch.wants("after_step"):
            with self.step_timer.phase("hooks"):
                self._dispatch.fire("after_step", {"epoch": state.epoch, **self.metrics.live}, state.global_step)
        evaluates, saves = self._steering.due(alone=self._ranks.size == 1)
        if saves:
            with self.step_timer.phase("checkpoint"):
                self.checkpoint_manager.save()
        # Within an accumulation a checkpoint would lose the gradients accumulated so far.
        if self.checkpoint_manager.is_due(state.global_step) and not self._accumulated:
            with self.step_timer.phase("checkpoint"):
                self.checkpoint_manager.write(progress)
        if evaluates:
            self.evaluate()

    def _learn(self, batch: Any) -> None:
        """Train on the batch and set its metrics; the loss and its graph are released on return."""
        metrics: dict[str, Any] = {}
        self._train_step(to_device(batch, self.device) if self._data_to_cuda else batch, self.state.epoch, metrics)
        metrics.pop("epoch", None)  # already in the metrics of every step
        for name, value in metrics.items():
            self.metrics.set(name, value)

    def _train_step(self, data: Any, epoch: int, metrics: dict[str, Any]) -> None:
        """Run one step: forward, backward and, if due, the update. Subclasses may override it.

        Args:
            data: the batch, on the device.
            epoch: number of completed passes over the data.
            metrics: filled by this method; each item becomes a metric of this step, the loss as `loss`.
        """
        loss = self.forward(data)
        if not isinstance(loss, torch.Tensor) or loss.dim():
            shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else ""
            raise TypeError(f"model(batch): expected the loss as a 0-dim tensor, got {type(loss).__name__}{shape}")
        metrics["loss"] = loss
        share = self.args.gradient_accumulation_steps
        with self.step_timer.phase("backward"):
            (loss if share == 1 else loss / share).backward()  # type: ignore[no-untyped-call]
        self._accumulated += 1
        if self._accumulated >= share:
            self._update()

    def forward(self, data: Any) -> Any:
        """Return `model(data)` as in training: through the distributed wrapper, in `args.mixed_precision`."""
        with self.step_timer.phase("forward"), self.autocast():
            return self._wrapped(data)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the autocast context for `args.mixed_precision`."""
        if self.args.mixed_precision in (None, "no"):
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _update(self) -> None:
        self._accumulated = 0
        with self.step_timer.phase("optimizer"):
            for optimizer in (self.dense_optimizer, self.sparse_optimizer):
                if optimizer is not None:
                    optimizer.step()
            if self.dense_lr_scheduler is not None:
                self.dense_lr_scheduler.step()
            self._zero_grad()

    def _zero_grad(self) -> None:
        for optimizer in (self.dense_optimizer, self.sparse_optimizer):
            if optimizer is not None:
                optimizer.zero_grad()

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        parameters = list(self.model.parameters())
        on_cuda = next((each.device for each in parameters if each.is_cuda), None)
        if on_cuda is None and self._data_to_cuda:
            return torch.device("cuda", torch.cuda.current_device())
        return on_cuda or (parameters[0].device if parameters else torch.device("cpu"))

    # -- evaluation --------------------------------------------------------------------------------------------------

    def evaluate(self, eval_steps: int | None = None) -> dict[str, float]:
        """Evaluate on at most `eval_steps` (else `args.eval_steps`) batches of `eval_dataset`, without gradients.

        Returns the means over all batches and ranks, each batch weighted by its number of samples: `loss` if the model
        returns a 0-dim loss, and every metric set during the evaluation. They become the training's metrics
        `eval/loss` and so on. No step event fires, no step is counted, and every module's mode is restored.

        Raises:
            ArgumentError: `eval_steps` is not a positive int, or there is no evaluation data.
        """
        limit = check_optional_interval("Trainer.evaluate's eval_steps", eval_steps) or self.args.eval_steps
        dataset = self._require(self.eval_dataset, "eval_dataset")
        phase = self.state.phase
        modes = [(module, module.training) for module in self.model.modules()]
        with bind_registry(self.metrics), self.step_timer.phase("evaluate"), self._ranks:
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
        return means

    @torch.no_grad()
    def _evaluate_batches(self, dataset: Iterable[Any], limit: int | None) -> dict[str, float]:
        means = WeightedMeans()
        metrics = MetricsRegistry()  # metrics set by the model here must not mix with those of the training
        fresh = metrics.reader()
        with bind_registry(metrics), closing(read_batches(dataset)) as batches:
            for batch in islice(batches, limit):
                # The unwrapped model: ranks may have different numbers of batches, so there are no collective calls.
                with self.autocast():
                    output = self.model(to_device(batch, self.device) if self._data_to_cuda else batch)
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
        """Restore the newest complete checkpoint of `args.output_dir`; the next training does the remaining part.

        Returns the step of the checkpoint, or None if there is none. If that training was complete, nothing is trained.

        Raises:
            CheckpointError: the checkpoint does not fit the model, the optimizers or the number of ranks.
        """
        return self.checkpoint_manager.restore()

    def stateful(self) -> dict[str, Any]:
        """Return the required parts of a checkpoint besides the model."""
        parts = {
            "dense_optimizer": self.dense_optimizer,
            "dense_scheduler": self.dense_lr_scheduler,
            "sparse_optimizer": self.sparse_optimizer,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def continued(self) -> dict[str, Any]:
        """Return the optional parts of a checkpoint that make a resumed training continue exactly."""
        return {"hooks": self._dispatch, "random": self._random}


def _pair(optimizers: object) -> tuple[torch.optim.Optimizer | None, Any]:
    if not isinstance(optimizers, tuple | list) or len(optimizers) != 2:
        raise ArgumentError("Trainer's dense_optimizers", "a pair (optimizer, scheduler)", type(optimizers).__name__)
    optimizer, scheduler = optimizers
    return optimizer, scheduler
