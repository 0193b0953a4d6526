"""The stream: who visits when, what is liked, and the rate of the batches."""

import time
from pathlib import Path

import pytest
import torch

from recis.demo.data import Ratings, load
from recis.demo.stream import Replay, Visits


@pytest.fixture
def ratings(five_ratings: Path) -> Ratings:
    return load(five_ratings)


def many(people: int = 40, films: int = 20) -> Ratings:
    """Everybody rates every film; people and films are numbered in order of their share of likes."""
    user = torch.arange(people).repeat_interleave(films)
    item = torch.arange(films).repeat(people)
    label = ((user / people + item / films) > 1).float()
    genre = torch.zeros(len(user), 1, dtype=torch.int64)
    return Ratings(label, user, {"user": user, "item": item}, {"genre": genre, "user_x_genre": user[:, None]})


def test_each_pass_has_every_rating_once_under_the_ids_of_two_visits() -> None:
    ratings = many()
    passes = [Visits(ratings, seed=1)(number) for number in range(3)]
    pairs = sorted(zip(ratings.user.tolist(), ratings.single["item"].tolist(), strict=True))
    for one in passes:
        assert sorted(zip(one.user.tolist(), one.single["item"].tolist(), strict=True)) == pairs
    ids = [set(one.single["user"].tolist()) for one in passes]
    # Viewers who begin a visit are still present in the next pass, and absent in the one after it.
    assert len(ids[0] & ids[1]) > 30
    assert ids[0] & ids[2] == set()


def test_a_visit_has_its_ratings_in_the_order_of_the_data() -> None:
    visits = Visits(many(), seed=1)
    rated: dict[int, list[int]] = {}
    for number in range(3):
        one = visits(number)
        for visitor, item in zip(one.single["user"].tolist(), one.single["item"].tolist(), strict=True):
            rated.setdefault(visitor, []).append(item)
    whole = [items for items in rated.values() if len(items) == 20]
    assert len(whole) >= 40
    assert all(items == list(range(20)) for items in whole)


def test_likes_are_drawn_anew_around_the_real_ones_and_the_same_for_a_seed() -> None:
    ratings = many()
    first, again, other = Visits(ratings, seed=1), Visits(ratings, seed=1), Visits(ratings, seed=2)
    assert torch.equal(first(0).label, again(0).label)
    assert not torch.equal(first(0).label, first(1).label)
    assert not torch.equal(first(0).label, other(0).label)
    labels = torch.stack([first(number).label for number in range(100)])
    assert float(labels.mean()) == pytest.approx(float(ratings.label.mean()), abs=0.05)
    share = labels.mean(0)
    item = first(0).single["item"]
    assert float(share[item >= 15].mean()) > float(share[item < 5].mean()) + 0.2
    assert bool(((share > 0) & (share < 1)).any())


def test_a_replay_goes_from_pass_to_pass_and_ends_each_with_a_short_batch(ratings: Ratings) -> None:
    played: list[int] = []

    def passes(number: int) -> Ratings:
        played.append(number)
        return ratings

    replay = Replay(passes, 2)
    for _ in range(2):
        assert [len(batch.label) for batch in replay] == [2, 2, 1]
    assert played == [0, 1]


def test_a_replay_keeps_its_pace_until_it_is_hurried(ratings: Ratings) -> None:
    replay = Replay(lambda _: ratings, 1, rate=20)
    began = time.monotonic()
    batches = iter(replay)
    for _ in range(3):
        next(batches)
    assert time.monotonic() - began >= 0.15
    replay.rate = 0.001
    replay.hurry.set()
    assert len(list(batches)) == 2
    assert time.monotonic() - began < 10
