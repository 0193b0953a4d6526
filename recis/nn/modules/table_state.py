"""Convert a table's content to and from a state dict, with the checks before a table loads it.

Owns the names and types of the entries. Must not know the table, or a file format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recis.numerals import as_int

__all__ = ["TableState", "read_state", "write_state"]

_NEEDED = ("ids", "embeddings", "last_seen", "clock")
_OPTIONAL = ("admitted", "residual", "generator")


@dataclass(frozen=True, slots=True)
class TableState:
    """The complete state from which a table continues.

    Attributes:
        ids: int64 `[rows]`, distinct; ascending when it comes from a table.
        embeddings: `[rows, *embedding_shape]`, floating.
        last_seen: int64 `[rows]`, the step in which each id was last seen.
        clock: the training step in progress; 0 until a first step number is known.
        admitted: rows added since the last filter pass.
        residual: float32 `[rows, *embedding_shape]`, rounding errors of narrow rows; None for others.
        generator: state of the initializer's own random generator, uint8 `[n]`; None if it has none.
    """

    ids: Tensor
    embeddings: Tensor
    last_seen: Tensor
    clock: int
    admitted: int = 0
    residual: Tensor | None = None
    generator: Tensor | None = None


def write_state(destination: dict[str, Any], prefix: str, state: TableState) -> None:
    """Add a table's entries to a state dict; numbers as 0-dim tensors, as torch's own modules do."""
    for name in (*_NEEDED, *_OPTIONAL):
        value = getattr(state, name)
        if value is not None:
            destination[prefix + name] = torch.tensor(value, device="cpu") if isinstance(value, int) else value


def read_state(
    state_dict: Mapping[str, Any], prefix: str, shape: tuple[int, ...], children: set[str]
) -> tuple[TableState | None, list[str], list[str], list[str]]:
    """Return a table's state from a state dict, or None if it is missing or invalid, and the problems.

    Args:
        state_dict: of a whole model.
        prefix: prefix of the table's keys.
        shape: shape of a row.
        children: names of modules in the table, which read their own entries.

    Returns:
        The state, missing keys, unexpected keys, and messages about invalid values.
    """
    own = {key.removeprefix(prefix) for key in state_dict if key.startswith(prefix)}
    missing = [prefix + key for key in _NEEDED if key not in own]
    known = {*_NEEDED, *_OPTIONAL}
    unexpected = [prefix + key for key in sorted(own - known) if key.split(".")[0] not in children]
    if missing:
        return None, missing, unexpected, []
    values: dict[str, Any] = {key: state_dict[prefix + key] for key in known & own}
    errors = [f"{prefix}{name}: {problem}" for name, problem in _problems(values, shape)]
    if errors:
        return None, [], unexpected, errors
    values |= {key: int(values[key]) for key in ("clock", "admitted") if key in values}
    return TableState(**values), [], unexpected, []


def _problems(values: dict[str, Any], shape: tuple[int, ...]) -> list[tuple[str, str]]:
    """Return all problems of all entries, before anything is changed."""
    ids = values["ids"]
    problem = _vector_problem(ids, None)
    if problem is None and (num_twice := len(ids) - len(ids.unique())):
        problem = f"expected distinct ids, got {num_twice} of {len(ids)} again"
    found = [("ids", problem)]
    rows = len(ids) if isinstance(ids, Tensor) and ids.dim() else 0
    found += [("last_seen", _vector_problem(values["last_seen"], rows))]
    found += [
        (name, _rows_problem(values[name], (rows, *shape))) for name in ("embeddings", "residual") if name in values
    ]
    found += [(name, _count_problem(values[name])) for name in ("clock", "admitted") if name in values]
    if "generator" in values and not _is_tensor(values["generator"], torch.uint8):
        found += [("generator", f"expected a torch.uint8 tensor, got {_kind(values['generator'])}")]
    return [(name, problem) for name, problem in found if problem is not None]


def _vector_problem(value: object, rows: int | None) -> str | None:
    if not isinstance(value, Tensor) or not _is_tensor(value, torch.int64):
        return f"expected a torch.int64 tensor, got {_kind(value)}"
    expected = "[rows]" if rows is None else f"{(rows,)}"
    fits = value.dim() == 1 and rows in (None, len(value))
    return None if fits else f"expected shape {expected}, got {tuple(value.shape)}"


def _rows_problem(value: object, shape: tuple[int, ...]) -> str | None:
    if not isinstance(value, Tensor) or value.layout != torch.strided or not value.dtype.is_floating_point:
        return f"expected a floating tensor, got {_kind(value)}"
    return None if value.shape == shape else f"expected {shape}, got {tuple(value.shape)}"


def _count_problem(value: object) -> str | None:
    if isinstance(value, Tensor):
        fits = value.dim() == 0 and value.layout == torch.strided and value.dtype in (torch.int64, torch.int32)
        return None if fits else f"expected an integer, got {_kind(value)} of shape {tuple(value.shape)}"
    return None if as_int(value) is not None else f"expected an integer, got {value!r}"


def _is_tensor(value: object, dtype: torch.dtype) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and value.dtype == dtype


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return str(value.dtype) if value.layout == torch.strided else f"{value.dtype} in layout {value.layout}"
