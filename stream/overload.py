"""What the server does when there is too much to do.

It measures itself: processor time of the server and its workers, punctuality of the event loop,
how long things wait inside each call, and memory. A call begins only where there is room for it, or
with less than everything analysed. Calls that fall behind are analysed with less
(``stream.degrade``) and get it back. Engines serve calls in turn, one item of each at a time, so
that no call takes from another more than its turn.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

import psutil

from stream.call import BusyError, Call
from stream.degrade import LOADS, Ladder, Load
from stream.metrics import Metrics
from stream.sections import OverloadConfig

log = logging.getLogger(__name__)

PERIOD_S = 0.5
"""How often calls are looked at."""

CPU_S = 4.0
"""Processor time is that of the last so many seconds."""

MB = 1 << 20

AGES = {"face": 0.5, "voice": 1.0, "transcribe": 0.6, "infer": 0.5}
"""Mailbox -> seconds that its oldest item waits in a call that is strained."""

BEHIND_S = 1.0
"""From the end of a window to its estimate in a call that is strained."""

FALLING = 0.05
"""By so much of what strains a call (1) it must get less within a period to count as worked off."""

SETTLE_S = 2.0
"""After one call got a step back, others wait so long for theirs: its price must be seen first."""

LOST = 2
"""Pictures and windows lost to load within a period in a call that is strained."""


class Processor:
    """Cores in use by some processes together."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._spent: dict[int, float] = {}
        self._steps: deque[tuple[float, float]] = deque()
        self._last = time.monotonic()

    def measure(self) -> None:
        """To be called now and then."""
        spent = {pid: seconds for pid in self._pids() if (seconds := _spent(pid)) is not None}
        now = time.monotonic()
        used = sum(seconds - self._spent.get(pid, seconds) for pid, seconds in spent.items())
        self._steps.append((now - self._last, used))
        self._spent, self._last = spent, now
        while len(self._steps) > 1 and sum(length for length, _ in self._steps) > CPU_S:
            self._steps.popleft()

    @property
    def cores(self) -> float:
        length = sum(step[0] for step in self._steps)
        return sum(step[1] for step in self._steps) / length if length else 0.0


class Strain:
    """Whether one call cannot be kept up with."""

    def __init__(self, call: Call) -> None:
        self.ladder = Ladder()
        self._call = call
        self._lost = self._losses()
        self._worst_before = 0.0

    def look(self, now: float, late: float) -> int:
        """Take what holds `now`, as the ladder does; `late` is by how much the event loop is."""
        lost, before = self._losses(), self._lost
        worst, worst_before = self._worst(late), self._worst_before
        self._lost, self._worst_before = lost, worst
        # What gets less is worked off, and needs no more to be left out.
        strained = worst > max(1.0, worst_before - FALLING) or lost - before >= LOST
        calm = worst < 0.5 and lost == before
        return self.ladder.wish(now, strained=strained, calm=calm)

    def step(self, now: float, by: int) -> None:
        """Go one up or down the ladder."""
        self.ladder.step(now, by)
        self._call.session.use(LOADS[self.ladder.level])

    def _worst(self, late: float) -> float:
        boxes = self._call.session.graph.boxes
        waits = max(
            (boxes[name].age / most for name, most in AGES.items() if name in boxes), default=0
        )
        return max(waits, self._call.session.behind / BEHIND_S, late / BEHIND_S)

    def _losses(self) -> int:
        boxes = self._call.session.graph.boxes
        dropped = [boxes[name].account.dropped for name in ("face", "infer") if name in boxes]
        return sum(each["queue_full"] + each["too_old"] for each in dropped)


class Overload:
    """Of one server. `workers` gives the process ids of its workers."""

    def __init__(
        self, config: OverloadConfig, metrics: Metrics, workers: Callable[[], Iterable[int]]
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._room = config.max_cpu * len(os.sched_getaffinity(0))
        self._processor = Processor(lambda: [os.getpid(), *workers()])
        self._strains: dict[str, Strain] = {}
        self._memory = 0
        self._given_back = -math.inf
        self._first_memory = _memory()
        metrics.loads = self._loads

    def admit(self, calls: Sequence[Call]) -> Load:
        """How much of a new call is analysed at first. Raises ``BusyError``."""
        why = self._too_much(calls) if calls and self._config.admit else None
        if why is not None:
            self._metrics.refused[why[0]] += 1
            raise BusyError(
                f"this server has no room for another call: {why[1]}",
                hint="try again when other calls have ended",
            )
        used = self._processor.cores
        tight = bool(calls) and used + used / len(calls) > self._room
        return LOADS[1] if tight and self._config.degrade else LOADS[0]

    def began(self, call: Call, load: Load) -> None:
        """A call was admitted."""
        strain = self._strains[call.id] = Strain(call)
        if load != LOADS[0]:
            strain.ladder.level = LOADS.index(load)
            call.session.use(load)

    def ended(self, call: Call) -> None:
        """A call is over."""
        self._strains.pop(call.id, None)

    async def run(self, calls: Callable[[], Sequence[Call]]) -> None:
        """Watch `calls` until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self._processor.measure()
            self._memory = _memory()
            self._look(calls())

    def _look(self, calls: Sequence[Call]) -> None:
        """A method of its own: a name that waits between two looks would keep a call alive."""
        if self._config.degrade:
            self._degrade([self._strains[call.id] for call in calls if call.id in self._strains])
        for call in calls:
            held = sum(box.held for box in call.session.graph.boxes.values())
            if held > self._config.call_mb * MB:
                log.error("a call holds %d MB and is ended", held // MB)
                call.hang_up("memory")

    def _degrade(self, strains: Sequence[Strain]) -> None:
        """What strains calls strains all at once: they go up by thirds and come down one by one.

        Those go first of which least was left out, or most.
        """
        now, late = time.monotonic(), self._late()
        wishes = [(strain.ladder.level, strain.look(now, late), strain) for strain in strains]
        up = sorted((level, k) for k, (level, by, _) in enumerate(wishes) if by > 0)
        for _, k in up[: math.ceil(len(strains) / 3)]:
            wishes[k][2].step(now, 1)
        down = [(level, k) for k, (level, by, _) in enumerate(wishes) if by < 0]
        if down and not up and now - self._given_back >= SETTLE_S:
            self._given_back = now
            wishes[max(down)[1]][2].step(now, -1)

    def _too_much(self, calls: Sequence[Call]) -> tuple[str, str] | None:
        """What there is too much of, by name and in words."""
        used, grown = self._processor.cores, (self._memory - self._first_memory) / len(calls) / MB
        if used > self._room:
            return "cpu", f"it uses {used:.1f} cores of {self._room:.1f}"
        if self._late() > self._config.max_stall:
            return "event_loop", f"its event loop is late by {self._late():.2f} s"
        if grown > self._config.growth_mb:
            return "memory", f"its memory grew by {grown:.0f} MB per call"
        if any(strain.ladder.level > 1 for strain in self._strains.values()):
            return "calls", "those that run are analysed with less than they should be"
        return None

    def _late(self) -> float:
        """By how much the event loop is late in one of four cases of late."""
        stalls = sorted(self._metrics.stalls)
        return stalls[len(stalls) * 3 // 4] if stalls else 0.0

    def _loads(self) -> Counter[str]:
        return Counter(LOADS[strain.ladder.level] for strain in self._strains.values())


def _spent(pid: int) -> float | None:
    """Processor seconds of a process; None: it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)


def _memory() -> int:
    return int(psutil.Process().memory_info().rss)
