"""The attempts of a run: their numbers, and their order in time.

Owns the order of attempts. A number is assigned at the first greeting and never changes; a spool may be sent days
later, so numbers say nothing about time. Must not know frames, threads or sockets.
"""

from recis.wire.messages import Hello
from recis_server.store.engines.engine import Connection

__all__ = ["attempt_number", "attempt_places", "enter_attempt", "started_ns"]


def started_ns(hello: Hello, received_ns: int) -> int:
    """Return when the writer began, by the server's clock.

    The writer's clock only determines how long ago that was, so two machines need not agree on the time. A writer that
    does not report its start, or whose clock was set back since, begins now.
    """
    age_ns = hello.time_ns - hello.started_ns if hello.started_ns > 0 else 0
    return max(0, received_ns - max(0, age_ns))


def enter_attempt(connection: Connection, hello: Hello, begun_ns: int) -> tuple[int, int]:
    """Return number and start of the greeting's attempt; the first of its ranks to register determines both.

    Args:
        connection: in a transaction.
        hello: the greeting of a rank.
        begun_ns: when that rank began, by the server's clock.
    """
    connection.execute(
        "INSERT INTO attempt (run_id, attempt_id, ordinal, started_ns)"
        " SELECT ?, ?, count(*) + 1, ? FROM attempt WHERE run_id = ? ON CONFLICT DO NOTHING",
        (hello.run, hello.attempt, begun_ns, hello.run),
    )
    ordinal, start_ns = connection.execute(
        "SELECT ordinal, started_ns FROM attempt WHERE run_id = ? AND attempt_id = ?", (hello.run, hello.attempt)
    ).fetchone()
    return int(ordinal), int(start_ns)


def attempt_number(connection: Connection, run_id: str, attempt_id: str) -> int | None:
    """Return the number of an attempt, None if it is unknown."""
    row = connection.execute(
        "SELECT ordinal FROM attempt WHERE run_id = ? AND attempt_id = ?", (run_id, attempt_id)
    ).fetchone()
    return None if row is None else int(row[0])


def attempt_places(connection: Connection, run_id: str) -> dict[int, int]:
    """Map attempt numbers to places, 1 for the attempt that began first; equal starts are ordered by number."""
    numbers = connection.execute(
        "SELECT ordinal FROM attempt WHERE run_id = ? ORDER BY started_ns, ordinal", (run_id,)
    ).fetchall()
    return {number: place for place, (number,) in enumerate(numbers, start=1)}
