"""The clock: pure functions of what arrived when."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.clock import (
    NTP_TO_UNIX,
    STEP_S,
    RtpUnwrapper,
    SampleGrid,
    SenderClock,
    signed_difference,
    unix_from_ntp,
)
from workers.messages import SAMPLE_RATE

UNIX = 1_700_000_000.0
RATES = {"audio": 48_000, "video": 90_000}
uint32 = st.integers(0, 2**32 - 1)


def ntp(unix: float) -> int:
    return int((unix + NTP_TO_UNIX) * 2**32)


class Sender:
    """A sender whose tracks' RTP clocks start anywhere and may run at a wrong rate.

    `begin` is when the sender's wall clock shows ``UNIX``, on the receiver's clock.
    """

    def __init__(self, origins: dict[str, int], *, ppm: float = 0.0, begin: float = 0.0) -> None:
        self.origins = origins
        self.ppm = ppm
        self.begin = begin

    def rtp(self, name: str, capture: float) -> int:
        rate = RATES[name] * (1 + (self.ppm if name == "audio" else 0.0) * 1e-6)
        return (self.origins[name] + round(capture * rate)) % 2**32

    def report(self, clock: SenderClock, name: str, capture: float) -> None:
        clock.report(name, ntp(UNIX + capture), self.rtp(name, capture))


def new_clock(start: float = 0.0) -> SenderClock:
    clock = SenderClock(start)
    clock.add_track("audio", RATES["audio"], 0.05)
    clock.add_track("video", RATES["video"], 0.05)
    return clock


def steps(start: float, stop: float, step: float) -> Iterator[float]:
    for i in range(round((stop - start) / step)):
        yield start + i * step


def errors(
    sender: Sender,
    clock: SenderClock,
    delay: dict[str, float],
    reports: dict[str, Iterable[float]],
    starts: dict[str, float],
    until: float,
    noise: float = 0.0,
) -> list[tuple[float, float]]:
    """(capture time, audio error - video error) over a whole call."""
    events: list[tuple[float, int, str, float]] = []
    for name, step in (("audio", 0.02), ("video", 1 / 30)):
        events += [(t + delay[name], 1, name, t) for t in steps(starts[name], until, step)]
        events += [(t + 0.01, 0, name, t) for t in reports[name] if t >= starts[name]]
    rng = random.Random(1)
    last: dict[str, float] = {}
    result = []
    for arrival, is_packet, name, capture in sorted(events):
        if is_packet:
            jitter = rng.uniform(0, noise)
            stamp = clock.packet(name, sender.rtp(name, capture), sender.begin + arrival + jitter)
            last[name] = stamp.t - capture
            if len(last) == 2:
                result.append((capture, last["audio"] - last["video"]))
        else:
            sender.report(clock, name, capture)
    return result


@settings(deadline=None)
@given(uint32, uint32)
def test_signed_difference_is_the_short_way_round(a: int, b: int) -> None:
    difference = signed_difference(a, b)
    assert -(2**31) <= difference < 2**31
    assert (b + difference) % 2**32 == a


@settings(deadline=None)
@given(uint32, st.lists(st.integers(-90_000, 900_000), max_size=60))
def test_unwrapping_inverts_the_wrap(first: int, moves: list[int]) -> None:
    """Out-of-order timestamps included: a backward move is not a wrap."""
    unwrapper = RtpUnwrapper()
    true = first
    assert unwrapper.unwrap(first) == first
    for move in moves:
        true = (unwrapper.newest or 0) + move
        assert unwrapper.unwrap(true % 2**32) == true


def test_one_step_back_is_not_a_wrap() -> None:
    unwrapper = RtpUnwrapper()
    assert [unwrapper.unwrap(x) for x in (106_000, 105_999, 106_960)] == [106_000, 105_999, 106_960]


def test_ntp_time() -> None:
    assert unix_from_ntp(ntp(UNIX + 0.25)) == pytest.approx(UNIX + 0.25, abs=1e-6)


@settings(deadline=None)
@given(
    audio_origin=uint32,
    video_origin=uint32,
    video_start=st.floats(0.0, 3.0),
    audio_start=st.floats(0.0, 3.0),
    begin=st.floats(0.0, 1e6),
)
def test_start_offsets_vanish_with_reports(
    audio_origin: int, video_origin: int, video_start: float, audio_start: float, begin: float
) -> None:
    sender = Sender({"audio": audio_origin, "video": video_origin}, begin=begin)
    found = errors(
        sender,
        new_clock(begin),
        delay={"audio": 0.13, "video": 0.06},
        reports={"audio": [2.3, 7.0, 12.0], "video": [1.0, 2.0, 3.1, 7.0, 12.0]},
        starts={"audio": audio_start, "video": video_start},
        until=9.0,
    )
    before = [abs(error) for t, error in found if t < 2.3]
    after = [abs(error) for t, error in found if t > 7.1]
    assert max(before, default=0.0) <= 0.12
    assert max(after) <= 0.001


@settings(deadline=None)
@given(ppm=st.floats(-1500, 1500), lost=st.sets(st.integers(0, 20)))
def test_drift_is_followed(ppm: float, lost: set[int]) -> None:
    sender = Sender({"audio": 2**32 - 50_000, "video": 5}, ppm=ppm)
    reports = [t for i, t in enumerate(steps(1.0, 60.0, 2.5)) if i not in lost or i % 2]
    found = errors(
        sender,
        new_clock(),
        delay={"audio": 0.05, "video": 0.05},
        reports={"audio": reports, "video": reports},
        starts={"audio": 0.0, "video": 0.0},
        until=60.0,
    )
    assert max(abs(error) for t, error in found if t > 8.0) <= STEP_S


def test_single_wrong_report_is_doubted_and_a_confirmed_one_steps() -> None:
    clock = new_clock()
    sender = Sender({"audio": 7, "video": 9})
    shifts = [0.0, 0.0, 0.2, 0.0, 0.0, 0.3, 0.3, 0.3]
    placed = []
    for t, shift in enumerate(shifts):
        clock.packet("audio", sender.rtp("audio", t), t + 0.05)
        clock.report("audio", ntp(UNIX + t + shift), sender.rtp("audio", t))
        stamp = clock.packet("audio", sender.rtp("audio", t + 0.02), t + 0.07)
        placed.append(stamp.t - t - 0.02)
    assert placed == pytest.approx([0.0] * 6 + [0.3] * 2, abs=1e-4)
    assert clock.counts["reports_doubted"] == 2
    assert clock.counts["steps"] == 1


def test_noisy_reports_are_smoothed_and_never_step() -> None:
    clock = new_clock()
    sender = Sender({"audio": 7, "video": 9})
    rng = random.Random(2)
    clock.packet("audio", sender.rtp("audio", 0.0), 0.05)
    sender.report(clock, "audio", 0.0)
    times = []
    for t in steps(1.0, 60.0, 1.0):
        stamp = clock.packet("audio", sender.rtp("audio", t), t + 0.05)
        times.append(stamp.t - t)
        clock.report("audio", ntp(UNIX + t + rng.uniform(0, 0.012)), sender.rtp("audio", t))
    assert clock.counts["steps"] == 0
    assert max(times) - min(times) < 0.012


def test_first_report_does_not_move_its_own_track() -> None:
    clock = new_clock(100.0)
    sender = Sender({"audio": 123, "video": 456}, begin=100.0)
    first = clock.packet("audio", sender.rtp("audio", 0.5), 100.58)
    assert first.line.provisional
    assert clock.unix_at_zero is None
    assert clock.provisional()
    sender.report(clock, "audio", 0.5)
    second = clock.packet("audio", sender.rtp("audio", 0.52), 100.60)
    assert second.t == pytest.approx(first.t + 0.02, abs=1e-6)
    assert second.line.epoch == 0
    assert not second.line.provisional
    assert not clock.provisional()
    assert clock.unix_at_zero == pytest.approx(UNIX - 0.03, abs=1e-5)
    video = clock.packet("video", sender.rtp("video", 0.5), 100.9)
    assert video.line.provisional
    assert clock.provisional()
    sender.report(clock, "video", 0.5)
    placed = clock.packet("video", sender.rtp("video", 0.53), 100.93)
    assert placed.t == pytest.approx(first.t + 0.03, abs=1e-6)
    assert placed.line.epoch == 1
    assert clock.counts["steps"] == 1


def test_report_before_the_first_packet_is_kept() -> None:
    clock = new_clock()
    sender = Sender({"audio": 2**32 - 10, "video": 0})
    sender.report(clock, "audio", 0.0)
    assert clock.unix_at_zero is None
    assert not clock.packet("audio", sender.rtp("audio", 0.1), 0.2).line.provisional


@pytest.mark.parametrize("restart", [5, 2**31, 2**32 - 5, 12_345_678])
def test_restarted_timestamps_reanchor_and_are_counted(restart: int) -> None:
    clock = new_clock()
    sender = Sender({"audio": 1_000_000, "video": 0})
    for t in steps(0.0, 5.0, 0.02):
        clock.packet("audio", sender.rtp("audio", t), t + 0.05)
        if round(t * 50) % 50 == 0:
            sender.report(clock, "audio", t)
    again = Sender({"audio": restart - 5 * 48_000, "video": 0})
    first = clock.packet("audio", again.rtp("audio", 5.0), 5.05)
    assert first.t == pytest.approx(5.0, abs=0.06)
    assert first.line.provisional
    assert clock.counts["jumps"] == 1
    again.report(clock, "audio", 5.0)
    second = clock.packet("audio", again.rtp("audio", 5.02), 5.07)
    assert second.t == pytest.approx(5.02, abs=0.002)
    assert not second.line.provisional
    assert clock.counts["jumps"] == 1


def test_old_report_after_a_restart_is_ignored() -> None:
    clock = new_clock()
    sender = Sender({"audio": 0, "video": 0})
    clock.packet("audio", sender.rtp("audio", 0.0), 0.05)
    sender.report(clock, "audio", 0.0)
    clock.packet("audio", 2_000_000_000, 1.05)
    sender.report(clock, "audio", 0.9)
    assert clock.counts["reports_ignored"] == 1
    assert clock.packet("audio", 2_000_000_960, 1.07).t == pytest.approx(1.02, abs=0.01)


def test_outage_that_delivers_late_packets_is_no_jump() -> None:
    clock = new_clock()
    sender = Sender({"audio": 99, "video": 0})
    for t in steps(0.0, 1.0, 0.02):
        clock.packet("audio", sender.rtp("audio", t), t + 0.05)
    for i, t in enumerate(steps(1.0, 4.0, 0.02)):
        stamp = clock.packet("audio", sender.rtp("audio", t), 4.0 + i * 0.001)
        assert stamp.t == pytest.approx(t, abs=1e-3)
    assert clock.counts["jumps"] == 0


def test_sender_that_stopped_its_rtp_clock_is_put_where_it_arrives() -> None:
    """A paused track whose timestamps stood still continues late, for good."""
    clock = new_clock()
    sender = Sender({"audio": 99, "video": 0})
    for t in steps(0.0, 1.0, 0.02):
        clock.packet("audio", sender.rtp("audio", t), t + 0.05)
    for t in steps(1.0, 3.0, 0.02):
        stamp = clock.packet("audio", sender.rtp("audio", t), t + 10.05)
    assert stamp.t == pytest.approx(t + 10.0, abs=0.01)
    assert clock.counts["jumps"] == 1


def test_step_of_the_senders_wall_clock_moves_nothing() -> None:
    clock = new_clock()
    sender = Sender({"audio": 3, "video": 4})
    for t in steps(0.0, 10.0, 0.02):
        audio = clock.packet("audio", sender.rtp("audio", t), t + 0.05)
        video = clock.packet("video", sender.rtp("video", t), t + 0.05)
        assert audio.t == pytest.approx(t, abs=0.01)
        assert video.t == pytest.approx(t, abs=0.01)
        if round(t * 50) % 50 == 25:
            shift = 0.0 if t < 5.0 else 3600.0
            for name in ("audio", "video"):
                clock.report(name, ntp(UNIX + t + shift), sender.rtp(name, t))
    assert clock.counts["wall_clock_steps"] == 1
    assert clock.unix_at_zero == pytest.approx(UNIX + 3600.0, abs=0.01)


def test_report_of_a_sender_without_a_wall_clock_is_ignored() -> None:
    clock = new_clock()
    clock.packet("audio", 5, 0.05)
    clock.report("audio", 0, 0)
    assert clock.counts["reports_ignored"] == 1
    assert clock.unix_at_zero is None


@settings(deadline=None)
@given(st.lists(st.floats(-0.009, 0.009), min_size=1, max_size=12))
def test_grid_is_gapless_and_follows_small_corrections(offsets: list[float]) -> None:
    grid = SampleGrid()
    expected: float | None = None
    for k, offset in enumerate(offsets):
        for i in range(500):
            t = 1.0 + (k * 500 + i) * 0.02 + offset
            placed = grid.place(t, 320)
            first = expected is None
            assert placed.stepped == first
            if expected is not None and not placed.stepped:
                assert placed.t0 == pytest.approx(expected, abs=1e-9)
            assert abs(placed.samples - 320) <= 1
            expected = placed.t0 + placed.samples / SAMPLE_RATE
        assert abs(placed.t0 - t) <= 0.001


def test_grid_steps_over_large_differences() -> None:
    grid = SampleGrid()
    assert grid.place(0.0, 320) == (0.0, 320, True)
    assert grid.place(0.5, 320) == (0.5, 320, True)
    assert grid.place(0.52, 320) == (0.52, 320, False)
    assert grid.place(0.4, 320) == (0.4, 320, True)
