"""What the model promises: padding and company change nothing, absence is said, training works."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from lddu_model import FeatureSpec, ModalitySpec, Prediction, Sample, create
from lddu_model.api import DOUBT_POWER, Model, forward, pick_device
from lddu_model.batch import collate
from lddu_model.config import AugmentConfig
from lddu_model.data.augment import Augmenter
from lddu_model.data.sets import stacked_labels
from lddu_model.dropout import dropout
from lddu_model.errors import ConfigError, DeviceError, ModelError, SpecError
from lddu_model.losses import LossConfig, class_weights, contrast, losses, ranking
from lddu_model.model import DefaultNet
from lddu_model.network import expected_error, moderated
from lddu_model.parts import LARGEST_DOUBT, Encoder
from lddu_model.trainer import learn_usual, prepare_inputs
from tests.lddu_toys import LABELS, SMALL, SPEC, toy_samples


def model(seed: int = 0, spec: FeatureSpec = SPEC) -> Model:
    torch.manual_seed(seed)
    made = create("default", spec, LABELS, SMALL)
    with torch.no_grad():  # let the interaction term, which starts at zero, speak
        for parameter in made.net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def assert_equal(a: Prediction, b: Prediction, tolerance: float = 1e-5) -> None:
    for name in (each.name for each in fields(Prediction)):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=tolerance, rtol=1e-4)


def row(prediction: Prediction, i: int) -> Prediction:
    return Prediction(*(getattr(prediction, each.name)[i : i + 1] for each in fields(Prediction)))


def test_batch_composition_and_order_change_nothing() -> None:
    samples = [*toy_samples(9), *toy_samples(4, ("voice",)), *toy_samples(4, ("words", "face"))]
    net = model()
    together = net.predict(samples)
    for i, sample in enumerate(samples):
        assert_equal(row(together, i), net.predict([sample]))
    backwards = net.predict(samples[::-1])
    for i in range(len(samples)):
        assert_equal(row(together, i), row(backwards, len(samples) - 1 - i))


def test_padding_and_masked_rows_change_nothing() -> None:
    rng = np.random.default_rng(1)
    net = model()
    for sample in toy_samples(5):
        features, mask = {}, {}
        for name, x in sample.features.items():
            more = rng.normal(size=(7, x.shape[1])).astype(np.float32) * 100
            features[name] = np.concatenate([x, more])
            mask[name] = np.concatenate([sample.mask[name], np.zeros(7, dtype=bool)])
        padded = replace(sample, features=features, mask=mask)
        assert_equal(net.predict([sample]), net.predict([padded]))
        whole = replace(sample, mask={})
        assert_equal(net.predict([sample]), net.predict([whole]))


def test_what_is_masked_inside_does_not_matter_and_what_is_valid_does() -> None:
    sample = toy_samples(1)[0]
    mask = {name: each.copy() for name, each in sample.mask.items()}
    mask["face"][0] = False
    changed = {name: x.copy() for name, x in sample.features.items()}
    changed["face"][0] = 50.0
    net = model()
    hidden = net.predict([replace(sample, mask=mask)])
    assert_equal(hidden, net.predict([replace(sample, mask=mask, features=changed)]))
    seen = net.predict([replace(sample, features=changed)])
    assert np.abs(seen.logit - hidden.logit).max() > 1e-3


@pytest.mark.parametrize("how", ["left out", "masked", "no steps", "not finite"])
def test_missing_modality(how: str) -> None:
    sample = toy_samples(1)[0]
    features, mask = dict(sample.features), dict(sample.mask)
    if how == "left out":
        del features["voice"]
    elif how == "masked":
        mask["voice"] = np.zeros(len(features["voice"]), dtype=bool)
    elif how == "no steps":
        features["voice"], mask["voice"] = features["voice"][:0], mask["voice"][:0]
    else:
        features["voice"] = np.full_like(features["voice"], -np.inf)
    without = model().predict([replace(sample, features=features, mask=mask)])
    assert np.isinf(without.modality_variance[0, 1]).all()
    assert np.isfinite(without.modality_variance[0, [0, 2]]).all()
    features.pop("voice", None)
    assert_equal(without, model().predict([replace(sample, features=features)]))


def test_each_modality_less_leaves_more_open() -> None:
    net = model()
    with torch.no_grad():  # contradiction between modalities raises it too: not asked here
        net.net.get_parameter("conflict").fill_(-1e4)
    sample = toy_samples(1)[0]
    spreads = []
    for names in (("words", "voice", "face"), ("words", "face"), ("face",), ()):
        features = {name: sample.features[name] for name in names}
        spreads.append(net.predict([replace(sample, features=features)]).spread[0])
    for more, less in pairwise(spreads):
        assert (less > more).all()


def test_contradiction_raises_the_variance() -> None:
    net = model().net
    logit = torch.tensor([[[2.0], [2.0], [2.0]], [[2.0], [2.0], [-2.0]]])
    assert isinstance(net, DefaultNet)
    _, variance = net._fuse(logit, torch.ones(2, 3, 1), torch.ones(2, 3, dtype=torch.bool))
    assert variance[1, 0] > variance[0, 0] * 1.5


def test_limits_of_a_modality_hold() -> None:
    limits = {"variance_floor": {"voice": 2.0}, "logit_limit": 1.5, "interaction": False}
    net = create("default", SPEC, LABELS, {**SMALL, **limits, "variance_width": 0})
    with torch.no_grad():
        net.net.get_parameter("weight").mul_(100.0)
    loud = [
        replace(s, features={k: 50 * x for k, x in s.features.items()}) for s in toy_samples(20)
    ]
    said = net.predict(loud)
    assert np.abs(said.logit).max() <= 1.5
    with torch.no_grad():
        net.net.get_parameter("weight").mul_(0.0)
    said = net.predict(loud)
    np.testing.assert_allclose(said.modality_variance[:, 1], 2.0)
    np.testing.assert_allclose(said.modality_variance[:, 0], 0.01)
    with pytest.raises(ConfigError, match=r"variance_floor names \['gaze'\]"):
        create("default", SPEC, LABELS, {"variance_floor": {"gaze": 1.0}})


def test_nothing_present_gives_the_base_rate_and_a_finite_variance() -> None:
    net = model()
    net.net.set_base_rate(torch.tensor([0.5, 0.1, 0.3]))
    said = net.predict([Sample({}, {})])
    np.testing.assert_allclose(said.spread, 9.0, rtol=1e-5)
    own = said.probability * (1 - said.probability)
    np.testing.assert_allclose(said.variance, own * LARGEST_DOUBT**DOUBT_POWER, rtol=1e-4)
    expected = moderated(torch.logit(torch.tensor([0.5, 0.1, 0.3])), torch.tensor(9.0)).sigmoid()
    np.testing.assert_allclose(said.probability[0], expected.numpy(), rtol=1e-4)
    assert np.isinf(said.modality_variance).all()


def test_what_is_hardly_perceived_has_no_more_doubt_than_nothing() -> None:
    net = model()
    for doubt in net.net.get_submodule("doubts").children():
        for parameter in doubt.parameters():
            torch.nn.init.normal_(parameter, std=3.0)
    out = net.outputs([Sample({}, {}), *toy_samples(200)])
    assert out.doubt is not None
    assert out.doubt[1:].max() > 0.9 * LARGEST_DOUBT, "some are doubted as much as can be"
    assert (out.doubt[1:] <= out.doubt[0]).all()


def test_probability_is_the_expectation_under_the_variance() -> None:
    rng = np.random.default_rng(0)
    for mean, variance in ((0.0, 4.0), (1.5, 0.3), (-2.0, 6.0)):
        drawn = 1 / (1 + np.exp(-(mean + np.sqrt(variance) * rng.standard_normal(200_000))))
        said = moderated(torch.tensor(mean), torch.tensor(variance)).sigmoid()
        assert abs(float(said) - drawn.mean()) < 0.02


@pytest.mark.parametrize("labels", [1, 7])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_modalities_labels_and_steps(count: int, labels: int) -> None:
    spec = FeatureSpec(
        "any", tuple(ModalitySpec(f"m{i}", 3 + i, 4, None, "none") for i in range(count))
    )
    net = create("default", spec, [f"l{i}" for i in range(labels)], SMALL)
    for steps in (1, 4, 300):
        features = {m.name: np.ones((steps, m.dim), dtype=np.float32) for m in spec.modalities}
        said = net.predict([Sample(features, {})])
        assert said.probability.shape == (1, labels)
        assert said.modality_variance.shape == (1, count, labels)
        assert np.isfinite(said.logit).all()
    assert len(net.predict([])) == 0


def test_predictions_from_many_threads_are_the_same() -> None:
    net, samples = model(), toy_samples(12)
    alone = [net.predict([sample]) for sample in samples]
    with ThreadPoolExecutor(4) as pool:
        for a, b in zip(alone, pool.map(lambda s: net.predict([s]), samples * 5), strict=False):
            assert_equal(a, b)


def test_eight_samples_are_learnt_by_heart() -> None:
    torch.manual_seed(0)
    net = create("default", SPEC, LABELS, {**SMALL, "dropout": 0.0})
    samples = toy_samples(8, signal=0.0)
    batch, target = collate(samples, SPEC), torch.from_numpy(stacked_labels(samples))
    optimiser = torch.optim.AdamW(net.net.parameters(), lr=1e-2)
    net.net.train()
    for _ in range(120):
        terms = losses(forward(net, batch), target, torch.ones(len(LABELS)), LossConfig())
        optimiser.zero_grad()
        terms["total"].backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    said = net.predict(samples)
    np.testing.assert_array_equal(said.probability > 0.5, target.numpy() > 0.5)
    assert np.abs(said.probability - target.numpy()).max() < 0.1


def test_gradients_are_finite_in_bfloat16() -> None:
    net = model()
    samples = [*toy_samples(6), *toy_samples(3, ("face",)), Sample({}, {}, np.zeros(3, np.float32))]
    samples = [replace(s, features={k: x * 1e3 for k, x in s.features.items()}) for s in samples]
    batch, target = collate(samples, SPEC), torch.from_numpy(stacked_labels(samples))
    net.net.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = forward(net, batch)
    terms = losses(out, target, torch.ones(len(LABELS)), LossConfig())
    terms["total"].backward()  # type: ignore[no-untyped-call]
    for name, parameter in net.net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.dtype == torch.float32


def test_learned_token_of_a_missing_modality_is_trained() -> None:
    net = model()
    samples = toy_samples(6, ("words", "voice"))
    target = torch.from_numpy(stacked_labels(samples))
    terms = losses(forward(net, collate(samples, SPEC)), target, torch.ones(3), LossConfig())
    terms["total"].backward()  # type: ignore[no-untyped-call]
    gradient = net.net.get_parameter("encoders.2.missing").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_ranking_falls_when_variance_follows_error_and_moves_variances_only() -> None:
    logit = torch.tensor([[3.0], [3.0]], requires_grad=True)
    target = torch.tensor([[1.0], [0.0]])
    where = torch.ones(2, 1, dtype=torch.bool)
    right = torch.tensor([[0.1], [4.0]], requires_grad=True)
    wrong = torch.tensor([[4.0], [0.1]])
    cost = ranking(right, logit, target, where)
    assert cost < ranking(wrong, logit, target, where)
    cost.backward()  # type: ignore[no-untyped-call]
    assert logit.grad is None
    assert right.grad is not None
    assert right.grad[0, 0] > 0 > right.grad[1, 0]


def test_ranking_trains_what_makes_variances_and_nothing_else() -> None:
    net = model()
    samples = toy_samples(12)
    batch, target = collate(samples, SPEC), torch.from_numpy(stacked_labels(samples))
    out = forward(net, batch)
    losses(out, target, torch.ones(3), LossConfig())["ranking"].backward()  # type: ignore[no-untyped-call]
    reached = {
        name for name, p in net.net.named_parameters() if p.grad is not None and p.grad.abs().sum()
    }
    assert len(reached) == 4 * 5, "of each modality alone and of all together"
    assert all(name.startswith("doubts.") for name in reached)


def test_labels_that_prefer_late_steps_read_the_last_one() -> None:
    torch.manual_seed(0)
    hyper = {**SMALL, "recency": True, "positions": "end"}
    net = create("default", SPEC, LABELS, hyper)
    for m in range(3):
        net.net.get_parameter(f"readers.{m}.log_slope").data.fill_(5.0)
    long, short = toy_samples(1)[0], {}
    for name, x in long.features.items():
        short[name] = x[-1:]
    alone = net.predict([replace(long, features=short, mask={})])
    earlier = {name: x.copy() for name, x in long.features.items()}
    seen = net.predict([replace(long, features=earlier)])
    assert seen.logit.shape == alone.logit.shape
    # Padding behind the last valid step does not count as late.
    padded = {name: np.concatenate([x, x]) for name, x in long.features.items()}
    mask = {name: np.arange(len(x)) < len(x) // 2 for name, x in padded.items()}
    assert_equal(net.predict([replace(long, features=padded, mask=mask)]), seen)
    reader = net.net.get_submodule("readers.0")
    states = torch.randn(1, 4, 16)
    valid = torch.tensor([[True, True, True, False]])
    queries = torch.randn(3, 16)
    before = reader(queries, states, valid)
    for step, matters in ((0, False), (2, True), (3, False)):
        other = states.clone()
        other[:, step] += 1.0
        changed = (reader(queries, other, valid) - before).abs().max() > 1e-4
        assert bool(changed) == matters, step


def test_what_training_never_saw_raises_the_variance() -> None:
    torch.manual_seed(0)
    net = create("default", SPEC, LABELS, {**SMALL, "novelty": True})
    prepare_inputs(net, SPEC, toy_samples(400))
    learn_usual(net, SPEC, toy_samples(400))
    usual = toy_samples(200, seed=5)
    said = net.predict(usual)
    assert (said.novelty > 1e-6).mean() < 0.05, "each modality surprises in 1 %"
    strange = []
    for s in usual:
        face = s.features["face"].copy()
        face[:, 4:7] = 0.1 * face[:, 4:7] + 6.0  # three features that never looked like this
        strange.append(replace(s, features={**s.features, "face": face}))
    there = net.predict(strange)
    assert (there.novelty[:, 2] > 0.1).mean() > 0.9
    np.testing.assert_array_equal(there.novelty[:, :2], said.novelty[:, :2])
    plain = create("default", SPEC, LABELS, SMALL)
    plain.net.load_state_dict(net.net.state_dict())
    factor = there.variance / plain.predict(strange).variance
    assert (factor[:, 0] > 1.5).mean() > 0.9
    assert (net.predict([Sample({}, {})]).novelty == 0).all()


def test_parts_of_sequences_are_usual_where_training_cuts_them() -> None:
    torch.manual_seed(0)
    net = create("default", SPEC, LABELS, {**SMALL, "novelty": True})
    steps = SPEC["face"].steps
    whole = [x for x in toy_samples(3000, ("face",)) if len(x.features["face"]) == steps]
    samples, others = whole[:300], whole[300:]
    deviation = prepare_inputs(net, SPEC, samples)
    cut = [replace(x, features={"face": x.features["face"][:2]}, mask={}) for x in others]
    shares = []
    for augmenter in (None, Augmenter(SPEC, AugmentConfig(crop=0.5), deviation)):
        learn_usual(net, SPEC, samples, augmenter)
        shares.append(float((net.predict(cut).novelty[:, 2] > 1e-6).mean()))
    assert shares[1] < 0.1
    assert shares[0] > 0.5


def test_doubt_looks_at_signals_alone() -> None:
    """Of a louder signal the variance is another multiple of the expected squared error."""
    torch.manual_seed(0)
    net = create("default", SPEC, LABELS, SMALL)
    prepare_inputs(net, SPEC, toy_samples(400))
    learn_usual(net, SPEC, toy_samples(400))
    doubts = net.net.get_submodule("doubts")
    with torch.no_grad():
        for parameter in doubts.parameters():
            parameter.add_(torch.randn_like(parameter))
    batch = collate(toy_samples(8), SPEC)
    out = forward(net, batch)
    error = expected_error(out.logit, out.spread)
    torch.testing.assert_close(out.variance, error * out.doubt)
    torch.testing.assert_close(
        out.modality_variance,
        expected_error(out.modality_logit, out.modality_spread) * out.modality_doubt,
    )
    loud = collate(
        [
            replace(s, features={**s.features, "face": 3 * s.features["face"]})
            for s in toy_samples(8)
        ],
        SPEC,
    )
    other = forward(net, loud)
    torch.testing.assert_close(other.modality_doubt[:, :2], out.modality_doubt[:, :2])
    assert (other.modality_doubt[:, 2] / out.modality_doubt[:, 2] - 1).abs().max() > 1e-2
    out.doubt.sum().backward()
    touched = {n for n, p in net.net.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {n for n in touched if n.startswith("doubts.")}


def test_doubt_reaches_what_is_stated() -> None:
    torch.manual_seed(0)
    net = create("default", SPEC, LABELS, SMALL)
    samples = toy_samples(8)
    before = net.predict(samples)
    with torch.no_grad():
        for bias in ("doubts.0.out.bias", "doubts.3.out.bias"):  # of words alone, and of all
            net.net.get_parameter(bias).add_(1.0)
    after = net.predict(samples)
    factor = after.variance / before.variance
    np.testing.assert_allclose(factor, np.exp(DOUBT_POWER), rtol=0.01)
    alone = after.modality_variance / before.modality_variance
    np.testing.assert_allclose(alone[:, 0], np.exp(DOUBT_POWER), rtol=0.01)
    np.testing.assert_array_equal(alone[:, 1:], 1.0)
    np.testing.assert_array_equal(after.probability, before.probability)


@pytest.mark.parametrize("positions", ["start", "end"])
def test_linear_reading_pools_and_learns_by_itself(positions: str) -> None:
    torch.manual_seed(0)
    net = create("default", SPEC, LABELS, {**SMALL, "linear": True, "positions": positions})
    samples = toy_samples(12)
    prepare_inputs(net, SPEC, samples)
    weight = net.net.get_parameter("linear.weight")
    with torch.no_grad():
        weight.normal_()
    batch, target = collate(samples, SPEC), torch.from_numpy(stacked_labels(samples))
    out = forward(net, batch)
    pooled = []
    for m, (x, valid) in enumerate(zip(batch.features, batch.mask, strict=True)):
        encoder = net.net.get_submodule(f"encoders.{m}")
        assert isinstance(encoder, Encoder)
        rows = [encoder._normalised(x[k, valid[k]]) for k in range(len(x))]
        pooled.append(torch.stack([(r[-1:] if positions == "end" else r).mean(0) for r in rows]))
    expected = torch.cat(pooled, dim=1) @ weight.T + net.net.get_parameter("linear.bias")
    torch.testing.assert_close(out.linear, expected)
    torch.testing.assert_close(out.logit, (out.deep + out.linear) / 2)
    terms = net.net.losses(out, target, torch.ones(3), LossConfig(linear_decay=0))
    terms["linear"].backward()  # type: ignore[no-untyped-call]
    touched = {n for n, p in net.net.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"linear.weight", "linear.bias"}
    alone = create("default", SPEC, LABELS, {**SMALL, "linear": True}).predict([Sample({}, {})])
    assert np.isfinite(alone.logit).all()


def test_ablations_change_what_they_name() -> None:
    torch.manual_seed(0)
    net = create("default", SPEC, LABELS, {**SMALL, "interaction": False})
    other = create("default", SPEC, LABELS, {**SMALL, "interaction": False, "reliability": False})
    other.net.load_state_dict(net.net.state_dict())
    batch = collate(toy_samples(5), SPEC)
    out, equal = forward(net, batch), forward(other, batch)
    centre = out.modality_logit.mean(dim=1)
    weight = 3.0 / equal.modality_spread.mean(dim=1)
    prior = net.net.get_buffer("prior_logit")
    expected = (weight * centre + prior / 9.0) / (weight + 1.0 / 9.0)
    torch.testing.assert_close(equal.logit, expected)
    assert (out.logit - equal.logit).abs().max() > 1e-4


def test_contrast_looks_inside_cells_only() -> None:
    """Pulling apart presence lowers it; pulling apart modalities or labels does not."""
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    present = torch.ones(4, 2, dtype=torch.bool)
    log_var = torch.zeros(4, 2, 2, 3)
    same = torch.ones(4, 2, 2, 3)
    by_presence = same * (2 * target[:, None, :, None] - 1)
    by_cell = same.clone()
    by_cell[:, 0] *= -1
    cost = {
        name: float(contrast(mu, log_var, target, present, 0.1))
        for name, mu in (("same", same), ("presence", by_presence), ("cell", by_cell))
    }
    assert cost["presence"] < 0.1 * cost["same"]
    assert cost["cell"] == pytest.approx(cost["same"])


def test_rare_labels_weigh_more() -> None:
    labels = torch.zeros(100, 3)
    labels[:50, 0], labels[:10, 1] = 1, 1
    weight = class_weights(labels, LossConfig())
    assert weight[0] == pytest.approx(1.0)
    assert weight[1] == pytest.approx(3.0)
    assert weight[2] == pytest.approx(99**0.5)


def test_wrong_use_is_explained() -> None:
    with pytest.raises(ModelError, match="unknown model variant 'papre'") as caught:
        create("papre", SPEC, LABELS)
    assert "'default'" in caught.value.hint
    with pytest.raises(ConfigError, match="widht"):
        create("default", SPEC, LABELS, {"widht": 3})
    with pytest.raises(ConfigError, match="no multiple of heads"):
        create("default", SPEC, LABELS, {"width": 30, "heads": 4})
    with pytest.raises(SpecError, match="different names"):
        create("default", SPEC, ("happy", "happy"))
    wide = Sample({"face": np.zeros((2, 5), np.float32)}, {}, id="clip7")
    with pytest.raises(SpecError, match=r"'clip7': face has shape \(2, 5\).*\(steps, 9\)"):
        model().predict([wide])
    with pytest.raises(SpecError, match=r"modalities \['gaze'\].*knows"):
        model().predict([Sample({"gaze": np.zeros((2, 5), np.float32)}, {})])
    with pytest.raises(DeviceError, match="unknown device"):
        pick_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no CUDA device"):
            model().to("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("variant", ["default", "paper", "transformer"])
def test_gpu_says_what_the_cpu_says(variant: str) -> None:
    samples = [*toy_samples(20), *toy_samples(5, ("voice",))]
    torch.manual_seed(0)
    net = create(variant, SPEC, LABELS)
    here = net.predict(samples)
    assert_equal(here, net.to("cuda").predict(samples), 1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_graph_on_the_gpu_says_the_same() -> None:
    net = create("default", SPEC, LABELS).to("cuda").net
    batch = collate(toy_samples(16), SPEC).to(torch.device("cuda"))
    with torch.inference_mode():
        eager = net(batch.features, batch.mask).logit
        compiled = torch.compile(net)(batch.features, batch.mask).logit
    torch.testing.assert_close(eager, compiled, atol=1e-3, rtol=1e-3)


def test_spec_round_trip_and_digest() -> None:
    assert FeatureSpec.from_dict(SPEC.to_dict()) == SPEC
    other = replace(SPEC, modalities=(replace(SPEC["words"], sha256="x"), *SPEC.modalities[1:]))
    assert len({SPEC.digest, other.digest, replace(SPEC, window_s=1.0).digest}) == 3
    with pytest.raises(SpecError, match="not a feature spec"):
        FeatureSpec.from_dict({**SPEC.to_dict(), "windows": 3})
    many = tuple(ModalitySpec(f"m{i}", 1, 1, None, "none") for i in range(40))
    assert FeatureSpec("eight", many[:8]).names[-1] == "m7"
    with pytest.raises(SpecError, match=r"40 modalities.*at most 8"):
        FeatureSpec.from_dict({"name": "many", "modalities": [asdict(each) for each in many]})
    with pytest.raises(SpecError, match="dim >= 1"):
        ModalitySpec("face", 0, 1, None, "none")


def test_package_loads_without_torch() -> None:
    code = (
        "import sys, lddu_model.data.shards\n"
        "from lddu_model import FeatureSpec, Prediction, Sample\n"
        "assert 'torch' not in sys.modules\n"
        "import lddu_model; lddu_model.create\n"
        "assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shape", [(64, 50, 32), (7, 3), (1,)])
def test_dropout_is_torchs_in_all_but_speed(shape: tuple[int, ...]) -> None:
    x = torch.ones(shape, requires_grad=True)
    torch.manual_seed(3)
    dropped = dropout(x, 0.3, training=True)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.3, training=True), dropped), "a seed repeats it"
    assert set(dropped.flatten().tolist()) <= {0.0, x.new_tensor(1 / 0.7).item()}
    (gradient,) = torch.autograd.grad(dropped.sum(), x)
    assert torch.equal(gradient, dropped.detach()), "what was dropped gets no gradient"
    if x.numel() > 10_000:
        kept = (dropped != 0).float()
        assert kept.mean().item() == pytest.approx(0.7, abs=5 * (0.21 / x.numel()) ** 0.5)
        # The four that share a draw are independent of each other.
        four = kept.flatten().view(-1, 4)
        assert torch.corrcoef(four.T).fill_diagonal_(0).abs().max() < 5 / len(four) ** 0.5
    assert dropout(x, 0.3, training=False) is x
    assert torch.equal(dropout(x, 0.0, training=True), x)
