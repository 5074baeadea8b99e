"""One model for all sessions: windows that arrive within a few milliseconds share a batch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from lddu_model import Prediction, Sample
from workers.face_features import SPEAKING
from workers.mailbox import Closed, Mailbox
from workers.messages import (
    AlignedWindow,
    Bool,
    EmotionEstimate,
    Float32,
    Message,
    Modality,
    freeze,
    lost,
)
from workers.windows import pool
from workers.worker import StageAccount

log = logging.getLogger(__name__)

Predict = Callable[[Sequence[Sample]], Prediction]
RunPredict = Callable[[Predict, Sequence[Sample]], Awaitable[Prediction]]


class Model(Protocol):
    """What inference needs of a model."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    def predict(self, samples: Sequence[Sample]) -> Prediction: ...


async def predict_inline(predict: Predict, samples: Sequence[Sample]) -> Prediction:
    """Predict on the event loop; for tests in virtual time."""
    return predict(samples)


def to_sample(window: AlignedWindow) -> Sample:
    """A window as the model's input; a modality without any valid step is left out."""
    present = [name for name, mask in window.mask.items() if mask.any()]
    features: dict[str, Float32] = {name: window.features[name] for name in present}
    speech = window.mask["voice"]
    if "face" in features and len(speech):
        features["face"] = _speaking(features["face"], speech)
    return Sample(features, {name: window.mask[name] for name in present})


def without(window: AlignedWindow, modalities: Collection[Modality]) -> AlignedWindow:
    """`window` as if there were nothing of `modalities` in it."""
    features, mask = dict(window.features), dict(window.mask)
    for name in modalities:
        features[name] = freeze(features[name][:0])
        mask[name] = freeze(mask[name][:0])
    gone: dict[str, Any] = {field: 0 for name in modalities for field in COVERAGE[name]}
    evidence = replace(window.evidence, **gone)
    if evidence.recent is not None:
        known: dict[str, Any] = {field: 0 for field in gone if hasattr(evidence.recent, field)}
        if "face" in modalities:
            known |= {"several": 0, "width": None, "brightness": None}
        evidence = replace(evidence, recent=replace(evidence.recent, **known))
    return replace(window, features=features, mask=mask, evidence=evidence)


COVERAGE: Mapping[Modality, tuple[str, ...]] = {
    "face": ("face", "faces"),
    "voice": ("speech",),
    "words": ("words", "unknown_words"),
}
"""What evidence says of a modality."""


def _speaking(face: Float32, speech: Bool) -> Float32:
    """`face` (n, D) with what is known of speech (m,): both cover the same window evenly."""
    told = face.copy()
    told[:, SPEAKING] = pool(speech[:, None].astype(np.float32), len(face))[:, 0]
    return freeze(told)


class InferenceEngine:
    """Batches windows over all sessions.

    The first window of a batch waits at most `max_wait` seconds for company.
    """

    def __init__(
        self,
        model: Model,
        run: RunPredict = predict_inline,
        *,
        max_batch: int = 64,
        max_wait: float = 0.005,
    ) -> None:
        self.model = model
        self.batches = 0
        self.windows = 0
        self._run = run
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._pending: list[tuple[AlignedWindow, asyncio.Future[EmotionEstimate]]] = []
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def infer(self, window: AlignedWindow) -> EmotionEstimate:
        """The estimate for one window; raises what the model raised."""
        future: asyncio.Future[EmotionEstimate] = asyncio.get_running_loop().create_future()
        self._pending.append((window, future))
        if len(self._pending) >= self._max_batch:
            self._full.set()
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name="inference")
        return await future

    async def idle(self) -> None:
        """Wait until nothing is computed any more, also for callers that did not wait."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _drain(self) -> None:
        """Serve until nothing is pending; windows that come during a batch form the next one."""
        try:
            while self._pending:
                if len(self._pending) < self._max_batch:
                    self._full.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._full.wait(), self._max_wait)
                batch = self._pending[: self._max_batch]
                del self._pending[: self._max_batch]
                await self._serve(batch)
        finally:
            self._task = None
            for _, future in self._pending:  # none, unless this task was ended: nobody may hang
                if not future.done():
                    future.set_exception(RuntimeError("inference was ended"))
            self._pending.clear()

    async def _serve(
        self, batch: Sequence[tuple[AlignedWindow, asyncio.Future[EmotionEstimate]]]
    ) -> None:
        self.batches += 1
        self.windows += len(batch)
        try:
            prediction = await self._run(
                self.model.predict, [to_sample(window) for window, _ in batch]
            )
        except Exception as error:  # noqa: BLE001  # a failure belongs to the windows of this batch
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for row, (window, future) in enumerate(batch):
            if not future.done():
                future.set_result(_estimate(window, self.model.labels, prediction, row))


def _estimate(
    window: AlignedWindow, labels: tuple[str, ...], prediction: Prediction, row: int
) -> EmotionEstimate:
    def of_row(values: Float32) -> Float32:
        return freeze(np.array(values[row], dtype=np.float32))

    return EmotionEstimate(
        person=window.person,
        index=window.index,
        revision=window.revision,
        t0=window.t0,
        t1=window.t1,
        labels=labels,
        logit=of_row(prediction.logit),
        variance=of_row(prediction.variance),
        probability=of_row(prediction.probability),
        modality_variance=of_row(prediction.modality_variance),
        evidence=window.evidence,
        complete=window.complete,
        modality_logit=of_row(prediction.modality_logit),
        novelty=of_row(prediction.novelty),
    )


class InferWorker:
    """Takes up to `at_once` waiting windows of one session, keeps their order."""

    name = "infer"

    def __init__(
        self,
        engine: InferenceEngine,
        inbox: Mailbox[Message],
        outbox: Mailbox[Message],
        *,
        at_once: int = 16,
    ) -> None:
        self.account = StageAccount()
        self.withdrawn: frozenset[Modality] = frozenset()
        """Of these nothing reaches the model."""
        self._engine = engine
        self._inbox = inbox
        self._outbox = outbox
        self._at_once = at_once

    async def main(self) -> None:
        """Run until the inbox is closed and empty; then close the outbox."""
        try:
            while True:
                try:
                    items = [await self._inbox.get()]
                except Closed:
                    break
                while len(self._inbox) and len(items) < self._at_once:
                    items.append(self._inbox.get_nowait())
                await self._process(items)
        finally:
            self._outbox.close()

    async def _process(self, items: Sequence[Message]) -> None:
        self.account.taken += len(items)
        if self.withdrawn:
            items = [
                without(item, self.withdrawn) if isinstance(item, AlignedWindow) else item
                for item in items
            ]
        start = perf_counter()
        results = await asyncio.gather(
            *(self._engine.infer(item) for item in items if isinstance(item, AlignedWindow)),
            return_exceptions=True,
        )
        self.account.seconds += perf_counter() - start
        estimates = iter(results)
        for item in items:
            result = next(estimates) if isinstance(item, AlignedWindow) else item
            if isinstance(result, BaseException):
                self._failed(result)
                gap = lost(item, "failed")
                assert gap is not None  # of windows there always is one
                await self._outbox.put(gap)
                continue
            self.account.processed += 1
            await self._outbox.put(result)

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        self.account.failed[type(error).__name__] += 1
        log.warning("stage infer: %s", type(error).__name__)
