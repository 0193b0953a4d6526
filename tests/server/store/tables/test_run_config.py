from pathlib import Path
from typing import Any

import pytest
from recis_server.store.tables.run_config import MAX_CONFIG_CHARS

from recis.wire.messages import Event
from tests.server.store.streams import frame, greeting, opened, run

pytestmark = pytest.mark.usefixtures("every_engine")


def config(**more: Any) -> Event:
    return Event(kind="config", time_ns=1, text="config", data=more)


def test_ranks_add_to_the_configuration_and_rank_0_has_the_last_word(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            first = await store.register(greeting(config={"lr": 1, "seed": 7}, world_size=2), 1)
            second = await store.register(greeting(rank=1, writer="w1", world_size=2), 2)
            await store.append(frame(first, 1, config(lr=2)))
            await store.append(frame(second, 1, config(lr=3, depth=4)))
            found = await store.run("r")
            assert found is not None
            assert found.config == {"lr": 2, "seed": 7, "depth": 4}
            updated = found.updated_ns
            await store.append(frame(first, 2, config(depth=5)))
            await store.append(frame(first, 2, config(depth=6)))  # sent again
            found = await store.run("r")
            assert found is not None
            assert found.config == {"lr": 2, "seed": 7, "depth": 5}
            assert found.updated_ns > updated

    run(scenario)


def test_a_configuration_has_a_largest_size(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(config={"lr": 1}), 1)
            await store.append(frame(stream, 1, config(text="x" * MAX_CONFIG_CHARS), config(lr=2)))
            found = await store.run("r")
            assert found is not None
            assert found.config == {"lr": 2}

    run(scenario)
