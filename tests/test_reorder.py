from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.reorder import FrameAssembler, Ordered, Reorder


def order(
    packets: list[tuple[int, float]], patience: int = 3, seconds: float = 1.0
) -> tuple[list[tuple[int, int]], Counter[str]]:
    """(sequence, lost before) as passed on, for (sequence, arrival) as received."""
    counts: Counter[str] = Counter()
    reorder = Reorder[int](patience, seconds, counts)
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
    assert len(passed) + counts["packets_late"] >= len(sent) - 2  # the last may still wait


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
    assert counts == {"packets_late": 2}


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
