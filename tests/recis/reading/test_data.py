"""Order and types of the data read, and helpful errors."""

import numpy as np
import pandas as pd
import pytest

from recis.reading.data import RunData, collect
from recis.wire.exports import ExportPart


def part(
    key: str, rank: int, attempts: list[tuple[int, int]], steps: list[int], *, superseded: bool = False
) -> ExportPart:
    column = np.array(steps, "<i8").tobytes()
    values = np.array(steps, "<f8").tobytes()
    return ExportPart(
        key=key, rank=rank, attempts=tuple(attempts), steps=column, times=column, values=values, superseded=superseded
    )


PARTS = [
    part("loss", 1, [(1, 2)], [1, 2]),
    part("loss", 0, [(1, 1), (3, 1)], [1, 2]),
    part("loss", 0, [(1, 1)], [2], superseded=True),
    part("loss", 0, [(2, 1)], [2], superseded=True),
    part("loss", 0, [(3, 1)], [3]),
    part("loss", 0, [(1, 1)], [3], superseded=True),
    part("qps", 0, [(1, 1)], [7]),
]


def test_points_are_in_order_of_rank_and_step() -> None:
    loss, qps = collect(PARTS)
    assert loss.ranks.tolist() == [0] * 6 + [1] * 2
    assert loss.steps.tolist() == [1, 2, 3, 2, 3, 2, 1, 2]
    assert loss.attempts.tolist() == [1, 3, 3, 1, 1, 2, 1, 1]
    assert loss.superseded.tolist() == [False] * 3 + [True] * 3 + [False] * 2
    assert (len(qps), qps.steps.tolist()) == (1, [7])
    assert repr(qps.on_rank(5)) == "<Series 'qps': no points>"
    assert repr(RunData("r", 0, [loss, qps])) == "<RunData 'r': 2 series, 9 points>"


def test_a_frame_has_a_row_for_every_point() -> None:
    frame = RunData("r", 3, collect(PARTS)).frame()
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "key": "category",
        "rank": "int32",
        "attempt": "int32",
        "step": "int64",
        "time": "datetime64[ns, UTC]",
        "value": "float64",
        "superseded": "bool",
    }
    assert frame["key"].tolist() == ["loss"] * 8 + ["qps"]
    assert frame["step"].tolist() == [1, 2, 3, 2, 3, 2, 1, 2, 7]
    assert frame["time"].iloc[-1] == pd.Timestamp(7, tz="UTC")
    assert len(RunData("r", 0, ()).frame()) == 0


def test_a_name_that_is_not_there_is_answered_with_those_that_are() -> None:
    data = RunData("r", 0, collect(PARTS))
    with pytest.raises(KeyError, match="did you mean 'loss'"):
        data["los"]
    with pytest.raises(KeyError, match=r"there are \['loss', 'qps'\]"):
        data["accuracy"]
    assert "los" not in data
    assert data.get("los") is None
