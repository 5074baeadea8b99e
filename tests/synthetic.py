"""A synthetic person and cheap engines, to drive the graph for long in little time.

The engines compute real functions of their input (so that a wrong window shows), but are no
substitute for the real ones, which have tests of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lddu_model import Prediction, Sample
from stream.graph import Flow, GraphConfig, Many
from workers.align import AlignConfig
from workers.face import FEATURE_NAMES, MEASURED, FoundFace
from workers.infer import InferenceEngine, Predict
from workers.messages import (
    MODALITIES,
    SAMPLE_RATE,
    AudioChunk,
    FaceQuality,
    Float32,
    Message,
    Modality,
    VideoFrame,
    Word,
)
from workers.places import Place
from workers.smooth import SmoothConfig
from workers.vad import VadConfig
from workers.whisper import Before, Heard
from workers.windows import WindowPlan
from workers.worker import Run

ALL: frozenset[Modality] = frozenset(MODALITIES)
LABELS = ("happy", "sad", "anger", "surprise", "disgust", "fear")


def sound(seconds: float, seed: int = 0) -> Float32:
    """(n,) bursts of a buzzing voice-like tone with pauses between them."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    rng = np.random.default_rng(seed)
    buzz = sum(np.sin(2 * np.pi * 140 * k * t + k) / k for k in range(1, 24))
    speaking = (t % 2.6) < 1.7
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * t)
    noise = rng.normal(0, 0.001, len(t))
    return np.asarray(0.12 * buzz * syllables * speaking + noise, np.float32)


def chunks(samples: Float32, sizes: Callable[[], int], person: str = "p1") -> Iterator[AudioChunk]:
    """`samples` from t = 0 in pieces of ``sizes()`` samples."""
    at = 0
    while at < len(samples):
        n = max(1, sizes())
        yield AudioChunk(person, at / SAMPLE_RATE, samples[at : at + n])
        at += n


def frames(seconds: float, fps: float, person: str = "p1") -> Iterator[VideoFrame]:
    """Pictures whose brightness tells their time."""
    for i in range(int(seconds * fps)):
        t = i / fps
        image = np.full((8, 8, 3), int(t * 10) % 200, np.uint8)
        yield VideoFrame(person, t, image)


def source(seconds: float, fps: float = 10.0, chunk: int = 320) -> list[AudioChunk | VideoFrame]:
    """Sound and pictures of one person in order of their end."""
    items: list[AudioChunk | VideoFrame] = [
        *chunks(sound(seconds), lambda: chunk),
        *frames(seconds, fps),
    ]
    return sorted(items, key=end_of)


def end_of(item: AudioChunk | VideoFrame) -> float:
    return item.t1 if isinstance(item, AudioChunk) else item.t


class Voice:
    def encode(self, samples: Float32) -> Float32:
        usable = samples[: len(samples) // 320 * 320].reshape(-1, 320)
        loudness = np.log1p(np.abs(usable)).mean(axis=1, keepdims=True)
        return np.asarray(loudness, np.float32)


class Transcriber:
    def transcribe(self, samples: Float32, before: Before | None = None) -> Heard:
        """One word per 0.4 s, named by its loudness."""
        n = max(1, int(len(samples) / SAMPLE_RATE / 0.4))
        words = tuple(Word(0.4 * i, 0.4 * i + 0.3, f"w{i % 7}", 0.9) for i in range(n))
        return Heard(words, "en")


class Text:
    languages = frozenset({"en"})

    def encode(self, words: Sequence[str], context: Sequence[str] = ()) -> Float32:
        return np.asarray([[1 + len(word), 1 + len(context)] for word in words], np.float32)


class Faces:
    def detect(self, image: NDArray[np.uint8]) -> tuple[FoundFace, ...]:
        value = float(image[0, 0, 0])
        landmarks = np.full((478, 3), 0.5, np.float32)
        landmarks[0, :2], landmarks[1, :2] = 0.3, 0.7
        features = np.full(len(MEASURED), value, np.float32)
        return (FoundFace(landmarks, features, FaceQuality(0.4, 0.5, 100.0)),)

    def search(self, image: NDArray[np.uint8]) -> tuple[Place, ...]:
        height, width = image.shape[:2]
        return (Place(0.3 * width, 0.3 * height, 0.7 * width, 0.7 * height),)


class Model:
    """The logit of a label is a mean over whatever is there."""

    labels = LABELS

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        rows = [[float(v.mean()) for v in sample.features.values()] or [0.0] for sample in samples]
        mean = np.asarray([np.tanh(np.mean(row)) for row in rows], np.float32)
        logit = np.repeat(mean[:, None], len(LABELS), axis=1)
        ones = np.ones_like(logit)
        probability = np.asarray(1 / (1 + np.exp(-logit)), np.float32)
        alone = np.ones((len(samples), 3, 6), np.float32)
        return Prediction(
            logit,
            probability,
            ones,
            alone,
            alone,
            np.zeros_like(logit),
            np.zeros(alone.shape[:2], np.float32),
        )


@dataclass
class SlowRuns:
    """Each stage takes its cost in virtual time per item, one at a time per stage kind."""

    cost: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    def for_stage(self, name: str) -> Run:
        async def run(function: Callable[[], Sequence[Message]]) -> Sequence[Message]:
            if name in self.cost:
                async with self._locks.setdefault(name, asyncio.Lock()):
                    await asyncio.sleep(self.cost[name])
            return function()

        return run

    async def predict(self, predict: Predict, samples: Sequence[Sample]) -> Prediction:
        await asyncio.sleep(self.cost.get("infer", 0.0))
        return predict(samples)


@dataclass
class Engines:
    """The part of ``stream.engines.Engines`` that a graph needs."""

    inference: InferenceEngine
    voice: Voice = field(default_factory=Voice)
    transcriber: Transcriber = field(default_factory=Transcriber)
    text: Text = field(default_factory=Text)
    face: Faces = field(default_factory=Faces)


def engines(runs: SlowRuns) -> Engines:
    return Engines(InferenceEngine(Model(), runs.predict))


def config(
    flow: Flow, expected: frozenset[Modality] = ALL, many: Many | None = None
) -> GraphConfig:
    return GraphConfig(
        plan=WindowPlan.sliding(3.0, 0.25),
        expected=expected,
        vad=VadConfig(),
        align=AlignConfig(
            {"words": 2, "voice": 1, "face": len(FEATURE_NAMES)},
            expected,
            max_wait=0.4 if flow is Flow.LIVE else None,
        ),
        smooth=SmoothConfig((0.5,) * 6, expected),
        flow=flow,
        many=many,
    )
