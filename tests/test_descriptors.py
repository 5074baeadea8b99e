"""Low-level descriptors of the voice: known sounds give known values, whatever their loudness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sounds import buzz, joined, load, noise, silence, tone
from workers.descriptors import DESCRIPTORS, LIMIT, USUAL, describe
from workers.messages import SAMPLE_RATE, Float32


def value(samples: Float32, name: str) -> Float32:
    """(n,) in its own unit."""
    mean, deviation = USUAL[name]
    return describe(samples)[:, DESCRIPTORS.index(name)] * deviation + mean


def sawtooth(hz: float, seconds: float = 1.0) -> Float32:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    partials = [np.sin(2 * np.pi * hz * k * t) / k for k in range(1, int(4000 / hz) + 1)]
    return np.asarray(0.2 * np.sum(partials, axis=0), np.float32)


@pytest.mark.parametrize("hz", [80.0, 117.0, 233.0, 440.0])
def test_pitch_of_a_harmonic_sound(hz: float) -> None:
    sound = sawtooth(hz)
    inner = slice(2, -2)
    assert value(sound, "voiced")[inner] == pytest.approx(1.0, abs=1e-5)
    expected = 12 * np.log2(hz / 55.0)
    assert value(sound, "pitch")[inner] == pytest.approx(expected, abs=0.15)
    assert np.abs(value(sound, "relative pitch")[inner]).max() < 0.15


def test_pitch_survives_noise() -> None:
    sound = sawtooth(150.0, 2.0)
    power = float(np.square(sound).mean())
    noisy = (sound + noise(2.0, (power / 10) ** 0.5)).astype(np.float32)  # 10 dB
    pitch = value(noisy, "pitch")[value(noisy, "voiced") > 0.5]
    assert len(pitch) > 90
    assert np.mean(np.abs(pitch - 12 * np.log2(150 / 55)) < 0.5) > 0.97


def test_noise_and_silence_have_no_pitch() -> None:
    assert value(noise(1.0, 0.1), "voiced").mean() < 0.1
    assert value(silence(1.0), "voiced").max() < 1e-5
    around = joined([silence(0.5), sawtooth(120.0), silence(0.5)])
    voiced = value(around, "voiced")
    assert voiced[:23].max() < 1e-5 and voiced[27:73].min() > 0.99 and voiced[77:].max() < 1e-5
    pitch = value(around, "pitch")
    assert pitch[:23] == pytest.approx(np.median(pitch), abs=0.05), "as if nothing was special"


def test_spectral_shape_of_a_tone() -> None:
    assert value(tone(1.0, 1000.0), "centroid")[5:-5] == pytest.approx(np.log2(1000), abs=0.05)
    bright, dull = noise(1.0, 0.1), np.cumsum(noise(1.0, 0.001)).astype(np.float32)
    for name in ("centroid", "rolloff", "zero crossings"):
        assert value(bright, name).mean() > value(dull, name).mean()
    for name in ("alpha ratio", "hammarberg"):
        assert value(bright, name).mean() < value(dull, name).mean()


@given(gain=st.floats(0.02, 3.0), seed=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_loudness_of_the_microphone_does_not_matter(gain: float, seed: int) -> None:
    sound = buzz(0.6, seed)
    louder = (sound * np.float32(gain)).astype(np.float32)
    np.testing.assert_allclose(describe(louder), describe(sound), atol=0.02)


@given(n=st.integers(1, 40), kind=st.sampled_from(["silence", "noise", "click", "dc", "loud"]))
@settings(max_examples=60, deadline=None)
def test_always_finite_and_within_limits(n: int, kind: str) -> None:
    x = np.zeros(n * 320, np.float32)
    match kind:
        case "noise":
            x += noise(n / 50, 0.1)
        case "click":
            x[len(x) // 2] = 1.0
        case "dc":
            x += 0.5
        case "loud":
            x[:] = np.sign(noise(n / 50, 1.0))
    found = describe(x)
    assert found.shape == (n, len(DESCRIPTORS)) and found.dtype == np.float32
    assert np.abs(found).max() <= LIMIT


def test_what_is_no_whole_frame_is_refused() -> None:
    for wrong in (0, 100):
        with pytest.raises(ValueError, match=f"got {wrong} samples"):
            describe(np.zeros(wrong, np.float32))


@pytest.mark.parametrize(
    ("name", "low", "high"), [("03a01Nc", 85.0, 160.0), ("13a01Nb", 160.0, 260.0)]
)
def test_pitch_of_a_man_and_of_a_woman(shared: Path, name: str, low: float, high: float) -> None:
    sound = load(shared / f"media/emodb/{name}.flac")
    sound = sound[: len(sound) // 320 * 320]
    pitch = value(sound, "pitch")[value(sound, "voiced") > 0.5]
    assert low < 55 * 2 ** (np.median(pitch) / 12) < high
    assert np.percentile(np.abs(pitch - np.median(pitch)), 90) < 9, "no octave jumps"
