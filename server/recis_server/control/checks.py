"""Validation of commands: which controls a run has, which values they accept, and which ranks a command targets.

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
    """A validated command.

    Attributes:
        control: the control that it sets; empty if it sets several.
        value: the value of that control, or several values by control name.
        ranks: the target ranks.
        is_act: whether it triggers an action instead of setting a value.
        is_each: whether each rank applies it at its own next boundary instead of all at one step.
    """

    control: str
    value: Any
    ranks: tuple[int, ...]
    is_act: bool
    is_each: bool


def check(run: str, world_size: int, declared: Sequence[ControlRow], settings: Mapping[str, Any], field: str) -> Wanted:
    """Return the command for `settings`, with values converted to a form that every rank accepts.

    Args:
        run: its name, for messages.
        world_size: higher ranks belong to an earlier, larger job and are ignored.
        declared: the controls declared by the ranks of the run.
        settings: controls and their new values.
        field: path of the values in the request, for messages.

    Raises:
        NotFound: no rank has declared one of the controls.
        InvalidValue: a value is not valid, or the settings cannot form one command.
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
                field, "expected settings only, got an action or a capture, which must be sent as its own command"
            )
        ranks = {tuple(sorted(row.rank for row in rows)) for rows in found.values()}
        if len(ranks) > 1:
            raise InvalidValue(field, f"expected controls declared by the same ranks, got those of {sorted(ranks)}")
        return Wanted("", checked, ranks.pop(), is_act, is_each)
    ((name, value),) = checked.items()
    return Wanted(name, value, tuple(_targets(found[name], value, field)), is_act, is_each)


def reverted(command: CommandRow) -> dict[str, Any]:
    """Return the settings that revert a command: the previous values of its lowest rank.

    Raises:
        Conflict: it has not taken effect.
    """
    applied = [result for _, result in sorted(command.ranks.items()) if result.state == "applied"]
    if not applied:
        raise Conflict(f"expected a command that has taken effect, got {command.id}, which is {command.state}")
    return dict(settings_of(command.control, applied[0].old))


def checked_id(command_id: str | None) -> str:
    """Return the caller's command id, or a new one if none is given.

    Raises:
        InvalidValue: the id is malformed.
    """
    if command_id is None:
        return uuid.uuid4().hex
    if not is_id(command_id):
        raise InvalidValue("id", f"expected 1 to 128 letters, digits, '.', '_', '-', got {command_id[:80]!r}")
    return command_id


def same_command(row: CommandRow, wanted: Wanted) -> CommandRow:
    """Return the ledger row with a command's id if it is the same command.

    Raises:
        Conflict: the id belongs to a different command.
    """
    if (row.control, row.value) != (wanted.control, wanted.value):
        raise Conflict(f"command {row.id} exists already and is another one", field="id")
    return row


def _checked(declared: Sequence[ControlRow], value: Any, field: str) -> Any:
    """Return the value in a form that every rank accepts."""
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
    """Return the target ranks of a command: all that declared the control, or those named by a capture."""
    ranks = sorted(row.rank for row in declared)
    wanted = value.get("ranks") if isinstance(value, dict) else None
    if wanted is None:
        return ranks
    unknown = sorted(set(wanted) - set(ranks))
    if unknown:
        raise InvalidValue(field, f"expected ranks of {ranks}, got {unknown}")
    return sorted(set(wanted))
