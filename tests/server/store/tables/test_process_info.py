from pathlib import Path
from typing import Any

import pytest
from recis_server.store.tables.process_info import MAX_INFO_CHARS

from recis.wire.messages import Event
from tests.server.store.streams import frame, greeting, opened, points, run

pytestmark = pytest.mark.usefixtures("every_engine")


def process(**parts: Any) -> Event:
    return Event(kind="process", time_ns=1, text="process", data=parts)


def test_each_rank_of_each_attempt_has_what_its_process_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            first = await store.register(greeting(host="a", pid=1, world_size=2), 1)
            second = await store.register(greeting(rank=1, writer="w1", host="b", world_size=2), 2)
            await store.append(frame(first, 1, process(python="3.11", git={"dirty": True}), points([1], loss=[1.0])))
            await store.append(frame(first, 2, process(packages={"numpy": "2"}, git={"dirty": False})))
            await store.append(frame(first, 2, process(python="sent again")))
            await store.append(frame(second, 1, process(text="x" * MAX_INFO_CHARS), process(python="3.12")))
            again = await store.register(greeting(writer="w2", attempt="b", world_size=2), 3)
            assert [one.number for one in await store.attempts("r")] == [1, 2]
            found = await store.processes("r", 1, 10)
            assert [(one.rank, one.host) for one in found] == [(0, "a"), (1, "b")]
            assert found[0].info == {"python": "3.11", "git": {"dirty": False}, "packages": {"numpy": "2"}}
            assert found[1].info == {"python": "3.12"}
            assert [one.rank for one in await store.processes("r", 1, 1)] == [0]
            (one,) = await store.processes("r", again.attempt, 10)
            assert one.info == {}
            assert await store.events("r") == (), "what a process says is no event"
            await store.delete_run("r")
            assert (await store.attempts("r"), await store.processes("r", 1, 10)) == ((), ())

    run(scenario)
