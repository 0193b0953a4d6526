"""Convert a filter pass to its record and the values of its series. Must not know runs or hooks."""

from typing import Any

import msgspec

from recis.wire.messages import Pass
from recis.wire.names import distinct_name
from recis.wire.text import MAX_NAME_CHARS

__all__ = ["pass_series", "read_pass"]


def read_pass(report: Any) -> Pass:
    """Return the record of a filter pass from an object with the attributes of one.

    Its table has a name that is valid in records and series, and distinct for each table.

    Raises:
        AttributeError: one of the attributes is missing.
    """
    record = Pass(**{name: getattr(report, name) for name in Pass.__struct_fields__})
    return msgspec.structs.replace(record, table=distinct_name(str(record.table), MAX_NAME_CHARS))


def pass_series(record: Pass) -> dict[str, Any]:
    """Return the values of a pass by the names of their series, `table/{name}/…`."""
    return {
        f"table/{record.table}/rows": record.rows_after,
        f"table/{record.table}/admitted": record.admitted,
        f"table/{record.table}/evicted": record.evicted,
        f"table/{record.table}/bytes": record.bytes,
        f"table/{record.table}/pass_ms": record.milliseconds,
    }
