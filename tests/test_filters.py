"""Filters over time against what they claim to compute."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from workers.baselines import Ema, OneEuro, Raw
from workers.filters import Estimate, Filter, Filtered, Float64, Kalman
from workers.markov import TwoState

BASE = np.array([-1.0, 0.5])


def estimates(count: int = 9, seed: int = 0) -> list[Estimate]:
    """Two labels at uneven times, with variances that change a lot."""
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.choice([0.25, 0.5, 3.0], count))
    return [Estimate(float(at), rng.normal(0, 2, 2), np.exp(rng.normal(0, 1.5, 2))) for at in t]


def run(rule: Filter, items: list[Estimate]) -> list[Filtered]:
    states: list[Filtered] = []
    for item in items:
        states.append(rule.step(states[-1] if states else None, item))
    return states


def exact(
    rule: Kalman, items: list[Estimate], c: int, known: int, asked: int
) -> tuple[float, float]:
    """Mean and variance of the logit at `asked` given the first `known` estimates, by conditioning
    the joint Gaussian of everything.
    """
    t = np.array([item.t for item in items])
    v = np.array([item.variance[c] for item in items])
    apart = np.abs(t[:, None] - t[None])
    process = rule.spread * np.exp(-apart / rule.tau)
    steps = np.clip(1 - np.diff(t) / rule.window, 0, None)
    shared = np.eye(len(t))
    for i in range(len(t)):
        for j in range(i + 1, len(t)):
            shared[i, j] = shared[j, i] = np.prod(steps[i:j])
    noise = rule.shared * shared * np.sqrt(v[:, None] * v[None])
    noise += np.diag((1 - rule.shared) * v)
    seen = (process + noise)[:known, :known]
    cross = process[asked, :known]
    y = np.array([item.logit[c] for item in items])[:known] - rule.base[c]
    mean = rule.base[c] + cross @ np.linalg.solve(seen, y)
    return float(mean), float(process[asked, asked] - cross @ np.linalg.solve(seen, cross))


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.95])
def test_kalman_is_the_conditional_gaussian(shared: float) -> None:
    rule = Kalman(tau=5.0, spread=3.0, base=BASE, shared=shared, window=2.0)
    items = estimates()
    causal, both = run(rule, items), rule.both_ways(items)
    for k in range(len(items)):
        for c in (0, 1):
            for state, known in ((causal[k], k + 1), (both[k], len(items))):
                mean, variance = exact(rule, items, c, known, k)
                assert state.mean[c] == pytest.approx(mean, abs=1e-3)
                assert state.variance[c] == pytest.approx(variance, abs=1e-3)


def test_an_estimate_counts_the_less_the_larger_its_variance() -> None:
    rule, start = Kalman(), Estimate(0.0, np.zeros(1), np.ones(1))
    past = rule.step(None, start)
    moved = [
        rule.step(past, Estimate(1.0, np.full(1, 3.0), np.full(1, v))).mean[0]
        for v in (0.1, 1.0, 10.0)
    ]
    assert all(a > b > 0 for a, b in pairwise(moved))
    same = replace(rule, constant=1.0)
    values = {
        float(same.step(past, Estimate(1.0, np.full(1, 3.0), np.full(1, v))).mean[0])
        for v in (0.1, 10.0)
    }
    assert len(values) == 1


def test_without_news_an_estimate_fades() -> None:
    rule = Kalman(tau=2.0, spread=4.0, base=BASE)
    past = rule.step(None, Estimate(0.0, BASE + 3, np.full(2, 0.1)))
    nothing = Estimate(20.0, BASE, np.full(2, 1e9))
    after = rule.step(past, nothing)
    np.testing.assert_allclose(after.mean, BASE, atol=1e-3)
    np.testing.assert_allclose(after.variance, 4.0, rtol=1e-3)


@pytest.mark.parametrize(("shared", "unseen"), [(0, 3), (0.8, None), (0.8, 3)])
def test_two_states_are_the_enumerated_posterior(shared: float, unseen: int | None) -> None:
    """Against the sum over all 2^T paths."""
    rule = TwoState(10.0, 4.0, temper=0.7, base=np.full(1, 0.3), shared=shared, window=2.0)
    items = [replace(x, logit=x.logit[:1], variance=x.variance[:1]) for x in estimates(7)]
    items = [replace(item, seen=k != unseen) for k, item in enumerate(items)]
    first = rule.off / (rule.on + rule.off)  # the stationary share

    def density(path: tuple[int, ...], k: int, last: int | None) -> float:
        """Log density, but for what all paths share, of estimate `k`; `last`: seen before it."""
        noise = items[k].variance[0] + rule.level_variance
        error = items[k].logit[0] - 0.3 - rule.level * (2 * path[k] - 1)
        kept = 0.0
        if last is not None:
            kept = shared * max(0.0, 1 - (items[k].t - items[last].t) / rule.window)
            scale = items[last].variance[0] + rule.level_variance
            before = items[last].logit[0] - 0.3 - rule.level * (2 * path[last] - 1)
            error -= kept * np.sqrt(noise / scale) * before
        return float(-rule.temper * error**2 / (2 * noise * (1 - kept**2)))

    def chance(path: tuple[int, ...], known: int) -> float:
        p = first if path[0] else 1 - first
        for k in range(1, len(path)):
            rate = 1 / rule.on + 1 / rule.off
            moved = 1 - np.exp(-rate * (items[k].t - items[k - 1].t))
            change = moved / (rule.off if path[k - 1] else rule.on) / rate
            p *= change if path[k] != path[k - 1] else 1 - change
        seen = [k for k in range(known) if items[k].seen]
        logs = [density(path, *each) for each in zip(seen, [None, *seen[:-1]], strict=True)]
        return float(p * np.exp(sum(logs)))

    paths = [tuple((i >> k) & 1 for k in range(7)) for i in range(2**7)]
    causal, both = run(rule, items), rule.both_ways(items)
    for k in range(7):
        for state, known in ((causal[k], k + 1), (both[k], 7))[: 1 if k == unseen else 2]:
            weights = np.array([chance(path, known) for path in paths])
            there = weights[[path[k] == 1 for path in paths]].sum() / weights.sum()
            assert ((state.mean[0] - 0.3) / rule.level + 1) / 2 == pytest.approx(there, abs=1e-6)


@pytest.mark.parametrize(
    "rule", [Raw(), Ema(), OneEuro(), Kalman(), TwoState(), TwoState(shared=0.8)]
)
def test_a_constant_is_kept_and_steps_are_pure(rule: Filter) -> None:
    steady = [Estimate(0.25 * k, np.full(1, 2.0), np.full(1, 0.2)) for k in range(400)]
    states = run(rule, steady)
    assert states[-1].mean[0] == pytest.approx(2.0, abs=0.35)
    again = rule.step(states[-2], steady[-1])
    np.testing.assert_array_equal(again.mean, states[-1].mean)


def test_one_euro_follows_fast_moves_faster() -> None:
    def lag(size: float) -> Float64:
        rule = OneEuro(min_cutoff=0.1, beta=1.0)
        jump = [Estimate(0.25 * k, np.full(1, size * (k > 4)), np.ones(1)) for k in range(7)]
        return run(rule, jump)[-1].mean / size

    assert lag(10.0)[0] > lag(0.1)[0] + 0.2
