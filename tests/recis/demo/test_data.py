"""Ratings as tensors: order, features and shares."""

from pathlib import Path

import pytest
import torch

from recis.demo.data import FEATURES, Ratings, load


@pytest.fixture
def ratings(five_ratings: Path) -> Ratings:
    return load(five_ratings)


def test_ratings_come_in_order_of_time_with_likes_from_four_on(ratings: Ratings) -> None:
    assert ratings.user.tolist() == [1, 2, 1, 1, 2]
    assert ratings.label.tolist() == [0, 1, 1, 0, 0]


def test_a_batch_has_every_feature_and_several_genres_for_one_film(ratings: Ratings) -> None:
    batch = ratings.batch()
    assert set(batch.bags) == set(FEATURES)
    assert batch.bags["item"].owner.tolist() == [0, 1, 2, 3, 4]
    assert batch.bags["genre"].owner.tolist() == [0, 1, 1, 2, 2, 3, 3, 4]
    assert all(bool((bag.ids >= 0).all()) for bag in batch.bags.values())


def test_crossed_features_tell_people_apart(ratings: Ratings) -> None:
    bag = ratings.batch().bags["user_x_genre"]
    assert len(bag.ids.unique()) == 4


def test_visits_have_ids_of_their_own_and_change_nothing_else(ratings: Ratings) -> None:
    first, again = (ratings.by_visitors(torch.full((5,), visit)).batch().bags for visit in (0, 1))
    plain = ratings.batch().bags
    assert set(first) == set(again) == set(FEATURES)
    for name in FEATURES:
        assert torch.equal(first[name].ids, plain[name].ids)
        assert torch.equal(again[name].owner, plain[name].owner)
        known = set(plain[name].ids.tolist()) & set(again[name].ids.tolist())
        assert bool(known) == (name not in {"user", "user_x_genre"})


def test_the_split_is_by_time(ratings: Ratings) -> None:
    early, late = ratings.split(0.8)
    assert (len(early), len(late)) == (4, 1)
    assert late.user.tolist() == [2]


def test_ranks_share_the_people_and_make_equally_many_steps(ratings: Ratings) -> None:
    shares = [ratings.share(rank, 2) for rank in range(2)]
    assert [len(share) for share in shares] == [2, 2]
    assert [set(share.user.tolist()) for share in shares] == [{2}, {1}]


def test_all_tensors_of_ids_are_int64(ratings: Ratings) -> None:
    assert {bag.ids.dtype for bag in ratings.batch().bags.values()} == {torch.int64}
