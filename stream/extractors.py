"""The models that make features, as a configuration wants them; each is loaded when first used."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from stream import models
from stream.config import StreamConfig
from workers.face import FaceEngine
from workers.messages import Modality
from workers.text import TextEncoder
from workers.whisper import Transcriber, VoiceEncoder


class LazyExtractors:
    """Satisfies ``stream.graph.Extractors``. An access may raise ``ModelError``."""

    def __init__(self, config: StreamConfig) -> None:
        self._config = config

    def _weights(self, name: str) -> Path:
        folder = self._config.model.weights
        return models.path(name, folder=Path(folder) if folder else None)

    @cached_property
    def transcriber(self) -> Transcriber:
        return Transcriber(
            self._weights(self._config.analysis.asr_model),
            device=self._config.device.asr,
            language=self._config.analysis.language,
            threads=self._config.device.threads,
        )

    @cached_property
    def voice(self) -> VoiceEncoder:
        return VoiceEncoder(
            self._weights("whisper-tiny.en"),
            device=self._config.device.asr,
            threads=self._config.device.threads,
        )

    @cached_property
    def text(self) -> TextEncoder:
        return TextEncoder(self._weights("minilm"), threads=self._config.device.threads)

    @cached_property
    def face(self) -> FaceEngine:
        return FaceEngine(self._weights("face_landmarker"), num_faces=self._config.analysis.faces)

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
