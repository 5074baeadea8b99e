"""The released LDDU in numpy, float64 and loops, straight from its mathematics.

It shares nothing with ``lddu_model.paper``: what is compared with it are the values. Parameters
come in one flat dict of arrays; matrices are (out, in). `x @ W.T + b` is an affine map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Parameters = Mapping[str, Float]
EPS = 1e-12


class Said(NamedTuple):
    y: Float
    """(B, C)"""
    direct: Float
    mu: Float
    """(B, M, C, z)"""
    sigma: Float
    u: Float
    """(B, C)"""


def sigmoid(x: Float) -> Float:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def gelu(x: Float) -> Float:
    erf = np.vectorize(math.erf)
    return np.asarray(0.5 * x * (1.0 + erf(x / math.sqrt(2.0))))


def softmax(x: Float) -> Float:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def affine(p: Parameters, name: str, x: Float) -> Float:
    return np.asarray(x @ p[f"{name}.weight"].T + p[f"{name}.bias"])


def layer_norm(p: Parameters, name: str, x: Float) -> Float:
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    scaled = (x - mean) / np.sqrt(variance + EPS)
    return np.asarray(scaled * p[f"{name}.weight"] + p[f"{name}.bias"])


def self_attention(p: Parameters, name: str, x: Float, valid: NDArray[np.bool_]) -> Float:
    """One sequence (L, d); every head reads the valid steps."""
    query, key, value = np.split(affine(p, f"{name}.query_key_value", x), 3, axis=1)
    heads = int(p["heads"])
    size = x.shape[1] // heads
    out = np.zeros_like(x)
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        for i in range(len(x)):
            scores = np.array(
                [
                    query[i, part] @ key[j, part] / math.sqrt(size) if valid[j] else -np.inf
                    for j in range(len(x))
                ]
            )
            out[i, part] = softmax(scores) @ value[:, part]
    return affine(p, f"{name}.out", out)


def encoder(p: Parameters, m: int, x: Float, valid: NDArray[np.bool_]) -> Float:
    """(L, D) -> (L, d)."""
    name = f"encoders.{m}"
    x = layer_norm(p, f"{name}.input_norm", x)
    x = affine(p, f"{name}.input", x) + p[f"{name}.positions"][: len(x)]
    x = layer_norm(p, f"{name}.norm", x)
    for k in range(int(p["layers"])):
        layer = f"{name}.layers.{k}"
        attended = x + self_attention(p, f"{layer}.attention", x, valid)
        x = layer_norm(p, f"{layer}.attention_norm", attended)
        fed = affine(p, f"{layer}.down", gelu(affine(p, f"{layer}.up", x)))
        x = layer_norm(p, f"{layer}.norm", x + fed)
    return x


def emotion_space(p: Parameters, m: int, states: Float, valid: NDArray[np.bool_]) -> Float:
    """(L, d) -> (C, d)."""
    name = f"spaces.{m}"
    query = affine(p, f"{name}.query", p["labels"])
    key = affine(p, f"{name}.key_value", states)
    rows = []
    for q in query:
        scores = np.where(valid, key @ q / math.sqrt(len(q)), -np.inf)
        rows.append(softmax(scores) @ key)
    return affine(p, f"{name}.out", np.stack(rows))


def latent(p: Parameters, m: int, z: Float) -> tuple[Float, Float]:
    """(C, d) -> mu, sigma (C, z)."""
    for k in (0, 2, 4):
        z = np.maximum(affine(p, f"latents.{m}.trunk.{k}", z), 0.0)
    return affine(p, f"latents.{m}.mu", z), np.exp(affine(p, f"latents.{m}.log_var", z) / 2)


def head(p: Parameters, name: str, x: Float) -> Float:
    return affine(p, f"{name}.3", np.maximum(affine(p, f"{name}.0", x), 0.0))


def forward(p: Parameters, features: Sequence[Float], valid: Sequence[NDArray[np.bool_]]) -> Said:
    """Features (B, L_m, D_m) and valid (B, L_m) per modality; without dropout."""
    M, B, C = len(features), len(features[0]), len(p["labels"])
    rows = []
    for b in range(B):
        Z = [
            emotion_space(p, m, encoder(p, m, features[m][b], valid[m][b]), valid[m][b])
            for m in range(M)
        ]
        mu, sigma = zip(*(latent(p, m, Z[m]) for m in range(M)), strict=True)
        y, y_dir, u = np.zeros(C), np.zeros(C), np.zeros(C)
        for c in range(C):
            y_dir[c] = sigmoid(head(p, "direct", np.concatenate([z[c] for z in Z])))[0]
            y_mu = sigmoid(head(p, f"centre.{c}", np.concatenate([x[c] for x in mu])))[0]
            all_sigma = np.concatenate([x[c] for x in sigma])
            y_sigma = sigmoid(head(p, f"uncertainty.{c}", all_sigma))[0]
            y[c] = y_dir[c] * y_mu + (1 - y_dir[c]) * y_sigma
            u[c] = np.sqrt((all_sigma**2).sum())
        rows.append((y, y_dir, np.stack(mu), np.stack(sigma), u))
    return Said(*(np.stack([row[k] for row in rows]) for k in range(5)))


def bce(p: Float, t: Float) -> float:
    return float(-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean())


def vectors(said: Said, target: Float) -> tuple[list[Float], list[tuple[int, int, int]]]:
    """v and id = (modality, label, presence) of every distribution."""
    B, M, C, _ = said.mu.shape
    v, ids = [], []
    for b in range(B):
        for m in range(M):
            for c in range(C):
                mu, sigma = said.mu[b, m, c], said.sigma[b, m, c]
                v.append(np.concatenate([mu / np.linalg.norm(mu), sigma / np.linalg.norm(sigma)]))
                ids.append((m, c, int(target[b, c])))
    return v, ids


def contrast(
    v: Sequence[Float],
    ids: Sequence[object],
    queue: Sequence[Float] = (),
    queue_ids: Sequence[object] = (),
    *,
    queue_anchors: bool,
    tau: float = 0.07,
) -> float:
    """Mean over the anchors that have a positive: the batch's rows, or also those of the queue."""
    everyone, names = [*v, *queue], [*ids, *queue_ids]
    losses = []
    for i in range(len(everyone) if queue_anchors else len(v)):
        scores = np.array([everyone[i] @ other / 2 / tau for other in everyone])
        normaliser = sum(np.exp(scores[j]) for j in range(len(everyone)) if j != i)
        positive = [j for j in range(len(everyone)) if j != i and names[j] == names[i]]
        if positive:
            terms = [np.log(np.exp(scores[j]) / normaliser) for j in positive]
            losses.append(-sum(terms) / len(positive))
    return float(np.mean(losses)) if losses else 0.0


def calibration(u: Float, y_dir: Float) -> float:
    B, C = u.shape
    p = softmax(u.ravel()).reshape(B, C)
    c = np.stack([softmax(row) for row in y_dir])
    one = (c * np.log(c / p)).sum() / (B * C)
    other = (p * np.log(p / c)).sum() / (B * C)
    return float((one + other) / 2)


def losses(said: Said, target: Float) -> dict[str, float]:
    """All terms with an empty queue, and their weighted sum."""
    v, ids = vectors(said, target)
    terms = {
        "fused": bce(said.y, target),
        "direct": bce(said.direct, target),
        "contrast": contrast(v, ids, queue_anchors=False),
        "calibration": calibration(said.u, said.direct),
    }
    weights = {"fused": 1.0, "direct": 0.3, "contrast": 1.0, "calibration": 0.3}
    terms["total"] = sum(weights[name] * value for name, value in terms.items())
    return terms
