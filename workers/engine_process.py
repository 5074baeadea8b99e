"""The process in which one engine of speech or the model runs; ``workers.remote`` is its parent.

The first message names the engine and says how it is built; the answer is ``Ready`` or ``Failed``.
Every further message is the arguments of one call, and its answer the result, or ``Failed``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workers import wire
from workers.child_limits import obey_parent

Engine = Literal["words", "voice", "text", "model"]


@dataclass(frozen=True, slots=True)
class Built:
    """What the parent asks for first."""

    engine: Engine
    settings: Mapping[str, Any]
    """Arguments of what builds it."""


@dataclass(frozen=True, slots=True)
class Ready:
    """It is loaded."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    """What its parent wants to know of it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """What went wrong; the process lives on where it was a call."""

    message: str
    hint: str = ""


Call = Callable[..., Any]


def _words(path: Path, **settings: Any) -> tuple[Call, Ready]:
    from workers.whisper import Transcriber

    return Transcriber(path, **settings).transcribe, Ready()


def _voice(path: Path, **settings: Any) -> tuple[Call, Ready]:
    from workers.whisper import VoiceEncoder

    return VoiceEncoder(path, **settings).encode, Ready()


def _text(path: Path, **settings: Any) -> tuple[Call, Ready]:
    from workers.text import TextEncoder

    encoder = TextEncoder(path, **settings)
    return encoder.encode, Ready({"languages": encoder.languages})


def _model(path: Path, threads: int, **settings: Any) -> tuple[Call, Ready]:
    import lddu_model

    lddu_model.use_threads(threads)
    model = lddu_model.load(path, **settings)
    facts = {"labels": model.labels, "thresholds": model.thresholds, "spec": model.spec}
    return model.predict, Ready(facts)


BUILDERS: Mapping[Engine, Callable[..., tuple[Call, Ready]]] = {
    "words": _words,
    "voice": _voice,
    "text": _text,
    "model": _model,
}


def main(arguments: list[str]) -> int:
    """Run the child on the descriptor of its socket, while stdin is open.

    A second argument, for whoever lists processes, names the engine.
    """
    obey_parent()
    with socket.socket(fileno=int(arguments[0])) as connection:
        asked: Built = wire.receive(connection)
        try:
            call, ready = BUILDERS[asked.engine](**asked.settings)
        except Exception as error:  # noqa: BLE001  # the boundary: the parent raises it
            wire.send(connection, _failed(error))
            return 1
        wire.send(connection, ready)
        _serve(connection, call)
    return 0


def _serve(connection: socket.socket, call: Call) -> None:
    """Answer one call after the other until the parent closes."""
    while True:
        try:
            arguments = wire.receive(connection)
        except (EOFError, ConnectionError):
            return
        try:
            result = call(*arguments)
        except Exception as error:  # noqa: BLE001  # as above
            result = _failed(error)
        wire.send(connection, result)


def _failed(error: Exception) -> Failed:
    """Errors of the project have a message and a hint."""
    message = getattr(error, "message", f"{type(error).__name__}: {error}")
    return Failed(message, getattr(error, "hint", ""))
