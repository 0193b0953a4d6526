"""Commands given at one server to ranks that are connected to others: one step for all, whatever is lost on the way."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.children import Child, start
from tests.e2e.processes import get_json, put_json, until
from tests.replicas.deployment import deployment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.waits]

NUM_RANKS = 2


@contextmanager
def ranks(folder: Path, urls: list[str]) -> Iterator[Path]:
    """The ranks of one job, each with the address of its server; the journal of each is below what this returns."""
    journal = folder / "journal-%r"
    children: list[Child] = []
    for rank, url in enumerate(urls):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "WORLD_SIZE": str(len(urls)),
            "RECIS_MONITOR_URL": url,
            "RECIS_MONITOR_RUN_ID": "job",
        }
        children.append(start("-m", "tests.control.rank", str(journal), "--rate", "40", env=environment))
    try:
        yield journal
    finally:
        for child in children:
            child.kill()
            child.wait(60)


def changes(journal: Path, control: str) -> list[dict[int, int]]:
    """For each rank, the step at which it was given each value."""
    found = []
    for rank in range(NUM_RANKS):
        path = journal.with_name(journal.name.replace("%r", str(rank)))
        entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        found.append({entry["value"]: entry["step"] for entry in entries if entry.get("control") == control})
    return found


def command(address: str, command_id: str) -> dict[str, Any]:
    return get_json(f"{address}/api/v1/runs/job/commands/{command_id}")


def ask(address: str, value: int, control: str = "a") -> str:
    return str(put_json(f"{address}/api/v1/runs/job/controls/{control}", {"value": value})["id"])


def started(address: str) -> bool:
    """Whether both ranks train and are known to be connected."""
    runs = get_json(f"{address}/api/v1/runs")["runs"]
    declared = get_json(f"{address}/api/v1/runs/job/controls")["controls"] if runs else []
    return (
        any(one["name"] == "a" and len(one["ranks"]) == NUM_RANKS for one in declared)
        and (runs[0]["last_step"] or 0) > 40
    )


def test_ranks_of_two_servers_change_at_one_step_whoever_is_asked(tmp_path: Path) -> None:
    with deployment(tmp_path, 3) as servers, ranks(tmp_path, servers.addresses[:2]) as journal:
        for address in servers.addresses:
            until(lambda a=address: started(a), 60, "both ranks have started")  # type: ignore[misc]
        for value, address in enumerate(servers.addresses * 2, start=10):
            sent = ask(address, value)
            until(lambda a=address, c=sent: command(a, c)["state"] == "applied", 60, "it is applied")  # type: ignore[misc]
            first, second = (of_rank[value] for of_rank in changes(journal, "a"))
            assert first == second == command(address, sent)["apply_at_step"]
            for other in servers.addresses:
                assert command(other, sent)["state"] == "applied"
        # Several at once, from all sides: in the order of the ledger, none lost.
        sent_at = [(address, ask(address, value)) for value, address in enumerate(servers.addresses * 2, start=50)]
        final = {"applied", "superseded"}
        for address, one in sent_at:
            until(lambda a=address, c=one: command(a, c)["state"] in final, 60, "it has ended")  # type: ignore[misc]
        assert command(*sent_at[-1])["state"] == "applied"
        # In the order of the journal: several may take effect at one step.
        newest = [list(of_rank.items())[-1] for of_rank in changes(journal, "a")]
        assert newest[0] == newest[1]
        assert newest[0][0] == 55
        for of_rank in changes(journal, "a"):
            assert list(of_rank.values()) == sorted(of_rank.values())
        # One that each rank applies for itself.
        each = ask(servers.addresses[2], 7, "free")
        until(lambda: command(servers.addresses[2], each)["state"] == "applied", 60, "it is applied")


def test_a_command_reaches_its_ranks_without_the_bus_and_after_the_death_of_their_server(tmp_path: Path) -> None:
    with deployment(tmp_path, 3) as servers, ranks(tmp_path, [servers.proxy.address] * 2) as journal:
        last = servers.addresses[2]
        until(lambda: started(last), 60, "both ranks have started")
        servers.nats.stop()
        sent = ask(last, 20)
        until(lambda: command(last, sent)["state"] == "applied", 60, "it is applied without the bus")
        assert all(20 in of_rank for of_rank in changes(journal, "a"))
        servers.nats.start()
        for place in (0, 1):
            sent = ask(last, 30 + place)
            servers.kill(place)
            until(lambda c=sent: command(last, c)["state"] == "applied", 60, "it is applied elsewhere")  # type: ignore[misc]
            until(lambda p=place: all(30 + p in one for one in changes(journal, "a")), 60, "by all")  # type: ignore[misc]
            servers.restart(place)
