from pathlib import Path

import pytest
from recis_server.store.tables import lines
from recis_server.store.values import LinePage, LinesWanted

from recis.wire.messages import Line
from tests.server.store.streams import SECOND, frame, greeting, opened, run

pytestmark = pytest.mark.usefixtures("every_engine")


def printed(text: str, stream: str = "stdout", **more: int) -> Line:
    return Line(time_ns=SECOND, text=text, stream=stream, **more)  # type: ignore[arg-type]


def texts(page: LinePage) -> list[str]:
    return [row.text for row in page.lines]


def test_lines_are_read_from_either_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            first = await store.register(greeting(world_size=2), 1)
            second = await store.register(greeting(rank=1, writer="w1", world_size=2), 2)
            other = await store.register(greeting(run="other", writer="o"), 3)
            empty = await store.lines("r", LinesWanted())
            assert (empty.lines, empty.first, empty.last, empty.more) == ((), 0, 0, False)
            await store.append(frame(first, 1, *(printed(f"Line {number}") for number in range(6))))
            await store.append(frame(other, 1, printed("another run")))
            await store.append(frame(second, 1, printed("careful", "stderr"), printed("<gstep=1>", "", step=1)))
            await store.append(frame(first, 1, printed("sent again")))

            newest = await store.lines("r", LinesWanted(limit=3))
            assert texts(newest) == ["Line 5", "careful", "<gstep=1>"]
            assert (newest.more, newest.first, newest.last) == (True, newest.lines[0].id, newest.lines[-1].id)
            older = await store.lines("r", LinesWanted(before=newest.first, limit=4))
            assert texts(older) == ["Line 1", "Line 2", "Line 3", "Line 4"]
            oldest = await store.lines("r", LinesWanted(before=older.first, limit=4))
            assert (texts(oldest), oldest.more) == (["Line 0"], False)

            await store.append(frame(first, 2, printed("Line 6"), printed("Line 7")))
            later = await store.lines("r", LinesWanted(after=newest.last, limit=1))
            assert (texts(later), later.more) == (["Line 6"], True)
            later = await store.lines("r", LinesWanted(after=later.last))
            assert (texts(later), later.more) == (["Line 7"], False)
            assert texts(await store.lines("r", LinesWanted(after=later.last))) == []

            assert texts(await store.lines("r", LinesWanted(rank=1, stream="stderr"))) == ["careful"]
            (reported,) = (await store.lines("r", LinesWanted(stream=""))).lines
            assert (reported.rank, reported.attempt, reported.step, reported.level) == (1, 1, 1, "info")
            assert texts(await store.lines("r", LinesWanted(words=("line", "7")))) == ["Line 7"]
            nothing = await store.lines("r", LinesWanted(after=0, rank=1, words=("absent",)))
            assert (nothing.lines, nothing.more, nothing.last) == ((), False, later.last)

            monkeypatch.setattr(lines, "MAX_EXAMINED", 4)
            monkeypatch.setattr(lines, "BATCH_ROWS", 3)
            page = await store.lines("r", LinesWanted(words=("line", "0")))
            assert (page.lines, page.more) == ((), True)
            while page.more:
                page = await store.lines("r", LinesWanted(before=page.first, words=("line", "0")))
            assert texts(page) == ["Line 0"]

    run(scenario)


def test_lost_lines_are_counted_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as store:
            stream = await store.register(greeting(), 1)
            for _ in range(2):
                await store.append(frame(stream, 1, printed("7 lines were dropped", "", dropped=7), printed("b")))
            page = await store.lines("r", LinesWanted())
            assert (len(page.lines), page.dropped, page.removed) == (2, 7, 0)

    run(scenario)
