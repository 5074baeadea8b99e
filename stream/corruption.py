"""Damage that calls do to sound and words, for training data and benchmarks (numpy only).

It is done to the signal itself, before anything is computed from it: a recording passes the same
voice activity detection and encoders as in a call.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.messages import SAMPLE_RATE, Float32

Float = NDArray[np.float64]

LOWEST_SNR_DB, HIGHEST_SNR_DB = -10.0, 20.0
MOST_LOST = 0.8
"""Share of packets: a call of which so many are lost is no call any more, and must look like it."""
MOST_SILENT = 0.8
"""Share of a recording in which nothing is heard."""
PACKET = SAMPLE_RATE // 50
BURST = 2.0
"""Mean number of packets that are lost in a row."""
VOICES = (3, 7)
"""Of babble: at least, below."""
BANDS_HZ = ((300.0, 3400.0), (50.0, 4000.0), (150.0, 6000.0))
"""Telephone, narrow and poor microphones."""
REVERBERATION_S = (0.15, 0.7)
"""Time in which it falls by 60 dB."""
GAIN_DB = (-20.0, 6.0)


def damage_sound(samples: Float32, others: Sequence[Float32], rng: np.random.Generator) -> Float32:
    """(n,) as another room, microphone or network might give it; `others` are voices for babble."""
    x = np.asarray(samples, np.float64)
    if not len(x):
        return np.asarray(samples, np.float32)
    if rng.random() < 0.3:
        x = _reverberated(x, rng)
    if rng.random() < 0.7:
        x = with_noise(x, _noise(len(x), others, rng), rng.uniform(LOWEST_SNR_DB, HIGHEST_SNR_DB))
    if rng.random() < 0.25:
        x = _band(x, *BANDS_HZ[int(rng.integers(len(BANDS_HZ)))])
    x = x * 10.0 ** (rng.uniform(*GAIN_DB) / 20.0)
    if rng.random() < 0.35:
        x = np.where(lost_packets(len(x), rng.uniform(0.0, MOST_LOST), rng), 0.0, x)
    if rng.random() < 0.2:
        x = _silenced(x, rng.uniform(0.0, MOST_SILENT), rng)
    return np.clip(x, -1.0, 1.0).astype(np.float32)


def with_noise(x: Float, noise: Float, snr_db: float) -> Float:
    """(n,) `x` and `noise` (n,) at this ratio of powers over the whole recording."""
    power, of_noise = np.square(x).mean(), np.square(noise).mean()
    if of_noise <= 0:
        return x
    return np.asarray(x + noise * np.sqrt(power / of_noise * 10.0 ** (-snr_db / 10.0)))


def _noise(n: int, others: Sequence[Float32], rng: np.random.Generator) -> Float:
    """(n,) babble, where there are voices, or noise whose power falls by 0, 3 or 6 dB an octave."""
    if others and rng.random() < 0.4:
        return babble(n, others, rng)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    return _coloured(spectrum, n, rng.choice([0.0, 0.5, 1.0]))


def babble(n: int, others: Sequence[Float32], rng: np.random.Generator) -> Float:
    """(n,) of some of the voices of `others` (at least one) at once."""
    return sum(
        (
            _looped(others[int(rng.integers(len(others)))], n, rng)
            for _ in range(int(rng.integers(*VOICES)))
        ),
        np.zeros(n),
    )


def pink_noise(n: int, rng: np.random.Generator) -> Float:
    """(n,) noise whose power falls by 3 dB an octave."""
    return _coloured(np.fft.rfft(rng.standard_normal(n)), n, 0.5)


def _coloured(spectrum: NDArray[np.complex128], n: int, slope: float) -> Float:
    """(n,) sound of a white `spectrum` whose amplitude falls with frequency ** `slope`."""
    hz = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 20.0)
    return np.fft.irfft(spectrum * hz**-slope, n)


def _looped(voice: Float32, n: int, rng: np.random.Generator) -> Float:
    """(n,) of `voice`, from anywhere in it, equally loud whoever it is."""
    if not len(voice):
        return np.zeros(n)
    start = int(rng.integers(len(voice)))
    piece = np.resize(np.roll(voice, -start), n).astype(np.float64)
    return np.asarray(piece / max(float(np.sqrt(np.square(piece).mean())), 1e-6))


def _reverberated(x: Float, rng: np.random.Generator) -> Float:
    """Convolved with noise that dies away, behind the direct sound; as loud as before."""
    lasts = rng.uniform(*REVERBERATION_S)
    t = np.arange(round(lasts * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(t)) * 10.0 ** (-3.0 * t / lasts)
    tail *= rng.uniform(0.3, 1.0) / max(float(np.sqrt(np.square(tail).sum())), 1e-9)
    tail[0] = 1.0
    size = len(x) + len(t)
    wet = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(tail, size), size)[: len(x)]
    before, after = np.square(x).sum(), np.square(wet).sum()
    return np.asarray(wet * np.sqrt(before / after)) if after > 0 else x


def _band(x: Float, low: float, high: float) -> Float:
    spectrum = np.fft.rfft(x)
    hz = np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum * ((hz >= low) & (hz <= high)), len(x))


def lost_packets(n: int, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(n,) True in packets of 20 ms that never came: `share` of them, in bursts (Gilbert)."""
    packets = -(-n // PACKET)
    end = 1.0 / BURST
    begin = end * share / max(1.0 - share, 1e-9)
    draws = rng.random(packets)
    lost, now = np.zeros(packets, np.bool_), False
    for i in range(packets):
        now = draws[i] >= end if now else draws[i] < begin
        lost[i] = now
    return np.repeat(lost, PACKET)[:n]


def _silenced(x: Float, share: float, rng: np.random.Generator) -> Float:
    """Silent in that share of it, anywhere, in one piece."""
    length = round(share * len(x))
    start = int(rng.integers(len(x) - length + 1))
    at = np.arange(len(x))
    return np.where((at < start) | (at >= start + length), x, 0.0)


MOST_MISSING = 0.9
"""Share of words that are not there: not heard, or not recognised yet."""
MOST_MISHEARD = 0.5
"""Share of words; speech recognition in calls is wrong in 5 to 30 % of them, in noise in more."""
FILLERS = ("um", "uh", "and", "the", "a", "so", "you", "know", "like", "it")
_EDGES = re.compile(r"^\W+|\W+$")
_SOUNDS = str.maketrans("bfpvcgjkqsxzdtlmnr", "111122222222334556")


class Mishearing:
    """What speech recognition makes of words: others that sound alike, fewer, more."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        """`texts` are those of a set: what is misheard becomes one of their words."""
        count = Counter(_EDGES.sub("", word).lower() for words in texts for word in words)
        self._alike: dict[str, list[str]] = defaultdict(list)
        for word, _ in count.most_common(20_000):
            self._alike[sound_of(word)].append(word)

    def hear(
        self, words: Sequence[str], rng: np.random.Generator, share: float | None = None
    ) -> tuple[str, ...]:
        """At least one word is left; half of the time punctuation and capitals are lost.

        `share` of the words that are misheard; None: up to ``MOST_MISHEARD``.
        """
        if share is None:
            share = rng.uniform(0.0, MOST_MISHEARD)
        plain = rng.random() < 0.5
        heard: list[str] = []
        for word in words:
            said = _EDGES.sub("", word).lower() or word if plain else word
            if rng.random() >= share:
                heard.append(said)
                continue
            match rng.choice(["other", "none", "more"], p=[0.6, 0.25, 0.15]):
                case "other":
                    heard.append(self._other(said, rng))
                case "more":
                    heard += [FILLERS[int(rng.integers(len(FILLERS)))], said]
        return tuple(heard) or (words[0],)

    def _other(self, word: str, rng: np.random.Generator) -> str:
        bare = _EDGES.sub("", word).lower()
        alike = [each for each in self._alike.get(sound_of(bare), []) if each != bare]
        return alike[int(rng.integers(len(alike)))] if alike else word


def damage_words(
    words: Sequence[str], mishearing: Mishearing, rng: np.random.Generator
) -> tuple[str, ...]:
    """What reaches the analysis of `words`: misheard, or, half of the time, with gaps."""
    if rng.random() < 0.5:
        return with_gaps(words, rng.uniform(0.0, MOST_MISSING), rng)
    return mishearing.hear(words, rng)


def with_gaps(words: Sequence[str], share: float, rng: np.random.Generator) -> tuple[str, ...]:
    """`words` without that share of them, but for one that is left."""
    kept = tuple(word for word in words if rng.random() >= share)
    return kept or (words[int(rng.integers(len(words)))],)


def sound_of(word: str) -> str:
    """Soundex (Russell 1918): first letter, then classes of the first three other consonants."""
    letters = [letter for letter in word.lower() if letter.isalpha()]
    if not letters:
        return word
    coded = [letter.translate(_SOUNDS) for letter in letters]
    kept = [code for before, code in itertools.pairwise(coded) if code.isdigit() and code != before]
    return letters[0] + "".join(kept[:3])
