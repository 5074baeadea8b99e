"""Windows of all sessions share batches; a failure stays with its batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from lddu_model import Prediction, Sample
from tests.virtual_time import run
from workers.face_features import FEATURE_NAMES, SPEAKING, UNHEARD
from workers.infer import InferenceEngine, InferWorker, Predict, to_sample
from workers.mailbox import Closed, Mailbox, Policy
from workers.messages import (
    AlignedWindow,
    Bool,
    EmotionEstimate,
    Evidence,
    Float32,
    Gap,
    Message,
    Modality,
)

EVIDENCE = Evidence(1.0, 1.0, 1, 1, False)


def window(index: int, person: str = "p1", voice: float = 1.0) -> AlignedWindow:
    features: dict[Modality, Float32] = {
        "words": np.zeros((0, 2), np.float32),
        "voice": np.full((4, 2), voice, np.float32),
        "face": np.zeros((4, 2), np.float32),
    }
    mask: dict[Modality, Bool] = {
        "words": np.zeros(0, np.bool_),
        "voice": np.ones(4, np.bool_),
        "face": np.zeros(4, np.bool_),
    }
    return AlignedWindow(
        person, index, 0, index * 0.25, index * 0.25 + 3, features, mask, EVIDENCE, True
    )


class Mean:
    """A model whose logit is the mean of the voice; fails on negative ones."""

    labels = ("happy",)

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        self.sizes.append(len(samples))
        logit = np.asarray([[sample.features["voice"].mean()] for sample in samples], np.float32)
        if (logit < 0).any():
            raise FloatingPointError("negative")
        ones = np.ones_like(logit)
        half = np.full_like(logit, 0.5)
        alone = np.ones((len(samples), 3, 1), np.float32)
        return Prediction(
            logit,
            half,
            ones,
            alone,
            alone,
            np.zeros_like(logit),
            np.zeros(alone.shape[:2], np.float32),
        )


def test_absent_modalities_are_left_out() -> None:
    sample = to_sample(window(0))
    assert set(sample.features) == set(sample.mask) == {"voice"}


def test_a_face_is_told_when_its_person_speaks() -> None:
    heard = window(0)
    face = np.zeros((4, len(FEATURE_NAMES)), np.float32)
    face[:, SPEAKING] = UNHEARD
    mask: dict[Modality, Bool] = {
        "words": heard.mask["words"],
        "voice": np.array([True, False, False, True]),
        "face": np.ones(4, np.bool_),
    }
    watched = replace(heard, features={**heard.features, "face": face}, mask=mask)
    told = to_sample(watched).features["face"]
    assert told[:, SPEAKING].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert (face[:, SPEAKING] == UNHEARD).all(), "the window is not changed"
    silent = replace(watched, mask={**mask, "voice": np.zeros(4, np.bool_)})
    assert to_sample(silent).features["face"][:, SPEAKING].tolist() == [0.0] * 4
    deaf = replace(
        watched,
        features={**watched.features, "voice": np.zeros((0, 2), np.float32)},
        mask={**mask, "voice": np.zeros(0, np.bool_)},
    )
    assert to_sample(deaf).features["face"][:, SPEAKING].tolist() == [UNHEARD] * 4


def test_windows_of_many_sessions_share_a_batch_and_get_their_own_answer() -> None:
    async def main() -> None:
        model = Mean()
        engine = InferenceEngine(model)
        windows = [window(i, f"p{i}", float(i)) for i in range(10)]
        estimates = await asyncio.gather(*(engine.infer(each) for each in windows))
        assert model.sizes == [10]
        assert [(e.person, float(e.logit[0])) for e in estimates] == [
            (f"p{i}", float(i)) for i in range(10)
        ]

    run(main())


def test_what_nobody_waits_for_any_more_ends_before_idle_does() -> None:
    async def slow(predict: Predict, samples: Sequence[Sample]) -> Prediction:
        await asyncio.sleep(1.0)
        return predict(samples)

    async def main() -> None:
        model = Mean()
        engine = InferenceEngine(model, slow)
        await engine.idle()
        left = asyncio.create_task(engine.infer(window(0)))
        await asyncio.sleep(0.5)
        left.cancel()
        assert model.sizes == []
        await engine.idle()
        assert model.sizes == [1]

    run(main())  # a task that is left running fails the test


def test_a_batch_waits_at_most_the_bound() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        engine = InferenceEngine(Mean(), max_wait=0.005)
        await engine.infer(window(0))
        assert loop.time() == pytest.approx(0.005)

    run(main())


def test_a_full_batch_does_not_wait() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        model = Mean()
        engine = InferenceEngine(model, max_batch=4, max_wait=100.0)
        await asyncio.gather(*(engine.infer(window(i)) for i in range(8)))
        assert model.sizes == [4, 4] and loop.time() == 0

    run(main())


def test_the_worker_keeps_order_and_counts_failures() -> None:
    async def main() -> None:
        inbox: Mailbox[Message] = Mailbox("infer", 64, Policy.BLOCK)
        outbox: Mailbox[Message] = Mailbox("smooth", 64, Policy.BLOCK)
        worker = InferWorker(InferenceEngine(Mean()), inbox, outbox, at_once=8)
        task = asyncio.create_task(worker.main())
        for i in range(16):
            await inbox.put(window(i, voice=float(i)))
        await asyncio.sleep(1)
        await inbox.put(Gap("p1", "audio", 0.0, 1.0, "missing"))
        await inbox.put(window(20, voice=-1.0))
        inbox.close()
        await task
        told: list[int | Message] = []
        while True:
            try:
                item = await outbox.get()
            except Closed:
                break
            told.append(item.index if isinstance(item, EmotionEstimate) else item)
        lost = Gap("p1", "model", 8.0, 8.0, "failed")
        assert told == [*range(16), Gap("p1", "audio", 0.0, 1.0, "missing"), lost]
        account = worker.account
        assert account.failed == {"FloatingPointError": 1}
        assert account.taken == account.processed + 1 == 18

    run(main())
