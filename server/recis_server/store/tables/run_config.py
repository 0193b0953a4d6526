"""The configuration of a run, to which its ranks may add while they train.

Must not know how it comes or is shown.
"""

from collections.abc import Mapping
from typing import Any

from recis_server.store.engines.engine import Connection
from recis_server.store.json_columns import dump, load_or
from recis_server.store.values import StreamRow

__all__ = ["merge_config"]

MAX_CONFIG_CHARS = 1 << 20
"""Of a configuration that is added to, as JSON."""


def merge_config(connection: Connection, stream: StreamRow, more: Mapping[str, Any]) -> None:
    """Add to the configuration: rank 0 replaces what is there, other ranks fill in what is missing.

    What would make it larger than `MAX_CONFIG_CHARS` is left out.
    """
    (text,) = connection.execute("SELECT config FROM run WHERE run_id = ?", (stream.run,)).fetchone()
    known = load_or(text, {})
    if not isinstance(known, dict):
        known = {}
    config = dump({**known, **more} if stream.rank == 0 else {**more, **known})
    if len(config) <= MAX_CONFIG_CHARS:
        connection.execute("UPDATE run SET config = ? WHERE run_id = ?", (config, stream.run))
