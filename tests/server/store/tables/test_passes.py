"""Filter passes: what is stored of one, and which of several attempts counts."""

import math
from pathlib import Path

import msgspec
import pytest

from recis.wire.messages import Pass
from tests.server.store.streams import frame, greeting, one_pass, opened, run

pytestmark = pytest.mark.usefixtures("every_engine")


def test_every_field_of_a_pass_comes_back(tmp_path: Path) -> None:
    sent = Pass("a table", 7, 8, None, 10, 1, 9, 2, 0.5, 64)

    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(rank=3, world_size=4), 1)
            await store.append(frame(stream, 1, sent))
            (found,) = await store.passes("r", "a table", 3, 7, 8)
            assert (found.rank, found.attempt, found.record) == (3, 1, sent)
            assert await store.passes("r", "a table", 3, None, 7) == ()
            assert await store.passes("r", "another", None, None, None) == ()

    run(scenario)


def test_a_duration_that_is_not_finite_and_a_long_name_are_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            await store.append(
                frame(stream, 1, msgspec.structs.replace(one_pass(1, "x" * 1000), milliseconds=math.nan))
            )
            (found,) = await store.passes("r", None, None, None, None)
            assert math.isnan(found.record.milliseconds)
            assert found.record.table == "x" * 255 + "…"

    run(scenario)


def test_a_pass_of_a_newer_attempt_replaces_the_one_at_its_step(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            first = await store.register(greeting(), 1)
            second = await store.register(greeting(writer="w2", attempt="b"), 2)
            await store.append(frame(first, 1, one_pass(100), one_pass(200)))
            await store.append(frame(second, 1, one_pass(100)))
            passes = await store.passes("r", None, None, None, None)
            assert [(one.record.step, one.attempt) for one in passes] == [(100, 2), (200, 1)]

    run(scenario)
