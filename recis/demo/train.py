"""The demo's training: an ordinary `Trainer` with the monitoring hooks.

Owns the choice of hooks, optimizers and their settings; must not know how the server is started. To adapt it, start at
`train`, and replace its parts by those of your own training.
"""

import logging
import math
import shutil
import signal
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from recis import environment
from recis.demo.data import Batch, Ratings, load
from recis.demo.incidents import BEGIN, Eventful
from recis.demo.model import ClickModel, auc
from recis.demo.stream import Replay, Visits
from recis.framework import Trainer, TrainingArguments
from recis.framework.metrics import add_metric
from recis.hooks import Control, HashTableFilterHook, Hook, LoggerHook, MonitorHook, ProfilerHook
from recis.nn.modules.hashtable import filter_out_sparse_param
from recis.optim import SparseAdamW

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Options", "Outcome", "train"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Settings of the training; times are in steps of one batch.

    Attributes:
        steps: maximum number of steps; None for no limit but `passes`.
        passes: maximum number of replays of the ratings; 41 take an hour at 4 steps per second.
        rate: maximum steps per second, 0 for no limit.
        filter_step: an id not seen for this many steps is evicted by the next filter pass.
        filter_interval: steps between two filter passes; the page can change it.
        sparse_lr: learning rate of the hash tables' rows.
        sparse_weight_decay: multiplied by the learning rate, the share by which a row shrinks in a step that looks it
            up.
        dense_lr: learning rate of everything else.
        dense_weight_decay: the same of everything else, in every step.
        save_steps: steps between two checkpoints.
        seed: of the initial values, and of the stream.
        incident: what goes wrong from step `incidents.BEGIN` on, one of `incidents.INCIDENTS`; None for nothing.
    """

    steps: int | None = None
    passes: int = 41
    rate: float = 4.0
    batch_size: int = 256
    filter_step: int = 100
    filter_interval: int = 50
    sparse_lr: float = 0.003
    sparse_weight_decay: float = 1.0
    dense_lr: float = 0.001
    dense_weight_decay: float = 0.01
    save_steps: int = 500
    seed: int = 7
    incident: str | None = None


@dataclass(frozen=True)
class Outcome:
    """The result: completed steps, loss and AUC on the last tenth by time, and whether the server has every point."""

    steps: int
    loss: float
    auc: float
    delivered: bool


class ClickMetricsHook(Hook):
    """Publishes metrics of a click model: AUC, log loss and calibration over the newest examples, and learning rates.

    Progressive validation: each example is scored before the model is trained on it, so that the metrics are those of
    data that the model has not seen (Blum, Kalai, Langford: "Beating the Hold-Out", COLT 1999).
    """

    def __init__(self, model: ClickModel, optimizer: torch.optim.Optimizer, every: int = 5) -> None:
        self.held_out: dict[str, float] = {}
        self._model = model
        self._optimizer = optimizer
        self._every = every
        self._warned = False

    def controls(self) -> list[Control]:
        """Return two controls: one of the model and one of this hook."""
        return [
            Control(
                name="label_smoothing",
                type="float",
                on_change=partial(setattr, self._model, "label_smoothing"),
                read=lambda: self._model.label_smoothing,
                minimum=0.0,
                maximum=0.5,
                description="Label smoothing: how far labels are moved towards one half in training.",
            ),
            Control(
                name="metrics_every",
                type="int",
                on_change=partial(setattr, self, "_every"),
                read=lambda: self._every,
                minimum=1,
                maximum=1000,
                unit="steps",
                description="Steps between two values of AUC, calibration and learning rate.",
                apply="each",
            ),
        ]

    def after_step(self, metrics: "Mapping[str, object]", global_step: int) -> None:
        """Publish the metrics at the steps where they are due."""
        if global_step % self._every == 0:
            scores, labels = self._model.scores()
            log_loss = float(binary_cross_entropy_with_logits(scores, labels))
            add_metric("auc", auc(scores, labels))
            add_metric("logloss", log_loss)
            add_metric("calibration", scores.sigmoid().mean() / labels.mean())
            add_metric("lr", self._optimizer.param_groups[0]["lr"])
            self._warn(log_loss, global_step)

    def _warn(self, log_loss: float, step: int) -> None:
        """Raise an alert on the page, once: from here on all values of the model are NaN."""
        if math.isnan(log_loss) and not self._warned and self.run is not None:
            self._warned = True
            self.run.alert("The log loss is NaN", "Batches since the last finite value may be damaged.", step=step)

    def after_epoch(self, trainer: Trainer) -> None:
        """Evaluate the model on held-out ratings, even after an incomplete pass."""
        self.held_out |= trainer.evaluate()

    def after_evaluate(self) -> None:
        """Publish the AUC; the trainer publishes the loss."""
        self.held_out["auc"] = auc(*self._model.take_evaluated())
        add_metric("eval/auc", self.held_out["auc"])


def train(options: Options, data: Path, output: Path) -> Outcome:
    """Train on MovieLens-100k; under `torchrun` each rank trains on its share of the viewers.

    The data are few: see `recis.demo.stream` for how they last for hours. The ratings of the last tenth by time are
    real ones that no pass contains, most of them by people whom the model does not know.

    Args:
        options: the settings.
        data: folder with the ratings, see `recis.demo.movielens.fetch`.
        output: folder for checkpoints, profiler traces, and values that the server has not acknowledged yet.
    """
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)  # batches are small: a second thread costs more than it gains
    training, held_out = _share(load(data)).split(0.9)
    replay = Replay(Visits(training, options.seed), options.batch_size, rate=options.rate)

    checkpoints = output / "checkpoints"
    model = ClickModel(filter_step=options.filter_step)
    dense = torch.optim.AdamW(model.parameters(), lr=options.dense_lr, weight_decay=options.dense_weight_decay)
    warmup = torch.optim.lr_scheduler.LinearLR(dense, start_factor=0.1, total_iters=50)
    click_metrics = ClickMetricsHook(model, dense)
    monitor = MonitorHook(name="movielens-deepfm", config=asdict(options), spool_dir=str(output / "spool"))
    trainer = Trainer(
        model,
        TrainingArguments(
            train_steps=options.steps,
            train_epoch=options.passes,
            output_dir=str(checkpoints),
            save_steps=options.save_steps,
            max_to_keep=2,
        ),
        train_dataset=_eventful(replay, options.incident),
        eval_dataset=_whole_batches(held_out, options.batch_size),
        hooks=[
            LoggerHook(log_step=10),
            HashTableFilterHook(filter_interval=options.filter_interval),
            ProfilerHook(wait=10, warmup=10, active=5, repeat=3, output_dir=str(output / "traces"), compress=True),
            click_metrics,
            monitor,
        ],
        dense_optimizers=(dense, warmup),
        sparse_optimizer=SparseAdamW(
            filter_out_sparse_param(model), lr=options.sparse_lr, weight_decay=options.sparse_weight_decay
        ),
    )
    _stop_on_signals(trainer, replay)
    if environment.rank() == 0:
        shutil.rmtree(checkpoints, ignore_errors=True)  # of an earlier demo; ranks write the first one together
    trainer.train()

    outcome = Outcome(
        steps=trainer.state.global_step,
        loss=click_metrics.held_out["loss"],
        auc=click_metrics.held_out["auc"],
        delivered=bool(monitor.acknowledged),
    )
    _logger.info("Held out, last tenth by time: loss %.4f, AUC %.4f", outcome.loss, outcome.auc)
    return outcome


def _share(ratings: Ratings) -> Ratings:
    return ratings.share(environment.rank(), environment.world_size())


def _eventful(replay: Replay, incident: str | None) -> "Iterable[Batch]":
    return replay if incident is None else Eventful(replay, incident, begin=BEGIN, wait=replay.hurry.wait)


def _whole_batches(ratings: Ratings, size: int) -> list[Batch]:
    return list(ratings.batches(size))


def _stop_on_signals(trainer: Trainer, replay: Replay) -> None:
    """Let Ctrl-C and SIGTERM end the training cleanly at the next step boundary; a second one ends it at once."""

    def stop(number: int, _frame: FrameType | None) -> None:
        trainer.state.request_stop(signal.Signals(number).name)
        replay.hurry.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
