"""A trainer's checkpoints: when one is due, its content, and how a trainer restores it.

Must not know the loop, or the layout of a checkpoint on disk.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from recis.errors import CheckpointError
from recis.framework.arguments import TrainingArguments
from recis.framework.checkpoint import CheckpointFolder
from recis.framework.plan import Progress
from recis.framework.ranks import Ranks
from recis.hooks.cadence import Cadence
from recis.state import Phase, RunState

__all__ = ["CheckpointManager"]

_logger = logging.getLogger(__name__)


class _Trainer(Protocol):
    """The part of a trainer that is used here."""

    args: TrainingArguments
    model: nn.Module
    state: RunState

    def stateful(self) -> Mapping[str, Any]: ...
    def continued(self) -> Mapping[str, Any]: ...


class CheckpointManager:
    """The checkpoints of one trainer, in `args.output_dir`, every `args.save_steps` steps.

    Args:
        trainer: the trainer they belong to.
        ranks: the ranks that save and restore together.
        written: called on rank 0 with the folder of each checkpoint that is complete.
    """

    def __init__(self, trainer: _Trainer, ranks: Ranks, written: Callable[[Path], None]) -> None:
        self._trainer = trainer
        self._ranks = ranks
        self._written = written
        self._cadence: Cadence | None = None
        self._is_wanted = False
        self._saved_step = 0
        self._has_restored = False
        self._restored: Progress | None = None

    def save(self) -> None:
        """Write a checkpoint, during a training at the next boundary between two updates, otherwise immediately. All
        ranks must call this.

        Raises:
            CheckpointError: a rank could not write; on every rank, with nothing left behind.
        """
        if self._trainer.state.phase is not Phase.IDLE:
            self._is_wanted = True
            return
        with self._ranks:
            self.write(self._restored or Progress())

    def restore(self) -> int | None:
        """Restore the newest complete checkpoint; see `Trainer.restore`."""
        trainer = self._trainer
        with self._ranks:
            content = self._folder().load()
        if content is None:
            return None
        try:
            trainer.model.load_state_dict(content["model"])
            for name, part in trainer.stateful().items():
                part.load_state_dict(content[name])
            for name, extra in trainer.continued().items():
                if name in content:
                    extra.load_state_dict(content[name])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{trainer.args.output_dir}: the checkpoint does not fit this trainer: {error}"
            ) from error
        trainer.state.global_step = self._saved_step = content["global_step"]
        trainer.state.epoch = content["epoch"]
        self._restored = Progress(**content["progress"])
        self._has_restored = True
        return trainer.state.global_step

    def prepare(self) -> None:
        """Restore a checkpoint before a training if `args.resume` is set, or warn that there is one."""
        trainer = self._trainer
        if self._has_restored or trainer.state.global_step:
            return
        if trainer.args.resume:
            step = self.restore()
            if step is not None and self._ranks.rank == 0:
                _logger.info("%s: restored the checkpoint of step %d", trainer.args.output_dir, step)
            return
        found = self._folder().newest_step()
        if found is not None and self._ranks.rank == 0:
            _logger.warning(
                "%s has a checkpoint of step %d, which is not restored: call trainer.restore() before train(), "
                "or set TrainingArguments(resume=True)",
                *(trainer.args.output_dir, found),
            )

    def take_restored(self) -> Progress | None:
        """Return the progress of a restored checkpoint; once, for the next training only."""
        restored, self._restored = self._restored, None
        return restored

    def is_due(self, step: int) -> bool:
        """Return whether a checkpoint is due; call it once per step."""
        every = self._trainer.args.save_steps
        if every is not None:
            if self._cadence is None:
                self._cadence = Cadence(every)
            self._cadence.every = every
            self._is_wanted |= self._cadence.due(step)
        return self._is_wanted

    def write(self, progress: Progress) -> None:
        """Write a checkpoint of the current state, unless one of this step exists."""
        self._is_wanted = False
        trainer = self._trainer
        step = trainer.state.global_step
        if step == self._saved_step:
            return
        parts = {**trainer.stateful(), **trainer.continued()}
        content: dict[str, Any] = {name: part.state_dict() for name, part in parts.items()}
        content |= {"model": trainer.model.state_dict(), "global_step": step, "epoch": trainer.state.epoch}
        content["progress"] = asdict(progress)
        folder = self._folder().save(step, content)
        self._saved_step = step
        if self._ranks.rank == 0:
            self._written(folder)

    def _folder(self) -> CheckpointFolder:
        args = self._trainer.args
        return CheckpointFolder(args.output_dir, max_to_keep=args.max_to_keep, ranks=self._ranks)
