"""Simulate common training failures in the demo, to show what the page makes of them.

Owns the incidents and when they begin; must not know the model, any hook, or the page. From some step on, an incident
changes the batches or their timing; everything else follows from that.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import torch

from recis import environment
from recis.demo.data import Bag, Batch

__all__ = ["BEGIN", "GROWING_TABLE", "INCIDENTS", "Eventful"]

BEGIN = 200
"""Steps before an incident, which show the normal state."""
GROWING_TABLE = "user_x_genre"

_SLOWDOWN = 3.0
_LONGEST_WAIT_S = 5.0
_MOST_IDS = 1 << 24
"""More ids than a batch has. The ids of an incident are negative, unlike all others."""


class Eventful:
    """Batches with an incident from batch `begin` on, counted over all iterations.

    Args:
        batches: the healthy batches; iterated anew for each pass.
        name: one of `INCIDENTS`.
        begin: number of healthy batches.
        wait: waits for a number of seconds, or less if the training is to end.
    """

    def __init__(self, batches: Iterable[Batch], name: str, *, begin: int, wait: Callable[[float], object]) -> None:
        self._batches = batches
        self._strike = INCIDENTS[name]
        self._begin = begin
        self.wait = wait
        self.played = 0
        self.healthy_s = 0.0
        """Seconds that a step took before the incident, waiting included."""
        self._began = 0.0

    def __iter__(self) -> Iterator[Batch]:
        self._began = self._began or time.monotonic()
        for batch in self._batches:
            self.played += 1
            if self.played <= self._begin:
                self.healthy_s = (time.monotonic() - self._began) / self.played
                yield batch
            else:
                yield self._strike(self, batch)


def _slow_rank(stream: Eventful, batch: Batch) -> Batch:
    """Let the last rank wait for its data for three times as long as a step took."""
    if environment.rank() == environment.world_size() - 1:
        stream.wait(min(_SLOWDOWN * stream.healthy_s, _LONGEST_WAIT_S))
    return batch


def _nan(_stream: Eventful, batch: Batch) -> Batch:
    """Damage the labels: the loss is NaN, then the gradients, then all weights."""
    return batch._replace(label=torch.full_like(batch.label, float("nan")))


def _growing_table(stream: Eventful, batch: Batch) -> Batch:
    """Make every id of a crossed feature a new one, as if the request time had become part of the cross."""
    ids, owner = batch.bags[GROWING_TABLE]
    new = -1 - (torch.arange(len(ids)) + stream.played * _MOST_IDS)
    return batch._replace(bags={**batch.bags, GROWING_TABLE: Bag(new, owner)})


INCIDENTS: Mapping[str, Callable[[Eventful, Batch], Batch]] = MappingProxyType(
    {"slow-rank": _slow_rank, "nan": _nan, "growing-table": _growing_table}
)
"""Incidents by the names that `recis-monitor demo --incident` takes."""
