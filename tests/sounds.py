"""Sound for tests: real clips, and made-up sound that voice activity detection takes for speech."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from faster_whisper.audio import decode_audio

from workers.messages import SAMPLE_RATE, AudioChunk, Float32, freeze


def load(path: Path, seconds: float | None = None) -> Float32:
    """(n,) of any recording."""
    samples = np.asarray(decode_audio(str(path), sampling_rate=SAMPLE_RATE), np.float32)
    return freeze(samples[: None if seconds is None else round(seconds * SAMPLE_RATE)])


def buzz(seconds: float, seed: int = 0) -> Float32:
    """(n,) a hoarse vowel at 130 Hz, louder and softer four times a second."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    harmonics = [np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 25)]
    loudness = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * t)
    noise = np.random.default_rng(seed).normal(0, 0.01, len(t))
    return np.asarray(0.2 * loudness * np.sum(harmonics, axis=0) + noise, np.float32)


def silence(seconds: float) -> Float32:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def noise(seconds: float, level: float, seed: int = 0) -> Float32:
    n = round(seconds * SAMPLE_RATE)
    return np.asarray(np.random.default_rng(seed).normal(0, level, n), np.float32)


def tone(seconds: float, hz: float = 440.0) -> Float32:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(0.3 * np.sin(2 * np.pi * hz * t), np.float32)


def chunks(
    samples: Float32, sizes: Iterable[int] = (320,), t0: float = 0.0, person: str = "p1"
) -> Iterator[AudioChunk]:
    """`samples` in pieces of the given sizes, and of the last one but at least 320 for the rest."""
    given = list(sizes)
    at = 0
    while at < len(samples):
        size = given.pop(0) if len(given) > 1 else max(320, *given, 0)
        yield AudioChunk(person, t0 + at / SAMPLE_RATE, samples[at : at + size])
        at += size


def joined(parts: Sequence[Float32]) -> Float32:
    return np.concatenate([*parts, np.zeros(0, np.float32)])
