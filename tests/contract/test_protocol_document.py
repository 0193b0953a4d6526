"""`docs/protocol.md` describes every record as `recis.wire.messages` defines it: fields, types, defaults, limits."""

import json
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union

import msgspec
import pytest
from recis_server.ingest.session import refusal

from recis.wire import messages as m

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
RECORDS: dict[str, type[msgspec.Struct]] = {
    str(kind.__struct_config__.tag): kind
    for kind in vars(m).values()
    if isinstance(kind, type) and issubclass(kind, m.Record) and kind is not m.Record
}
IDS = {"run", "writer", "attempt", "command"}
WORDS: dict[Any, str] = {
    str: "text",
    int: "int",
    m.Int64: "int",
    m.Number: "number",
    m.Count: "count",
    m.Rank: "count",
    m.WorldSize: "count",
    float: "float",
    bool: "bool",
    bytes: "bytes",
    Any: "any",
    dict[str, Any]: "map",
    tuple[str, ...]: "list of text",
    tuple[Any, ...]: "list of any",
    tuple[m.Command, ...]: "list of commands",
    tuple[m.FrameRecord, ...]: "list of records",
}


def documented(tag: str) -> dict[str, tuple[str, str]]:
    """Return the type and default of each field, from the table below the record's heading."""
    section = re.search(rf"^####? `{tag}`\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert section, f"expected a heading for {tag}"
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section[1].splitlines() if line[:1] == "|"
    ]
    assert rows[0] == ["field", "type", "default", "meaning"]
    return {name.strip("`"): (type_, default.strip("`")) for name, type_, default, _ in rows[2:]}


def word(annotation: Any) -> str:
    if typing.get_origin(annotation) is Literal:
        *most, last = (f'`"{value}"`' for value in typing.get_args(annotation))
        return f"{', '.join(most)} or {last}"
    if annotation not in WORDS and typing.get_origin(annotation) in (Union, types.UnionType):
        kind, none = typing.get_args(annotation)
        assert none is type(None)
        return f"{word(kind)} or nil"
    return WORDS[annotation]


def declared(tag: str) -> dict[str, tuple[str, str]]:
    """Return the same from the record type; the protocol version is documented once for all records."""
    found = {}
    for field in msgspec.structs.fields(RECORDS[tag]):
        if field.name != "v":
            kind = "id" if field.type is str and is_identifier(tag, field.name) else word(field.type)
            found[field.name] = (kind, default_of(field))
    return found


def is_identifier(tag: str, field: str) -> bool:
    return field in IDS or (tag, field) == ("command", "id")


def default_of(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return ""
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "nil" if value is None else json.dumps(value)


@pytest.mark.parametrize("tag", RECORDS)
def test_a_record_is_described_as_it_is(tag: str) -> None:
    assert documented(tag) == declared(tag)


def test_no_record_is_described_that_does_not_exist() -> None:
    assert set(re.findall(r"^####? `(\w+)`", TEXT, re.MULTILINE)) == set(RECORDS)


@pytest.mark.parametrize("code", ["malformed", "unauthorised", "superseded", "too_large", "version", "unavailable"])
def test_a_refusal_is_described_with_its_close_code(code: str) -> None:
    assert f"| `{code}` | {refusal(code, '').code} |" in TEXT


def test_the_limits_are_the_ones_of_the_code() -> None:
    assert f"Protocol version: {m.PROTOCOL_VERSION}." in TEXT
    assert f"k names of 1 to {m.MAX_KEY_CHARS} printable" in TEXT
    assert f"descriptions to {m.MAX_TEXT_CHARS:,} characters" in TEXT
    assert m.ID_PATTERN == r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
    assert "1 to 128 letters, digits, `.`, `_` or `-` that starts with a letter or digit" in TEXT
    assert "| count | an integer from 0 to 2^53 - 1 |" in TEXT
    assert m.MAX_COUNT == 2**53 - 1
    assert "at least 0, below `world_size`, which is at most 2^31" in TEXT
    assert m.MAX_RANKS == 2**31
    assert m.MAX_TRACE_CHUNK_BYTES == 1 << 20
    assert "1 byte to 1 MiB" in TEXT
