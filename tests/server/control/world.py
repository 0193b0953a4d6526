"""A command service with a clock of its own, and training processes without their connections."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recis_server.bus import Hint
from recis_server.control.liverun import RankConnection
from recis_server.control.service import CommandService
from recis_server.store.values import CommandRow, StoredFrame, StreamRow

from recis.wire.messages import Command, Declare, Frame, FrameRecord, Hello, Result, Schedule, Seen
from tests.server.realserver import Parts, hello, parts, points, until_async

SECOND = 1_000_000_000
INTERVAL = Declare(control="filter_interval", type="int", value=100, step=0, minimum=1, nullable=True, unit="steps")


class Clock:
    now_s = 1_000_000.0
    ahead_s = 0.0
    """Of the real monotonic clock."""

    def __call__(self) -> int:
        return int(self.now_s * SECOND)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@dataclass
class Rank:
    """A training process without its connection."""

    server: "World"
    row: StreamRow
    commands: list[Command] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)
    connection: RankConnection | None = None
    n: int = 0
    features: tuple[str, ...] = ()

    def take(self, record: Command | Schedule) -> None:
        if isinstance(record, Command):
            self.commands.append(record)
        else:
            self.schedules.append(record)

    async def attach(self) -> None:
        await self.server.parts.presence.joined(self.row)
        greeting = Hello(run="r1", writer=self.row.writer, attempt="a", features=self.features)
        given = await self.server.commands.greeting(self.row, greeting)
        self.commands.extend(given)
        self.connection = await self.server.commands.attach(self.row, greeting, self.take, given)

    async def see(self, command: str, step: int | None = None) -> None:
        assert self.connection is not None
        await self.server.commands.seen(self.connection, Seen(command=command, step=step))

    async def leave(self) -> None:
        assert self.connection is not None
        self.server.commands.detach(self.connection)
        await self.server.parts.presence.left(self.row, expected=True)

    async def report(self, *records: FrameRecord) -> None:
        self.n += 1
        await self.server.parts.store.append(StoredFrame(self.row, Frame(n=self.n, records=records), time.time_ns()))

    async def answer(self, command: Command, step: int, state: Any = "applied", message: str = "") -> None:
        new = command.value if state == "applied" else 100
        result = Result(
            command=command.id,
            control=command.control,
            state=state,
            step=step,
            time_ns=step * SECOND,
            old=100,
            new=new,
            message=message,
        )
        await self.report(result)


@dataclass
class World:
    """A command service with a clock of its own, beside the other parts of a server."""

    parts: Parts
    commands: CommandService
    clock: Clock
    hints: list[Hint]

    async def rank(
        self,
        number: int = 0,
        *,
        world_size: int = 1,
        attempt: str = "a1",
        controls: Any = (INTERVAL,),
        features: tuple[str, ...] = (),
        process: str = "w",
    ) -> Rank:
        greeting = hello(writer=f"{attempt}-{process}{number}", attempt=attempt, rank=number, world_size=world_size)
        one = Rank(self, await self.parts.store.register(greeting, 1), features=features)
        await one.attach()
        await one.report(*controls)
        return one

    async def ask(self, value: Any = 200, control: str = "filter_interval", **options: Any) -> CommandRow:
        return await self.commands.request("r1", {control: value}, actor="ann", **options)

    async def state(self, command: str, state: str) -> CommandRow:
        """Wait until the command is in `state`."""

        async def look() -> CommandRow | None:
            row = await self.parts.store.command("r1", command)
            return row if row is not None and row.state == state else None

        return await until_async(look)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    async with parts(folder) as made:
        await made.commands.close()
        clock = Clock()
        hints: list[Hint] = []
        made.bus.subscribe(hints.append)
        opened = World(made, new_service(made, clock), clock, hints)
        await opened.commands.open()
        try:
            yield opened
        finally:
            await opened.commands.close()


def new_service(made: Parts, clock: Clock) -> CommandService:
    return CommandService(made.store, made.presence, made.bus, clock=clock, monotonic=clock.monotonic)


def run(folder: Path, scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with world(folder) as made:
            await scenario(made)

    asyncio.run(main())


PLAN = ("schedule",)


async def pair(world: World, **more: Any) -> list[Rank]:
    """Two ranks that understand commands on hold."""
    ranks = [await world.rank(number, world_size=2, features=PLAN, **more) for number in (0, 1)]
    for rank in ranks:
        # One step a second, at step 40.
        await rank.report(points([30, 40], loss=[1.0, 1.0]))
    return ranks


async def told_all(ranks: list[Rank]) -> bool:
    return all(rank.schedules for rank in ranks)


async def has_command(rank: Rank, command: str) -> bool:
    return rank.commands[-1].id == command


def fields_of(result: Result) -> dict[str, Any]:
    return {name: getattr(result, name) for name in result.__struct_fields__}
