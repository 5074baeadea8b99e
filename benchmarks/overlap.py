"""Trains and measures what hears that several people speak: ``python -m benchmarks.overlap``.

Two different voices of EmoDB (CC0), a speech of 1961 and a LibriVox reading (both public domain)
are mixed, the second for a part of three seconds, half of the mixtures as over a telephone; a
logistic regression on the voice features of a window (``workers.voice``) tells steps with two
voices from steps with one. ``auc`` is that of speakers it was not trained with (four folds of
speakers), ``recall`` and ``false`` the shares of such overlap and of such single speech that are
marked; the threshold is where ``false`` is 0.1. ``telephone`` is a real mixed call, which neither
weights nor threshold were chosen on: ``recall`` and ``false`` of its time by its annotation.
With ``--write`` the weights go to workers/overlap.npz and the figures to
benchmarks/results/overlap.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import webrtcvad
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from stream.config import ReplayConfig
from stream.extractors import LazyExtractors
from tests.conftest import PROJECT
from workers import overlap
from workers.messages import (
    SAMPLE_RATE,
    AcousticFrames,
    AudioChunk,
    Bool,
    Float32,
    Message,
    VoicedAudio,
)
from workers.overlap import OverlapDetector
from workers.vad import VadStage
from workers.voice import Encodes, VoiceStage
from workers.windows import WindowPlan

SECONDS, STEPS = 3.0, 30
LENGTH = round(SECONDS * SAMPLE_RATE)
FOLDS = 4
FALSE = 0.1
"""Share of single speech that may be marked, of speakers that are not trained with."""
STRENGTH = 1e-3
"""Inverse of the penalty on the weights."""


@dataclass(frozen=True)
class Mixtures:
    """Steps with speech, of all mixtures."""

    features: Float32
    """(n, D)."""
    two: NDArray[np.bool_]
    """(n,) two voices."""
    fold: NDArray[np.int64]
    """(n,) of the speakers."""


class Mixer:
    """Makes mixtures of speakers; ``voices`` are their recordings."""

    def __init__(self, voices: dict[str, list[Float32]], encoder: Encodes, seed: int) -> None:
        self._voices = voices
        self._encoder = encoder
        self._rng = np.random.default_rng(seed)
        self._vad = webrtcvad.Vad(2)

    def mixtures(self, count: int) -> Mixtures:
        names = list(self._voices)
        rows: list[Float32] = []
        two: list[Bool] = []
        folds: list[int] = []
        for i in range(count):
            fold = i % FOLDS
            features, label, known = self._one(names[fold::FOLDS])
            rows.append(features[known])
            two.append(label[known])
            folds += [fold] * int(known.sum())
        return Mixtures(np.concatenate(rows), np.concatenate(two), np.array(folds))

    def _one(self, names: list[str]) -> tuple[Float32, Bool, Bool]:
        """Features (steps, D), two voices or one (steps,), and which of that is clear (steps,)."""
        rng = self._rng
        a, b = rng.choice(names, 2, replace=False)
        first, second = self._stretch(a), self._stretch(b) * 10 ** (rng.uniform(-8, 8) / 20)
        begin = int(rng.integers(0, LENGTH - 8000))
        end = min(LENGTH, begin + int(rng.integers(8000, 32000)))
        second[:begin] = 0
        second[end:] = 0
        if rng.random() < 0.5:  # the second goes on alone
            first[max(0, end - int(rng.integers(0, min(8000, end)))) :] = 0
        shares = [self._share(voice) for voice in (first, second)]
        noise = rng.normal(0, 10 ** rng.uniform(-4, -2.3), LENGTH)
        mixed = np.asarray(first + second + noise, np.float32)
        if rng.random() < 0.5:
            mixed = self._over_telephone(mixed)
        mixed = np.clip(mixed * 10 ** rng.uniform(-0.7, 0.7), -1, 1).astype(np.float32)
        both = np.minimum(*shares) >= 0.8
        one = (np.minimum(*shares) <= 0.2) & (np.maximum(*shares) > 0.5)
        return self._features(mixed), both, both | one

    def _features(self, sound: Float32) -> Float32:
        """Of the stage itself, as if all of it were speech."""
        plan = WindowPlan.fixed([(0.0, SECONDS)])
        stage = VoiceStage("p1", plan, self._encoder)
        speech = np.ones(LENGTH * 50 // SAMPLE_RATE, np.bool_)
        out = stage.push(VoicedAudio("p1", 0.0, sound, speech))
        return next(item.features for item in out if isinstance(item, AcousticFrames))

    def _stretch(self, name: str) -> Float32:
        recordings = self._voices[name]
        some = self._rng.permutation(len(recordings))[:4]
        sound = np.concatenate([recordings[i] for i in some])
        sound = np.tile(sound, -(-(LENGTH + 10) // len(sound)))
        start = int(self._rng.integers(0, len(sound) - LENGTH))
        part = sound[start : start + LENGTH]
        return np.asarray(0.05 * part / (np.sqrt((part**2).mean()) + 1e-5), np.float32)

    def _share(self, sound: Float32) -> NDArray[np.float64]:
        """Of speech in each step."""
        pcm = (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
        frames = [pcm[at : at + 640] for at in range(0, len(pcm) - 639, 640)]
        speech = np.array([self._vad.is_speech(frame, SAMPLE_RATE) for frame in frames])
        return np.asarray(speech.reshape(STEPS, -1).mean(axis=1), np.float64)

    def _over_telephone(self, sound: Float32) -> Float32:
        spectrum = np.fft.rfft(sound)
        f = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
        low, high = self._rng.uniform(80, 300), self._rng.uniform(3300, 3800)
        spectrum[(f < low) | (f > high)] = 0
        return np.asarray(np.fft.irfft(spectrum, len(sound)), np.float32)


def train(data: Mixtures) -> tuple[Float32, Float32, LogisticRegression]:
    """Mean and deviation of the features (D,), and the regression on what is left."""
    mean, spread = data.features.mean(axis=0), data.features.std(axis=0) + 1e-6
    model = LogisticRegression(C=STRENGTH, max_iter=500)
    model.fit((data.features - mean) / spread, data.two)
    return mean, spread, model


def held_out(data: Mixtures) -> NDArray[np.float64]:
    """(n,) what is said of each step by a regression that never heard its speakers."""
    said = np.zeros(len(data.two))
    for fold in range(FOLDS):
        rest = data.fold != fold
        part = Mixtures(data.features[rest], data.two[rest], data.fold[rest])
        mean, spread, model = train(part)
        said[~rest] = model.decision_function((data.features[~rest] - mean) / spread)
    return said


def telephone(folder: Path, encoder: Encodes, detector: OverlapDetector) -> dict[str, float]:
    """Marked overlap of the real call, in shares of time."""
    sound = read(folder / "pyannote_sample_2speakers.wav")
    lines = (folder / "pyannote_sample_2speakers.rttm").read_text().splitlines()
    turns = [(float(each.split()[3]), float(each.split()[4])) for each in lines]
    vad, voice = VadStage("p1"), VoiceStage("p1", WindowPlan.sliding(), encoder)
    for made in [*vad.push(AudioChunk("p1", 0.0, sound)), *vad.flush()]:
        if isinstance(made, VoicedAudio):
            hear(voice.push(made), detector)
    times = np.arange(0, len(sound) / SAMPLE_RATE, 0.01)
    voices = sum(
        ((begin <= times) & (times < begin + length)).astype(int) for begin, length in turns
    )
    marked = np.array([detector.at(t) for t in times])
    two, one = np.asarray(voices) == 2, np.asarray(voices) == 1
    return {
        "overlap_s": round(float(two.sum()) / 100, 2),
        "recall": round(float(marked[two].mean()), 4),
        "false": round(float(marked[one].mean()), 4),
    }


def hear(items: Sequence[Message], detector: OverlapDetector) -> None:
    for item in items:
        if isinstance(item, AcousticFrames):
            detector.add(item)


def read(path: Path) -> Float32:
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    parts: list[NDArray[Any]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            parts += [each.to_ndarray().reshape(-1) for each in resampler.resample(frame)]
    return np.concatenate(parts).astype(np.float32)


def voices(media: Path) -> dict[str, list[Float32]]:
    found: dict[str, list[Float32]] = {}
    for path in sorted((media / "emodb").glob("*.flac")):
        found.setdefault(path.name[:2], []).append(read(path))
    found["1961"] = [read(media / "speech/jfk.flac")]
    found["librivox"] = [read(media / "speech/librivox_sense_and_sensibility_0870.wav")]
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overlap")
    parser.add_argument("--media", type=Path, default=PROJECT.parent / "shared/media")
    parser.add_argument("--count", type=int, default=1200, help="mixtures (default 1200)")
    parser.add_argument("--write", action="store_true", help="use the weights from now on")
    options = parser.parse_args(arguments)
    encoder = LazyExtractors(ReplayConfig()).voice
    data = Mixer(voices(options.media), encoder, seed=0).mixtures(options.count)
    said = held_out(data)
    threshold = float(np.quantile(said[~data.two], 1 - FALSE))
    mean, spread, model = train(data)
    weights = (model.coef_[0] / spread).astype(np.float32)
    bias = float(model.intercept_[0] - (model.coef_[0] * mean / spread).sum() - threshold)
    detector = OverlapDetector(weights, bias)
    result = {
        "steps": len(data.two),
        "auc": round(float(roc_auc_score(data.two, said)), 4),
        "recall": round(float((said[data.two] > threshold).mean()), 4),
        "false": FALSE,
        "telephone": telephone(options.media / "speech", encoder, detector),
    }
    if options.write:
        np.savez(overlap.WEIGHTS, weights=weights, bias=np.float32(bias))
        out = PROJECT / "benchmarks/results/overlap.json"
        out.write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
