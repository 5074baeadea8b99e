"""The models that make features, as a configuration wants them; each is loaded when first used."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream import models
from stream.config import StreamConfig
from workers.face import FaceEngine
from workers.messages import Modality

if TYPE_CHECKING:
    from workers.text import TextEncoder
    from workers.whisper import Transcriber, VoiceEncoder


def weights_of(config: StreamConfig, name: str) -> Path:
    """Where the weights of `name` are. Raises ``ModelError``."""
    folder = config.model.weights
    return models.path(name, folder=Path(folder) if folder else None)


def settings_of_words(config: StreamConfig) -> dict[str, Any]:
    """What the transcriber is built with, besides its weights."""
    device, threads = config.device.asr, config.device.threads
    return {"device": device, "language": config.analysis.language, "threads": threads}


class LazyExtractors:
    """Satisfies ``stream.graph.Extractors``. An access may raise ``ModelError``."""

    def __init__(self, config: StreamConfig) -> None:
        self._config = config

    @cached_property
    def transcriber(self) -> Transcriber:
        from workers.whisper import Transcriber

        config = self._config
        path = weights_of(config, config.analysis.asr_model)
        return Transcriber(path, **settings_of_words(config))

    @cached_property
    def voice(self) -> VoiceEncoder:
        from workers.whisper import VoiceEncoder

        device = self._config.device
        path = weights_of(self._config, "whisper-tiny.en")
        return VoiceEncoder(path, device=device.asr, threads=device.threads)

    @cached_property
    def text(self) -> TextEncoder:
        from workers.text import TextEncoder

        config = self._config
        path = weights_of(config, config.analysis.text_model)
        return TextEncoder(path, threads=config.device.threads)

    @cached_property
    def face(self) -> FaceEngine:
        return face_engine(self._config)

    def load(self, modalities: Iterable[Modality], *, heard: bool = True) -> None:
        """Load what `modalities` need now; `heard`: the words come from sound, not from text."""
        for name in modalities:
            match name:
                case "voice":
                    _ = self.voice
                case "face":
                    _ = self.face
                case "words":
                    _ = self.text, self.transcriber if heard else None

    def close(self) -> None:
        """End the face process, if it was started."""
        if "face" in self.__dict__:
            self.face.close()


def face_engine(config: StreamConfig) -> FaceEngine:
    """Always a process of its own. Raises ``ModelError``, ``FaceError``."""
    path, faces = weights_of(config, "face_landmarker"), config.analysis.faces
    return FaceEngine(path, num_faces=faces, spare=config.processes)
