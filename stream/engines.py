"""Everything heavy, loaded once and shared by all sessions; and the threads that stages run in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import lddu_model
from lddu_model import FeatureSpec, Prediction, Sample
from stream.config import StreamConfig
from stream.extractors import LazyExtractors, face_engine, settings_of_words, weights_of
from stream.smoothing import prior_of
from stream.spec import WORDS, live_spec
from workers.face import FaceEngine
from workers.filters import Float64
from workers.infer import InferenceEngine, Model, Predict
from workers.messages import Message
from workers.remote import Remote, RemoteModel, RemoteText, RemoteTranscriber, RemoteVoice
from workers.text import EncodesText
from workers.threads import limit_here
from workers.transcribe import Hears
from workers.voice import Encodes
from workers.worker import Run, inline

SHIPPED = Path(lddu_model.__file__).parent / "checkpoints"
SHIPPED_CHECKPOINT = SHIPPED / "live-v1"
"""The one for the text model that is configured by default."""

THREADED = ("face", "transcribe", "voice", "text", "attribute")
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


class ServedModel(Model, Protocol):
    """What serving needs of a model: ``lddu_model.Model`` or ``workers.remote.RemoteModel``."""

    @property
    def thresholds(self) -> tuple[float, ...]: ...
    @property
    def spec(self) -> FeatureSpec: ...


@dataclass(slots=True)
class Engines:
    """One instance of each model for all sessions of a process."""

    model: ServedModel
    transcriber: Hears
    voice: Encodes
    text: EncodesText
    face: FaceEngine
    threads: Threads
    inference: InferenceEngine
    prior: Float64
    """(C,) what the model says of nothing."""

    @classmethod
    def load(cls, config: StreamConfig) -> Engines:
        """Load all models of `config`; in processes of their own, where it says so.

        Raises ``ModelError``, ``WorkerError`` or a checkpoint error.
        """
        limit_here()
        parts = _remote(config) if config.processes else _here(config)
        threads = Threads()
        model: ServedModel = parts["model"]
        inference = InferenceEngine(model, threads.predict)
        return cls(**parts, threads=threads, inference=inference, prior=prior_of(model))

    @property
    def workers(self) -> dict[str, Remote | FaceEngine]:
        """What runs in processes of their own, by name."""
        parts = {
            "model": self.model,
            "words": self.transcriber,
            "voice": self.voice,
            "text": self.text,
            "face": self.face,
        }
        return {name: part for name, part in parts.items() if isinstance(part, Remote | FaceEngine)}

    def close(self) -> None:
        """End all processes, at once: on a busy machine each may take its time."""
        self.threads.close()
        workers = list(self.workers.values())
        if workers:
            with ThreadPoolExecutor(len(workers)) as pool:
                list(pool.map(lambda worker: worker.close(), workers))

    def __enter__(self) -> Engines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def checkpoint_of(config: StreamConfig) -> Path:
    """Where the checkpoint of `config` is."""
    return checkpoint_at(config.model.checkpoint, config.analysis.text_model)


def checkpoint_at(named: str | None, text_model: str) -> Path:
    """The folder that ``model.checkpoint`` names, if only by a file in it; where it names none, of
    the checkpoint that ships for the words of `text_model`.
    """
    if not named:
        return SHIPPED / WORDS[text_model][0]
    path = Path(named)
    return path.parent if path.is_file() else path


def _here(config: StreamConfig) -> dict[str, Any]:
    """All engines but that of faces in this process."""
    lddu_model.use_threads(config.device.threads)
    model = lddu_model.load(
        checkpoint_of(config), spec=live_spec(config), device=config.device.lddu
    )
    extractors = LazyExtractors(config)
    names = ("transcriber", "voice", "text", "face")
    return {"model": model, **{name: getattr(extractors, name) for name in names}}


def _remote(config: StreamConfig) -> dict[str, Any]:
    """Each engine in a process of its own; all are started at once."""
    device, threads = config.device, config.device.threads
    starts: dict[str, Callable[[], Remote | FaceEngine]] = {
        "model": lambda: RemoteModel(
            checkpoint_of(config), spec=live_spec(config), device=device.lddu, threads=threads
        ),
        "transcriber": lambda: RemoteTranscriber(
            weights_of(config, config.analysis.asr_model), **settings_of_words(config)
        ),
        "voice": lambda: RemoteVoice(
            weights_of(config, "whisper-tiny.en"), spare=True, device=device.asr, threads=threads
        ),
        "text": lambda: RemoteText(weights_of(config, config.analysis.text_model), threads=threads),
        "face": lambda: face_engine(config),
    }
    with ThreadPoolExecutor(len(starts)) as pool:
        begun = {name: pool.submit(start) for name, start in starts.items()}
    return {name: future.result() for name, future in _all_or_none(begun).items()}


def _all_or_none(
    begun: dict[str, Future[Remote | FaceEngine]],
) -> dict[str, Future[Remote | FaceEngine]]:
    """Where one could not be started, end the others: who asks for the results gets its error."""
    if any(future.exception() for future in begun.values()):
        for future in begun.values():
            if future.exception() is None:
                future.result().close()
    return begun
