"""`recis.importing.attempts`: files that grow concurrently are one attempt; going back before another file is a new
one.
"""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recis.importing.attempts import Attempts, Extent


def file(began: int, last: int, low: int, high: int, tags: str = "a", purges: int | None = None) -> Extent:
    return Extent(began, last, dict.fromkeys(tags, (low, high)), purges)


def places(*files: Extent) -> list[int]:
    """Return the attempts of new files, by number; the server has none of them."""
    attempts = Attempts()
    names: list[str] = []
    found = []
    for number, extent in enumerate(files):
        name = attempts.choose(f"w{number}", extent)
        if name not in names:
            names.append(name)
        found.append(names.index(name))
        attempts.settle(f"w{number}", found[-1] + 1)
    return found


def test_a_restart_from_a_checkpoint_is_a_new_attempt() -> None:
    assert places(file(0, 10, 0, 99), file(11, 20, 50, 149), file(21, 30, 50, 60)) == [0, 1, 2]


def test_one_that_goes_on_where_another_ended_takes_nothing_back() -> None:
    assert places(file(0, 10, 0, 99), file(11, 20, 100, 149), file(21, 30, 120, 160)) == [0, 0, 1]


def test_writers_that_grow_side_by_side_are_one_attempt() -> None:
    assert places(file(0, 10, 0, 98), file(1, 10, 51, 99), file(9, 10, 0, 99)) == [0, 0, 0]


def test_a_restart_of_two_writers_is_one_new_attempt() -> None:
    before = file(0, 10, 0, 98), file(1, 10, 1, 99)
    assert places(*before, file(12, 20, 40, 98), file(13, 20, 41, 99)) == [0, 0, 1, 1]


def test_who_writes_other_tags_has_no_part_in_it() -> None:
    evaluation = file(1, 100, 0, 100, tags="e")
    assert places(file(0, 10, 0, 50), evaluation, file(12, 30, 20, 70), file(31, 40, 60, 90)) == [0, 0, 1, 2]


def test_no_points_of_a_writer_that_lives_on_are_hidden() -> None:
    helper = file(1, 100, 0, 100)
    assert places(file(0, 10, 0, 50), helper, file(12, 30, 20, 70)) == [0, 0, 0]


def test_a_writer_that_says_so_takes_the_place_of_others_whatever_the_clocks_say() -> None:
    assert places(file(0, 10, 0, 99), file(8, 20, 60, 149, purges=50)) == [0, 1]
    assert places(file(0, 10, 0, 49), file(11, 20, 60, 149, purges=50)) == [0, 0]
    assert places(file(0, 10, 0, 55), file(11, 20, 60, 149, purges=50)) == [0, 1]


def test_files_that_came_later_go_where_the_server_has_the_others() -> None:
    # At the first import the second file looked like a restart of the first; by now they grow concurrently.
    first, second, third = file(0, 30, 0, 99), file(11, 30, 40, 99), file(12, 30, 41, 99)
    attempts = Attempts()
    assert attempts.choose("a", first) == "a"
    attempts.settle("a", 1)
    assert attempts.choose("b", second) == "a"
    attempts.settle("b", 2)
    assert attempts.choose("c", third) == "b"
    attempts.settle("c", 2)
    assert attempts.choose("d", file(31, 40, 50, 120)) == "d"


EXTENTS = st.builds(
    lambda began, lasts, low, steps, tags: file(began, began + lasts, low, low + steps, tags),
    st.integers(0, 30),
    st.integers(0, 10),
    st.integers(0, 30),
    st.integers(0, 10),
    st.sampled_from(["a", "b", "ab"]),
)


@given(st.lists(EXTENTS, max_size=6))
def test_attempts_are_numbered_and_supersede_only_what_ended_before(files: list[Extent]) -> None:
    files.sort(key=lambda extent: extent.began_ns)
    found = places(*files)
    assert all(place <= max(found[:number], default=-1) + 1 for number, place in enumerate(found))
    one_tag = [extent for extent in files if set(extent.steps) == {"a"}]
    found = places(*one_tag)
    assert found == sorted(found)
    for (before, after), (old, new) in zip(pairwise(one_tag), pairwise(found), strict=True):
        if new > old:
            assert after.began_ns >= before.last_ns
