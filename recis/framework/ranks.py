"""The processes of one job: joining them, reaching common decisions, and wrapping the dense part of a model.

Owns only the process group that it created. Must not know the loop, hooks, or the decisions.
"""

from functools import cache
from itertools import count
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from recis import environment

__all__ = ["Ranks"]

# Every group of a process gets its own prefix in the store: keys of a destroyed one would mislead the next.
_groups = count()


class Ranks:
    """The ranks that train one model; a reentrant context manager, open while a training or an evaluation runs.

    With one process everything here is a no-op. With more, started by `torchrun`, the default process group is used if
    there is one; otherwise one is created (NCCL for a model on CUDA, gloo otherwise) and destroyed on closing.

    Args:
        model: its device determines the backend.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._depth = 0
        self._owns_default = False
        self._control: dist.ProcessGroup | None = None

    @property
    def rank(self) -> int:
        """This process's rank."""
        return dist.get_rank() if _initialised() else environment.rank()

    @property
    def size(self) -> int:
        """Number of processes that train together."""
        return dist.get_world_size() if _initialised() else environment.world_size()

    def __enter__(self) -> Self:
        self._depth += 1
        if self._depth == 1 and self.size > 1:
            if not _initialised():
                self._owns_default = True
                _join("nccl" if _is_on_cuda(self._model) else "gloo")
            # Decisions use host memory: reading them from a GPU would make every step wait for its kernels.
            self._control = dist.new_group(backend="gloo")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth or self._control is None:
            return
        dist.destroy_process_group(self._control)
        self._control = None
        if self._owns_default:
            self._owns_default = False
            dist.destroy_process_group()

    def all_of(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is true on every rank; all ranks must call this and get the same answer."""
        if self._control is None:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.uint8, device="cpu")
        dist.all_reduce(votes, op=dist.ReduceOp.MIN, group=self._control)
        return [bool(vote) for vote in votes.tolist()]

    def gather(self, item: Any) -> list[Any]:
        """Return the items of all ranks in rank order; all ranks must call this."""
        if self._control is None:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item, group=self._control)
        return items

    def wrap(self, **options: Any) -> nn.Module:
        """Return the model, with the gradients of its dense part averaged over the ranks if there are several.

        Rows of hash tables are neither parameters nor buffers: each rank trains those of its own data.

        Args:
            **options: more arguments of `DistributedDataParallel`.
        """
        model = self._model
        if self._control is None or not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        # Buffers of the dense part are broadcast from rank 0 once, here, and are local to each rank afterwards.
        return DistributedDataParallel(model, broadcast_buffers=False, **options)


def _initialised() -> bool:
    return dist.is_available() and dist.is_initialized()


def _is_on_cuda(model: nn.Module) -> bool:
    return any(parameter.is_cuda for parameter in model.parameters())


def _join(backend: str) -> None:
    store = PrefixStore(f"recis/{next(_groups)}", _store())
    dist.init_process_group(backend, store=store, rank=environment.rank(), world_size=environment.world_size())


@cache
def _store() -> Store:
    """Return the store named by the launcher, opened once per process because its port cannot be bound twice."""
    store: Store = next(iter(rendezvous("env://")))[0]
    return store
