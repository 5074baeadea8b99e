"""The `paper` model is the released one: values, size, losses; without its faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from lddu_model import FeatureSpec, ModalitySpec, Sample, create
from lddu_model.api import VARIANTS, Model, forward
from lddu_model.batch import collate
from lddu_model.data.sets import stacked_labels
from lddu_model.errors import ConfigError
from lddu_model.paper import PaperNet
from lddu_model.paper_losses import (
    ContrastQueue,
    PaperLossConfig,
    contrast,
    directions,
    identities,
)
from tests import paper_derivation as derived
from tests.lddu_toys import LABELS, SPEC, toy_samples

SMALL = {"width": 16, "heads": 4, "layers": 2, "latent": 6, "latent_hidden": 10, "queue": 50}
Float = NDArray[np.float64]
MOSEI = FeatureSpec(
    "mosei",
    tuple(
        ModalitySpec(name, dim, 50, None, "none")
        for name, dim in (("words", 768), ("voice", 74), ("face", 35))
    ),
)


def strange(model: Model, seed: int = 0) -> Model:
    """Random weights everywhere, also where initialisation puts zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def parameters(model: Model) -> dict[str, Float]:
    plain = {name: x.detach().double().numpy() for name, x in model.net.named_parameters()}
    hyper = {name: np.array(SMALL[name], dtype=float) for name in ("heads", "layers")}
    return {**plain, **hyper}


@pytest.mark.parametrize(
    ("B", "C", "dims", "steps"),
    [(1, 1, (3,), 4), (2, 7, (5, 4), 60), (5, 6, (6, 4, 3), 9), (3, 2, (2, 2, 2), 1)],
)
def test_forward_and_losses_equal_the_derivation(
    B: int, C: int, dims: tuple[int, ...], steps: int
) -> None:
    spec = FeatureSpec(
        "any", tuple(ModalitySpec(f"m{i}", D, steps, None, "none") for i, D in enumerate(dims))
    )
    model = strange(create("paper", spec, [f"l{c}" for c in range(C)], SMALL))
    rng = np.random.default_rng(B)
    features = [rng.normal(size=(B, steps, D)).astype(np.float32) for D in dims]
    valid = [rng.random((B, steps)) < 0.7 for _ in dims]
    for each in valid:
        each[:, 0] = True
    target = (rng.random((B, C)) < 0.4).astype(np.float32)
    expected = derived.forward(parameters(model), [x.astype(float) for x in features], valid)
    out = model.net([torch.from_numpy(x) for x in features], [torch.from_numpy(x) for x in valid])
    for mine, theirs in (
        (out.logit.sigmoid(), expected.y),
        (out.direct.sigmoid(), expected.direct),
        (out.mu, expected.mu),
        (out.sigma, expected.sigma),
        (out.variance.sqrt(), expected.u),
    ):
        np.testing.assert_allclose(mine.detach().numpy(), theirs, rtol=1e-4, atol=1e-5)
    assert expected.y.std() > 0.01 or B * C == 1, "weights that say the same for all prove nothing"
    terms = model.net.losses(out, torch.from_numpy(target), torch.ones(C), PaperLossConfig())
    for name, value in derived.losses(expected, target.astype(float)).items():
        assert float(terms[name].detach()) == pytest.approx(value, abs=1e-5, rel=1e-5), name


def filled(v: Tensor, ids: Tensor) -> ContrastQueue:
    queue = ContrastQueue(len(ids), v.shape[1])
    queue.push(v, ids)
    return queue


def test_batch_anchors_give_the_value_of_the_release() -> None:
    """Its queue rows are anchors too. Where they are copies of the batch the value is the same."""
    rng = np.random.default_rng(0)
    mu, sigma = rng.normal(size=(4, 3, 2, 5)), rng.uniform(0.2, 2.0, size=(4, 3, 2, 5))
    target = np.array([[0, 1], [1, 1], [0, 0], [1, 0.0]])
    said = derived.Said(target, target, mu, sigma, target)
    v, ids = derived.vectors(said, target)
    mine, numbers = (
        directions(torch.tensor(mu), torch.tensor(sigma)),
        identities(torch.tensor(target), 3),
    )
    np.testing.assert_allclose(mine.numpy(), np.stack(v))
    assert len({int(n) for n in numbers}) == len(set(ids))
    for copies in (1, 2):
        release = derived.contrast(v, ids, v * copies, ids * copies, queue_anchors=True)
        queue = filled(mine.repeat(copies, 1).float(), numbers.repeat(copies))
        assert float(contrast(mine.float(), numbers, queue, 0.07)) == pytest.approx(
            release, abs=1e-5
        )
    # A queue of other samples of the same kind: batch anchors estimate the same mean.
    other = directions(
        torch.tensor(rng.normal(size=(6, 3, 2, 5))),
        torch.tensor(rng.uniform(0.2, 2.0, size=(6, 3, 2, 5))),
    )
    other_ids = identities(torch.tensor((rng.random((6, 2)) < 0.5).astype(float)), 3)
    here = contrast(mine.float(), numbers, filled(other.float(), other_ids), 0.07)
    rows = list(other.numpy())
    names = [tuple_of(n) for n in other_ids.tolist()]
    mine_names = [tuple_of(n) for n in numbers.tolist()]
    exact = derived.contrast(v, mine_names, rows, names, queue_anchors=False)
    assert float(here) == pytest.approx(exact, abs=1e-5)
    release = derived.contrast(v, mine_names, rows, names, queue_anchors=True)
    assert float(here) == pytest.approx(release, rel=0.1)


def tuple_of(number: int) -> tuple[int]:
    return (number,)


def test_size_at_mosei_shapes_is_the_trained_size_of_the_release() -> None:
    labels = ("happy", "sad", "anger", "surprise", "disgust", "fear")
    model = create("paper", MOSEI, labels)
    assert sum(p.numel() for p in model.net.parameters() if p.requires_grad) == 5_492_519
    assert set(model.net.state_dict()) == {name for name, _ in model.net.named_parameters()}


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("variant", ["paper", "transformer", "default"])
def test_company_order_and_padding_change_nothing(variant: str, masks: bool) -> None:
    if variant == "transformer" and not masks:
        pytest.skip("it always masks")
    hyper = {"paper": {**SMALL, "masks": masks}, "transformer": {"width": 16, "layers": 1}}
    other = {"width": 16, "heads": 2, "layers": 1, "latent": 8, "masks": masks}
    model = strange(create(variant, SPEC, LABELS, hyper.get(variant, other)))
    samples = [*toy_samples(6), *toy_samples(2, ("voice",)), Sample({}, {})]
    together = model.predict(samples)
    alone = [model.predict([sample]) for sample in samples]
    back = model.predict(samples[::-1])
    for name in ("logit", "probability", "variance"):
        found = getattr(together, name)
        np.testing.assert_allclose(found, np.concatenate([getattr(x, name) for x in alone]),
                                   atol=2e-5, rtol=1e-4)  # fmt: skip
        np.testing.assert_allclose(found, getattr(back, name)[::-1], atol=2e-5, rtol=1e-4)
    if masks:
        pad = {
            name: np.concatenate([x, np.full((3, x.shape[1]), 9, np.float32)])
            for name, x in samples[0].features.items()
        }
        mask = {name: np.arange(len(x)) < len(x) - 3 for name, x in pad.items()}
        padded = model.predict([replace(samples[0], features=pad, mask=mask)])
        np.testing.assert_allclose(padded.logit, together.logit[:1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", ["paper", "transformer"])
def test_seven_labels_and_five_hundred_steps(variant: str) -> None:
    """The release raises RuntimeError for the one and IndexError for the other."""
    spec = FeatureSpec("long", (ModalitySpec("voice", 4, 500, None, "none"),))
    hyper = SMALL if variant == "paper" else {"width": 16, "layers": 1}
    model = create(variant, spec, [f"l{c}" for c in range(7)], hyper)
    said = model.predict([Sample({"voice": np.ones((500, 4), np.float32)}, {})])
    assert said.probability.shape == (1, 7)
    assert np.isfinite(said.logit).all()


@pytest.mark.parametrize("variant", ["paper", "transformer"])
def test_gradients_are_finite_in_bfloat16(variant: str) -> None:
    hyper = SMALL if variant == "paper" else {"width": 16, "layers": 1}
    model = create(variant, SPEC, LABELS, hyper)
    samples = [*toy_samples(6), *toy_samples(3, ("face",)), Sample({}, {}, np.zeros(3, np.float32))]
    samples = [replace(s, features={k: x * 1e3 for k, x in s.features.items()}) for s in samples]
    batch, target = collate(samples, SPEC), torch.from_numpy(stacked_labels(samples))
    model.net.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = forward(model, batch)
    terms = model.net.losses(out, target, torch.ones(3), VARIANTS[variant].loss())
    terms["total"].backward()  # type: ignore[no-untyped-call]  # torch is partly typed
    for name, parameter in model.net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("variant", ["paper", "transformer"])
def test_eight_samples_are_learnt_by_heart(variant: str) -> None:
    torch.manual_seed(0)
    hyper = {**SMALL, "dropout": 0.0, "head_dropout": 0.0}
    if variant == "transformer":
        hyper = {"width": 16, "layers": 1, "dropout": 0.0}
    model = create(variant, SPEC, LABELS, hyper)
    samples = toy_samples(8, signal=0.0)
    batch, target = collate(samples, SPEC), torch.from_numpy(stacked_labels(samples))
    optimiser = torch.optim.AdamW(model.net.parameters(), lr=5e-3)
    model.net.train()
    for _ in range(250):
        out = forward(model, batch)
        terms = model.net.losses(out, target, torch.ones(3), VARIANTS[variant].loss())
        optimiser.zero_grad()
        terms["total"].backward()  # type: ignore[no-untyped-call]  # torch is partly typed
        optimiser.step()
    said = model.predict(samples)
    np.testing.assert_array_equal(said.probability > 0.5, target.numpy() > 0.5)


def test_queue_is_first_in_first_out_and_detached() -> None:
    queue = ContrastQueue(5, 1)
    for start in (0, 3, 6):
        rows = torch.arange(start, start + 3).float()[:, None].requires_grad_()
        queue.push(rows, torch.arange(start, start + 3))
    assert sorted(queue.ids.tolist()) == [4, 5, 6, 7, 8]
    assert not queue.vectors.requires_grad
    np.testing.assert_array_equal(queue.vectors[:, 0].numpy(), queue.ids.numpy())
    queue.push(torch.arange(20.0)[:, None], torch.arange(20))
    assert sorted(queue.ids.tolist()) == [15, 16, 17, 18, 19]
    none = ContrastQueue(0, 1)
    none.push(torch.ones(2, 1), torch.zeros(2, dtype=torch.long))
    assert len(none.ids) == 0


def test_queue_fills_in_training_only() -> None:
    model = create("paper", SPEC, LABELS, SMALL)
    assert isinstance(model.net, PaperNet)
    samples = toy_samples(2)
    batch, target = collate(samples, SPEC), torch.from_numpy(stacked_labels(samples))
    with torch.no_grad():
        model.net.losses(forward(model, batch), target, torch.ones(3), PaperLossConfig())
    assert (model.net.queue.ids == -1).all()
    for filled_rows in (18, 36, 50, 50):
        model.net.losses(forward(model, batch), target, torch.ones(3), PaperLossConfig())
        assert int((model.net.queue.ids >= 0).sum()) == filled_rows


def test_wrong_hyper_parameters_are_named() -> None:
    with pytest.raises(ConfigError, match="no multiple of heads"):
        create("paper", SPEC, LABELS, {"width": 30})
    with pytest.raises(ConfigError, match="ques"):
        create("paper", SPEC, LABELS, {"ques": 1})
