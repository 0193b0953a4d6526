"""Request bodies, and the answers and statuses of routes, for OpenAPI.

`recis_server.query.shapes` builds the answers; this module only describes them. Must not know routes.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from recis.wire.controls import MAX_SETTINGS
from recis.wire.messages import MAX_TEXT_CHARS
from recis.wire.version import __version__

__all__ = [
    "BYTES",
    "EXAMPLES",
    "CommandRequest",
    "ErrorAnswer",
    "RevertRequest",
    "RunPatch",
    "SettingsRequest",
    "answers",
    "files",
    "refusals",
]

Described = dict[int | str, dict[str, Any]]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128)]


class RunPatch(BaseModel):
    """Changes to a run; omitted members keep their values."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "wide embeddings", "tags": ["baseline"], "notes": "lr halved"}]},
    )

    name: Name | None = None
    tags: list[Tag] | None = Field(default=None, max_length=64)
    notes: str | None = Field(default=None, max_length=MAX_TEXT_CHARS)
    archived: StrictBool | None = None


class CommandRequest(BaseModel):
    """A new value for a control; a repeated `id` is the same command."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"value": 200, "reason": "evict less often", "id": "8c2f5e0e"}]},
    )

    value: Any
    reason: str = Field(default="", max_length=MAX_TEXT_CHARS)
    id: str | None = Field(default=None, min_length=1, max_length=128)


class SettingsRequest(BaseModel):
    """New values for several controls, which all take effect at one step, or none; `id` as for a single value."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"values": {"filter_interval": 200, "log_step": 50}, "reason": "less output"}]},
    )

    values: dict[str, Any] = Field(min_length=1, max_length=MAX_SETTINGS)
    reason: str = Field(default="", max_length=MAX_TEXT_CHARS)
    id: str | None = Field(default=None, min_length=1, max_length=128)


class RevertRequest(BaseModel):
    """The reason for reverting a command."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the loss went up"}]})

    reason: str = Field(default="", max_length=MAX_TEXT_CHARS)


class ErrorDetail(BaseModel):
    """An error: a stable identifier for programs, a sentence for people, and the invalid argument if there is one."""

    code: str
    message: str
    field: str | None


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: ErrorDetail


_RUN = {
    "id": "demo-1a2b",
    "project": "movielens",
    "name": "demo",
    "state": "running",
    "message": "",
    "created_at": "2026-11-23T19:40:00.000Z",
    "updated_at": "2026-11-23T19:42:10.250Z",
    "ranks": [0],
    "world_size": 1,
    "attempts": 1,
    "last_step": 520,
    "summary": {"loss": 0.56, "qps": 4.0},
    "tags": ["demo"],
    "notes": "",
    "archived": False,
    "config": {"lr": 0.001},
    "received": {"points": 2600, "missing": 0, "dropped": 0},
}
_COMMAND = {
    "id": "8c2f5e0e",
    "run": "demo-1a2b",
    "control": "filter_interval",
    "value": 200,
    "values": {"filter_interval": 200},
    "state": "applied",
    "requested_by": "mia",
    "requested_at": "2026-11-23T19:42:00.000Z",
    "reason": "evict less often",
    "apply_at_step": None,
    "superseded_by": None,
    "reverts": None,
    "waiting_for": [],
    "away": [],
    "ranks": {
        "0": {
            "state": "applied",
            "old": 100,
            "new": 200,
            "step": 512,
            "late": False,
            "time": 1795462921.0,
            "message": "",
        }
    },
}
_PREDICTION = {
    "next_step": 700,
    "rows": 860.0,
    "rows_before": {"value": 1100.0, "error": 30.5},
    "evicted": {"value": 80.0, "error": 22.0},
    "rows_after": {"value": 1020.0, "error": 52.5},
    "at_most": {"value": 1095.0, "error": 41.0},
    "pass_ms": {"value": 0.9312, "error": 0.12},
    "ms_per_step": {"value": 0.004656, "error": 0.0006},
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "meta": {"version": __version__, "protocol": 1, "scope": "control", "tokens": False},
    "runs": {"runs": [_RUN], "next_cursor": None},
    "run": _RUN,
    "metrics": {
        "metrics": [
            {
                "key": "loss",
                "ranks": [0],
                "count": 520,
                "first_step": 1,
                "last_step": 520,
                "last_value": 0.56,
                "nan_count": 0,
            }
        ]
    },
    "series": {
        "series": [
            {
                "key": "loss",
                "rank": 0,
                "attempt": 1,
                "superseded": False,
                "x": [0, 64],
                "time": [1795462801.0, 1795462817.0],
                "min": [0.58, 0.56],
                "max": [0.69, 0.61],
                "mean": [0.63, 0.59],
                "last": [0.6, 0.57],
                "count": [63, 64],
                "nan": [0, 0],
            }
        ],
        "resolution": 64,
    },
    "filters": {
        "passes": [
            {
                "step": 100,
                "time": 1795462826.0,
                "rank": 0,
                "table": "user",
                "interval": 100,
                "rows_before": 900,
                "evicted": 40,
                "rows_after": 860,
                "admitted": 120,
                "milliseconds": 0.8,
                "bytes": 262144,
            }
        ]
    },
    "forecast": {
        "filter_interval": 200,
        "message": "",
        "total": _PREDICTION,
        "tables": [{"table": "user", "passes": 11, "message": "", "prediction": _PREDICTION}],
    },
    "events": {
        "events": [
            {
                "id": 1,
                "kind": "alert",
                "level": "error",
                "time": 1795462830.0,
                "step": 104,
                "rank": 0,
                "text": "Loss is NaN",
                "data": {},
            }
        ]
    },
    "info": {
        "attempt": 1,
        "attempts": [{"attempt": 1, "started_at": "2026-11-23T19:40:00.000Z"}],
        "ranks": [
            {
                "rank": 0,
                "host": "trainer-7",
                "pid": 4711,
                "client": f"recis/{__version__}",
                "started_at": "2026-11-23T19:40:00.000Z",
                "info": {
                    "command": "python train.py --lr 0.001",
                    "python": "3.12.4 (CPython)",
                    "git": {"commit": "8c2f5e0e9d1b", "branch": "main", "dirty": False},
                    "devices": [{"name": "NVIDIA H200", "memory_bytes": 150754820096}],
                    "packages": {"numpy": "2.4.0"},
                    "environment": {"OMP_NUM_THREADS": "8", "PATH": None},
                },
            }
        ],
        "config": {"lr": 0.001},
    },
    "logs": {
        "lines": [
            {
                "id": 17,
                "time": 1795462830.0,
                "rank": 0,
                "attempt": 1,
                "stream": "stdout",
                "level": "info",
                "step": None,
                "text": "epoch 1 done",
            }
        ],
        "first": 17,
        "last": 17,
        "more": False,
        "dropped": 0,
        "removed": 0,
    },
    "controls": {
        "controls": [
            {
                "name": "filter_interval",
                "type": "int",
                "value": 100,
                "desired": 200,
                "minimum": 1.0,
                "maximum": None,
                "choices": None,
                "nullable": True,
                "unit": "steps",
                "description": "steps between two filter passes",
                "apply": "together",
                "confirm": "",
                "differs": [0],
                "ranks": {"0": {"value": 100, "step": 1}},
            }
        ]
    },
    "command": _COMMAND,
    "commands": {"commands": [_COMMAND]},
    "effect": {
        "command": "8c2f5e0e",
        "control": "filter_interval",
        "state": "measured",
        "message": "",
        "steps": {"0": 512},
        "windows": {"steps": 500, "cut": None, "by": None},
        "missing_steps": 0,
        "metrics": [
            {
                "key": "table/user/rows",
                "role": "rows",
                "table": "user",
                "over_ranks": "sum",
                "before": {"mean": 860.0, "error": 9.5, "count": 5, "nan": 0},
                "after": {"mean": 1020.0, "error": 12.1, "count": 3, "nan": 0},
                "difference": 160.0,
                "noise": 44.0,
                "trend": 3.0,
                "trend_noise": 95.0,
                "verdict": "higher",
                "repeated": 0,
            }
        ],
        "also": [{"command": "5d21a9c4", "controls": ["log_step"], "step": 700}],
        "without": {},
        "ranks_left_out": 0,
        "tables_left_out": 0,
    },
    "audit": {
        "audit": [
            {
                "time": "2026-11-23T19:42:00.000Z",
                "by": "mia",
                "reason": "evict less often",
                "command": "8c2f5e0e",
                "control": "filter_interval",
                "value": 200,
                "rank": 0,
                "old": 100,
                "new": 200,
                "step": 512,
                "apply_at_step": None,
                "outcome": "applied",
                "message": "",
                "superseded_by": None,
                "reverts": None,
            }
        ],
        "next_cursor": None,
    },
    "traces": {
        "traces": [
            {
                "id": "t1",
                "run": "demo-1a2b",
                "name": "local-rank0-timeline-50.json.gz",
                "rank": 0,
                "attempt": 1,
                "step": 50,
                "size": 182034,
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "state": "ready",
                "created_at": "2026-11-23T19:40:40.000Z",
                "summary_state": "ready",
                "summary_error": None,
                "summary": {
                    "events": 41210,
                    "steps": 3,
                    "wall_ms": 84.512,
                    "operators": [{"name": "aten::mm", "calls": 72, "self_ms": 20.114, "total_ms": 20.311}],
                    "categories": {"cpu_op": 61.2, "user_annotation": 84.512},
                    "truncated": False,
                    "unreadable": 0,
                },
            }
        ]
    },
    "deleted": {"deleted": "demo-1a2b", "restorable_until": "2026-11-23T19:52:10.250Z"},
    "health": {"status": "ok"},
}
_ERROR = {"error": {"code": "not_found", "message": "there is no run 'demo-9'", "field": None}}


_ERRORS = {
    400: "Not an HTTP/1.1 request, or its head exceeds 64 KiB",
    401: "No token, or an invalid one",
    403: "A token without the required scope, or a `Host` or `Origin` that this server does not accept",
    404: "No such resource",
    408: "The body did not arrive in time",
    409: "The current state does not permit this",
    413: "The body exceeds 1 MiB",
    416: "The range is outside the file",
    422: "Invalid input; nothing was stored",
    431: "The headers exceed 16 KiB",
    503: "The store is temporarily unavailable; try again",
}
BYTES = {"type": "string", "format": "binary"}
_EVERYWHERE = (400, 401, 403, 431, 503)


def answers(
    example: str, *, status: int = 200, errors: tuple[int, ...] = (404, 422), more: Mapping[str, Any] | None = None
) -> Described:
    """Return the OpenAPI description of a route's answers.

    Args:
        example: the name of the example of a JSON answer.
        status: the status of that answer.
        errors: the errors of this route, in addition to those of all routes.
        more: further media types of the answer, with their content.
    """
    content = {"application/json": {"example": EXAMPLES[example]}, **(more or {})}
    return {status: {"description": "The answer", "content": content}, **refusals(errors)}


def files(*media: str, statuses: Mapping[int, str], errors: tuple[int, ...]) -> Described:
    """Return the description of a route that answers with bytes.

    Args:
        media: the media types of the answer.
        statuses: the statuses of success with their descriptions; 304 has no body.
        errors: as in `answers`.
    """
    content = {one: {} if one == "application/json" else {"schema": BYTES} for one in media}
    found: Described = {
        status: {"description": text} if status == 304 else {"description": text, "content": content}
        for status, text in statuses.items()
    }
    return {**found, **refusals(errors)}


def refusals(errors: tuple[int, ...]) -> Described:
    """Return the description of errors, including those of all routes."""
    return {
        code: {
            "description": _ERRORS[code],
            "model": ErrorAnswer,
            "content": {"application/json": {"example": _ERROR}},
        }
        for code in sorted({*errors, *_EVERYWHERE})
    }
