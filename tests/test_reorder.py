from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.reorder import MEMORY_S, FrameAssembler, Ordered, Patience, Reorder


def order(
    packets: list[tuple[int, float]], patience: int = 3, seconds: float = 1.0
) -> tuple[list[tuple[int, int]], Counter[str]]:
    """(sequence, lost before) as passed on, for (sequence, arrival) as received."""
    counts: Counter[str] = Counter()
    reorder = Reorder[int](patience, Patience(seconds, seconds), counts)
    return [
        (item, lost)
        for sequence, arrival in packets
        for item, lost in reorder.add(sequence, sequence, arrival)
    ], counts


@settings(deadline=None)
@given(
    start=st.integers(0, 65535),
    n=st.integers(1, 200),
    lost=st.sets(st.integers(1, 198)),
    seed=st.integers(0, 1000),
)
def test_every_packet_is_passed_on_late_or_lost(
    start: int, n: int, lost: set[int], seed: int
) -> None:
    """Whatever the loss and a swap of neighbours: order is kept and the account is exact."""
    sent = [i for i in range(n) if i not in lost]
    rng = random.Random(seed)
    for i in range(1, len(sent) - 1):
        if rng.random() < 0.2:
            sent[i], sent[i + 1] = sent[i + 1], sent[i]
    passed, counts = order([((start + i) & 0xFFFF, i * 0.02) for i in sent])
    numbers = [(sequence - start) & 0xFFFF for sequence, _ in passed]
    assert numbers == sorted(numbers)
    for before, (number, missing) in zip(
        [-1, *numbers], zip(numbers, passed, strict=True), strict=False
    ):
        assert number - before - 1 == missing[1]
    gone = counts["packets_late"] + counts["packets_repeated"]
    assert len(passed) + gone >= len(sent) - 2  # the last may still wait


def test_order_without_loss_waits_for_nothing() -> None:
    assert order([(65534, 0), (65535, 0), (0, 0), (1, 0)])[0] == [
        (65534, 0),
        (65535, 0),
        (0, 0),
        (1, 0),
    ]


def test_swapped_packets_are_put_in_order_and_repeated_ones_dropped() -> None:
    passed, counts = order([(1, 0), (3, 0), (2, 0), (2, 0), (3, 0), (4, 0)])
    assert [sequence for sequence, _ in passed] == [1, 2, 3, 4]
    assert counts == {"packets_reordered": 1, "packets_repeated": 2}


def test_lost_packet_costs_itself_alone() -> None:
    passed, counts = order([(1, 0), (3, 0), (4, 0), (5, 0), (6, 0)])
    assert passed == [(1, 0), (3, 1), (4, 0), (5, 0), (6, 0)]
    assert counts == {"packets_lost": 1}


def test_lost_packet_is_given_up_in_time() -> None:
    assert order([(1, 0.0), (3, 0.1), (4, 0.2)], patience=99, seconds=0.1)[0] == [
        (1, 0),
        (3, 1),
        (4, 0),
    ]


def test_lost_packet_is_given_up_though_no_other_comes() -> None:
    reorder = Reorder[int](64, Patience(0.04, 0.1), Counter())
    assert [item for item, _ in reorder.add(1, 1, 0.0)] == [1]
    deadlines = [reorder.deadline]
    assert reorder.add(3, 3, 0.02) == []
    deadlines.append(reorder.deadline)
    assert reorder.give_up(0.059) == []
    assert reorder.give_up(0.06) == [(3, 1)]
    deadlines.append(reorder.deadline)
    assert deadlines == [None, 0.06, None]


def test_patience_follows_late_packets_and_comes_down_again() -> None:
    counts: Counter[str] = Counter()
    patience = Patience(0.04, 0.1)
    reorder = Reorder[int](64, patience, counts)
    reorder.add(0, 0, 0.0)
    now, sequence = 0.02, 1
    for _ in range(20):  # every second packet comes 70 ms after its successor
        reorder.add(sequence + 1, sequence + 1, now)
        reorder.give_up(now + 0.06)
        reorder.add(sequence, sequence, now + 0.07)
        sequence, now = sequence + 2, now + 0.1
    assert counts["packets_late"] == 1  # the first one; then it was waited for
    assert counts["packets_reordered"] == 19
    assert 0.07 < patience.seconds <= 0.1
    for _ in range(60):  # all in order: back to normal
        reorder.add(sequence, sequence, now)
        sequence, now = sequence + 1, now + MEMORY_S / 50
    assert patience.seconds == 0.04


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 10)), max_size=50))
def test_patience_is_bounded_and_forgets(late: list[tuple[float, float]]) -> None:
    patience = Patience(0.04, 0.1)
    now = 0.0
    for by, wait in late:
        now += wait
        patience.came_late(by, now)
        assert 0.04 <= patience.seconds <= 0.1
    patience.forget(now + MEMORY_S + 0.1)
    assert patience.seconds == 0.04


def test_leap_of_the_sequence_starts_anew() -> None:
    passed, _ = order([(1, 0), (2, 0), (40_000, 0), (40_001, 0)])
    assert passed == [(1, 0), (2, 0), (40_000, 1), (40_001, 0)]


@dataclass
class Part:
    name: str
    marker: int
    payload: bytes = b"x"


def assemble(parts: list[tuple[str, int]]) -> tuple[list[str], FrameAssembler[Part]]:
    """Names of parts per whole picture; "K..." starts a key frame, "-" means a loss before."""
    assembler = FrameAssembler[Part](lambda part: part.name.startswith("K"), Counter())
    result = []
    for name, marker in parts:
        lost = int(name.startswith("-"))
        picture = assembler.add(Ordered(Part(name.lstrip("-"), marker), lost))
        if picture is not None:
            text = "".join(part.name for part in picture.packets)
            result.append(text + ("!" if picture.after_loss else ""))
    return result, assembler


def test_pictures_are_whole() -> None:
    assert assemble([("Ka", 0), ("b", 1), ("c", 0), ("d", 0), ("e", 1)])[0] == ["Kab", "cde"]


def test_nothing_is_decoded_before_a_key_frame() -> None:
    names, assembler = assemble([("a", 1), ("b", 1)])
    assert names == []
    assert assembler.wants_key_frame


def test_after_a_loss_pictures_wait_for_a_key_frame() -> None:
    names, assembler = assemble(
        [("Ka", 1), ("b", 0), ("-c", 1), ("d", 1), ("Ke", 0), ("f", 1), ("g", 1)]
    )
    assert names == ["Ka", "Kef!", "g"]
    assert not assembler.wants_key_frame


def test_loss_right_before_a_key_frame_costs_nothing_more() -> None:
    assert assemble([("Ka", 1), ("-Kb", 1), ("c", 1)])[0] == ["Ka", "Kb!", "c"]


def test_padding_is_ignored() -> None:
    assembler = FrameAssembler[Part](lambda part: True, Counter())
    assert assembler.add(Ordered(Part("pad", 0, b""), 0)) is None
    picture = assembler.add(Ordered(Part("K", 1), 0))
    assert picture is not None
    assert len(picture.packets) == 1
