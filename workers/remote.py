"""Engines of speech, and the model, in processes of their own, used as if they were here.

Native code that crashes or hangs ends its process and no call. Words that were asked for are asked
for once more in the new process; face, voice and windows come again by themselves a moment later,
and lose what was at hand.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lddu_model import FeatureSpec, Prediction, Sample
from workers.child import START_TIMEOUT, Child, ChildDied, ChildTimeout, Line
from workers.engine_process import Built, Engine, Failed, Ready
from workers.errors import WorkerError
from workers.face_process import child_environment
from workers.heard import Before, Heard
from workers.messages import Float32

_PROGRAM = "import sys; from workers import engine_process as p; sys.exit(p.main(sys.argv[1:]))"

TIMEOUT_S = 5.0
"""For answers that take 20 ms on an idle machine."""

WORDS_TIMEOUT_S = 20.0
"""For the words in up to 28 s of speech."""

MAX_BACKOFF_S = 5.0


class RemoteError(WorkerError):
    """What the engine in the other process raised."""


class Remote:
    """One engine in a process of its own. Callers take their turns.

    Raises what ``Failed`` says as ``RemoteError``, and ``ChildDied``.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Mapping[str, Any],
        *,
        timeout: float = TIMEOUT_S,
        again: bool = False,
        spare: bool = False,
    ) -> None:
        """`again`: what was asked for when the process died is asked for once more; `spare`:
        another process waits to take its place.
        """
        self._built = Built(engine, settings)
        self._timeout = timeout
        self._again = again
        self._turn = threading.Lock()
        self.facts: Mapping[str, Any] = {}
        self._line = Line(self._start, MAX_BACKOFF_S, spare=spare)

    @property
    def restarts(self) -> int:
        """How often the process was started again."""
        return self._line.restarts

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return self._line.pid

    def close(self) -> None:
        """Answer the call in work, refuse others, end the process."""
        self._line.stop()
        with self._turn:
            self._line.close()

    def _ask(self, *arguments: object) -> Any:
        with self._turn:
            try:
                reply = self._line.ask(arguments)
            except ChildTimeout:
                raise
            except ChildDied:
                if not self._again:
                    raise
                reply = self._line.ask(arguments)
        if isinstance(reply, Failed):
            raise RemoteError(reply.message, hint=reply.hint)
        return reply

    def _start(self) -> Child:
        what = f"{self._built.engine} process"
        child = Child(what, _PROGRAM, [self._built.engine], START_TIMEOUT, child_environment())
        reply = child.ask(self._built)
        if isinstance(reply, Failed):
            child.close()
            raise RemoteError(reply.message, hint=reply.hint)
        assert isinstance(reply, Ready)
        self.facts = reply.facts
        child.settle(self._timeout)
        return child


class RemoteTranscriber(Remote):
    """``workers.whisper.Transcriber`` in a process of its own."""

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__("words", {"path": path, **settings}, timeout=WORDS_TIMEOUT_S, again=True)

    def transcribe(self, samples: Float32, before: Before | None = None) -> Heard:
        heard: Heard = self._ask(samples, before)
        return heard


class RemoteVoice(Remote):
    """``workers.whisper.VoiceEncoder`` in a process of its own."""

    def __init__(self, path: Path, *, spare: bool = False, **settings: Any) -> None:
        super().__init__("voice", {"path": path, **settings}, spare=spare)

    def encode(self, samples: Float32) -> Float32:
        states: Float32 = self._ask(samples)
        return states


class RemoteText(Remote):
    """``workers.text.TextEncoder`` in a process of its own."""

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__("text", {"path": path, **settings}, again=True)

    @property
    def languages(self) -> frozenset[str]:
        languages: frozenset[str] = self.facts["languages"]
        return languages

    def encode(self, words: Sequence[str], context: Sequence[str] = ()) -> Float32:
        vectors: Float32 = self._ask(list(words), list(context))
        return vectors


class RemoteModel(Remote):
    """``lddu_model.Model``, as far as serving needs it, in a process of its own."""

    def __init__(self, path: Path, *, spec: FeatureSpec, device: str, threads: int) -> None:
        settings = {"path": path, "spec": spec, "device": device, "threads": threads}
        super().__init__("model", settings)

    @property
    def labels(self) -> tuple[str, ...]:
        labels: tuple[str, ...] = self.facts["labels"]
        return labels

    @property
    def thresholds(self) -> tuple[float, ...]:
        thresholds: tuple[float, ...] = self.facts["thresholds"]
        return thresholds

    @property
    def spec(self) -> FeatureSpec:
        spec: FeatureSpec = self.facts["spec"]
        return spec

    def predict(self, samples: Sequence[Sample]) -> Prediction:
        prediction: Prediction = self._ask(list(samples))
        return prediction
