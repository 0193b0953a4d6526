import asyncio
import json
import math

import pytest
from recis_server.query import metrics
from recis_server.query.metrics import metrics_pieces, metrics_text
from recis_server.query.shapes import metric_shape
from recis_server.store.values import MetricRow


@pytest.mark.parametrize("number", [0, 1, 9, 10, 11, 25])
def test_names_are_one_answer_in_any_number_of_pieces(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(metrics, "NAMES_AT_ONCE", 10)
    values = (0.5, math.nan, math.inf)
    rows = [MetricRow(f'layer "{place}"', (0, 1), 3, 1, 2, values[place % 3], place) for place in range(number)]

    async def answer() -> bytes:
        return b"".join([piece async for piece in metrics_pieces(rows)])

    shapes = [metric_shape(row) for row in rows]
    assert json.loads(asyncio.run(answer())) == {"metrics": shapes}
    assert json.loads(metrics_text("r", rows)) == {"type": "metrics", "run": "r", "metrics": shapes}
