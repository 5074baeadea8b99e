"""Everything heavy, loaded once and shared by all sessions; and the threads that stages run in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import lddu_model
from lddu_model import Prediction, Sample
from stream.config import StreamConfig
from stream.extractors import LazyExtractors
from stream.smoothing import prior_of
from stream.spec import live_spec
from workers.face import FaceEngine
from workers.filters import Float64
from workers.infer import InferenceEngine, Predict
from workers.messages import Message
from workers.text import TextEncoder
from workers.whisper import Transcriber, VoiceEncoder
from workers.worker import Run, inline

SHIPPED_CHECKPOINT = Path(lddu_model.__file__).parent / "checkpoints" / "live-v1"

THREADED = ("face", "transcribe", "voice", "text")
"""Stages that take milliseconds or more: one thread each, shared by all sessions, in turn."""


@dataclass(slots=True)
class Threads:
    """Runs slow stages in one thread per kind of engine and the others on the event loop."""

    _pools: dict[str, Executor] = field(
        default_factory=lambda: {
            name: ThreadPoolExecutor(1, thread_name_prefix=name) for name in (*THREADED, "lddu")
        }
    )

    def for_stage(self, name: str) -> Run:
        pool = self._pools.get(name)
        if pool is None:
            return inline

        async def run(function: Callable[[], Sequence[Message]]) -> Sequence[Message]:
            return await asyncio.get_running_loop().run_in_executor(pool, function)

        return run

    async def predict(self, predict: Predict, samples: Sequence[Sample]) -> Prediction:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pools["lddu"], predict, samples)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(slots=True)
class Engines:
    """One instance of each model for all sessions of a process."""

    model: lddu_model.Model
    transcriber: Transcriber
    voice: VoiceEncoder
    text: TextEncoder
    face: FaceEngine
    threads: Threads
    inference: InferenceEngine
    prior: Float64
    """(C,) what the model says of nothing."""

    @classmethod
    def load(cls, config: StreamConfig) -> Engines:
        """Load all models of `config`. Raises ``ModelError`` or a checkpoint error."""
        checkpoint = (
            Path(config.model.checkpoint) if config.model.checkpoint else SHIPPED_CHECKPOINT
        )
        lddu_model.use_threads(config.device.threads)
        model = lddu_model.load(checkpoint, spec=live_spec(config), device=config.device.lddu)
        extractors = LazyExtractors(config)
        runs = Threads()
        return cls(
            model=model,
            transcriber=extractors.transcriber,
            voice=extractors.voice,
            text=extractors.text,
            face=extractors.face,
            threads=runs,
            inference=InferenceEngine(model, runs.predict),
            prior=prior_of(model),
        )

    def close(self) -> None:
        self.threads.close()
        self.face.close()

    def __enter__(self) -> Engines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
