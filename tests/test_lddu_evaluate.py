"""Scores against scikit-learn and literal definitions; reports, bootstrap, the command line."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from lddu_model import compare, create, metrics, uncertainty
from lddu_model.calibration import best_single_threshold
from lddu_model.checkpoint import save
from lddu_model.errors import DataError, run_command
from lddu_model.evaluate import (
    compare_seeds,
    evaluate,
    evaluate_seeds,
    main,
    predictions_of,
)
from lddu_model.evaluation_report import markdown
from lddu_model.predictions import TEST, VALIDATION, Predictions
from tests.lddu_toys import LABELS, SMALL, SPEC, toy_samples, write_set

Float = NDArray[np.float64]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Float, Float]:
    """Truth and scores (N, C); ties and rows without any label are common."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count, labels = draw(st.integers(2, 40)), draw(st.integers(1, 7))
    truth = (rng.random((count, labels)) < draw(st.sampled_from([0.05, 0.3, 0.8]))).astype(float)
    return truth, np.round(rng.random((count, labels)), draw(st.integers(1, 6)))


@given(cases())
def test_decisions_are_scored_as_scikit_learn_does(case: tuple[Float, Float]) -> None:
    truth, score = case
    said = score >= 0.5
    y, p = truth.astype(int), said.astype(int)
    for both_empty in (0, 1):
        # scikit-learn has no value of its own for two empty sets; its zero_division is ours.
        each = [sk.jaccard_score(a, b, zero_division=both_empty) for a, b in zip(y, p, strict=True)]
        assert metrics.jaccard(truth, said, both_empty=both_empty) == pytest.approx(np.mean(each))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sk._classification.UndefinedMetricWarning)
        np.testing.assert_allclose(
            np.stack([f(truth, said) for f in (metrics.precision, metrics.recall, metrics.f1)]),
            np.stack(sk.precision_recall_fscore_support(y, p, average=None, zero_division=0)[:3])
            if y.shape[1] > 1
            else np.array([
                [f(y[:, 0], p[:, 0], zero_division=0)]
                for f in (sk.precision_score, sk.recall_score, sk.f1_score)
            ]),
        )  # fmt: skip
    assert metrics.hamming(truth, said) == pytest.approx(np.mean(y != p))
    assert metrics.exact_match(truth, said) == pytest.approx(sk.accuracy_score(y, p))
    if y.shape[1] > 1:
        assert metrics.hamming(truth, said) == pytest.approx(sk.hamming_loss(y, p))
        micro = sk.f1_score(y, p, average="micro", zero_division=0)
        assert metrics.micro(truth, said)[2] == pytest.approx(micro)


@given(cases())
def test_ranks_and_probabilities_are_scored_as_scikit_learn_does(
    case: tuple[Float, Float],
) -> None:
    truth, score = case
    brier = uncertainty.brier(truth, score)
    for c in range(truth.shape[1]):
        y, p = truth[:, c], score[:, c]
        assert brier[c] == pytest.approx(np.mean((y - p) ** 2))
        if 0 < y.sum() < len(y):
            assert brier[c] == pytest.approx(sk.brier_score_loss(y, p))
            assert metrics.average_precision(y, p) == pytest.approx(
                sk.average_precision_score(y, p)
            )
            assert metrics.auroc(y, p) == pytest.approx(sk.roc_auc_score(y, p))


@given(cases(), st.integers(0, 1000))
def test_weighted_scores_are_those_of_the_repeated_samples(
    case: tuple[Float, Float], seed: int
) -> None:
    truth, score = case
    count = np.random.default_rng(seed).integers(0, 4, len(truth))
    if not count.sum():
        return
    repeat = np.repeat(np.arange(len(truth)), count)
    again, scores = truth[repeat], score[repeat]
    weight = count.astype(float)

    def same(a: float, b: float) -> None:
        assert (np.isnan(a) and np.isnan(b)) or a == pytest.approx(b)

    same(compare.weighted_map(truth, score)(weight), metrics.mean_average_precision(again, scores))
    wrong = (score >= 0.5) != (truth > 0.5)
    same(
        compare.weighted_auroc(wrong, score)(weight),
        metrics.auroc(wrong[repeat], scores),
    )
    f1 = metrics.micro(again, scores >= 0.5)[2]
    same(compare.weighted_f1(truth, score >= 0.5, macro=False)(weight), f1)
    occurring = again.sum(axis=0) > 0
    if occurring.any():
        macro = metrics.f1(again, scores >= 0.5)[occurring].mean()
        same(compare.weighted_f1(truth, score >= 0.5, macro=True)(weight), macro)


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_risk_areas_are_their_literal_definitions(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    wrong, doubt = rng.random(count) < 0.4, rng.random(count)
    by_doubt = wrong[np.argsort(doubt)]
    selective = [by_doubt[:k].mean() for k in range(1, count + 1)]
    general = [by_doubt[:k].sum() / count for k in range(1, count + 1)]
    assert uncertainty.aurc(wrong, doubt) == pytest.approx(np.mean(selective))
    assert uncertainty.augrc(wrong, doubt) == pytest.approx(np.mean(general))
    assert uncertainty.risk_at(wrong, doubt, 1.0) == pytest.approx(wrong.mean())
    # An uncertainty that says nothing: its value does not depend on the order of the samples.
    flat = uncertainty.aurc(wrong, np.ones(count))
    assert flat == pytest.approx(uncertainty.aurc(wrong[::-1], np.ones(count)))
    assert flat == pytest.approx(wrong.mean())
    assert uncertainty.aurc(wrong, wrong.astype(float)) <= flat + 1e-12


def test_calibration_error() -> None:
    """Four samples in two bins of equal mass: |0.15 - 0.5| and |0.8 - 1|, half each."""
    truth, said = np.array([0.0, 1, 1, 1]), np.array([0.1, 0.2, 0.7, 0.9])
    found = uncertainty.calibration_error(truth, said, bins=2)
    assert found == pytest.approx((0.35 + 0.2) / 2)
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    honest = (rng.random(20_000) < p).astype(float)
    assert uncertainty.calibration_error(honest, p) < 0.02
    assert uncertainty.calibration_error(honest, p**3) > 0.1
    bins = uncertainty.calibration_bins(honest, p)
    np.testing.assert_allclose(bins[2], 1 / 15, rtol=0.01)


def test_spearman_ignores_what_is_not_finite() -> None:
    assert uncertainty.spearman(np.array([1.0, 2, 3]), np.array([2.0, 4, 9])) == pytest.approx(1)
    with_gap = uncertainty.spearman(np.array([1, np.inf, 2, 3]), np.array([3, 0, 2, 1.0]))
    assert with_gap == pytest.approx(-1)
    assert np.isnan(uncertainty.spearman(np.ones(3), np.arange(3.0)))
    variance = np.ones((50, 2, 3)) * np.arange(50)[:, None, None]
    level = np.stack([np.arange(50.0), -np.arange(50.0)], axis=1)
    assert uncertainty.noise_correlation(variance, level) == pytest.approx([1, -1])


def said(
    seed: int, count: int = 400, *, skill: float = 2.0, variance: bool = True, groups: int = 20
) -> Predictions:
    """Predictions of a model that is unsure where it is noisy; the truth does not depend on seed.

    Positives are rare and the threshold is low, so precision and recall are far apart.
    """
    rng = np.random.default_rng(99)
    truth = (rng.random((count, 3)) < 0.2).astype(np.float32)
    noise = rng.choice([0.3, 2.0], size=(count, 3))
    rng = np.random.default_rng(seed)
    logit = skill * (2 * truth - 1) + noise * rng.normal(size=truth.shape) - 1
    return Predictions(
        labels=LABELS,
        ids=tuple(f"s{i}" for i in range(count)),
        groups=tuple(f"g{i % groups}" for i in range(count)) if groups else ("",) * count,
        truth=truth,
        probability=(1 / (1 + np.exp(-logit))).astype(np.float32),
        variance=noise.astype(np.float32) if variance else None,
    )


def test_swapped_precision_and_recall_are_noticed_in_every_place() -> None:
    """Everything is predicted: recall is 1, precision the base rate."""
    test = replace(said(0), probability=np.full((400, 3), 0.9, dtype=np.float32))
    report = evaluate(test, None, resamples=0)
    base = float(test.truth.mean())
    for found in report["decisions"].values():
        assert found["micro_recall"] == 1.0
        assert found["micro_precision"] == pytest.approx(base, abs=1e-4)
        assert found["labels"]["happy"]["recall"] == 1.0
        assert found["labels"]["happy"]["precision"] < 0.3
    text = markdown({"about": {}, **evaluate_seeds([test], None, resamples=0)})
    head = re.search(r"\| thresholds \| micro precision \| micro recall .*\n.*\n(.*)\n", text)
    assert head is not None
    cells = [cell.strip() for cell in head.group(1).strip("|").split("|")]
    assert cells[1:3] == [f"{base:.3f}", "1.000"]
    row = re.search(r"\| label \| threshold \| precision \| recall .*\n.*\n(.*)\n", text)
    assert row is not None
    assert [cell.strip() for cell in row.group(1).strip("|").split("|")][3] == "1.000"


def test_thresholds_and_combination_come_from_validation_alone() -> None:
    test, validation = said(1), said(2)
    report = evaluate(test, validation, resamples=0)
    one = report["decisions"]["one threshold"]["thresholds"]
    assert set(one.values()) == {best_single_threshold(validation.probability, validation.truth)}
    turned = replace(test, truth=1 - test.truth)
    assert (
        evaluate(turned, validation, resamples=0)["decisions"]["per label"]["thresholds"]
        == (report["decisions"]["per label"]["thresholds"])
    )
    alone = evaluate(test, None, resamples=0)
    assert set(alone["decisions"]["per label"]["thresholds"].values()) == {0.5}
    assert "no validation data" in alone["rules"]["per label"]
    assert "both" not in alone["uncertainty"]


def test_uncertainties_stand_beside_each_other() -> None:
    report = evaluate(said(1, 2000), said(2, 2000), resamples=0)
    found = report["uncertainty"]
    assert found["variance"]["auroc_wrong"] > 0.7
    assert found["both"]["auroc_wrong"] > found["entropy"]["auroc_wrong"]
    assert found["both"]["augrc"] < found["entropy"]["augrc"]
    none = evaluate(said(1, variance=False), said(2, variance=False), resamples=0)
    assert set(none["uncertainty"]) == {"share_wrong", "entropy"}


def test_intervals_hold_the_value_and_whole_groups_make_them_wider() -> None:
    alone = evaluate(said(1, groups=0), said(2), resamples=300)["headline"]["mAP"]
    low, high = alone["intervals"]["90%"]
    assert low < alone["value"] < high
    test = said(1, groups=0)
    copies = replace(
        test,
        ids=tuple(f"s{i}" for i in range(len(test))),
        groups=tuple(f"g{i % 40}" for i in range(len(test))),
        truth=np.tile(test.truth[:40], (10, 1)),
        probability=np.tile(test.probability[:40], (10, 1)),
    )
    grouped = evaluate(copies, None, resamples=300)["headline"]["mAP"]["intervals"]["90%"]
    apart = replace(copies, groups=("",) * len(test))
    single = evaluate(apart, None, resamples=300)["headline"]["mAP"]["intervals"]["90%"]
    assert grouped[1] - grouped[0] > 2 * (single[1] - single[0])


def test_paired_bootstrap_sees_what_intervals_apart_do_not() -> None:
    better = [said(seed, skill=1.6) for seed in (1, 2, 3)]
    worse = [said(seed, skill=1.2) for seed in (1, 2, 3)]
    held = [said(seed + 10) for seed in (1, 2, 3)]
    found = compare_seeds((better, held), (worse, held), resamples=300)["mAP"]
    assert 0 < found.low < found.difference < found.high
    assert found.above_zero > 0.95
    back = compare_seeds((worse, held), (better, held), resamples=300)["mAP"]
    assert back.difference == pytest.approx(-found.difference)
    same = compare_seeds((better, held), (better, held), resamples=300)["mAP"]
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    other = replace(said(1), ids=tuple(f"x{i}" for i in range(400)))
    with pytest.raises(DataError, match="not of the same samples"):
        compare_seeds((better, held), ([other], held[:1]))


def test_predictions_round_trip_and_faults(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create("default", SPEC, LABELS, SMALL)
    made = predictions_of(model, toy_samples(7))
    made.save(tmp_path / TEST)
    found = Predictions.load(tmp_path / TEST)
    assert (found.ids, found.groups, found.modalities) == (made.ids, made.groups, SPEC.names)
    for name in ("truth", "probability", "variance", "modality_variance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    plain = predictions_of(create("transformer", SPEC, LABELS), toy_samples(3))
    assert plain.variance is None
    (tmp_path / TEST).write_bytes(b"nothing")
    with pytest.raises(DataError, match=TEST):
        Predictions.load(tmp_path / TEST)
    with pytest.raises(DataError, match="truth"):
        replace(made, truth=made.truth[:3])


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    folders = []
    for k in (1, 2):
        save(tmp_path / f"m{k}", create("default", SPEC, LABELS, SMALL))
        folders.append(str(tmp_path / f"m{k}"))
    test = write_set(tmp_path / "test", toy_samples(60, prefix="t"))
    held = write_set(tmp_path / "held", toy_samples(60, seed=2, prefix="h"))
    out = tmp_path / "out"
    words = ["--set", str(test), "--validation", str(held), "--resamples", "50"]
    assert main([*folders, *words, "--out", str(out), "--against", folders[0]]) == 0
    assert "mAP: " in capsys.readouterr().out
    report = json.loads((out / "evaluation.json").read_text())
    assert len(report["runs_scored"]) == 2
    assert report["about"]["data"] == "test"
    assert len(report["against"]["differences"]["mAP"]) == 4
    assert (out / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "evaluation.md").read_text()
    assert "Paired bootstrap against m1" in text
    assert str(tmp_path) not in text + json.dumps(report)
    assert run_command(lambda: main([folders[0]])) == 2
    assert "--set is missing" in capsys.readouterr().err
    ready = tmp_path / "ready"
    said(1).save(ready / TEST)
    said(2).save(ready / VALIDATION)
    assert main([str(ready), "--out", str(tmp_path / "o2"), "--resamples", "50"]) == 0
