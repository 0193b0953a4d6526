"""Random damage to bytes, as caused by disks, copies and people; from a seeded generator, so that it is reproducible.

Owns the kinds of damage; must not know what the bytes mean.
"""

import random
from collections.abc import Callable, Sequence

__all__ = ["DAMAGES", "Damaging"]

Damaging = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
"""The generator, the bytes, and bytes of the same kind from elsewhere."""


def flipped(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 3, 8])):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def overwritten(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    place, length = chance.randrange(len(data)), chance.randrange(1, 65)
    return data[:place] + chance.randbytes(length) + data[place + length :]


def truncated(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: chance.randrange(len(data))]


def zeroed(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    place = _block_of(chance, data)
    return data[: place.start] + bytes(place.stop - place.start) + data[place.stop :]


def repeated(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Repeat a block at another position."""
    place = _block_of(chance, data)
    start = chance.randrange(len(data)) // 8 * 8
    return data[: place.start] + data[start : start + place.stop - place.start] + data[place.stop :]


def mixed(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Replace a block with other bytes."""
    place = _block_of(chance, data)
    return data[: place.start] + chance.choice(others)[place] + data[place.stop :]


def shifted(chance: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Insert bytes."""
    place, length = chance.randrange(len(data)), chance.choice([1, 8, 40, 120])
    into = chance.choice([bytes(length), data[place : place + length], chance.randbytes(length)])
    return (data[:place] + into + data[place:])[: chance.choice([len(data), 2 * len(data)])]


def extended(chance: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data + chance.choice([b"\0" * 512, chance.randbytes(100), chance.choice(others)])


DAMAGES: list[Damaging] = [flipped, overwritten, truncated, zeroed, repeated, mixed, shifted, extended]
"""All kinds, for bytes of which there is at least one."""


def _block_of(chance: random.Random, data: bytes) -> slice:
    size = chance.choice([8, 16, 64, 512, 1024])
    start = chance.randrange(len(data)) // size * size
    return slice(start, start + size)
