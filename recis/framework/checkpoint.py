"""Checkpoints on disk: written atomically, the newest few kept, incomplete ones skipped when reading.

Owns the folder's layout: `step-000000001200/` with `rank0.pt`, `rank1.pt`, ... and `checkpoint.json`, which is written
last and lists the files with their sizes. Must not know what is inside the files, or when one is due.
"""

import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from recis.errors import CheckpointError
from recis.framework.ranks import Ranks
from recis.system import sync_folder

__all__ = ["CheckpointFolder"]

_FORMAT = 1
_INDEX = "checkpoint.json"

_logger = logging.getLogger(__name__)


class CheckpointFolder:
    """The checkpoints of one training, in a folder that all ranks can reach.

    Args:
        path: the folder, created when the first checkpoint is written.
        max_to_keep: number of checkpoints to keep; older ones are deleted once a newer one is complete.
        ranks: the ranks that write and read together; open during every call.
    """

    def __init__(self, path: str | Path, *, max_to_keep: int, ranks: Ranks) -> None:
        self._path = Path(path)
        self._max_to_keep = max_to_keep
        self._ranks = ranks

    def save(self, step: int, content: dict[str, Any]) -> Path:
        """Write this rank's `content`, tensors and plain containers; return once the checkpoint is complete on disk.

        Raises:
            CheckpointError: a rank could not write; on every rank, with nothing left behind.
        """
        final = self._path / f"step-{step:012d}"
        # Hidden, and named by the step alone, so that all ranks write to the same folder.
        draft = self._path / f".{final.name}.partial"
        self._together("write", draft, lambda: self._write_rank(draft, content))
        self._together("finish", draft, lambda: self._finish(draft, final, step) if self._ranks.rank == 0 else None)
        return final

    def load(self) -> dict[str, Any] | None:
        """Return this rank's content of the newest complete checkpoint, or None if there is none.

        Raises:
            CheckpointError: it was written by a different number of ranks or by a newer version.
        """
        # Rank 0 lists the folder, so that all ranks try the same checkpoints in the same order.
        for folder in self._ranks.gather(self._newest_first())[0]:
            index = _read_index(folder)
            if not self._ranks.all_of(_is_whole(folder, index))[0]:
                _logger.warning("Checkpoint %s is incomplete; trying an older one", folder)
                continue
            if index.get("format") != _FORMAT or index.get("world_size") != self._ranks.size:
                raise CheckpointError(
                    f"{folder}: expected format {_FORMAT} of {self._ranks.size} ranks, "
                    f"got format {index.get('format')} of {index.get('world_size')} ranks"
                )
            content = _load_file(folder / f"rank{self._ranks.rank}.pt")
            if self._ranks.all_of(content is not None)[0]:
                return content
        return None

    def newest_step(self) -> int | None:
        """Return the step of the newest complete checkpoint visible to this process, of any format and world size."""
        for folder in self._newest_first():
            index = _read_index(folder)
            if _is_whole(folder, index) and isinstance(index.get("step"), int):
                step: int = index["step"]
                return step
        return None

    def _write_rank(self, draft: Path, content: dict[str, Any]) -> None:
        draft.mkdir(parents=True, exist_ok=True)
        with (draft / f"rank{self._ranks.rank}.pt").open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())

    def _finish(self, draft: Path, final: Path, step: int) -> None:
        names = [f"rank{rank}.pt" for rank in range(self._ranks.size)]
        index = {
            "format": _FORMAT,
            "step": step,
            # The order of writing, which is not that of the steps: a new training in the same folder begins at step 0.
            "number": 1 + max((_read_index(other).get("number", 0) for other in self._newest_first()), default=0),
            "world_size": self._ranks.size,
            "files": {name: (draft / name).stat().st_size for name in names},
        }
        with (draft / _INDEX).open("w", encoding="utf-8") as file:
            json.dump(index, file)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(draft)
        if final.exists():
            shutil.rmtree(final)  # the same step, retrained after a restore
        draft.rename(final)
        sync_folder(self._path)
        # Remaining temporary folders were left by a crash.
        for old in [*self._newest_first(damaged=-1)[self._max_to_keep :], *self._path.glob(".step-*.partial")]:
            shutil.rmtree(old)

    def _together(self, what: str, draft: Path, action: Callable[[], None]) -> None:
        """Run `action` and fail on every rank if it failed on one, so that no rank waits forever."""
        problem: OSError | RuntimeError | None = None
        try:
            action()
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
            problem = error
        problems = [text for text in self._ranks.gather(None if problem is None else repr(problem)) if text]
        if problems:
            shutil.rmtree(draft, ignore_errors=True)
            raise CheckpointError(f"could not {what} the checkpoint {draft}: {problems[0]}") from problem

    def _newest_first(self, *, damaged: float = math.inf) -> list[Path]:
        """Return the folders, the one written last first.

        Args:
            damaged: the number of those without a readable index: they are the first to be looked at, with a warning.
        """
        indexes = {path: _read_index(path) for path in self._path.glob("step-*")}
        # Checkpoints of earlier versions have no number, and are ordered by step.
        numbers = {path: index.get("number", 0) if index else damaged for path, index in indexes.items()}
        return sorted(numbers, key=lambda path: (numbers[path], path), reverse=True)


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(index, dict) or not isinstance(index.get("number", 0), int):
        return {}
    return index


def _is_whole(folder: Path, index: dict[str, Any]) -> bool:
    files = index.get("files")
    if not isinstance(files, dict) or not files:
        return False
    return all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in files.items())


def _load_file(path: Path) -> dict[str, Any] | None:
    try:
        # Only tensors and plain containers: a checkpoint must never execute code.
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        _logger.warning("Checkpoint file %s cannot be read (%s); trying an older checkpoint", path, error)
        return None
    return content
