"""Ratings as tensors: sparse features per sample, in chronological order, divided into batches.

Owns reading, the features, the split by time and each rank's share; must not know the model or any hook.
"""

import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["FEATURES", "Bag", "Batch", "Ratings", "load"]

FEATURES = ("user", "item", "occupation", "zip_code", "genre", "occupation_x_item", "user_x_genre")
"""The sparse features; the last two are crossed, `genre` and `user_x_genre` have several ids per sample."""

_CROSS = 1_000_003
_VISITORS = 1_000_000
"""Distance between a viewer's ids in different visits; more than the number of viewers."""


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
        user: int64 [N], who rated; the feature of this name has a different id for each visit.
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
        """Return the ratings of this rank's users; all ranks get the same number, so that they run the same steps."""
        counts = torch.bincount(self.user % world_size, minlength=world_size)
        mine = torch.nonzero(self.user % world_size == rank).flatten()
        return self.take(mine[: int(counts.min())])

    def by_visitors(self, visit: Tensor) -> "Ratings":
        """Return these ratings as if by new viewers; `visit` int64 [N] numbers the visits, and 0 changes nothing."""
        user, genre = self.user + visit * _VISITORS, self.several["genre"]
        return Ratings(
            self.label,
            self.user,
            self.single | {"user": user},
            {"genre": genre, "user_x_genre": _cross_genre(user, genre)},
        )

    def labelled(self, label: Tensor) -> "Ratings":
        """Return these ratings with other labels, float32 [N]."""
        return replace(self, label=label)

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
        several={"genre": genre, "user_x_genre": _cross_genre(user, genre)},
    )


def _cross_genre(user: Tensor, genre: Tensor) -> Tensor:
    return torch.where(genre < 0, -1, user[:, None] * _CROSS + genre)


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]


def _hash(text: str) -> int:
    return zlib.crc32(text.encode())
