import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from recis_server.query.charts import ID_AT, ID_BYTES, encode_binary, id_bytes, series_bytes
from recis_server.store.points.buckets import bucketize
from recis_server.store.values import ChartSeries

from tests.server.store.points.test_buckets import POINTS, Point, columns, slice_of


@given(POINTS, st.text(max_size=20))
def test_the_binary_form_can_be_read_back(points: list[Point], key: str) -> None:
    one = ChartSeries(key, None, 2, bucketize(slice_of(points), 4))
    two = ChartSeries("qps", 1, 1, bucketize(slice_of([(1, 2.0)]), 4))
    data = encode_binary("delta", 7, "r", 4, 0, None, map(series_bytes, [one, two]))
    length = int.from_bytes(data[:4], "little")
    assert (4 + length) % 8 == 0
    head = json.loads(data[4 : 4 + length])
    assert (head["v"], head["type"], head["id"], head["run"], head["width"]) == (1, "delta", 7, "r", 4)
    assert (head["start"], head["stop"]) == (0, None)
    for watch_id in (0, 2**31):
        other = data[:ID_AT] + id_bytes(watch_id) + data[ID_AT + ID_BYTES :]
        assert json.loads(other[4 : 4 + length]) == {**head, "id": watch_id}
    assert [series["rank"] for series in head["series"]] == [None, 1]
    for series, source in zip(head["series"], (one, two), strict=True):
        body = np.frombuffer(data, "<f8", 8 * series["n"], 4 + length + series["offset"])
        np.testing.assert_array_equal(body.reshape(8, -1).tolist(), columns(source.buckets))
