from pathlib import Path

import pytest
from recis_server.store.tables.keyset_cache import KeySetCache

from tests.server.store.streams import frame, greeting, opened, points, run

pytestmark = pytest.mark.usefixtures("every_engine")


@pytest.mark.parametrize("max_columns", [0, 20, 1000])
def test_key_sets_are_read_once_and_again_when_they_were_forgotten(tmp_path: Path, max_columns: int) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(rank=3), 7)
            await store.append(frame(stream, 1, points([1], loss=[1.0], lr=[2.0]), points([1], qps=[3.0])))
            layouts = KeySetCache(max_columns)
            wanted = [("r", 1), ("r", 2)]

            async def read(created_ns: int) -> dict[tuple[str, int], tuple[int, int, tuple[str, ...]]]:
                return dict(await store._read(lambda db: layouts.read(db, wanted, {"r": created_ns})))

            for created_ns in (7, 7, 8):
                assert await read(created_ns) == {
                    ("r", 1): (created_ns, 3, ("loss", "lr")),
                    ("r", 2): (created_ns, 3, ("qps",)),
                }
                assert len(layouts._known) == (2 if max_columns == 1000 else 0)

    run(scenario)
