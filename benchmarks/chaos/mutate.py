"""Bytes that are nearly right: what a fuzzer, a bug or an attacker makes of a whole message."""

from __future__ import annotations

import random
from collections.abc import Sequence

INTERESTING = (0x00, 0x01, 0x03, 0x1C, 0x18, 0x67, 0x78, 0x7F, 0x80, 0xFC, 0xFF)


def mutate(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """`data` with one to three changes; `others` are messages that parts may come from."""
    for _ in range(rng.randint(1, 3)):
        data = rng.choice(WAYS)(rng, data, others)
    return data


def _flip(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    for _bit in range(rng.randint(1, 8)):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _begin(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Other first bytes: there the headers are."""
    n = min(len(data), rng.randint(1, 4))
    return bytes(rng.choice(INTERESTING) for _byte in range(n)) + data[n:]


def _cut(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: rng.randint(0, len(data))]


def _behead(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[rng.randint(0, len(data)) :]


def _grow(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return (data[:at] + rng.randbytes(rng.randint(1, 64)) + data[at:])[:1180]


def _other(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The rest of another message."""
    if not others:
        return data
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(others)[at:]


def _noise(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return rng.randbytes(rng.randint(0, max(1, len(data))))


def _same(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return bytes([rng.choice(INTERESTING)]) * len(data)


def _nothing(_rng: random.Random, _data: bytes, _: Sequence[bytes]) -> bytes:
    return b""


WAYS = (_flip, _flip, _begin, _cut, _behead, _grow, _other, _noise, _same, _nothing)
