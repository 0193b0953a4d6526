"""`recis.bridge.row_writer`: compiled and plain writer write the same words, refuse the same and keep no references."""

import struct
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recis.bridge.records import PRIME, ROW_VALUES
from recis.bridge.row_writer import MOST_LAYOUTS, PlainRowWriter, RowWriter

KEYS = ("a", "b")
WIDTH = len(KEYS) + 3
HEAD = 77 << 32
SALT = (1 << 32) - 5
FIRST = 2
"""The word where rows begin."""

both = pytest.mark.parametrize("kind", [RowWriter, PlainRowWriter], ids=["compiled", "plain"])


class Memory:
    """A block of words with a writer aimed at it."""

    def __init__(self, kind: Callable[[], Any], keys: tuple[str, ...] = KEYS, num_rows: int = 4) -> None:
        self.width = len(keys) + 3
        self.view = memoryview(bytearray(8 * (FIRST + num_rows * self.width)))
        self.words = self.view.cast("q")
        self.writer = kind()
        self.writer.aim(self.words)
        self.writer.learn(keys, ((HEAD, SALT),))
        self.writer.position = FIRST, 1000, 0
        self.writer.limit = FIRST + num_rows * self.width

    def rows(self) -> list[tuple[int, ...]]:
        """Return head without checksum, step and bits of the values of each row; check that times are at most a second
        old.
        """
        found = []
        for start in range(FIRST, self.writer.position[0], self.width):
            head, *row, at = self.words[start : start + self.width]
            assert time.time_ns() - 10**9 <= at <= time.time_ns()
            assert head & 0xFFFFFFFF == self.check(start, SALT)
            found.append((head >> 32 << 32, *row))
        assert not any(self.words[self.writer.position[0] :]), "behind the last row there are only zeros"
        return found

    def check(self, start: int, salt: int, width: int | None = None) -> int:
        """Return the expected checksum of the row at this word, computed by adding its words."""
        words = self.words[start + 1 : start + (width or self.width)]
        number = sum((word & 0xFFFFFFFFFFFFFFFF) << 64 * place for place, word in enumerate(words))
        return (number + salt + start) % PRIME


class Name(str):
    """Equal to its text, and runs code when it is compared."""

    __slots__ = ("does",)
    does: Callable[[], object]

    def __eq__(self, other: object) -> bool:
        self.does()
        return str(self) == other

    __hash__ = str.__hash__


class Text(str):
    """Compares as a string."""

    __slots__ = ()


def bits(number: float) -> int:
    (word,) = struct.unpack("q", struct.pack("d", number))
    return int(word)


def test_it_is_compiled_where_there_is_a_compiler() -> None:
    assert RowWriter is not PlainRowWriter


@both
def test_a_row_is_head_step_values_in_the_order_of_the_keys_and_time(kind: type) -> None:
    memory = Memory(kind)
    assert memory.writer.write({"b": 0.25, "a": 3}, -5)
    assert memory.rows() == [(HEAD, -5, bits(3.0), bits(0.25))]
    assert (memory.writer.owner, memory.writer.busy) == (threading.get_ident(), False)
    assert memory.writer.position == (FIRST + WIDTH, 999, 2)


@both
@pytest.mark.parametrize("first", ["a", "b"])
def test_names_of_a_class_that_is_a_string_are_the_text(kind: type, first: str) -> None:
    memory = Memory(kind)
    assert memory.writer.write({Text(first): 1.5, "b" if first == "a" else "a": 1.5}, 1)
    assert memory.rows() == [(HEAD, 1, bits(1.5), bits(1.5))]


@both
def test_it_ends_at_the_limit(kind: type) -> None:
    memory = Memory(kind, num_rows=3)
    assert [memory.writer.write({"a": 1.0, "b": 2.0}, step) for step in range(5)] == [True, True, True, False, False]
    assert len(memory.rows()) == 3


@both
def test_it_ends_when_no_more_rows_are_left(kind: type) -> None:
    memory = Memory(kind)
    memory.writer.position = FIRST, 2, 7
    assert [memory.writer.write({"a": 1.0, "b": 2.0}, step) for step in range(4)] == [True, True, False, False]
    assert memory.writer.position == (FIRST + 2 * WIDTH, 0, 11)


@both
def test_rows_of_several_layouts_lie_one_behind_the_other(kind: type) -> None:
    memory = Memory(kind)
    memory.writer.learn(("c",), ((78 << 32, 1),))
    memory.writer.learn(("a", "c"), ((79 << 32, 2),))
    memory.writer.learn(("c",), ((80 << 32, 3),))  # known
    for metrics in ({"c": 1.0}, {"c": 2.0, "a": 3.0}, {"a": 4.0, "b": 5.0}):
        assert memory.writer.write(metrics, 1)
    assert not memory.writer.write({"b": 1.0, "c": 2.0}, 1)
    assert [memory.words[place] for place in (2, 6, 11)] == [
        78 << 32 | memory.check(2, 1, 4),
        79 << 32 | memory.check(6, 2, 5),
        HEAD | memory.check(11, SALT, 5),
    ]
    words = [word for place, word in enumerate(memory.words) if place not in (0, 1, 2, 5, 6, 10, 11, 15)]
    assert words[:2] == [1, bits(1.0)]
    assert words[2:5] == [1, bits(3.0), bits(2.0)]
    assert words[5:8] == [1, bits(4.0), bits(5.0)]
    assert not any(words[8:])


@both
def test_of_too_many_layouts_the_first_is_forgotten_and_of_an_old_aim_all(kind: type) -> None:
    memory = Memory(kind, num_rows=3 * MOST_LAYOUTS)
    for number in range(MOST_LAYOUTS):
        memory.writer.learn((f"m{number}",), ((number << 32, 0),))
    assert not memory.writer.write({"a": 1.0, "b": 2.0}, 1)
    assert all(memory.writer.write({f"m{number}": 1.0}, 1) for number in range(MOST_LAYOUTS))
    memory.writer.learn(("again",), ((99 << 32, 0),))
    assert not memory.writer.write({"m0": 1.0}, 1)
    assert memory.writer.write({"m1": 1.0}, 1)
    memory.writer.aim(memory.words)
    assert not memory.writer.write({"m1": 1.0}, 1)


@both
def test_nothing_is_written_before_it_is_aimed_and_after_it_has_left(kind: type) -> None:
    writer = kind()
    assert not writer.write({}, 1)
    memory = Memory(kind)
    memory.writer.leave()
    assert not memory.writer.write({"a": 1.0, "b": 2.0}, 1)
    assert memory.writer.limit == 0
    for view in (memory.words, memory.view):
        view.release()  # nothing references it any more
    memory.writer.leave()


@both
def test_another_thread_writes_nothing(kind: type) -> None:
    memory = Memory(kind)
    said: list[bool] = []
    thread = threading.Thread(target=lambda: said.append(memory.writer.write({"a": 1.0, "b": 2.0}, 1)))
    thread.start()
    thread.join()
    assert said == [False]
    assert memory.rows() == []


REFUSED: list[Any] = [
    {"a": 1.0},
    {"a": 1.0, "c": 2.0},
    {"a": 1.0, "b": 2.0, "c": 3.0},
    {"a": 1.0, "b": True},
    {"a": 1.0, "b": None},
    {"a": 1.0, "b": "2.0"},
    {"a": 1.0, "b": 10**400},
    {"a": 1.0, "b": np.float64(2.0)},
    OrderedDict(a=1.0, b=2.0),
    [("a", 1.0), ("b", 2.0)],
    None,
]


@both
@pytest.mark.parametrize("metrics", REFUSED, ids=repr)
def test_what_is_refused_leaves_nothing(kind: type, metrics: Any) -> None:
    memory = Memory(kind)
    assert not memory.writer.write(metrics, 1)
    assert memory.rows() == []


@both
@pytest.mark.parametrize("step", [1 << 63, -(1 << 63) - 1, 1.5, True, None, "1"])
def test_a_step_that_is_none_leaves_nothing(kind: type, step: Any) -> None:
    memory = Memory(kind)
    assert not memory.writer.write({"a": 1.0, "b": 2.0}, step)
    assert memory.rows() == []


@given(
    st.lists(
        st.tuples(
            st.integers(-(1 << 64), 1 << 64),
            st.lists(st.floats() | st.integers() | st.booleans() | st.none(), min_size=3, max_size=3),
        ),
        max_size=12,
    )
)
def test_both_write_the_same(reports: list[tuple[int, list[Any]]]) -> None:
    keys = ("x", "y", "z")
    memories = [Memory(kind, keys, num_rows=8) for kind in (RowWriter, PlainRowWriter)]
    for step, values in reports:
        metrics = dict(zip(keys, values, strict=True))
        one, other = [memory.writer.write(metrics, step) for memory in memories]
        assert one == other
    assert memories[0].rows() == memories[1].rows()


WIDTHS = [1, 63, 64, 65, ROW_VALUES - 1, ROW_VALUES, ROW_VALUES + 1, 2 * ROW_VALUES, 2 * ROW_VALUES + 1]


class Wide(Memory):
    """Room for two reports of this many names, in rows with distinct heads and salts."""

    def __init__(self, kind: Callable[[], Any], width: int) -> None:
        self.keys = tuple(f"m{number}" for number in range(width))
        self.num_rows = -(-width // ROW_VALUES)
        self.words_each = width + 3 * self.num_rows
        self.words = memoryview(bytearray(8 * (FIRST + 2 * self.words_each))).cast("q")
        self.writer = kind()
        self.writer.aim(self.words)
        self.writer.learn(self.keys, tuple((row << 48, row) for row in range(self.num_rows)))
        self.writer.position = FIRST, 9, 0
        self.writer.limit = len(self.words)

    def report(self, start: int = FIRST) -> tuple[int, list[int], int]:
        """Return step, bits of the values and time of the report at this word, after checking the heads of its rows."""
        found: list[int] = []
        about: set[Any] = set()
        for row in range(self.num_rows):
            width = min(ROW_VALUES, len(self.keys) - row * ROW_VALUES)
            assert self.words[start] == row << 48 | self.check(start, row, width + 3)
            about.add((self.words[start + 1], self.words[start + width + 2]))
            found.extend(self.words[start + 2 : start + 2 + width])
            start += width + 3
        [(step, at)] = about
        return step, found, at


@both
@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_of_any_width_is_rows_of_a_bounded_one(kind: type, width: int) -> None:
    memory = Wide(kind, width)
    numbers = [number - 0.5 for number in range(width)]
    in_order = dict(zip(memory.keys, numbers, strict=True))
    as_others = {f"m{number}": number - 0.5 for number in reversed(range(width))}
    assert memory.writer.write(in_order, 7)
    assert memory.writer.write(as_others, 8)
    assert not memory.writer.write(in_order, 9), "there is no more room"
    assert memory.writer.position == (len(memory.words), 7, 2 * width)
    values = list(map(bits, numbers))
    assert memory.report()[:2] == (7, values)
    assert memory.report(FIRST + memory.words_each)[:2] == (8, values)


@both
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("change", ["a value", "a large value", "a name", "room", "a width"])
def test_a_report_of_any_width_that_is_refused_leaves_nothing(kind: type, width: int, change: str) -> None:
    memory = Wide(kind, width)
    metrics: dict[str, Any] = dict.fromkeys(memory.keys, 1.0)
    last = memory.keys[-1]
    match change:
        case "a value":
            metrics[last] = None
        case "a large value":
            metrics[last] = 10**400
        case "a name":
            del metrics[last]
            metrics["other"] = 1.0
        case "room":
            memory.writer.limit = FIRST + memory.words_each - 1
        case "a width":
            metrics["other"] = 1.0
    assert not memory.writer.write(metrics, 1)
    assert memory.writer.position == (FIRST, 9, 0)
    assert not any(memory.words)
    memory.writer.limit = len(memory.words)
    assert memory.writer.write(dict.fromkeys(memory.keys, 1.0), 2)
    assert memory.report()[0] == 2


def test_a_wide_report_that_an_exception_interrupts_between_two_rows_leaves_nothing() -> None:
    memory = Wide(PlainRowWriter, 2 * ROW_VALUES + 1)
    data = memory.writer._bytes

    class Interrupted:
        left = 2

        def __setitem__(self, place: slice, row: bytes) -> None:
            data[place] = row
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    memory.writer._bytes = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        memory.writer.write(dict.fromkeys(memory.keys, 1.0), 1)
    assert not any(memory.words)
    assert not memory.writer.busy


def test_a_name_that_writes_when_it_is_compared_mixes_nothing() -> None:
    memory = Memory(PlainRowWriter)
    name = Name("a")
    name.does = lambda: memory.writer.write({"a": 5.0, "b": 6.0}, 2)
    assert memory.writer.write({name: 3.0, "b": 4.0}, 1)
    inner, outer = (HEAD, 2, bits(5.0), bits(6.0)), (HEAD, 1, bits(3.0), bits(4.0))
    assert memory.rows() in ([inner, outer], [outer])


def test_a_report_that_an_exception_interrupts_when_it_is_written_is_not_refused() -> None:
    """Otherwise the slow path would write it again."""

    class Interrupting(PlainRowWriter):
        __slots__ = ("is_armed",)

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "position" and getattr(self, "is_armed", False):
                raise TimeoutError

    memory = Memory(Interrupting)
    memory.writer.is_armed = True
    assert memory.writer.write({"a": 1.0, "b": 2.0}, 1)
    assert memory.rows() == [(HEAD, 1, bits(1.0), bits(2.0))]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("in_order", [True, False])
def test_the_compiled_writer_compares_no_names_that_may_do_anything(place: int, in_order: bool) -> None:
    """Their code could release the writer, or write."""
    memory = Memory(RowWriter)
    done: list[int] = []
    names = [Name(key) if number == place else key for number, key in enumerate(KEYS)]
    for name in names:
        if isinstance(name, Name):
            name.does = lambda: done.append(1)
    metrics = dict.fromkeys(names if in_order else names[::-1], 1.0)
    done.clear()
    assert not memory.writer.write(metrics, 1)
    assert not done
    assert memory.rows() == []


@both
def test_a_name_that_raises_when_it_is_compared_is_refused(kind: type) -> None:
    memory = Memory(kind)
    name = Name("a")
    name.does = lambda: 1 / 0
    assert not memory.writer.write({name: 3.0, "b": 4.0}, 1)
    assert memory.rows() == []


@pytest.mark.parametrize("end", [FIRST, FIRST + 1, 1 << 40, (1 << 63) - 1])
def test_the_compiled_writer_never_leaves_its_memory(end: int) -> None:
    memory = Memory(RowWriter, num_rows=1)
    memory.writer.position = end, 5, 0
    memory.writer.limit += 1  # past the end of the memory
    assert not memory.writer.write({"a": 1.0, "b": 2.0}, 1)
    memory.writer.limit -= 1
    assert memory.writer.write({"a": 1.0, "b": 2.0}, 1) == (end == FIRST)
    with pytest.raises(BufferError):
        memory.words.release()  # as long as it is aimed there


def test_the_compiled_writer_says_what_it_expected() -> None:
    memory = Memory(RowWriter)
    with pytest.raises(TypeError):
        memory.writer.learn(list(KEYS), ((HEAD, SALT),))
    for row in (("head", SALT), (HEAD,), HEAD):
        with pytest.raises(TypeError):
            memory.writer.learn(("c", "d"), (row,))
    for width, num_rows in ((0, 0), (1, 0), (1, 2), (ROW_VALUES, 2), (ROW_VALUES + 1, 1)):
        with pytest.raises(ValueError, match=f"a row per 2048 names, got {width} names and {num_rows} rows"):
            memory.writer.learn(tuple(f"m{number}" for number in range(width)), ((HEAD, SALT),) * num_rows)
    with pytest.raises(TypeError, match="names of the type str"):
        memory.writer.learn(("a", Name("b")), ((HEAD, SALT),))
    with pytest.raises(ValueError, match="multiple of 8"):
        memory.writer.aim(memory.view[1:9])
    with pytest.raises((TypeError, BufferError)):
        memory.writer.aim(b"read only")
    with pytest.raises(TypeError, match="metrics and step"):
        memory.writer.write({})
    with pytest.raises(TypeError, match="as a tuple"):
        memory.writer.position = 5
    with pytest.raises(ValueError, match="a word of the segment"):
        memory.writer.position = -1, 5, 0
    assert memory.writer.write({"a": 1.0, "b": 2.0}, 1), "it is aimed as before"


@both
def test_it_keeps_nothing_of_what_it_is_given(kind: type) -> None:
    keys = tuple(f"name {number}" for number in range(2))  # not shared with other code
    values = [1e300 / 3, 10**400, 1 << 70]
    step = 1 << 40
    kept = [keys, *keys, *values, step]
    memory = Memory(kind, keys, num_rows=2000)
    before = [sys.getrefcount(one) for one in kept]
    for _ in range(1000):
        assert memory.writer.write({keys[0]: values[0], keys[1]: values[2]}, step)
        assert not memory.writer.write({keys[0]: values[0], keys[1]: values[1]}, step)
        assert not memory.writer.write({keys[0]: values[0]}, step)
        end, left, _ = memory.writer.position
        memory.writer.aim(memory.words)
        memory.writer.learn(keys, ((HEAD, SALT),))
        memory.writer.learn(tuple(keys), ((HEAD, SALT),))
        memory.writer.position = end, left + 1, 0
    assert [sys.getrefcount(one) for one in kept] == before
    del memory
    assert sys.getrefcount(keys) < before[0]
