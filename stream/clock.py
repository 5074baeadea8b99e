"""From RTP timestamps to stream time: one clock for all tracks of one sender.

RTP timestamps of two tracks start at unrelated random values. Only the sender's RTCP reports relate
them: each names one instant in the sender's wall clock (NTP) and in the track's RTP clock. Until a
track's first report its packets are placed by when they arrived, which is marked provisional.

Everything here is pure: time is passed in, nothing is read from the machine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from workers.messages import SAMPLE_RATE

NTP_TO_UNIX = 2_208_988_800
"""Seconds between the NTP epoch (1900) and the Unix epoch (1970)."""

STEP_S = 0.020
"""A correction of at least this is made at once; a smaller one is smoothed."""

JUMP_S = 2.0
"""Media that is this far from its arrival has jumped: nothing but a new anchor explains it."""

SMOOTHING = 0.5
"""Share of a small difference that one report corrects: reports carry some ms of noise."""

_WRAP = 1 << 32


def signed_difference(a: int, b: int) -> int:
    """Difference of two 32-bit counters that wrap, in [-2^31, 2^31)."""
    return ((a - b + (1 << 31)) % _WRAP) - (1 << 31)


def unix_from_ntp(ntp: int) -> float:
    """Seconds since 1970 of a 64-bit NTP timestamp (era 0, until 2036)."""
    return (ntp >> 32) - NTP_TO_UNIX + (ntp & 0xFFFFFFFF) / _WRAP


class RtpUnwrapper:
    """Continues 32-bit RTP timestamps without end, by signed difference.

    A timestamp before the newest is an earlier one, not a wrap of the counter. The result is always
    the timestamp modulo 2^32.
    """

    def __init__(self) -> None:
        self.newest: int | None = None

    def unwrap(self, timestamp: int) -> int:
        """`timestamp` as a number without wraps; remembers the newest."""
        value = self.peek(timestamp)
        if self.newest is None or value > self.newest:
            self.newest = value
        return value

    def peek(self, timestamp: int) -> int:
        """As ``unwrap``, but remembers nothing."""
        if self.newest is None:
            return timestamp
        return self.newest + signed_difference(timestamp, self.newest % _WRAP)

    def restart(self, timestamp: int) -> int:
        """`timestamp` is the newest from now on, even if it is an earlier one."""
        self.newest = self.peek(timestamp)
        return self.newest


@dataclass(frozen=True, slots=True)
class Line:
    """Where a track lies in stream time, for the moment."""

    rate: int
    """RTP ticks per second."""
    offset: float
    """Stream time of timestamp 0."""
    provisional: bool
    """True: placed by arrival, not by a sender report."""
    epoch: int
    """Rises whenever the track was moved at once."""

    def time(self, timestamp: int) -> float:
        """Stream time in seconds of an unwrapped timestamp."""
        return timestamp / self.rate + self.offset


class Stamp(NamedTuple):
    """An unwrapped timestamp and the line that held when its packet arrived."""

    timestamp: int
    line: Line

    @property
    def t(self) -> float:
        return self.line.time(self.timestamp)


class _Track:
    def __init__(self, rate: int, delay: float) -> None:
        self.rate = rate
        self.delay = delay
        self.unwrapper = RtpUnwrapper()
        self.line: Line | None = None
        self.by_arrival = 0.0
        """Offset that the newest packet's arrival suggests."""
        self.late_since: float | None = None
        self.pending: tuple[float, int] | None = None
        """A report that came before the first packet: Unix time, RTP timestamp."""
        self.doubted: float | None = None
        """Offset of a report that asks for a step: a busy sender may date one wrongly."""

    def confirms(self, offset: float) -> bool:
        """Whether the report before asked for the same step; if not, this one is doubted."""
        before, self.doubted = self.doubted, offset
        return before is not None and abs(offset - before) < STEP_S

    def move(self, offset: float, *, provisional: bool, step: bool) -> None:
        epoch = 0 if self.line is None else self.line.epoch + step
        self.line = Line(self.rate, offset, provisional, epoch)


class SenderClock:
    """The clock of one sender. Stream time 0 is `start` on the receiver's (arrival) clock."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.counts: Counter[str] = Counter()
        """``reports``, ``reports_ignored``, ``reports_doubted`` (a step that the next report must
        confirm), ``jumps`` (of RTP timestamps), ``steps`` (corrections made at once) and
        ``wall_clock_steps`` (of the sender's clock)."""
        self.unix_at_zero: float | None = None
        """The sender's wall clock at stream time 0, None before the first report."""
        self._tracks: dict[str, _Track] = {}

    def add_track(self, name: str, rate: int, delay: float) -> None:
        """`rate`: RTP ticks per second. `delay`: usual seconds from capture to arrival."""
        self._tracks[name] = _Track(rate, delay)

    def provisional(self) -> bool:
        """True while any track that has begun is placed by arrival."""
        lines = [track.line for track in self._tracks.values() if track.line is not None]
        return not lines or any(line.provisional for line in lines)

    def packet(self, name: str, timestamp: int, arrival: float) -> Stamp:
        """Place a packet that arrived now. Packets may come late or twice."""
        track = self._tracks[name]
        value = track.unwrapper.unwrap(timestamp)
        by_arrival = arrival - self.start - track.delay - value / track.rate
        if track.line is None:
            track.by_arrival = by_arrival
            track.move(by_arrival, provisional=True, step=False)
            self._use_pending(track)
        elif self._jumped(track, value, by_arrival, arrival):
            self.counts["jumps"] += 1
            value = track.unwrapper.restart(timestamp)
            track.move(by_arrival, provisional=True, step=True)
        elif track.line.provisional and by_arrival < track.line.offset:
            # What the anchor was taken from came late; nothing arrives before it was captured.
            step = track.line.offset - by_arrival >= STEP_S
            self.counts["steps"] += step
            track.move(by_arrival, provisional=True, step=step)
        track.by_arrival = by_arrival
        assert track.line is not None
        return Stamp(value, track.line)

    def report(self, name: str, ntp: int, timestamp: int) -> None:
        """Use a sender report: 64-bit NTP time and RTP timestamp of the same instant."""
        track = self._tracks[name]
        if ntp >> 32 == 0:  # the sender has no wall clock, or has sent nothing yet
            self.counts["reports_ignored"] += 1
        elif track.line is None:
            track.pending = (unix_from_ntp(ntp), timestamp)
        else:
            self._use(track, track.line, unix_from_ntp(ntp), timestamp)

    def _jumped(self, track: _Track, value: int, by_arrival: float, arrival: float) -> bool:
        """Media that goes back or is ahead of its arrival has jumped; media behind its arrival only
        when that lasts a second, because an outage of the network delivers late packets too.
        """
        assert track.line is not None
        assert track.unwrapper.newest is not None
        late = by_arrival - track.line.offset
        if track.unwrapper.newest - value > JUMP_S * track.rate:
            return True
        if late < JUMP_S:
            track.late_since = None
            return late < -JUMP_S
        if track.late_since is None:
            track.late_since = arrival
        if arrival - track.late_since < 1.0:
            return False
        track.late_since = None
        return True

    def _use_pending(self, track: _Track) -> None:
        if track.pending is not None and track.line is not None:
            unix, timestamp = track.pending
            track.pending = None
            self._use(track, track.line, unix, timestamp)

    def _use(self, track: _Track, line: Line, unix: float, timestamp: int) -> None:
        value = track.unwrapper.peek(timestamp)
        since_packet = line.time(value) - line.time(track.unwrapper.newest or 0)
        if abs(since_packet) > 60.0:  # of another life of this track's timestamps
            self.counts["reports_ignored"] += 1
            return
        self.counts["reports"] += 1
        if self.unix_at_zero is None:
            self.unix_at_zero = unix - line.time(value)
        offset = unix - self.unix_at_zero - value / track.rate
        if abs(offset - track.by_arrival) > JUMP_S:
            # Packets arrive as before, so it is the sender's wall clock that was set.
            self.counts["wall_clock_steps"] += 1
            self.unix_at_zero += offset - line.offset
            offset = line.offset
        step = abs(offset - line.offset) >= STEP_S
        if step and not line.provisional and not track.confirms(offset):
            self.counts["reports_doubted"] += 1
            return
        track.doubted = None
        self.counts["steps"] += step
        if not step and not line.provisional:
            offset = line.offset + SMOOTHING * (offset - line.offset)
        track.move(offset, provisional=False, step=step)


class Placement(NamedTuple):
    t0: float
    """Stream time of the first sample; a multiple of one sample."""
    samples: int
    """Length that the chunk must be given to stay in time."""
    stepped: bool
    """True when this chunk does not continue the last one."""


class SampleGrid:
    """Lays audio chunks end to end on the sample grid of stream time.

    The clock moves a little with every report. To follow without tearing the sound, chunks are made
    longer or shorter by at most one sample in 200 (5 ms per second); a chunk that is further off
    than ``STEP_S`` is put where it belongs.
    """

    _DEAD_BAND = SAMPLE_RATE // 2000

    def __init__(self) -> None:
        self._next: int | None = None

    def restart(self) -> None:
        """The next chunk is put exactly where it belongs."""
        self._next = None

    def place(self, t: float, samples: int) -> Placement:
        """Place a chunk of `samples` samples that should start at `t`."""
        wanted = round(t * SAMPLE_RATE)
        error = 0 if self._next is None else wanted - self._next
        stepped = self._next is None or abs(error) >= STEP_S * SAMPLE_RATE
        start = wanted if self._next is None or stepped else self._next
        if stepped or abs(error) <= self._DEAD_BAND:
            length = samples
        else:
            most = samples // 200
            length = samples + max(-most, min(most, error))
        self._next = start + length
        return Placement(start / SAMPLE_RATE, length, stepped)
