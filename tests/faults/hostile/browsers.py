"""Browsers that ask for nonsense, and some that never read an answer."""

import json
from typing import Any

from tests.faults.hostile.attack import ERRORS, RUNS, TOLD, Attack

__all__ = ["Browsers"]


class Browsers(Attack):
    """Browsers that ask for nonsense, and some that never read an answer."""

    kind = "browsers"

    def turn(self) -> None:
        """One socket."""
        with self.socket("/ws/live") as connection:
            reads = self.chance.random() < 0.7
            for _ in range(self.chance.choice([1, 10, 100, 400])):
                text = json.dumps(self.changed(self.request()), default=str)
                connection.send(
                    self.damaged(text.encode()).decode(errors="replace") if self.chance.random() < 0.1 else text
                )
                if reads:
                    self.read(connection, 0.0)
            if self.chance.random() < 0.1:
                connection.send([b"x"] * self.chance.choice([2, 5000]))
            self.read(connection, 0.2)

    def request(self) -> dict[str, Any]:
        """Return a valid request of a browser."""
        run, number = self.chance.choice(RUNS), self.chance.randrange(5)
        return self.chance.choice(
            [
                {"type": "follow", "run": run},
                {"type": "follow", "runs": True},
                {"type": "unfollow", "run": run},
                {"type": "unwatch", "id": number},
                {"type": "watch", "id": number, "run": run, "keys": ["loss", "lr"], "rank": "all", "start": None,
                 "stop": self.chance.choice([None, 9, 2**63 - 1]), "points": 340, "superseded": True},
            ]
        )  # fmt: skip

    def reply(self, message: str | bytes) -> None:
        """Check one message to a browser."""
        if isinstance(message, bytes):
            head = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
            self.expect(head["type"] in ("snapshot", "delta"), head["type"])
            return
        told = json.loads(message)
        self.expect(told["type"] in TOLD, told["type"])
        if told["type"] == "error":
            self.expect(told["error"]["code"] in ERRORS, f"error {told['error']['code']}")
