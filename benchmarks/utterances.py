"""Utterances that people label against windows that live sees: ``benchmarks.utterances``.

The same labelled clips are scored three ways, by the shipped checkpoint: as utterances, as the
sliding windows of 3 s whose middle lies in them (each window counts), and as the mean over the
windows of an utterance. Words: comments of GoEmotions' dev part, spoken at a usual pace. Voice:
clips of the validation speakers of ``configs/train-live.toml`` one after the other with pauses, as
in a session, so that windows hold silence and pieces of two clips. All three modalities: the
labelled segments of two videos of CMU-MOSEI. The last line is JSON, which also goes to
benchmarks/results/utterances.json.
"""

from __future__ import annotations

import argparse
import tempfile
import wave
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import lddu_model
from benchmarks.live_checkpoint import TRAINING
from benchmarks.sweeps import COMMENTS
from benchmarks.told import tell
from lddu_model import Prediction, Sample, metrics
from lddu_model.api import Model
from lddu_model.config import read_config
from lddu_model.data.sets import stacked_labels
from lddu_model.evaluation import predict_all
from stream.config import PrepareConfig, SetConfig
from stream.datasets import Clip, read_clips, read_comments
from stream.engines import SHIPPED_CHECKPOINT
from stream.extractors import LazyExtractors
from stream.samples import Maker
from stream.spec import live_spec
from workers.messages import MODALITIES, SAMPLE_RATE, Float32, Modality

RESULTS = Path(__file__).resolve().parent / "results" / "utterances.json"
PARTS = ("words", "voice", "segments")
EVERY = 4
"""Of the comments, so many make one that is scored."""
PAUSE_S = 1.0
"""Between two clips of acted speech."""
HOP_S = 0.5
"""Between windows of acted speech."""

Found = dict[str, list[Sample]]
"""Mode -> samples."""


class Makers:
    """Both ways of cutting one set."""

    def __init__(
        self, chosen: SetConfig, use: frozenset[Modality], extractors: LazyExtractors, hop: float
    ) -> None:
        config = PrepareConfig()
        config = config.model_copy(update={"window": config.window.model_copy(update={"hop": hop})})
        self.of = {
            mode: Maker(
                config,
                chosen.model_copy(update={"mode": mode}),
                use,
                live_spec(config),
                extractors,
            )
            for mode in ("utterance", "windows")
        }

    def of_clips(self, clips: Sequence[Clip]) -> Found:
        return {
            mode: [sample for clip in clips for sample in maker.of_clip(clip)]
            for mode, maker in self.of.items()
        }


def texts(root: Path, extractors: LazyExtractors) -> Found:
    comments = [each for each in read_comments(COMMENTS, root) if each.words][::EVERY]
    makers = Makers(COMMENTS, frozenset({"words"}), extractors, PrepareConfig().window.hop)
    return {
        mode: [sample for found in maker.of_comments(comments) for sample in found]
        for mode, maker in makers.of.items()
    }


def voices(root: Path, speakers: Sequence[str], extractors: LazyExtractors) -> Found:
    chosen = SetConfig(name="emodb", kind="emodb", path="media/emodb", use=("voice",))
    makers = Makers(chosen, frozenset({"voice"}), extractors, HOP_S)
    clips = [clip for clip in read_clips(chosen, root) if clip.group in speakers]
    with tempfile.TemporaryDirectory() as scratch:
        sessions = [
            _session([clip for clip in clips if clip.group == speaker], makers, Path(scratch))
            for speaker in speakers
        ]
        return makers.of_clips(sessions)


def _session(clips: Sequence[Clip], makers: Makers, folder: Path) -> Clip:
    """One recording of all clips of a speaker, in an order of its own."""
    rng = np.random.default_rng(int(clips[0].group))
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    parts: list[Float32] = [pause]
    utterances = []
    for i in rng.permutation(len(clips)):
        sound = makers.of["utterance"].sound_of(clips[i], 60.0)
        t0 = sum(map(len, parts)) / SAMPLE_RATE
        (utterance,) = clips[i].utterances
        utterances.append(replace(utterance, t0=t0, t1=t0 + len(sound) / SAMPLE_RATE))
        parts += [sound, pause]
    path = folder / f"{clips[0].group}.wav"
    _write(path, np.concatenate(parts))
    return Clip(path, clips[0].group, tuple(utterances))


def _write(path: Path, sound: Float32) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


def segments(root: Path, extractors: LazyExtractors) -> Found:
    chosen = SetConfig(name="mosei", kind="segments", path="media/mosei")
    makers = Makers(chosen, frozenset(MODALITIES), extractors, PrepareConfig().window.hop)
    return makers.of_clips(read_clips(chosen, root))


def compare(model: Model, found: Found) -> dict[str, Any]:
    """Metrics of utterances, of windows, and of means over windows."""
    utterances, windows = found["utterance"], found["windows"]
    by_utterance: dict[str, list[int]] = defaultdict(list)
    for i, sample in enumerate(windows):
        by_utterance[sample.id.partition("#")[0]].append(i)
    said = predict_all(model, windows)
    rows = list(by_utterance.values())
    first = [windows[row[0]] for row in rows]
    mean = np.stack([said.probability[row].mean(axis=0) for row in rows])
    variance = np.stack([said.variance[row].mean(axis=0) for row in rows])
    return {
        "utterances": _scores(model, utterances, predict_all(model, utterances)),
        "windows": _scores(model, windows, said),
        "mean over the windows of an utterance": _metrics(model, first, mean, variance),
    }


def _scores(model: Model, samples: Sequence[Sample], said: Prediction) -> dict[str, float]:
    return _metrics(model, samples, said.probability, said.variance)


def _metrics(
    model: Model, samples: Sequence[Sample], probability: Float32, variance: Float32
) -> dict[str, float]:
    truth = stacked_labels(samples)
    found = metrics.summary(truth, probability, variance, model.thresholds, model.labels)
    kept = ("samples", "macro_f1", "micro_f1", "map", "auroc_variance_wrong")
    told = {key: round(float(found[key]), 4) for key in kept if found.get(key) is not None}
    return {**told, "mean variance": round(float(variance.mean()), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Utterances against windows of the same clips.")
    parser.add_argument("--data", type=Path, default=Path("../shared"), metavar="FOLDER")
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED_CHECKPOINT)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of it")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    lddu_model.use_threads(1)
    config = PrepareConfig()
    model = lddu_model.load(options.checkpoint, live_spec(config))
    speakers = next(x for x in read_config(TRAINING).data if x.name == "emodb").validation_groups
    extractors = LazyExtractors(config)
    try:
        made = {
            "words": lambda: texts(options.data, extractors),
            "voice": lambda: voices(options.data, speakers, extractors),
            "segments": lambda: segments(options.data, extractors),
        }
        found = {part: made[part]() for part in options.only}
    finally:
        extractors.close()
    figures = {name: compare(model, each) for name, each in found.items()}
    tell("utterances", figures, options.out)


if __name__ == "__main__":
    main()
