"""The SQL of the store in PostgreSQL's dialect, and its parameters in the form of the driver.

Owns the differences to SQLite, which the other modules write; must not know connections or what is stored.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from recis_server.store.engines.schema import statements

__all__ = ["Statement", "convert", "storable", "translate"]

_PARAMETERS = re.compile(r"'[^']*'|\bIN \(\?(?:, \?)+\)|\?")
_PARTITIONED = ("frame", "chunk", "axis", "pyramid", "series", "keyset", "tally")


def storable(value: Any) -> Any:
    """Return the value without NUL, the only character that the text type does not hold."""
    return value.replace("\0", "") if isinstance(value, str) and "\0" in value else value


class Statement(NamedTuple):
    """A statement in the driver's syntax; `lists` are the slices of parameters to pass as lists, the last one first."""

    sql: bytes
    lists: tuple[slice, ...]

    def bind(self, values: Sequence[Any]) -> list[Any]:
        """Return the driver's parameters for these values."""
        found = [storable(value) for value in values]
        for one in self.lists:
            found[one] = [found[one]]
        return found


@lru_cache(maxsize=512)
def translate(sql: str) -> Statement:
    """Replace `?` outside quotes by the driver's placeholder and `IN (?, ?)` by one list, for any length of it."""
    lists: list[slice] = []
    count = 0

    def speak(found: re.Match[str]) -> str:
        nonlocal count
        text = found[0]
        if text.startswith("'"):
            return text
        begin, count = count, count + text.count("?")
        if text == "?":
            return "%s"
        lists.insert(0, slice(begin, count))
        return "= ANY(%s)"

    return Statement(_PARAMETERS.sub(speak, sql.replace("%", "%%")).encode(), tuple(lists))


def convert(script: str, num_partitions: int) -> str:
    """Return a migration of `schema` in PostgreSQL's dialect; with partitions, the large tables are divided by run."""
    return "\n".join(_convert(statement, num_partitions) for statement in statements(script))


def _convert(statement: str, num_partitions: int) -> str:
    found = re.match(r"CREATE TABLE (\w+)", statement)
    if found is None:
        return f"{statement};"
    table = found[1]
    statement = statement.removesuffix(" WITHOUT ROWID")
    before = after = ""
    numbered = re.search(r"(\w+) INTEGER PRIMARY KEY", statement)
    if numbered:
        # A sequence, not an identity column: partitioned tables have none.
        before = f"CREATE SEQUENCE IF NOT EXISTS {table}_{numbered[1]};\n"
        default = f"{numbered[1]} BIGINT NOT NULL DEFAULT nextval('{table}_{numbered[1]}')"
        statement = statement.replace(numbered[0], default)
    for ours, theirs in (
        (r"\bINTEGER\b", "BIGINT"),
        (r"\bREAL\b", "DOUBLE PRECISION"),
        (r"\bBLOB\b", "BYTEA"),
        # Text in the order of its bytes, as in SQLite.
        (r"\bTEXT\b", 'TEXT COLLATE "C"'),
    ):
        statement = re.sub(ours, theirs, statement)
    for column in re.findall(r"(\w+) BYTEA", statement):
        # Columns of points are compressed already, and parts of them are read.
        after += f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL;\n"
    if num_partitions and table in _PARTITIONED:
        statement += " PARTITION BY HASH (run_id)"
        for number in range(num_partitions):
            after += (
                f"CREATE TABLE {table}_{number} PARTITION OF {table}"
                f" FOR VALUES WITH (MODULUS {num_partitions}, REMAINDER {number});\n"
            )
    return f"{before}{statement};\n{after}"
