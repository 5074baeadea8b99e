"""A UDP relay between two peers that loses, delays and cuts by a seeded script.

Both sides think that the relay is the other one: candidates in their descriptions are replaced by
its ports. Kernels may lack a way to do this to a network, and it would need leave to do it.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

CANDIDATE = re.compile(r"^a=candidate:\S+ 1 udp \d+ ([\d.]+) (\d+) typ host", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Link:
    """What the network does to a packet."""

    loss: float = 0.0
    """Share that is lost, each packet by itself."""
    jitter_s: float = 0.0
    """Each is delayed by up to this, each by itself."""
    late: float = 0.0
    """Share that is delayed by ``late_s``."""
    late_s: float = 0.0
    cut_s: float = 0.0
    """Nothing gets through in the last seconds of the faults."""


Address = tuple[str, int]


class Relay:
    """Carries packets between the sender and the receiver of media.

    From ``begin`` on, packets from the sender meet `link` for `seconds`; the n-th packet of media
    meets the same fate whenever `seed` is the same.
    """

    def __init__(self, link: Link, seconds: float, seed: str) -> None:
        self.counts: Counter[str] = Counter()
        """Packets of media: ``sent``, ``lost`` here, and ``passed`` on during the faults."""
        self.first: int | None = None
        """Sequence number of the first packet of media that was passed on."""
        self.lowest: int | None = None
        self._link = link
        self._seconds = seconds
        self._seed = seed
        self._begin: float | None = None
        self._left = _Side(self._from_sender)
        self._right = _Side(self._from_receiver)

    @property
    def span(self) -> tuple[float, float]:
        """When the faults begin and end (monotonic clock)."""
        assert self._begin is not None
        return self._begin, self._begin + self._seconds

    def begin(self) -> None:
        """Let the faults begin."""
        self._begin = time.monotonic()

    async def to_receiver(self, offer: str) -> str:
        """The sender's offer, with the relay in the sender's place."""
        self._left.peer, port = _candidate(offer), await self._right.open(_candidate(offer)[0])
        return _replace(offer, port)

    async def to_sender(self, answer: str) -> str:
        """The receiver's answer, with the relay in the receiver's place."""
        self._right.peer, port = _candidate(answer), await self._left.open(_candidate(answer)[0])
        return _replace(answer, port)

    def close(self) -> None:
        self._left.close()
        self._right.close()

    def _from_sender(self, data: bytes, address: Address) -> None:
        self._left.peer = address
        fate = self._fate(data)
        if fate is None:
            return
        if fate > 0:
            asyncio.get_running_loop().call_later(fate, self._right.send, data)
        else:
            self._right.send(data)

    def _from_receiver(self, data: bytes, address: Address) -> None:
        self._right.peer = address
        if not self._is_cut():
            self._left.send(data)

    def _fate(self, data: bytes) -> float | None:
        """Seconds of delay; None: lost."""
        media = 128 <= data[0] < 192 and not 192 <= data[1] < 224
        if not media:
            return None if self._is_cut() else 0.0
        n = self.counts["sent"]
        self.counts["sent"] += 1
        delay = self._media_fate(n)
        sequence = int.from_bytes(data[2:4], "big")
        self.lowest = sequence if self.lowest is None else self.lowest
        if delay is None:
            self.counts["lost"] += 1
        elif self.first is None:
            self.first = sequence
        return delay

    def _media_fate(self, n: int) -> float | None:
        if self._begin is None or time.monotonic() > self.span[1]:
            return 0.0
        rng = random.Random(f"{self._seed} {n}")
        lost, late, jitter = rng.random(), rng.random(), rng.random()
        if self._is_cut() or lost < self._link.loss:
            return None
        self.counts["passed"] += 1
        return jitter * self._link.jitter_s + (self._link.late_s if late < self._link.late else 0)

    def _is_cut(self) -> bool:
        if self._begin is None or not self._link.cut_s:
            return False
        end = self.span[1]
        return end - self._link.cut_s <= time.monotonic() < end


class _Side(asyncio.DatagramProtocol):
    """One port of the relay, and who is behind it."""

    def __init__(self, received: Callable[[bytes, Address], None]) -> None:
        self.peer: Address | None = None
        self._received = received
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, host: str) -> int:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, (host, 0))
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if data:
            self._received(data, addr)

    def send(self, data: bytes) -> None:
        if self._transport is not None and self.peer is not None:
            self._transport.sendto(data, self.peer)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None


def _candidate(description: str) -> Address:
    found = CANDIDATE.search(description)
    if found is None:
        raise RuntimeError("a peer has no address in IPv4")
    return found[1], int(found[2])


def _replace(description: str, port: int) -> str:
    """One candidate in each media section, at the relay's port; the others are taken away."""
    address, _ = _candidate(description)
    lines = []
    done = False
    for line in description.split("\r\n"):
        if line.startswith("m="):
            done = False
        if not line.startswith("a=candidate:"):
            lines.append(line)
        elif not done:
            lines.append(f"a=candidate:1 1 udp 2130706431 {address} {port} typ host")
            done = True
    return "\r\n".join(lines)
