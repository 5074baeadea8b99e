"""Whisper for short pieces of speech: words with their times, and voice features.

Whisper's encoder takes 30 s of sound, and a segment of 2 s costs as much as one of 30. Here it gets
the segment and one second of padding alone. A decoder that sees nothing else does not know where
to stop and says everything again; so the states that the encoder gives for padding, computed once,
are appended up to 10 s. The words are then those of a padded input, for a fraction of the time
(``python -m benchmarks.asr``).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import (
    get_compression_ratio,
    get_suppressed_tokens,
    merge_punctuations,
)

from workers.errors import WorkerError
from workers.messages import SAMPLE_RATE, Float32, Word

Device = Literal["auto", "cpu", "cuda"]

STATE = SAMPLE_RATE // 50
"""Samples per encoder state: 50 states per second."""

MAX_STATES = 1500
"""The encoder has positions for 30 s."""

LONGEST_S = 28.0
"""Seconds of speech that can be transcribed at once: 30 less the padding behind them."""

_FEWEST_SAMPLES = SAMPLE_RATE // 20
_SILENCE = 1e-4
"""Sound whose largest sample is below -80 dB is not looked at."""

_TAIL = 50
"""States of padding that the encoder sees behind the segment (1 s), ..."""
_KEPT_TAIL = 25
"""... of which these are kept before those that were computed once follow."""
_CONTEXT = 500
"""States that the decoder sees at least (10 s)."""

PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


class WhisperError(WorkerError):
    """Whisper cannot be loaded or used."""


class WhisperModelError(WhisperError, OSError):
    """The model folder or the device cannot be used."""


class WhisperInputError(WhisperError, ValueError):
    """The sound or an option cannot be used."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Words with times in seconds from the first sample, and the ISO 639-1 code of the language."""

    words: tuple[Word, ...]
    language: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken for speech. The defaults are Whisper's own where it has them."""

    no_speech: float = 0.6
    """A higher no-speech probability together with a low `log_probability` means silence."""
    log_probability: float = -1.0
    """Mean per token; below, the input is tried again."""
    compression: float = 2.4
    """Ratio by which the text can be compressed; above, it repeats itself."""
    tokens_per_second: float = 12.0
    """More than nobody says; above (plus 8), the decoder was stopped in a loop."""
    word_probability: float = 0.25
    """Less probable words at the very end are dropped."""


class Whisper:
    """A loaded CTranslate2 Whisper model. Calls from many threads take their turns."""

    def __init__(self, model_dir: Path, device: Device = "auto", threads: int = 1) -> None:
        """Load `model_dir`. Raises ``WhisperModelError``."""
        if not (model_dir / "model.bin").is_file():
            raise WhisperModelError(
                f"whisper: {model_dir} holds no model.bin",
                hint="run: python -m stream.models fetch",
            )
        self.device = resolve_device(device)
        compute = "float16" if self.device == "cuda" else "int8"
        try:
            self.model: Any = WhisperModel(
                str(model_dir),
                device=self.device,
                compute_type=compute,
                cpu_threads=threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise WhisperModelError(
                f"whisper: {model_dir} cannot be loaded on {self.device}: {error}",
                hint="check the folder with: python -m stream.models verify",
            ) from error
        self.lock = threading.Lock()

    def features(self, samples: Float32) -> Float32:
        """Log-mel features of exactly `samples` (n,), a multiple of ``STATE``: (80, n / 160)."""
        return np.asarray(self.model.feature_extractor(samples, padding=0), np.float32)

    def encode(self, features: Float32) -> Float32:
        """Hidden states (F / 2, D) of features (80, F), F even; no padding is added."""
        storage = ctranslate2.StorageView.from_array(np.ascontiguousarray(features[None]))
        states = self.model.model.encode(storage, to_cpu=True)
        if self.device == "cuda":
            states = states.to(ctranslate2.DataType.float32)
        return np.asarray(np.array(states)[0], np.float32)


class Transcriber:
    """Speech to words. One instance serves all sessions."""

    def __init__(
        self,
        model_dir: Path,
        *,
        device: Device = "auto",
        language: str | None = "en",
        threads: int = 1,
        beam_size: int = 1,
        limits: Limits | None = None,
    ) -> None:
        """`language` None: detected in every call, which needs a multilingual model."""
        self._whisper = Whisper(model_dir, device, threads)
        model = self._whisper.model
        multilingual = bool(model.model.is_multilingual)
        if language not in (None, *model.supported_languages):
            raise WhisperInputError(
                f"whisper: the model in {model_dir} does not know language {language!r}",
                hint="choose a multilingual model" if not multilingual else "use an ISO 639-1 code",
            )
        self._language = language if multilingual else "en"
        self._beam_size = beam_size
        self._limits = limits or Limits()
        self._padding = self._whisper.encode(np.zeros((80, 2 * MAX_STATES), np.float32))
        self._tokenizers: dict[str, Tokenizer] = {}

    def transcribe(self, samples: Float32) -> Heard:
        """Hear the words in `samples` (n,), at most ``LONGEST_S`` seconds of 16 kHz mono.

        Equal samples give equal words: nothing is drawn at random and nothing is remembered.
        Raises ``WhisperInputError``.
        """
        if len(samples) > LONGEST_S * SAMPLE_RATE:
            raise WhisperInputError(
                f"whisper: {len(samples) / SAMPLE_RATE:.1f} s of speech at once",
                hint=f"cut it into segments of at most {LONGEST_S:g} s",
            )
        if len(samples) < _FEWEST_SAMPLES or float(np.abs(samples).max()) < _SILENCE:
            return Heard((), self._language or "")
        with self._whisper.lock:
            return self._hear(samples)

    def _hear(self, samples: Float32) -> Heard:
        features = self._whisper.features(_whole(samples))
        states = self._cut(features)
        language = self._language or self._detect(states)
        tokenizer = self._tokenizer(language)
        seconds = len(samples) / SAMPLE_RATE
        said = self._decode(states, tokenizer, seconds)
        if said.loops:
            # Once more in the way that Whisper was trained, with all of the padding encoded.
            states = self._padded(features)
            said = self._decode(states, tokenizer, seconds)
        if said.loops or said.silent:
            return Heard((), language)
        return Heard(self._words(states, said.tokens, tokenizer, seconds), language)

    def _cut(self, features: Float32) -> Float32:
        """States of the segment and of padding up to ``_CONTEXT`` or a little more, (T, D)."""
        padded = np.pad(features, ((0, 0), (0, 2 * _TAIL)))[:, : 2 * MAX_STATES]
        states = self._whisper.encode(padded)
        keep = min(features.shape[1] // 2 + _KEPT_TAIL, MAX_STATES)
        total = min(max(_CONTEXT, keep + 2 * _TAIL), MAX_STATES)
        return np.concatenate([states[:keep], self._padding[keep:total]])

    def _padded(self, features: Float32) -> Float32:
        rest = 2 * MAX_STATES - features.shape[1]
        return self._whisper.encode(np.pad(features, ((0, 0), (0, rest))))

    def _detect(self, states: Float32) -> str:
        best = self._whisper.model.model.detect_language(_storage(states))[0][0]
        return str(best[0]).strip("<|>")

    def _tokenizer(self, language: str) -> Tokenizer:
        if language not in self._tokenizers:
            model = self._whisper.model
            self._tokenizers[language] = Tokenizer(
                model.hf_tokenizer,
                model.model.is_multilingual,
                task="transcribe",
                language=language,
            )
        return self._tokenizers[language]

    def _decode(self, states: Float32, tokenizer: Tokenizer, seconds: float) -> _Said:
        model = self._whisper.model
        prompt = model.get_prompt(tokenizer, [], without_timestamps=True)
        most = round(8 + self._limits.tokens_per_second * seconds)
        result = model.model.generate(
            _storage(states),
            [prompt],
            beam_size=self._beam_size,
            max_length=len(prompt) + most,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
        )[0]
        tokens = [token for token in result.sequences_ids[0] if token < tokenizer.eot]
        text = tokenizer.decode(tokens).strip()
        mean = result.scores[0] * len(tokens) / (len(tokens) + 1)
        return _Said(
            tokens,
            loops=len(tokens) >= most - 1
            or bool(text and get_compression_ratio(text) > self._limits.compression),
            silent=not text
            or (
                result.no_speech_prob > self._limits.no_speech
                and mean < self._limits.log_probability
            ),
        )

    def _words(
        self, states: Float32, tokens: list[int], tokenizer: Tokenizer, seconds: float
    ) -> tuple[Word, ...]:
        """Words by the decoder's cross attention, without those after the end of the sound."""
        frames = 2 * min(len(states), round(seconds * 50) + _KEPT_TAIL)
        found = self._whisper.model.find_alignment(tokenizer, [tokens], _storage(states), frames)[0]
        merge_punctuations(found, PREPENDED, APPENDED)
        words = []
        for entry in found:
            text = entry["word"].strip()
            t0, t1 = float(entry["start"]), min(float(entry["end"]), seconds)
            if text and t0 < seconds:
                words.append(Word(t0, max(t0, t1), text, float(entry["probability"])))
        while words and self._doubtful(words[-1], seconds):
            words.pop()
        return tuple(words)

    def _doubtful(self, word: Word, seconds: float) -> bool:
        """The decoder likes to end with something polite that nobody said."""
        return word.probability < self._limits.word_probability and word.t1 > seconds - 0.1


@dataclass(frozen=True, slots=True)
class _Said:
    tokens: list[int]
    loops: bool
    silent: bool


class VoiceEncoder:
    """The hidden states of a Whisper encoder over exactly the given sound, as voice features.

    They are the states after the encoder's last layer norm, as they are: no padding is added, no
    scale is changed and nothing is remembered, so equal samples give equal states, in windows and
    in whole utterances, in calls and in preparation, whatever else is transcribed. The log-mel
    features have Whisper's own floor (80 dB below the loudest moment of the input).
    """

    def __init__(self, model_dir: Path, *, device: Device = "auto", threads: int = 1) -> None:
        self._whisper = Whisper(model_dir, device, threads)

    def encode(self, samples: Float32) -> Float32:
        """States (ceil(n / 320), D) at 50 Hz of `samples` (n,), at most 30 s of 16 kHz mono.

        Raises ``WhisperInputError`` for none or too many samples.
        """
        if not 0 < len(samples) <= MAX_STATES * STATE:
            raise WhisperInputError(
                f"voice: {len(samples) / SAMPLE_RATE:.2f} s of sound at once",
                hint="give between 1 sample and 30 s",
            )
        whole = _whole(samples)
        short = max(0, _FEWEST_SAMPLES - len(whole))
        features = self._whisper.features(np.pad(whole, (0, short)))
        with self._whisper.lock:
            return self._whisper.encode(features)[: len(whole) // STATE]


def resolve_device(device: Device) -> Literal["cpu", "cuda"]:
    """``auto``: cuda where CTranslate2 can use one. Raises ``WhisperModelError``."""
    there = ctranslate2.get_cuda_device_count() > 0
    if device == "cuda" and not there:
        raise WhisperModelError(
            "whisper: device is cuda, but CTranslate2 finds none",
            hint="set the device to auto or cpu, or install the CUDA libraries",
        )
    return "cuda" if there and device != "cpu" else "cpu"


def _whole(samples: Float32) -> Float32:
    """Completed by zeros to whole encoder states."""
    return np.pad(np.asarray(samples, np.float32), (0, -len(samples) % STATE))


def _storage(states: Float32) -> Any:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(states[None]))
