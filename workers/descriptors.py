"""Low-level descriptors of the voice: level, pitch, voicing, spectral shape (numpy only).

Every 20 ms frame is described from the 40 ms around its middle. The set follows what eGeMAPS
(Eyben et al., IEEE Transactions on Affective Computing 2016) found useful; nothing depends on how
loud the microphone is set. Pitch is the autocorrelation method of Boersma (1993): candidates are
peaks of the autocorrelation divided by that of the window, and the path through them is the one
with the fewest jumps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workers.messages import SAMPLE_RATE, Float32
from workers.timeline import FRAME

Float = NDArray[np.float64]

USUAL: Mapping[str, tuple[float, float]] = {
    "level": (-15.0, 15.0),
    "level change": (4.0, 5.0),
    "pitch": (22.0, 6.5),
    "relative pitch": (0.0, 3.0),
    "pitch change": (0.5, 1.0),
    "voicing": (0.6, 0.35),
    "voiced": (0.6, 0.5),
    "h1-h2": (3.0, 8.0),
    "zero crossings": (0.13, 0.15),
    "centroid": (8.8, 1.7),
    "spread": (1.0, 0.6),
    "rolloff": (9.6, 2.0),
    "flatness": (-5.0, 2.3),
    "slope 0-500": (6.0, 40.0),
    "slope 500-1500": (-6.0, 12.0),
    "alpha ratio": (8.0, 13.0),
    "hammarberg": (20.0, 14.0),
    "flux": (-0.5, 1.5),
    "mfcc 1": (1.4, 2.0),
    "mfcc 2": (0.1, 1.3),
    "mfcc 3": (0.5, 0.9),
    "mfcc 4": (-0.3, 0.8),
}
"""Mean and standard deviation over frames of clean speech. Units: level and its change dB against
the loudest 5 % of the sound; pitch semitones above 55 Hz, where there is none the median of the
rest; relative pitch semitones above that median; voicing 0..1; h1-h2 (first harmonic over second),
alpha ratio, Hammarberg index dB; slopes dB per kHz; centroid, spread, rolloff octaves; flatness and
flux natural logarithms."""

DESCRIPTORS: tuple[str, ...] = tuple(USUAL)
"""In this order."""

LIMIT = 5.0
"""Descriptors are cut to this many standard deviations."""

WIDTH = 2 * FRAME
SIZE = 1024
"""Of the Fourier transform: the window and the longest lag without wrapping around."""
LOWEST_HZ, HIGHEST_HZ = 75.0, 500.0
CANDIDATES = 4
SILENCE = 0.03
"""Share of the loudest sample below which nothing is taken for voiced."""
VOICED = 0.45
"""Autocorrelation from which a frame is voiced."""
OCTAVE_COST = 0.01
JUMP_COST = 0.35
"""Per octave between two frames."""
SWITCH_COST = 0.14
"""Between voiced and unvoiced."""
_QUIET = 1e-10

_WINDOW = np.hanning(WIDTH + 1)[:-1]
_HZ = np.fft.rfftfreq(SIZE, 1 / SAMPLE_RATE)


class Spectra(NamedTuple):
    """Of n frames."""

    frames: Float
    """(n, WIDTH) without their mean."""
    power: Float
    """(n, SIZE / 2 + 1)"""
    level: Float
    """(n,) dB"""


def describe(samples: Float32) -> Float32:
    """(n, len(DESCRIPTORS)) of samples (n * FRAME,), n >= 1: in deviations from ``USUAL``, finite.

    Raises ``ValueError`` where the samples are no whole frames.
    """
    if len(samples) == 0 or len(samples) % FRAME:
        raise ValueError(f"descriptors need whole frames of {FRAME}, got {len(samples)} samples")
    spectra = _spectra(np.asarray(samples, np.float64))
    pitch, voicing = _pitch(spectra)
    voiced = pitch > 0
    tone = np.zeros(len(pitch))
    tone[voiced] = 12.0 * np.log2(pitch[voiced] / 55.0)
    usual = float(np.median(tone[voiced])) if voiced.any() else 18.0
    tone[~voiced] = usual
    loudest = np.percentile(spectra.level, 95)
    level = np.clip(spectra.level - loudest, -60.0, 10.0)
    both = voiced & np.roll(voiced, 1)
    columns = [
        level,
        np.abs(np.diff(level, prepend=level[:1])),
        tone,
        tone - usual,
        np.where(both, np.abs(np.diff(tone, prepend=tone[:1])), 0.0),
        voicing,
        voiced.astype(float),
        _first_harmonics(spectra.power, pitch),
        _zero_crossings(spectra.frames),
        *_shape(spectra.power),
    ]
    mean, deviation = np.array(list(USUAL.values())).T
    found = (np.stack(columns, axis=1) - mean) / deviation
    return np.asarray(np.clip(found, -LIMIT, LIMIT), np.float32)


def _spectra(samples: Float) -> Spectra:
    side = (WIDTH - FRAME) // 2
    padded = np.pad(samples, side)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WIDTH)[::FRAME]
    frames = frames - frames.mean(axis=1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(frames * _WINDOW, SIZE, axis=1)))
    level = 10.0 * np.log10(np.square(frames).mean(axis=1) + _QUIET)
    return Spectra(frames, power, level)


def _pitch(spectra: Spectra) -> tuple[Float, Float]:
    """Hz (n,), 0 where unvoiced, and strength of the voicing (n,) in [0, 1]."""
    shortest, longest = int(SAMPLE_RATE / HIGHEST_HZ), int(SAMPLE_RATE / LOWEST_HZ)
    correlation = np.fft.irfft(spectra.power, axis=1)[:, : longest + 2]
    of_window = np.fft.irfft(np.square(np.abs(np.fft.rfft(_WINDOW, SIZE))))[: longest + 2]
    correlation /= np.maximum(correlation[:, :1], _QUIET)
    correlation /= of_window / of_window[0]
    lags = np.arange(shortest, longest + 1)
    inside = correlation[:, lags]
    peak = (inside > correlation[:, lags - 1]) & (inside >= correlation[:, lags + 1])
    inside = np.where(peak, np.clip(inside, 0.0, 1.0), 0.0)
    score = inside - OCTAVE_COST * np.log2(lags / shortest)
    best = np.argsort(-score, axis=1)[:, :CANDIDATES]
    rows = np.arange(len(inside))[:, None]
    strength = inside[rows, best]
    hz = SAMPLE_RATE / _refined(correlation, lags[best], rows)
    loud = np.abs(spectra.frames).max(axis=1)
    audible = loud > max(SILENCE * float(loud.max()), 1e-4)
    value = np.where(strength > 0, score[rows, best], -1.0)
    value[~audible] = -1.0
    chosen = _path(value, np.log2(hz))
    voiced = chosen < CANDIDATES
    pick = np.minimum(chosen, CANDIDATES - 1)
    pitch = np.where(voiced, hz[rows[:, 0], pick], 0.0)
    return pitch, np.where(audible, strength.max(axis=1), 0.0)


def _refined(correlation: Float, lag: NDArray[np.int64], rows: NDArray[np.int64]) -> Float:
    """Lags between samples, by the parabola through the neighbours of a peak."""
    a, b, c = (correlation[rows, lag + k] for k in (-1, 0, 1))
    bend = a - 2 * b + c
    shift = np.where(np.abs(bend) > 1e-9, 0.5 * (a - c) / np.where(bend == 0, 1.0, bend), 0.0)
    return np.asarray(lag + np.clip(shift, -0.5, 0.5))


def _path(value: Float, octave: Float) -> NDArray[np.int64]:
    """Viterbi: per frame the candidate (n,), or ``CANDIDATES`` for none."""
    n, count = value.shape
    local = np.concatenate([value, np.full((n, 1), VOICED)], axis=1)
    total = local[0]
    back = np.zeros((n, count + 1), np.int64)
    for i in range(1, n):
        cost = np.full((count + 1, count + 1), SWITCH_COST)
        cost[:count, :count] = JUMP_COST * np.abs(octave[i - 1][:, None] - octave[i])
        cost[count, count] = 0.0
        reached = total[:, None] - cost
        back[i] = reached.argmax(axis=0)
        total = reached.max(axis=0) + local[i]
    chosen = np.zeros(n, np.int64)
    chosen[-1] = int(total.argmax())
    for i in range(n - 1, 0, -1):
        chosen[i - 1] = back[i, chosen[i]]
    return chosen


def _first_harmonics(power: Float, pitch: Float) -> Float:
    """(n,) dB of the first harmonic over the second: large in a breathy voice; 0 if unvoiced."""
    rows = np.arange(len(power))
    heights = []
    for harmonic in (1, 2):
        bins = np.rint(harmonic * pitch * SIZE / SAMPLE_RATE).astype(int)
        near = np.clip(bins[:, None] + np.arange(-2, 3), 0, power.shape[1] - 1)
        heights.append(power[rows[:, None], near].max(axis=1))
    ratio = 10.0 * np.log10((heights[0] + _QUIET) / (heights[1] + _QUIET))
    return np.where(pitch > 0, np.clip(ratio, -40.0, 40.0), 0.0)


def _zero_crossings(frames: Float) -> Float:
    return np.asarray((np.signbit(frames[:, 1:]) != np.signbit(frames[:, :-1])).mean(axis=1))


def _shape(power: Float) -> list[Float]:
    """Spectral shape: from ``centroid`` to ``mfcc 4``."""
    power = power + _QUIET
    total = power.sum(axis=1)
    share = power / total[:, None]
    octave = np.log2(np.maximum(_HZ, 50.0))
    centroid = share @ octave
    spread = np.sqrt(np.maximum(share @ np.square(octave) - np.square(centroid), 0.0))
    rolloff = octave[np.argmax(np.cumsum(share, axis=1) >= 0.85, axis=1)]
    flatness = np.log(power).mean(axis=1) - np.log(power.mean(axis=1))
    decibel = 10.0 * np.log10(power)
    steps = np.abs(np.diff(share, axis=0, prepend=share[:1])).sum(axis=1)
    cepstrum = np.log(power @ _MEL + _QUIET) @ _COSINES
    return [
        centroid,
        spread,
        rolloff,
        flatness,
        _slope(decibel, 0.0, 500.0),
        _slope(decibel, 500.0, 1500.0),
        _band(power, 50.0, 1000.0) - _band(power, 1000.0, 5000.0),
        _largest(decibel, 0.0, 2000.0) - _largest(decibel, 2000.0, 5000.0),
        np.log(steps + 1e-3),
        *cepstrum.T,
    ]


def _inside(low: float, high: float) -> NDArray[np.bool_]:
    return np.asarray((low <= _HZ) & (high > _HZ))


def _slope(decibel: Float, low: float, high: float) -> Float:
    """(n,) dB per kHz: least squares over [low, high) Hz."""
    chosen = _inside(low, high)
    khz = _HZ[chosen] / 1000.0
    khz = khz - khz.mean()
    return np.asarray(decibel[:, chosen] @ khz / np.square(khz).sum())


def _band(power: Float, low: float, high: float) -> Float:
    return np.asarray(10.0 * np.log10(power[:, _inside(low, high)].sum(axis=1)))


def _largest(decibel: Float, low: float, high: float) -> Float:
    return np.asarray(decibel[:, _inside(low, high)].max(axis=1))


def _mel_bands(count: int = 26, top_hz: float = 8000.0) -> Float:
    """(SIZE / 2 + 1, count) triangles evenly spaced on the mel scale."""
    edges = np.linspace(0.0, 2595.0 * np.log10(1 + top_hz / 700.0), count + 2)
    hz = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    rise = (_HZ[:, None] - hz[:-2]) / (hz[1:-1] - hz[:-2])
    fall = (hz[2:] - _HZ[:, None]) / (hz[2:] - hz[1:-1])
    return np.maximum(np.minimum(rise, fall), 0.0)


_MEL = _mel_bands()
_COSINES = np.cos(np.pi * np.outer(np.arange(26) + 0.5, np.arange(1, 5)) / 26) / 13.0
"""Discrete cosine transform, without its constant term."""
