"""Ratings as tensors: sparse features per sample, in chronological order, divided into batches.

Owns reading, the split by time, each rank's share and the rate of the replay; must not know the model or any hook.
"""

import csv
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["FEATURES", "Bag", "Batch", "Ratings", "Replay", "load"]

FEATURES = ("user", "item", "occupation", "zip_code", "genre", "occupation_x_item", "user_x_genre")
"""The sparse features; the last two are crossed, `genre` and `user_x_genre` have several ids per sample."""

_CROSS = 1_000_003


class Bag(NamedTuple):
    """One sparse feature of a batch: `ids` int64 [M] and, for each, the row of the batch it belongs to: `owner` [M]."""

    ids: Tensor
    owner: Tensor


class Batch(NamedTuple):
    """A batch of N samples: `label` float32 [N] (1: the film was liked), and one `Bag` per name in `FEATURES`."""

    label: Tensor
    bags: dict[str, Bag]


@dataclass(frozen=True)
class Ratings:
    """N ratings in order of time.

    Attributes:
        label: float32 [N], 1 where the rating is 4 or 5.
        user: int64 [N].
        single: features with one id per rating, int64 [N] each.
        several: features with up to G ids per rating, int64 [N, G] each, -1 where there is none.
    """

    label: Tensor
    user: Tensor
    single: dict[str, Tensor]
    several: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: Tensor | slice) -> "Ratings":
        """Return only these rows, in this order."""
        return Ratings(
            self.label[rows],
            self.user[rows],
            {name: ids[rows] for name, ids in self.single.items()},
            {name: ids[rows] for name, ids in self.several.items()},
        )

    def split(self, fraction: float) -> tuple["Ratings", "Ratings"]:
        """Return the first `fraction` by time, and the rest."""
        cut = round(len(self) * fraction)
        return self.take(slice(None, cut)), self.take(slice(cut, None))

    def share(self, rank: int, world_size: int) -> "Ratings":
        """Return the ratings of this rank's users; all ranks get equally many, so that they run the same steps."""
        counts = torch.bincount(self.user % world_size, minlength=world_size)
        mine = torch.nonzero(self.user % world_size == rank).flatten()
        return self.take(mine[: int(counts.min())])

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield batches of `size` ratings in chronological order; the last one may be smaller."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size)).batch()

    def batch(self) -> Batch:
        """Return all of these ratings as one batch."""
        rows = torch.arange(len(self))
        bags = {name: Bag(ids, rows) for name, ids in self.single.items()}
        for name, ids in self.several.items():
            there = ids >= 0
            bags[name] = Bag(ids[there], there.nonzero()[:, 0])
        return Batch(self.label, bags)


class Replay:
    """Replays ratings, pass after pass, at no more than `rate` batches per second (0 for no limit)."""

    def __init__(self, ratings: Ratings, batch_size: int, *, rate: float = 0.0) -> None:
        self.ratings = ratings
        self.batch_size = batch_size
        self.rate = rate
        self.hurry = threading.Event()

    def __iter__(self) -> Iterator[Batch]:
        due = time.monotonic()
        for batch in self.ratings.batches(self.batch_size):
            if self.rate:
                # A slow step shifts the schedule: lost time is not made up by a burst.
                due = max(due + 1.0 / self.rate, time.monotonic())
                self.hurry.wait(due - time.monotonic())
            yield batch


def load(folder: Path) -> Ratings:
    """Read MovieLens-100k from `folder` (see `recis.demo.movielens.fetch`)."""
    people = {row[0]: row for row in _rows(folder / "ml-100k.user")}
    films = {row[0]: row[3].split() for row in _rows(folder / "ml-100k.item")}
    genre_ids = {genre: number for number, genre in enumerate(sorted({g for film in films.values() for g in film}))}
    most = max(len(genres) for genres in films.values())

    ratings = sorted(_rows(folder / "ml-100k.inter"), key=lambda row: (float(row[3]), int(row[0]), int(row[1])))
    user = torch.tensor([int(row[0]) for row in ratings])
    item = torch.tensor([int(row[1]) for row in ratings])
    occupation = torch.tensor([_hash(people[row[0]][3]) for row in ratings])
    padded = {film: [genre_ids[name] for name in names] + [-1] * (most - len(names)) for film, names in films.items()}
    genre = torch.tensor([padded[row[1]] for row in ratings])
    return Ratings(
        label=torch.tensor([float(float(row[2]) >= 4) for row in ratings]),
        user=user,
        single={
            "user": user,
            "item": item,
            "occupation": occupation,
            "zip_code": torch.tensor([_hash(people[row[0]][4]) for row in ratings]),
            "occupation_x_item": occupation * _CROSS + item,
        },
        several={"genre": genre, "user_x_genre": torch.where(genre < 0, -1, user[:, None] * _CROSS + genre)},
    )


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())
