"""The attempts of a run: their numbers, and which of two began later.

Owns the order of truth between attempts. A number is given at the first greeting and never changes; a spool may be sent
days later, so numbers say nothing about time. Must not know frames, threads or sockets.
"""

from recis.wire.messages import Hello
from recis_server.store.engines.engine import Connection

__all__ = ["attempt_number", "attempt_places", "enter_attempt", "started_ns"]


def started_ns(hello: Hello, received_ns: int) -> int:
    """When the writer began, by the server's clock.

    The writer's own clock only says how long ago that was, so that two machines need not agree on the time. One that
    does not say when it began, or whose clock went back since, begins now.
    """
    age_ns = hello.time_ns - hello.started_ns if hello.started_ns > 0 else 0
    return max(0, received_ns - max(0, age_ns))


def enter_attempt(connection: Connection, hello: Hello, begun_ns: int) -> tuple[int, int]:
    """Number and start of the greeting's attempt; the first of its ranks to come decides both.

    Args:
        connection: inside of a transaction.
        hello: of a rank.
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
    """Return the number of an attempt, None when it is not known."""
    row = connection.execute(
        "SELECT ordinal FROM attempt WHERE run_id = ? AND attempt_id = ?", (run_id, attempt_id)
    ).fetchone()
    return None if row is None else int(row[0])


def attempt_places(connection: Connection, run_id: str) -> dict[int, int]:
    """Number to place, 1 for the attempt that began first; of equal starts the one that was greeted first."""
    numbers = connection.execute(
        "SELECT ordinal FROM attempt WHERE run_id = ? ORDER BY started_ns, ordinal", (run_id,)
    ).fetchall()
    return {number: place for place, (number,) in enumerate(numbers, start=1)}
