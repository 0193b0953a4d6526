"""The effect of a command, from a real store with a run before and after it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from recis_server.query.effect import read_effect
from recis_server.store.sql import SqlStore
from recis_server.store.values import CommandRow, RankResult, StreamRow

from recis.wire.codec import column
from recis.wire.messages import Declare, FrameRecord, Points, Result, Status
from tests.server.store.streams import SECOND, frame, greeting, opened, run

pytestmark = pytest.mark.timeout(60)
NOISE = np.random.default_rng(11).normal(size=2000) * 0.02
Change = Callable[[int], float]


@dataclass
class Scene:
    """A run in a store; each step takes a second."""

    store: SqlStore
    frames: int = 0

    async def rank(self, rank: int = 0, attempt: str = "a", started: int = 1, ranks: int = 1) -> StreamRow:
        hello = greeting(
            attempt=attempt, writer=f"{attempt}{rank}", rank=rank, world_size=ranks,
            time_ns=started * SECOND, started_ns=started * SECOND,
        )  # fmt: skip
        return await self.store.register(hello, started * SECOND)

    async def send(self, stream: StreamRow, *records: FrameRecord) -> None:
        self.frames += 1
        await self.store.append(frame(replace(stream, acked=0), self.frames, *records))

    async def train(
        self,
        stream: StreamRow,
        first: int,
        last: int,
        begun: int = 0,
        every: int = 1,
        more: Mapping[str, Change] | None = None,
        **named: Change,
    ) -> None:
        """Report series at some steps; `begun` is the time of step 0."""
        series = {**named, **(more or {})}
        steps = list(range(first, last + 1, every))
        points = Points(
            keys=tuple(series),
            steps=column(steps, "<i8"),
            times=column([(begun + step) * SECOND for step in steps], "<i8"),
            values=column([value(step) for value in series.values() for step in steps], "<f8"),
        )
        await self.send(stream, points)

    async def command(
        self,
        name: str,
        steps: Mapping[int, int],
        streams: Mapping[int, StreamRow],
        *,
        control: str = "lr",
        value: Any = 2,
        old: Any = 1,
        begun: int = 0,
        others: Mapping[int, Literal["pending", "rejected"]] | None = None,
    ) -> None:
        """Add a command that ranks have applied after these steps."""
        ranks = {rank: RankResult("pending") for rank in (*steps, *(others or {}))}
        row = CommandRow(name, "r", control, value, "pending", "mia", 1, "", None, ranks)
        await self.store.add_command(row, "mia")
        outcomes: dict[int, tuple[Literal["applied", "rejected"], int]] = {r: ("applied", s) for r, s in steps.items()}
        outcomes |= {rank: ("rejected", 1) for rank, state in (others or {}).items() if state == "rejected"}
        for rank, (state, step) in outcomes.items():
            result = Result(
                command=name, control=control, state=state, step=step, old=old, new=value,
                time_ns=(begun + step) * SECOND + SECOND // 2,
            )  # fmt: skip
            await self.send(streams[rank], result)

    async def effect(self, name: str, window: int | None = None) -> dict[str, Any]:
        row = await self.store.run("r")
        command = await self.store.command("r", name)
        assert row is not None
        assert command is not None
        return await read_effect(self.store, row, command, window)


def metric(effect: dict[str, Any], key: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in effect["metrics"] if one["key"] == key)
    return found


def noisy(before: float, after: float, at: int) -> Change:
    return lambda step: (before if step <= at else after) + NOISE[step]


def play(folder: Path, act: Callable[[Scene], Any]) -> None:
    async def scenario() -> None:
        async with opened(folder) as store:
            await act(Scene(store))

    run(scenario)


def test_loss_speed_and_tables_are_compared_around_the_step_of_the_command(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        rank = await scene.rank()
        await scene.send(rank, Declare(control="filter_interval", type="int", value=50, minimum=1))
        await scene.train(rank, 1, 349, loss=noisy(1.0, 0.8, 300))
        await scene.train(rank, 10, 340, every=10, qps=lambda step: 20 + NOISE[step])
        await scene.command("c", {0: 300}, {0: rank}, control="filter_interval", value=50, old=25)
        waiting = await scene.effect("c")
        # Five intervals of 50 steps: up to step 550, while the run is at 349.
        assert (waiting["state"], waiting["missing_steps"], waiting["windows"]["steps"]) == ("waiting", 201, 250)
        assert waiting["metrics"] == []

        await scene.train(rank, 350, 600, loss=lambda step: math.nan if step == 400 else 0.8 + NOISE[step])
        await scene.train(rank, 350, 600, every=10, qps=lambda step: 20 + NOISE[step])
        for first, last, every in ((25, 300, 25), (350, 600, 50)):
            rows = {"table/user/rows": noisy(1000.0, 1200.0, 300), "table/user/pass_ms": lambda _: 1.5}
            await scene.train(rank, first, last, every=every, more=rows)
        effect = await scene.effect("c")
        assert (effect["state"], effect["steps"], effect["missing_steps"]) == ("measured", {"0": 300}, 0)
        assert effect["windows"] == {"steps": 250, "cut": None, "by": None}
        loss = metric(effect, "loss")
        assert (loss["verdict"], loss["role"], loss["before"]["count"]) == ("lower", "loss", 250)
        assert loss["difference"] == pytest.approx(-0.2, abs=0.01)
        assert loss["after"]["mean"] == pytest.approx(0.8, abs=0.01)
        assert (loss["after"]["count"], loss["after"]["nan"]) == (250, 1)
        assert 0 < loss["noise"] < 0.05
        qps = metric(effect, "qps")
        assert (qps["verdict"], qps["role"], qps["before"]["count"], qps["after"]["count"]) == ("noise", "rate", 25, 25)
        size = metric(effect, "table/user/rows")
        assert (size["verdict"], size["table"], size["over_ranks"]) == ("higher", "user", "sum")
        assert (size["before"]["count"], size["after"]["count"]) == (10, 5)
        assert metric(effect, "table/user/pass_ms")["difference"] == 0.0
        # A window of another length: nine steps less than were trained.
        assert (await scene.effect("c", 10))["windows"]["steps"] == 10
        assert metric(await scene.effect("c", 10), "qps")["verdict"] == "unknown"
        assert (await scene.effect("c", 301))["windows"] == {"steps": 300, "cut": "start", "by": None}

    play(tmp_path, act)


def test_each_rank_is_measured_around_its_own_step(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        ranks = {number: await scene.rank(number, ranks=3) for number in range(3)}
        steps = {0: 120, 1: 180}
        for number, stream in ranks.items():
            at = steps.get(number, 150)
            rows = {"table/user/rows": noisy(100.0, 150.0, at)}
            await scene.train(stream, 1, 270, loss=noisy(number, number + 1, at), more=rows)
        await scene.command("c", steps, ranks, others={2: "rejected"})
        effect = await scene.effect("c")
        assert (effect["state"], effect["missing_steps"], effect["without"]) == ("waiting", 10, {"2": "rejected"})
        await scene.train(ranks[1], 271, 280, loss=lambda _: 2.0)
        effect = await scene.effect("c")
        assert (effect["steps"], effect["windows"]["steps"]) == ({"0": 120, "1": 180}, 100)
        loss, size = metric(effect, "loss"), metric(effect, "table/user/rows")
        assert (loss["before"]["mean"], loss["after"]["mean"]) == (
            pytest.approx(0.5, abs=0.01),
            pytest.approx(1.5, abs=0.01),
        )
        assert (loss["verdict"], loss["before"]["count"]) == ("higher", 200)
        assert size["before"]["mean"] == pytest.approx(200, abs=0.1)
        assert (size["after"]["mean"], size["verdict"]) == (pytest.approx(300, abs=0.1), "higher")

    play(tmp_path, act)


def test_windows_end_where_the_same_control_is_changed_again(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        rank = await scene.rank()
        await scene.train(rank, 1, 400, loss=noisy(1.0, 0.5, 200))
        await scene.command("first", {0: 170}, {0: rank}, value=1, old=0)
        await scene.command("other", {0: 190}, {0: rank}, control="log_step")
        await scene.command("second", {0: 200}, {0: rank})
        await scene.command("same", {0: 215}, {0: rank}, value=2, old=1)
        await scene.command("third", {0: 220}, {0: rank}, value=3, old=2)
        await scene.command("hasty", {0: 224}, {0: rank}, value=4, old=3)
        second = await scene.effect("second")
        assert (second["state"], second["windows"]) == ("measured", {"steps": 20, "cut": "superseded", "by": "third"})
        assert metric(second, "loss")["before"]["count"] == metric(second, "loss")["after"]["count"] == 20
        assert metric(second, "loss")["verdict"] == "lower"
        assert second["also"] == [{"command": "other", "controls": ["log_step"], "step": 190}]
        first = await scene.effect("first")
        assert first["windows"] == {"steps": 30, "cut": "superseded", "by": "second"}
        third = await scene.effect("third")
        assert (third["state"], third["windows"]["steps"], third["windows"]["by"]) == ("none", 4, "hasty")
        assert third["message"] == "Another command changed the same control 4 steps later; at least 10 are needed."
        hasty = await scene.effect("hasty")
        assert (hasty["state"], hasty["windows"]["cut"], hasty["windows"]["by"]) == ("none", "earlier", "third")

    play(tmp_path, act)


def test_what_a_later_attempt_has_trained_again_is_left_out(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        old = await scene.rank()
        await scene.train(old, 1, 250, loss=noisy(1.0, 0.5, 150))
        await scene.command("c", {0: 150}, {0: old})
        # Back to step 200: points from there on are replaced, but none before the command.
        new = await scene.rank(attempt="b", started=1000)
        await scene.train(new, 200, 230, begun=1000, loss=lambda _: 0.7)
        assert (await scene.effect("c"))["missing_steps"] == 20
        await scene.train(new, 231, 300, begun=1000, loss=lambda _: 0.7)
        loss = metric(await scene.effect("c"), "loss")
        assert (loss["before"]["count"], loss["after"]["count"], loss["repeated"]) == (100, 100, 0)
        assert loss["after"]["mean"] == pytest.approx((0.5 * 49 + 0.7 * 51) / 100, abs=0.01)
        # Back to step 100: its steps up to 150 were trained after the command, with the new value.
        third = await scene.rank(attempt="c", started=2000)
        await scene.train(third, 100, 300, begun=2000, loss=lambda _: 0.3)
        loss = metric(await scene.effect("c"), "loss")
        assert (loss["before"]["count"], loss["after"]["count"], loss["repeated"]) == (49, 100, 51)
        assert loss["before"]["mean"] == pytest.approx(1.0, abs=0.02)
        # A command of a superseded attempt ends windows of a later one only if they reach back to steps before it.
        await scene.command("again", {0: 180}, {0: third}, value=3, begun=2000)
        assert (await scene.effect("again", 81))["windows"] == {"steps": 81, "cut": None, "by": None}
        assert (await scene.effect("again", 82))["windows"] == {"steps": 30, "cut": "earlier", "by": "c"}
        # Back to the start: nothing is left from before the command.
        fourth = await scene.rank(attempt="d", started=3000)
        for first, last in ((1, 100), (101, 300)):
            await scene.train(fourth, first, last, begun=3000, loss=lambda _: 0.2)
            effect = await scene.effect("c")
            assert (effect["state"], effect["message"].split(" has ")[0]) == ("none", "A later attempt")

    play(tmp_path, act)


def test_commands_without_an_effect_say_why(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        rank = await scene.rank()
        await scene.send(rank, Declare(control="stop", type="action"))
        await scene.command("early", {0: 5}, {0: rank})
        assert (await scene.effect("early"))["message"].startswith("The run reports neither a loss nor")
        await scene.train(rank, 1, 120, more={"train/loss": noisy(1, 1, 0), "steps_per_second": lambda _: 7.0})
        await scene.command("open", {}, {0: rank}, others={0: "pending"})
        await scene.command("refused", {}, {0: rank}, others={0: "rejected"})
        await scene.command("middle", {0: 60}, {0: rank}, control="b")
        await scene.command("late", {0: 115}, {0: rank}, control="c")
        await scene.command("stop", {0: 120}, {0: rank}, control="stop", value=None, old=None)
        texts = {
            "early": ("none", "Only 5 steps were trained before the command; at least 10 are needed."),
            "open": ("open", "No rank has applied the command yet."),
            "refused": ("none", "The command was rejected."),
            "stop": ("none", "The command has ended the training: there are no steps after it."),
        }
        for name, expected in texts.items():
            effect = await scene.effect(name)
            assert (effect["state"], effect["message"]) == expected
        assert (await scene.effect("late"))["missing_steps"] == 95
        assert (await scene.effect("middle"))["windows"] == {"steps": 60, "cut": "start", "by": None}
        assert (await scene.effect("middle"))["state"] == "measured"
        assert [one["key"] for one in (await scene.effect("middle"))["metrics"]] == ["train/loss", "steps_per_second"]
        # Once the run has ended, no more steps will come.
        await scene.send(rank, Status(state="finished", time_ns=1))
        late = await scene.effect("late")
        assert late["message"] == "The run ended 5 steps after the command; at least 10 are needed."
        assert (await scene.effect("middle"))["windows"]["cut"] in ("start", "end")

    play(tmp_path, act)


def test_only_the_lowest_ranks_and_the_first_tables_are_read(tmp_path: Path) -> None:
    async def act(scene: Scene) -> None:
        ranks = {number: await scene.rank(number, ranks=18) for number in range(18)}
        tables = {f"table/t{number:02}/rows": lambda _: 1.0 for number in range(20)}
        for stream in ranks.values():
            await scene.train(stream, 1, 40, loss=lambda _: 1.0)
        await scene.train(ranks[0], 10, 40, every=10, more=tables)
        await scene.command("c", dict.fromkeys(ranks, 20), ranks)
        effect = await scene.effect("c", 20)
        assert (effect["ranks_left_out"], effect["tables_left_out"]) == (2, 4)
        assert metric(effect, "loss")["before"]["count"] == 16 * 20
        assert len(effect["metrics"]) == 1 + 16

    play(tmp_path, act)
