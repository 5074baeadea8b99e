"""The feature specification of the live graph: what its extractors give, and exactly which."""

from __future__ import annotations

from lddu_model import FeatureSpec, ModalitySpec
from stream.config import StreamConfig
from stream.weights import TABLE
from workers.face import FEATURE_NAMES
from workers.text import TEXT_DIM
from workers.voice import VOICE_DIM

LABELS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
"""CMU-MOSEI's six emotions, in its order."""

RATE = 10.0
"""Voice and face steps per second."""

MAX_WORDS = 20
"""Words per window that are kept."""

WORDS = {
    "minilm": ("live-v1", "all-MiniLM-L6-v2 int8 tokens", "model.onnx"),
    "e5-small": ("live-multi", "multilingual-e5-small q4 tokens", "e5-small-q4.bin"),
}
"""Text model -> name of the specification, what the words are, file of the weights."""


def live_spec(config: StreamConfig) -> FeatureSpec:
    """What a checkpoint must have been trained on to be served under `config`.

    The hop between windows is no part of it: it changes how often, not what is estimated.
    """
    width = config.window.width
    text = config.analysis.text_model
    name, words, file = WORDS[text]
    steps = round(width * RATE)
    return FeatureSpec(
        name=name,
        modalities=(
            ModalitySpec(
                "words",
                TEXT_DIM,
                MAX_WORDS,
                None,
                words,
                _sha(text, file),
            ),
            ModalitySpec(
                "voice",
                VOICE_DIM,
                steps,
                RATE,
                "whisper tiny.en encoder, low-level descriptors",
                _sha("whisper-tiny.en", "model.bin"),
            ),
            ModalitySpec(
                "face",
                len(FEATURE_NAMES),
                steps,
                RATE,
                "mediapipe face landmarker, neutral face, speaking",
                _sha("face_landmarker", "face_landmarker.task"),
            ),
        ),
        window_s=width,
    )


def _sha(model: str, name: str) -> str:
    return next(file.sha256 for file in TABLE[model].files if file.name == name)
