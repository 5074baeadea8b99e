"""The temporal rules on real voices: ``python -m benchmarks.temporal_clips [--data FOLDER]``.

Streams made of clips of EmoDB, one speaker each: at least 8 s of one emotion, then 8 s of plain
clips, and so on (boredom is left out: it is none of our labels, and not plain); in bursts of 3 s, a
quarter of the time, pink noise at -5 dB over the speech. They go through the stages of the voice
and the shipped checkpoint, as in a call of sound alone (words are masked: the speakers speak
German). The truth of a window is the emotion of the clip at its end; the five emotions of the data
are five streams each, put on one scale by the thresholds and base rates of the checkpoint, as the
filter of a call does it.

Only speakers 09 and 12 were not trained on (they chose the epoch and the calibration). The rules
are tuned on the streams of one of them and measured on those of the other, both ways round. These
are little data, and the same clips come several times: what stands here is what happens with real
sound, not a proof. Beside that, filters as they are configured (for which these speakers were used
too), on all streams. The last line is JSON, which also goes to
benchmarks/results/temporal-clips.json.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from benchmarks.temporal_rules import (
    BASELINES,
    OWN,
    causal,
    estimates,
    measured,
    rules,
    scale_of,
    shuffled,
    tried,
    watched,
)
from benchmarks.temporal_scores import Counts, Decision, Score, counted, decided
from benchmarks.temporal_streams import RATE, Said
from lddu_model import load, use_threads
from lddu_model.api import Model
from lddu_model.data.recordings import EMODB_LETTERS, EMODB_NAME
from lddu_model.evaluation import predict_all
from lddu_model.report import git_commit
from stream import inline
from stream.config import ReplayConfig
from stream.corruption import pink_noise, with_noise
from stream.engines import SHIPPED_CHECKPOINT
from stream.extractors import LazyExtractors
from stream.graph import feature_stages
from stream.graph_settings import align_config, vad_config
from stream.media import open_media
from stream.smoothing import FILTERS, LOWEST_LEVEL, SmoothingConfig, filter_of, prior_of
from stream.spec import live_spec
from workers.infer import to_sample
from workers.messages import SAMPLE_RATE, AudioChunk, Float32, Modality
from workers.windows import WindowPlan

RESULTS = Path(__file__).resolve().parent / "results" / "temporal-clips.json"
SPEAKERS = ("09", "12")
ON_S, OFF_S, BURST_S, BURST_SHARE, SNR_DB = 8.0, 8.0, 3.0, 0.25, -5.0
BOREDOM = "L"
PIECE = SAMPLE_RATE // 10
LEVEL = 2.0
"""Half the distance of present and absent labels, on the common scale."""


def clips(folder: Path, speaker: str) -> dict[str, list[Float32]]:
    """Sound by label; "" is that of no label."""
    found: dict[str, list[Float32]] = defaultdict(list)
    for path in sorted(folder.glob(f"{speaker}*.flac")):
        match = EMODB_NAME.fullmatch(path.name)
        assert match is not None
        if match[2] == BOREDOM:
            continue
        with open_media(path, fps=1.0) as media:
            sound = [each.samples for each in media if isinstance(each, AudioChunk)]
        found[EMODB_LETTERS[match[2]]].append(np.concatenate(sound))
    return found


def made(
    sounds: dict[str, list[Float32]], seconds: float, rng: np.random.Generator
) -> tuple[Float32, list[tuple[float, str]]]:
    """A stream, and from when on which label is there."""
    labels = rng.permutation([label for label in sounds if label]).tolist()
    parts: list[Float32] = []
    truth: list[tuple[float, str]] = []
    lasts = 0
    while lasts < seconds * SAMPLE_RATE:
        shown = "" if len(truth) % 2 == 0 else labels[len(truth) // 2 % len(labels)]
        truth.append((lasts / SAMPLE_RATE, shown))
        end = lasts + (ON_S if shown else OFF_S) * SAMPLE_RATE
        while True:
            each = sounds[shown][int(rng.integers(len(sounds[shown])))]
            parts.append(each)
            lasts += len(each)
            if lasts >= end:
                break
    return np.concatenate(parts), truth


def damaged(sound: Float32, rng: np.random.Generator) -> Float32:
    """With noise in bursts."""
    x = sound.astype(np.float64)
    loud = with_noise(x, pink_noise(len(x), rng), SNR_DB)
    t, noisy = 0.0, np.zeros(len(x), np.bool_)
    while t < len(x) / SAMPLE_RATE:
        t += rng.exponential(BURST_S * (1 - BURST_SHARE) / BURST_SHARE)
        end = t + rng.exponential(BURST_S)
        noisy[round(t * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = True
        t = end
    return np.clip(np.where(noisy, loud, x), -1, 1).astype(np.float32)


def said_of_sound(
    model: Model, sound: Float32, truth: list[tuple[float, str]], extractors: LazyExtractors
) -> Said:
    """(T, C) on the common scale."""
    config = ReplayConfig()
    expected: frozenset[Modality] = frozenset({"voice"})
    plan = WindowPlan.sliding(config.window.width, config.window.hop)
    align = align_config(live_spec(config), expected)
    stages = feature_stages("p1", plan, vad_config(config), align, extractors)
    windows = list(inline.windows(stages, _pieces(sound)))
    said = predict_all(model, [to_sample(each) for each in windows])
    begins = [at for at, _ in truth]
    now = [truth[np.searchsorted(begins, w.t1 - 1e-6, side="right") - 1][1] for w in windows]
    return Said(
        said.logit.astype(float),
        said.variance.astype(float),
        np.array([[label == each for label in model.labels] for each in now]),
    )


def on_one_scale(said: Said, model: Model) -> Said:
    """0 is the threshold, -``LEVEL`` the base rate."""
    p = np.asarray(model.thresholds)
    middle = np.log(p) - np.log1p(-p)
    factor = LEVEL / np.maximum(middle - prior_of(model), LOWEST_LEVEL)
    return said._replace(
        logit=(said.logit - middle) * factor, variance=said.variance * np.square(factor)
    )


def _pieces(sound: Float32) -> Iterator[AudioChunk]:
    for start in range(0, len(sound), PIECE):
        yield AudioChunk("p1", start / SAMPLE_RATE, sound[start : start + PIECE])


def streams_of(
    model: Model, folder: Path, chosen: argparse.Namespace
) -> dict[str, tuple[list[Said], list[int]]]:
    """By speaker: streams, and the labels that the speaker's clips have; from files that are there.

    `chosen` as of ``arguments``.
    """
    extractors = LazyExtractors(ReplayConfig())
    found = {}
    try:
        for speaker in SPEAKERS:
            sounds = clips(folder, speaker)
            parts = [
                _stream(model, sounds, int(speaker), k, chosen, extractors)
                for k in range(chosen.streams)
            ]
            found[speaker] = (parts, [c for c, x in enumerate(model.labels) if x in sounds])
    finally:
        extractors.close()
    return found


def _stream(
    model: Model,
    sounds: dict[str, list[Float32]],
    speaker: int,
    k: int,
    chosen: argparse.Namespace,
    extractors: LazyExtractors,
) -> Said:
    path = None
    if chosen.work:
        chosen.work.mkdir(parents=True, exist_ok=True)
        path = chosen.work / f"clips-{_mark(model)}-{speaker}-{k}-{chosen.seconds}.npz"
    if path is not None and path.is_file():
        with np.load(path) as found:
            return Said(**{name: found[name] for name in Said._fields})
    rng = np.random.default_rng([speaker, k])
    sound, truth = made(sounds, chosen.seconds, rng)
    said = said_of_sound(model, damaged(sound, rng), truth, extractors)
    if path is not None:
        np.savez(path, **said._asdict())
    return said


def _mark(model: Model) -> str:
    """Eight digits that differ between models: what one said is not what another says."""
    mark = crc32(repr(model.calibration).encode())
    for tensor in model.net.state_dict().values():
        mark = crc32(tensor.cpu().numpy().tobytes(), mark)
    return f"{mark:08x}"


def side_by_side(parts: list[Said], kept: list[int], model: Model) -> Said:
    """All labels of all streams as if each were a stream, cut to one length."""
    steps = min(len(each.logit) for each in parts)
    scaled = [on_one_scale(each, model) for each in parts]
    logit, variance, truth = (
        np.concatenate([each[field][:steps, kept] for each in scaled], axis=1) for field in range(3)
    )
    return Said(logit, variance, truth)


def across(tuning: Said, test: Said, window: float) -> dict[str, Any]:
    """Tuned on one, measured on the other."""
    scale = scale_of(tuning)
    unit = scale.noise / tuning.variance.mean()
    whole = test._replace(variance=test.variance * unit)
    tuned, _ = watched(tuning._replace(variance=tuning.variance * unit), window)
    seen, held = watched(whole, window)
    lost, lost_held = watched(shuffled(whole), window)
    found: dict[str, Any] = {**scale._asdict(), "trusted": held, "shuffled trusted": lost_held}
    families = rules(scale, window)
    chosen = {}
    for name in (*BASELINES, *OWN):
        family = tried(families[name], tuned, scale.middle)
        best = family.best()
        assert best is not None
        chosen[name] = best[0]
        found[name] = measured(best[0], seen, scale.middle)._asdict()
        found[name]["setting"] = repr(best[0])
    for name in OWN:
        found[f"{name}, shuffled"] = measured(chosen[name], lost, scale.middle)._asdict()
    return found


VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"filter": name} for name in FILTERS},
    **{
        f"hmm, temper {temper}, shared {shared}": {"hmm": {"temper": temper, "shared": shared}}
        for temper in (0.35, 0.7, 1.0)
        for shared in (0.0, 0.6, 0.8)
    },
}
"""Of the temporal engine, but for these as it is configured."""


def as_configured(model: Model, streams: dict[str, tuple[list[Said], list[int]]]) -> dict[str, Any]:
    """Each variant on all streams, with the decision that is configured."""
    smoothing, prior = SmoothingConfig(), prior_of(model)
    way = Decision(smoothing.hysteresis, -smoothing.hysteresis, smoothing.dwell)
    p = np.asarray(model.thresholds)
    middle = np.log(p) - np.log1p(-p)
    window = ReplayConfig().window.width
    found = {}
    for name, changes in VARIANTS.items():
        config = SmoothingConfig.model_validate(changes)
        rule = filter_of(config, window, model.thresholds, prior)
        counts = []
        for parts, kept in streams.values():
            for said in parts:
                mean = (causal(rule, estimates(said)) - middle)[:, kept]
                counts.append(counted(decided(mean, 0.0, (way,)), said.truth[:, kept]))
        found[name] = joined(counts)._asdict()
    return found


def joined(counts: Sequence[Counts]) -> Score:
    """One score of streams of several lengths."""
    hits, shown, switches, late = (
        sum(float(getattr(each, name)[0]) for each in counts)
        for name in ("hits", "shown", "switches", "late")
    )
    there, onsets = sum(each.there for each in counts), sum(each.onsets for each in counts)
    minutes = sum(each.steps * each.streams for each in counts) / RATE / 60
    return Score(2 * hits / max(1.0, shown + there), switches / minutes, late / max(1, onsets))


def arguments(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, default=Path("../shared"), metavar="FOLDER")
    parser.add_argument("--streams", type=int, default=3, help="of each speaker")
    parser.add_argument("--seconds", type=float, default=100.0, help="of each stream, at least")
    parser.add_argument("--work", type=Path, help="keep what the model says here")
    return parser.parse_args()


def main() -> None:
    chosen = arguments("The temporal rules on real voices.")
    use_threads(1)
    model = load(SHIPPED_CHECKPOINT)
    streams = streams_of(model, chosen.data / "media/emodb", chosen)
    said = {speaker: side_by_side(*each, model) for speaker, each in streams.items()}
    window = ReplayConfig().window.width
    found = {
        f"tuned on {one}, measured on {other}": across(said[one], said[other], window)
        for one, other in permutations(SPEAKERS)
    }
    line = json.dumps({
        "benchmark": "temporal_clips", "commit": git_commit(), "cores": os.cpu_count(),
        "windows": {name: each.logit.shape for name, each in said.items()},
        "as configured, both speakers": as_configured(model, streams), **found,
    })  # fmt: skip
    RESULTS.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
