"""Turn a hundred thousand ratings into an endless stream: viewers come, rate films for a while, and leave.

Owns who visits when, what they like, and the rate of the replay; must not know the model or any hook.

A model soon memorises replayed ratings: its training loss falls while the model gets worse. Therefore only what was
rated, by whom and in which order is taken from the data. A viewer returns in each pass, under a new id, and likes a
film with a probability estimated from the real ratings. Thus no label can be memorised, a table of viewers always has
rows that are never looked up again, and the curves are those of a training on fresh data.
"""

import threading
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from recis.demo.data import Batch, Ratings

__all__ = ["Replay", "Visits"]

_SHRINKAGE = 10.0


class Visits:
    """The visits of consecutive passes: call it with the number of a pass, from 0, for its ratings in order.

    A visit takes as long as a pass and begins at a random time, the same in each pass: at any time about half of the
    viewers are in the visit that began in the pass before. Every pass has every rating once, so that ranks with the
    same number of ratings make the same number of steps.

    Args:
        ratings: the real ratings, in order of time.
        seed: seed of the times at which viewers arrive, and of what they like.
    """

    def __init__(self, ratings: Ratings, seed: int) -> None:
        self._seed = seed
        arrival = torch.rand(int(ratings.user.max()) + 1, generator=torch.Generator().manual_seed(seed))
        when = arrival[ratings.user] + _progress(ratings.user)
        order = torch.argsort(when % 1, stable=True)
        self._ratings = ratings.take(order)
        self._began_before = when[order].floor().long()
        liking = torch.logit(_share_of_likes(ratings.label, ratings.user))
        liking += torch.logit(_share_of_likes(ratings.label, ratings.single["item"])) - torch.logit(
            ratings.label.mean()
        )
        self._probability = liking.sigmoid()[order]

    def __call__(self, number: int) -> Ratings:
        """Return the ratings of a pass."""
        draw = torch.Generator().manual_seed(self._seed + number + 1)
        visits = self._ratings.by_visitors(number + 1 - self._began_before)
        return visits.labelled(torch.bernoulli(self._probability, generator=draw))


class Replay:
    """Replays the batches of consecutive passes, at no more than `rate` batches per second (0 for no limit)."""

    def __init__(self, passes: Callable[[int], Ratings], batch_size: int, *, rate: float = 0.0) -> None:
        self.passes = passes
        self.batch_size = batch_size
        self.rate = rate
        self.hurry = threading.Event()
        self._played = 0

    def __iter__(self) -> Iterator[Batch]:
        ratings = self.passes(self._played)
        self._played += 1
        due = time.monotonic()
        for batch in ratings.batches(self.batch_size):
            if self.rate:
                # A slow step shifts the schedule: lost time is not made up by a burst.
                due = max(due + 1.0 / self.rate, time.monotonic())
                self.hurry.wait(due - time.monotonic())
            yield batch


def _progress(user: Tensor) -> Tensor:
    """Return the position of each rating within its viewer's visit, between 0 and 1, at equal distances."""
    order = torch.argsort(user, stable=True)
    counts = torch.bincount(user)
    first = counts.cumsum(0) - counts
    rank = torch.empty_like(user)
    rank[order] = torch.arange(len(user)) - first[user[order]]
    return (rank + 0.5) / counts[user]


def _share_of_likes(label: Tensor, ids: Tensor) -> Tensor:
    """Return for each rating the share of likes among the ratings with its id, shrunk towards the overall share if they
    are few.
    """
    likes, counts = torch.bincount(ids, weights=label), torch.bincount(ids)
    return ((likes + _SHRINKAGE * label.mean()) / (counts + _SHRINKAGE))[ids].float()
