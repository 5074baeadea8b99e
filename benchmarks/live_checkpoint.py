"""What the shipped checkpoint can do: ``python -m benchmarks.live_checkpoint --data FOLDER``.

Two parts, which ``--only`` tells apart: ``checkpoint`` is about the checkpoint itself, ``voice``
trains anew without each speaker.

FOLDER holds data/goemotions and media/{emodb,stills,talking,mosei}; the feature sets of
``make checkpoint`` lie in sets/live. Words: GoEmotions' dev split. Voice: ``live_voice``. Face:
``live_face`` on recordings of people who speak (nobody labelled them: it is assumed that they are
neither happy nor surprised) and on generated ones. Segments of MOSEI's videos one by one: mean
probability over the windows whose middle lies in them. The last line is JSON, which also goes to
benchmarks/results/live_checkpoint.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np

import lddu_model
from benchmarks.live_face import false_while_speaking, only_face, talkers
from benchmarks.live_voice import leave_one_speaker_out
from lddu_model import Sample
from lddu_model.api import Model
from lddu_model.config import read_config
from lddu_model.data.shards import read_shards
from lddu_model.evaluation import predict_all, score
from lddu_model.report import git_commit
from stream import inline
from stream.config import AnalysisConfig, PrepareConfig, ReplayConfig, SetConfig
from stream.datasets import read_clips
from stream.engines import checkpoint_at
from stream.extractors import LazyExtractors
from stream.graph import feature_stages
from stream.graph_settings import align_config, vad_config
from stream.media import open_media
from stream.samples import Maker
from stream.spec import WORDS, live_spec
from workers.descriptors import describe
from workers.face_features import MEASURED, complete
from workers.infer import to_sample
from workers.messages import MODALITIES, AudioChunk, Float32, Message, Modality, VideoFrame
from workers.neutral import KEPT, NeutralFace
from workers.windows import WindowPlan

RESULTS = Path(__file__).resolve().parent / "results" / "live_checkpoint.json"
TRAINING = Path(__file__).resolve().parent.parent / "configs" / "train-live.toml"
STILLS = {
    "skimage_astronaut.png": "happy",
    "0-f15-hao-ph.jpg": "happy",
    "0-f1-su-ph.jpg": "surprise",
}
STREAMS = 40
NEUTRAL = "the table stands in the second room and the door is on the left side"
PLAYED = 4
SPEECH = 0.3
"""A window is one of speech from this share of steps."""


def words(model: Model) -> dict[str, Any]:
    config = read_config(TRAINING)
    dev = next(each.test for each in config.data if each.name == "goemotions")
    assert dev is not None
    found = score(model, list(read_shards(dev)))
    return {key: found[key] for key in ("samples", "macro_f1", "micro_f1", "map")}


def stills(model: Model, folder: Path, extractors: LazyExtractors) -> dict[str, list[str]]:
    """Labels that are said of photographs (expected: ``STILLS``)."""
    said = {}
    for name in STILLS:
        with av.open(str(folder / name)) as container:
            image = next(container.decode(video=0)).to_ndarray(format="rgb24")
        (face, *_) = extractors.face.detect(image.astype(np.uint8))
        row = complete(face.features, *NeutralFace().shapes())
        said[name] = _said(model, [Sample({"face": np.repeat(row[None], 30, axis=0)}, {})])[0]
    return said


def talking(model: Model, folder: Path, extractors: LazyExtractors) -> dict[str, Any]:
    """False happy and surprise while speaking, of the face alone and with neutral words."""
    said = extractors.text.encode(NEUTRAL.split())
    rows: dict[str, Any] = {}
    together: dict[str, list[Sample]] = defaultdict(list)
    for path in sorted(folder.glob("*.mp4")):
        found = [
            sample
            for sample, speech in windows_of(path, extractors)
            if speech >= SPEECH and "face" in sample.features
        ]
        faces = [only_face(sample) for sample in found]
        rows[path.name] = {"windows": len(found), **false_while_speaking(model, faces)}
        together["all, face"] += faces
        together["all, face, voice and neutral words"] += [_saying(each, said) for each in found]
    for name, samples in together.items():
        rows[name] = {"windows": len(samples), **false_while_speaking(model, samples)}
    return rows


def _saying(sample: Sample, words: Float32) -> Sample:
    mask = {**sample.mask, "words": np.ones(len(words), np.bool_)}
    return replace(sample, features={**sample.features, "words": words}, mask=mask)


def windows_of(path: Path, extractors: LazyExtractors) -> Iterator[tuple[Sample, float]]:
    """Windows of a recording as the graph makes them, with their share of speech.

    The recording is played ``PLAYED`` times in a row, as clips are shorter than it takes to know a
    face; windows are those of the last time.
    """
    config = ReplayConfig()
    expected: frozenset[Modality] = frozenset({"voice", "face"})
    plan = WindowPlan.sliding(config.window.width, config.window.hop)
    align = align_config(live_spec(config), expected)
    stages = feature_stages("p1", plan, vad_config(config), align, extractors)
    with open_media(path, fps=config.analysis.frames_per_second) as media:
        items = list(media)
    lasts = max(_end(item) for item in items)
    for window in inline.windows(stages, _again(items, lasts)):
        if window.t0 >= (PLAYED - 1) * lasts:
            yield to_sample(window), window.evidence.speech


def _again(items: Sequence[Message], lasts: float) -> Iterator[Message]:
    for k in range(PLAYED):
        for item in items:
            match item:
                case AudioChunk():
                    yield replace(item, t0=item.t0 + k * lasts)
                case VideoFrame():
                    yield replace(item, t=item.t + k * lasts)


def _end(item: Message) -> float:
    match item:
        case AudioChunk():
            return item.t1
        case VideoFrame():
            return item.t
        case _:
            return 0.0


def segments(
    model: Model, root: Path, extractors: LazyExtractors, analysis: AnalysisConfig
) -> list[dict[str, Any]]:
    """MOSEI's labelled segments, one by one."""
    rows = []
    for split in ("train", "valid"):
        plain = {"name": "s", "kind": "segments", "path": "media/mosei", "mode": "windows"}
        chosen = SetConfig.model_validate({**plain, "split": split})
        config = PrepareConfig(analysis=analysis)
        maker = Maker(config, chosen, frozenset(MODALITIES), live_spec(config), extractors)
        for clip in read_clips(chosen, root):
            found = list(maker.of_clip(clip))
            for utterance in clip.utterances:
                mine = [x for x in found if x.id.startswith(f"{utterance.id}#")]
                mean = predict_all(model, mine).probability.mean(axis=0)
                said = [set(each) for each in _said(model, mine)]
                rows.append(
                    {
                        "segment": utterance.id,
                        "truth": sorted(utterance.labels),
                        "windows": len(mine),
                        "probability": dict(zip(model.labels, mean.round(2).tolist(), strict=True)),
                        "share said": {
                            label: round(float(np.mean([label in each for each in said])), 2)
                            for label in model.labels
                        },
                    }
                )
    return rows


def _said(model: Model, samples: Sequence[Sample]) -> list[list[str]]:
    probability = predict_all(model, samples).probability
    return [
        [
            label
            for label, p, threshold in zip(model.labels, row, model.thresholds, strict=True)
            if p >= threshold
        ]
        for row in probability
    ]


def cost(model: Model, extractors: LazyExtractors) -> dict[str, float]:
    """Milliseconds for a window of 3 s, medians of 30, one thread."""
    neutral, clock = NeutralFace(), count()
    for _ in range(KEPT // 10):
        _watch(neutral, clock)
    sound = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    full = {
        each.name: np.zeros((each.steps, each.dim), np.float32) for each in model.spec.modalities
    }
    steps = {
        "descriptors": lambda: describe(sound),
        "whisper states": lambda: extractors.voice.encode(sound),
        "resting face": lambda: _watch(neutral, clock),
        "model, one window": lambda: model.predict([Sample(full, {})]),
    }
    return {name: _milliseconds(function) for name, function in steps.items()}


def _watch(neutral: NeutralFace, clock: Iterator[int]) -> None:
    """30 pictures of a face that was seen for a minute before."""
    measured = np.full(len(MEASURED), 0.3, np.float32)
    for _ in range(30):
        complete(measured, *neutral.shapes())
        neutral.see(next(clock) / 10, measured)


def _milliseconds(function: Any) -> float:
    taken = []
    for _ in range(30):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return round(float(np.median(taken)) * 1e3, 2)


def measure(model: Model, data: Path, analysis: AnalysisConfig) -> dict[str, Any]:
    """Everything about the checkpoint itself."""
    extractors = LazyExtractors(ReplayConfig(analysis=analysis))
    try:
        return {
            "words, dev": words(model),
            "stills": stills(model, data / "media/stills", extractors),
            "talking": talking(model, data / "media/talking", extractors),
            "generated talkers": talkers(model, STREAMS),
            "segments": segments(model, data, extractors, analysis),
            "ms": cost(model, extractors),
        }
    finally:
        extractors.close()


def voice() -> dict[str, Any]:
    """What the configuration of the checkpoint hears in speakers who were left out."""
    with tempfile.TemporaryDirectory() as scratch:
        return leave_one_speaker_out(read_config(TRAINING), Path(scratch))


def main() -> None:
    parser = argparse.ArgumentParser(description="What the shipped checkpoint can do.")
    parser.add_argument("--data", type=Path, default=Path("../shared"), metavar="FOLDER")
    parser.add_argument("--text", choices=list(WORDS), default="minilm", help="text model")
    parser.add_argument("--checkpoint", type=Path, help="default: the one that ships for it")
    parser.add_argument("--only", choices=["checkpoint", "voice"], help="keep the other's results")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the results")
    options = parser.parse_args()
    lddu_model.use_threads(1)
    told: dict[str, Any] = {"benchmark": "live_checkpoint"}
    if options.only and options.out.exists():
        told = json.loads(options.out.read_text(encoding="utf-8"))
    analysis = AnalysisConfig(text_model=options.text)
    checkpoint = options.checkpoint or checkpoint_at(None, options.text)
    parts = {
        "checkpoint": lambda: measure(
            lddu_model.load(checkpoint, live_spec(ReplayConfig(analysis=analysis))),
            options.data,
            analysis,
        ),
        "voice": voice,
    }
    for name, part in parts.items():
        if options.only in (None, name):
            start = time.perf_counter()
            found = part()
            seconds = round(time.perf_counter() - start)
            told[name] = {"commit": git_commit(), "seconds": seconds, **found}
    line = json.dumps(told)
    options.out.write_text(line + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))
    print(line)


if __name__ == "__main__":
    main()
