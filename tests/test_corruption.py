"""Damage to sound and words: as strong as it says, never other than that, repeatable."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.corruption import (
    Mishearing,
    damage_sound,
    damage_words,
    lost_packets,
    sound_of,
    with_gaps,
)
from tests.sounds import buzz, noise, silence
from workers.messages import Float32

TEXT = ("What", "a", "night,", "the", "knight", "said.", "It", "was", "sad", "to", "write!")


@given(seed=st.integers(0, 10_000), n=st.integers(0, 20_000), quiet=st.booleans())
@settings(max_examples=60, deadline=None)
def test_damaged_sound_has_its_length_and_stays_sound(seed: int, n: int, quiet: bool) -> None:
    x = silence(2.0)[:n] if quiet else buzz(2.0)[:n]
    made = damage_sound(x, [buzz(0.5, 1), silence(0.2), silence(0)], np.random.default_rng(seed))
    assert made.shape == x.shape and made.dtype == np.float32
    assert np.isfinite(made).all() and np.abs(made).max(initial=0) <= 1
    again = damage_sound(x, [buzz(0.5, 1), silence(0.2), silence(0)], np.random.default_rng(seed))
    np.testing.assert_array_equal(made, again)


def test_damage_goes_from_nearly_none_to_heavy() -> None:
    x = buzz(2.0)
    likeness = []
    for seed in range(150):
        made = damage_sound(x, [noise(1.0, 0.1)], np.random.default_rng(seed))
        likeness.append(float(np.corrcoef(x, made)[0, 1]))
    assert np.quantile(likeness, 0.9) > 0.97
    assert np.quantile(likeness, 0.15) < 0.55


def test_a_part_of_some_is_silent() -> None:
    loud = np.full(32_000, 0.5, np.float32)
    silent = []
    for seed in range(200):
        quiet = damage_sound(loud, [], np.random.default_rng(seed)) == 0
        edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet, [0]]).astype(int)))
        silent.append(max(np.diff(edges.reshape(-1, 2)).ravel(), default=0) / len(loud))
    assert 0.1 < np.mean(np.array(silent) > 0.1) < 0.3
    assert 0.6 < max(silent) <= 0.8


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.2])
def test_packets_are_lost_as_often_as_told_and_in_bursts(share: float) -> None:
    lost = lost_packets(320 * 20_000, share, np.random.default_rng(1))[::320]
    assert lost.mean() == pytest.approx(share, abs=0.01)
    if share:
        starts = np.flatnonzero(lost & ~np.roll(lost, 1))
        assert lost.sum() / len(starts) == pytest.approx(2.0, abs=0.25)


def test_words_are_misheard_as_words_that_sound_alike() -> None:
    assert sound_of("said") == sound_of("sad") != sound_of("night")
    mishearing = Mishearing([TEXT, ("wrote", "nit")])
    vocabulary = {word.strip(",.!").lower() for word in (*TEXT, "wrote", "nit")}
    fillers = {"um", "uh", "and", "the", "a", "so", "you", "know", "like", "it"}
    sizes, seen = Counter[int](), Counter[str]()
    for seed in range(300):
        heard = mishearing.hear(TEXT, np.random.default_rng(seed))
        sizes[len(heard)] += 1
        seen.update(word.strip(",.!").lower() for word in heard)
    assert set(seen) <= vocabulary | fillers
    assert seen["wrote"] > 0, "for write"
    assert seen["nit"] == 0, "it sounds like none of them"
    assert min(sizes) < len(TEXT) < max(sizes)
    changed = sum(
        a.strip(",.!").lower() != b.strip(",.!").lower()
        for seed in range(300)
        if len(heard := mishearing.hear(TEXT, np.random.default_rng(seed))) == len(TEXT)
        for a, b in zip(heard, TEXT, strict=True)
    )
    assert changed > 0


def test_something_is_always_heard() -> None:
    mishearing = Mishearing([("yes",)])
    for seed in range(200):
        assert mishearing.hear(("yes",), np.random.default_rng(seed))
        assert with_gaps(("yes",), 1.0, np.random.default_rng(seed)) == ("yes",)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_words_are_missing_as_often_as_told(share: float) -> None:
    words = tuple(str(i) for i in range(5000))
    kept = with_gaps(words, share, np.random.default_rng(0))
    assert len(kept) / len(words) == pytest.approx(1 - share, abs=0.02)
    assert list(kept) == sorted(kept, key=int), "in their order"


def test_words_are_damaged_in_both_ways() -> None:
    mishearing = Mishearing([TEXT])
    made = [damage_words(TEXT, mishearing, np.random.default_rng(seed)) for seed in range(200)]
    gaps = sum(set(words) <= set(TEXT) and len(words) < len(TEXT) for words in made)
    misheard = sum(
        not {word.lower() for word in words} <= {w.lower() for w in TEXT} for words in made
    )
    assert gaps > 60 and misheard > 60


def level(x: Float32) -> float:
    return float(np.sqrt(np.square(x).mean()))


def test_sound_gets_quieter_and_louder() -> None:
    x = (buzz(1.0) * np.float32(0.3)).astype(np.float32)
    levels = [level(damage_sound(x, [], np.random.default_rng(k))) / level(x) for k in range(100)]
    assert min(levels) < 0.3
    assert max(levels) > 1.5
