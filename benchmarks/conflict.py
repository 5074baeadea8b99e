"""Are modalities that contradict each other noticed?  ``python -m benchmarks.conflict``.

Clips are composed by label: the words of a comment of GoEmotions' dev part, a clip of acted speech
of the validation speakers, and a generated face of a person that training never saw. Matched clips
show one label in all three; for each of them there is one in conflict, in which one of the three is
replaced by another part of the same kind that shows another label. All parts come from the feature
sets of ``make checkpoint`` (sets/live), except the faces.

How well the two are told apart (AUROC, with 95 % intervals over the pairs) by: the stated variance,
its mean and its largest value over the labels; entropy, likewise its mean; and the conflict of the
gate, the number of standard deviations at which the intervals of two modalities, one above the
threshold of a label and one below, still do not meet (its reason ``modality_conflict`` begins at
1). The last line is JSON, which also goes to benchmarks/results/conflict.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import lddu_model
from benchmarks.live_checkpoint import TRAINING
from benchmarks.told import tell
from lddu_model import Prediction, Sample
from lddu_model.api import Model
from lddu_model.config import read_config
from lddu_model.data.facs import FaceGenerator
from lddu_model.data.shards import read_shards
from lddu_model.evaluation import predict_all
from stream.config import AnalysisConfig, ReplayConfig
from stream.engines import checkpoint_at
from stream.faces import face_sample
from stream.spec import LABELS, RATE, WORDS, live_spec
from workers.face_features import MEASURED
from workers.gate import GateConfig

RESULTS = Path(__file__).resolve().parent / "results" / "conflict.json"
PAIRS = 300
FACES = 1500
FACE_SEED = 777
DRAWN = 1000
"""Bootstrap samples of pairs."""
MODALITIES = ("words", "voice", "face")

Float = NDArray[np.float64]
Parts = dict[str, dict[str, list[Sample]]]
"""Modality -> label -> samples that show just this label."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A matched clip and the same with one modality that contradicts."""

    matched: Sample
    conflict: Sample
    replaced: str


def parts_of(samples: dict[str, Sequence[Sample]]) -> Parts:
    """By the only label of each sample; what shows none or several is left out."""
    parts: Parts = {name: {} for name in samples}
    for name, some in samples.items():
        for sample in some:
            if sample.labels is not None and sample.labels.sum() == 1:
                label = LABELS[int(sample.labels.argmax())]
                parts[name].setdefault(label, []).append(sample)
    return parts


def compose(parts: Parts, count: int, rng: np.random.Generator) -> list[Pair]:
    """`count` pairs over the labels that every modality has."""
    shared = sorted(set.intersection(*(set(by_label) for by_label in parts.values())))

    def some(name: str, label: str) -> Sample:
        found = parts[name][label]
        return found[int(rng.integers(len(found)))]

    pairs = []
    for i in range(count):
        label, other = rng.choice(shared, size=2, replace=False)
        same = {name: some(name, label) for name in MODALITIES}
        replaced = MODALITIES[i % len(MODALITIES)]
        pairs.append(
            Pair(_together(same), _together({**same, replaced: some(replaced, other)}), replaced)
        )
    return pairs


def _together(parts: dict[str, Sample]) -> Sample:
    features = {name: part.features[name] for name, part in parts.items()}
    mask = {name: part.mask[name] for name, part in parts.items() if name in part.mask}
    return Sample(features, mask)


def gate_conflict(said: Prediction, thresholds: Sequence[float]) -> Float:
    """(B,) the largest number of standard deviations at which two modalities still contradict each
    other about a label; below 0 where none is above its threshold, or none below.
    """
    p = np.asarray(thresholds, float)
    distance = said.modality_logit.astype(float) - (np.log(p) - np.log1p(-p))
    in_deviations = distance / np.sqrt(said.modality_variance.astype(float))
    above, below = np.nanmax(in_deviations, axis=1), np.nanmax(-in_deviations, axis=1)
    return np.asarray(np.minimum(above, below).max(axis=1))


def scores(model: Model, samples: Sequence[Sample]) -> dict[str, Float]:
    """What may tell conflicts: (B,) each."""
    said = predict_all(model, samples)
    p = np.clip(said.probability.astype(float), 1e-6, 1 - 1e-6)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    return {
        "mean variance": said.variance.mean(axis=1).astype(float),
        "largest variance": said.variance.max(axis=1).astype(float),
        "mean entropy": entropy.mean(axis=1),
        "conflict of the gate": gate_conflict(said, model.thresholds),
    }


def told_apart(matched: Float, conflict: Float, rng: np.random.Generator) -> list[float]:
    """AUROC with its 95 % interval over pairs."""
    drawn = []
    for _ in range(DRAWN):
        i = rng.integers(len(matched), size=len(matched))
        drawn.append(_auroc(matched[i], conflict[i]))
    value = _auroc(matched, conflict)
    return [round(float(x), 3) for x in (value, *np.percentile(drawn, [2.5, 97.5]))]


def _auroc(matched: Float, conflict: Float) -> float:
    truth = np.repeat([0, 1], [len(matched), len(conflict)])
    return float(roc_auc_score(truth, np.concatenate([matched, conflict])))


def measure(model: Model, pairs: Sequence[Pair]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    matched = scores(model, [pair.matched for pair in pairs])
    conflict = scores(model, [pair.conflict for pair in pairs])
    replaced = np.array([pair.replaced for pair in pairs])
    least = GateConfig().conflict
    told: dict[str, Any] = {"pairs": len(pairs)}
    for name, of_matched in matched.items():
        told[name] = {
            "AUROC": told_apart(of_matched, conflict[name], rng),
            "by what contradicts": {
                each: round(
                    _auroc(of_matched[replaced == each], conflict[name][replaced == each]), 3
                )
                for each in MODALITIES
            },
        }
    told["share called a conflict by the gate"] = {
        name: round(float((found["conflict of the gate"] >= least).mean()), 3)
        for name, found in (("matched", matched), ("conflict", conflict))
    }
    return told


def all_parts() -> Parts:
    """From the sets of the shipped checkpoint, of which nothing was trained on."""
    sets = {each.name: each for each in read_config(TRAINING).data}
    speakers = sets["emodb"].validation_groups
    dev = sets["goemotions"].test
    assert dev is not None
    generator = FaceGenerator(MEASURED, LABELS, round(3.0 * RATE), RATE)
    return parts_of(
        {
            "words": list(read_shards(dev)),
            "voice": [x for x in read_shards(sets["emodb"].path) if x.group in speakers],
            "face": [face_sample(x) for x in islice(generator.samples(FACES, FACE_SEED), FACES)],
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Are contradicting modalities noticed?")
    parser.add_argument("--text", choices=list(WORDS), default="minilm", help="text model")
    parser.add_argument("--checkpoint", type=Path, help="default: the one that ships for it")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    lddu_model.use_threads(1)
    config = ReplayConfig(analysis=AnalysisConfig(text_model=options.text))
    checkpoint = options.checkpoint or checkpoint_at(None, options.text)
    model = lddu_model.load(checkpoint, live_spec(config))
    pairs = compose(all_parts(), PAIRS, np.random.default_rng(5))
    tell("conflict", measure(model, pairs), options.out)


if __name__ == "__main__":
    main()
