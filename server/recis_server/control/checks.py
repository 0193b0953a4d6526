"""What may be asked of a run: which controls there are, what values they take, and which ranks a command is for.

Owns the checks before a command is accepted; must not know the store, connections or HTTP.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from recis.wire.codec import is_id
from recis.wire.controls import MAX_SETTINGS, check_control_value, keeps_value, settings_of
from recis.wire.messages import Declare
from recis_server.errors import Conflict, InvalidValue, NotFound
from recis_server.store.values import CommandRow, ControlRow

__all__ = ["Wanted", "check", "checked_id", "reverted", "same_command"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A command that may be given.

    Attributes:
        control: the control that it sets; empty for several.
        value: of that control, or the values of several by their names.
        ranks: the ranks that it is for.
        is_act: whether it asks that something be done, and leaves no value.
        is_each: whether each rank takes it at its next boundary, and not all at one step.
    """

    control: str
    value: Any
    ranks: tuple[int, ...]
    is_act: bool
    is_each: bool


def check(run: str, world_size: int, declared: Sequence[ControlRow], settings: Mapping[str, Any], field: str) -> Wanted:
    """Return the command for `settings`, with values as every rank takes them.

    Args:
        run: its name, for messages.
        world_size: rows of higher ranks are of an earlier, larger job.
        declared: what the ranks of the run have declared.
        settings: controls and their new values.
        field: where in the request the values stand, for messages.

    Raises:
        NotFound: no rank has declared one of the controls.
        InvalidValue: a value that does not fit, or settings that cannot be one command.
    """
    if not 1 <= len(settings) <= MAX_SETTINGS:
        raise InvalidValue(field, f"expected 1 to {MAX_SETTINGS} settings, got {len(settings)}")
    found = {name: [one for one in declared if one.control == name and one.rank < world_size] for name in settings}
    for name, rows in found.items():
        if not rows:
            names = sorted({one.control for one in declared})
            raise NotFound(f"run {run} has no control {name[:200]!r}; expected one of {names}")
    checked = {name: _checked(rows, settings[name], field) for name, rows in found.items()}
    is_act = any(not keeps_value(row.type) for rows in found.values() for row in rows)
    is_each = all(row.apply == "each" for rows in found.values() for row in rows)
    if len(checked) > 1:
        if is_act:
            raise InvalidValue(
                field, "expected settings only, got an action or a capture, which is a command by itself"
            )
        ranks = {tuple(sorted(row.rank for row in rows)) for rows in found.values()}
        if len(ranks) > 1:
            raise InvalidValue(
                field, f"expected controls that the same ranks have declared, got those of {sorted(ranks)}"
            )
        return Wanted("", checked, ranks.pop(), is_act, is_each)
    ((name, value),) = checked.items()
    return Wanted(name, value, tuple(_targets(found[name], value, field)), is_act, is_each)


def reverted(command: CommandRow) -> dict[str, Any]:
    """Return the settings that take a command back: the values before it, of its lowest rank.

    Raises:
        Conflict: it has not taken effect.
    """
    applied = [result for _, result in sorted(command.ranks.items()) if result.state == "applied"]
    if not applied:
        raise Conflict(f"expected a command that has taken effect, got {command.id}, which is {command.state}")
    return dict(settings_of(command.control, applied[0].old))


def checked_id(command_id: str | None) -> str:
    """Return the id for a command: the caller's, or a new one.

    Raises:
        InvalidValue: it is no id.
    """
    if command_id is None:
        return uuid.uuid4().hex
    if not is_id(command_id):
        raise InvalidValue("id", f"expected 1 to 128 letters, digits, '.', '_', '-', got {command_id[:80]!r}")
    return command_id


def same_command(row: CommandRow, wanted: Wanted) -> CommandRow:
    """Return what is in the ledger under an id, if it is what is wanted.

    Raises:
        Conflict: it is another command.
    """
    if (row.control, row.value) != (wanted.control, wanted.value):
        raise Conflict(f"command {row.id} exists already and is another one", field="id")
    return row


def _checked(declared: Sequence[ControlRow], value: Any, field: str) -> Any:
    """The value as every rank takes it."""
    try:
        for row in declared:
            value = check_control_value(_as_declare(row), value)
    except ValueError as error:
        raise InvalidValue(field, str(error)) from error
    return value


def _as_declare(row: ControlRow) -> Declare:
    return msgspec.convert(
        {
            "t": "declare",
            "control": row.control,
            "type": row.type,
            "minimum": row.minimum,
            "maximum": row.maximum,
            "nullable": row.nullable,
            "choices": row.choices,
        },
        Declare,
    )


def _targets(declared: Sequence[ControlRow], value: Any, field: str) -> list[int]:
    """The ranks that a command is for: all that declared the control, or those that a capture names."""
    ranks = sorted(row.rank for row in declared)
    wanted = value.get("ranks") if isinstance(value, dict) else None
    if wanted is None:
        return ranks
    unknown = sorted(set(wanted) - set(ranks))
    if unknown:
        raise InvalidValue(field, f"expected ranks of {ranks}, got {unknown}")
    return sorted(set(wanted))
