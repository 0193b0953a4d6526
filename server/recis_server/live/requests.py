"""The requests of a browser on `/ws/live`, and the checks that types can express.

Must not know how requests are carried out.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from recis.wire.messages import Int64, Rank
from recis_server.errors import InvalidValue, TooLarge
from recis_server.live.chart import View
from recis_server.live.run_lists import DEFAULT_VIEW
from recis_server.query import runlist
from recis_server.query.charts import check_range

__all__ = ["Follow", "Request", "Unfollow", "Unwatch", "WatchSeries", "parse"]

MAX_REQUEST_CHARS = 65_536
MAX_POINTS = 10_000
MAX_BUCKETS = 1 << 20
"""Buckets of all series of a watch together: 64 MiB in a message."""

MAX_FIELDS = 32
MAX_METRICS = 100

_RunId = Annotated[str, Meta(min_length=1, max_length=128)]
_Name = Annotated[str, Meta(min_length=1, max_length=512)]


class Follow(Struct, frozen=True, tag_field="type", tag="follow"):
    """Push changes of `run`, or with `runs` these parts of all runs that change."""

    run: _RunId | None = None
    runs: Literal[True] | None = None
    fields: Annotated[tuple[_Name, ...], Meta(max_length=MAX_FIELDS)] | None = None
    metrics: Annotated[tuple[_Name, ...], Meta(max_length=MAX_METRICS)] | None = None

    def list_view(self) -> runlist.View:
        """Return what is shown of each run; equal for equal sets."""
        fields = DEFAULT_VIEW.fields if self.fields is None else tuple(sorted(set(self.fields)))
        return runlist.View(fields, None if self.metrics is None else tuple(sorted(set(self.metrics))))


class Unfollow(Struct, frozen=True, tag_field="type", tag="unfollow"):
    """End a `Follow`."""

    run: _RunId | None = None
    runs: Literal[True] | None = None


class WatchSeries(Struct, frozen=True, tag_field="type", tag="watch"):
    """Push these series as buckets; replaces the watch with the same `id`."""

    id: Annotated[int, Meta(ge=0, le=2**31)]
    run: _RunId
    keys: Annotated[tuple[_Name, ...], Meta(min_length=1, max_length=256)]
    rank: Rank | Literal["all"] = 0
    start: Int64 | None = None
    stop: Int64 | None = None
    points: Annotated[int, Meta(ge=1, le=MAX_POINTS)] = 340
    superseded: bool = False

    def view(self) -> View:
        """Return what is shown."""
        rank = None if self.rank == "all" else self.rank
        return View(self.run, self.keys, rank, self.start, self.stop, self.points, self.superseded)


class Unwatch(Struct, frozen=True, tag_field="type", tag="unwatch"):
    """End a `WatchSeries`."""

    id: int


Request = Follow | Unfollow | WatchSeries | Unwatch

_decoder = msgspec.json.Decoder(Request)


def parse(text: str | None) -> Request:
    """Return the request in a browser's message.

    Args:
        text: the message, or None if it is binary.

    Raises:
        InvalidValue: the message is malformed; `field` is the path of the error.
        TooLarge: the message is longer than 64 Ki characters.
    """
    if text is None:
        raise InvalidValue("$", "expected a text message, got a binary one")
    if len(text) > MAX_REQUEST_CHARS:
        raise TooLarge(f"expected at most {MAX_REQUEST_CHARS} characters, got {len(text)}")
    try:
        request: Request = _decoder.decode(text)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        raise InvalidValue(path.strip("`") or "$", f"{message} - in {text[:200]!r}") from error
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise InvalidValue("$", f"expected a JSON object with a type, got {text[:80]!r}") from error
    if isinstance(request, Follow | Unfollow) and (request.run is None) == (request.runs is None):
        raise InvalidValue("$.run", 'expected either "run": ID or "runs": true')
    if isinstance(request, WatchSeries):
        if len(set(request.keys)) != len(request.keys):
            raise InvalidValue("$.keys", "expected every key once")
        if len(request.keys) * request.points > MAX_BUCKETS:
            size = f"{len(request.keys)} keys x {request.points} points"
            raise InvalidValue("$.points", f"expected at most {MAX_BUCKETS} buckets in a watch, got {size}")
        check_range(request.start, request.stop, "$.stop")
    return request
