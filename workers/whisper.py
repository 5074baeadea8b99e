"""Whisper for short pieces of speech: words with their times, and voice features.

Whisper's encoder takes 30 s of sound, and a segment of 2 s costs as much as one of 30. Here it gets
the segment and one second of padding alone. A decoder that sees nothing else does not know where
to stop and says everything again; so the states that the encoder gives for padding, computed once,
are appended up to 10 s. The words are then those of a padded input, for a fraction of the time
(``python -m benchmarks.asr``). After a cut inside speech the segment is heard together with what
came before the cut; the words of that are forced, and the decoder goes on after them.
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

from workers.heard import (
    UNSPACED,
    Before,
    Heard,
    Limits,
    Span,
    WhisperInputError,
    WhisperModelError,
    words_of,
)
from workers.messages import SAMPLE_RATE, Float32, Word

__all__ = ["Before", "Heard", "Limits", "Transcriber", "VoiceEncoder"]

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

SURE_LANGUAGE = 0.6
"""Real English has 0.68 and more; with cut input Chinese looked like Japanese at 0.41."""

PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


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

    def transcribe(self, samples: Float32, before: Before | None = None) -> Heard:
        """Hear the words in `samples` (n,), at most ``LONGEST_S`` seconds of 16 kHz mono.

        Equal input gives equal words: nothing is drawn at random and nothing is remembered.
        Raises ``WhisperInputError``.
        """
        if len(samples) > LONGEST_S * SAMPLE_RATE:
            raise WhisperInputError(
                f"whisper: {len(samples) / SAMPLE_RATE:.1f} s of speech at once",
                hint=f"cut it into segments of at most {LONGEST_S:g} s",
            )
        if len(samples) < _FEWEST_SAMPLES or float(np.abs(samples).max()) < _SILENCE:
            return Heard((), self._language or (before.language if before else ""))
        if before and len(before.samples) + len(samples) > LONGEST_S * SAMPLE_RATE:
            before = None
        with self._whisper.lock:
            return self._hear(samples, before or Before(samples[:0], (), ""))

    def _hear(self, samples: Float32, before: Before) -> Heard:
        features = self._whisper.features(_whole(np.concatenate([before.samples, samples])))
        states = self._cut(features)
        language = self._language or before.language or self._detect(states, features)
        tokenizer = self._tokenizer(language)
        said = before.text
        prefix = tokenizer.encode(f" {said}") if said else []
        seconds = len(samples) / SAMPLE_RATE
        result = self._decode(states, tokenizer, prefix, seconds)
        if result.loops:
            # Once more in the way that Whisper was trained, with all of the padding encoded.
            states = self._padded(features)
            result = self._decode(states, tokenizer, prefix, seconds)
        if result.loops or result.silent:
            return Heard((), language)
        start = len(before.samples) / SAMPLE_RATE
        span = Span(start, start + seconds)
        return Heard(self._words(states, prefix, result.tokens, tokenizer, span), language)

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

    def _detect(self, states: Float32, features: Float32) -> str:
        """The language; heard again with all of the padding where the first try is unsure."""
        language, probability = self._languages(states)
        if probability < SURE_LANGUAGE:
            language, _ = self._languages(self._padded(features))
        return language

    def _languages(self, states: Float32) -> tuple[str, float]:
        token, probability = self._whisper.model.model.detect_language(_storage(states))[0][0]
        return str(token).strip("<|>"), float(probability)

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

    def _decode(
        self, states: Float32, tokenizer: Tokenizer, prefix: list[int], seconds: float
    ) -> _Said:
        model = self._whisper.model
        prompt = [*model.get_prompt(tokenizer, [], without_timestamps=True), *prefix]
        most = round(8 + self._limits.tokens_per_second * seconds)
        result = model.model.generate(
            _storage(states),
            [prompt],
            beam_size=self._beam_size,
            max_length=len(prompt) + most,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=not prefix,
            suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
        )[0]
        tokens = [token for token in result.sequences_ids[0] if token < tokenizer.eot]
        tokens = tokens[len(prefix) :]  # CTranslate2 gives back what was forced
        text = tokenizer.decode(tokens).strip()
        return _Said(
            tokens,
            loops=len(tokens) >= most - 1
            or bool(text and get_compression_ratio(text) > self._limits.compression),
            silent=not text or self._is_silence(result, len(tokens)),
        )

    def _is_silence(self, result: Any, tokens: int) -> bool:
        mean = result.scores[0] * tokens / (tokens + 1)
        unsure = mean < self._limits.log_probability
        limit = self._limits.no_speech if unsure else self._limits.surely_no_speech
        return bool(result.no_speech_prob > limit)

    def _words(
        self,
        states: Float32,
        prefix: list[int],
        tokens: list[int],
        tokenizer: Tokenizer,
        span: Span,
    ) -> tuple[Word, ...]:
        """Words by the decoder's cross attention, without those after the end of the sound."""
        frames = 2 * min(len(states), round(span.end * 50) + _KEPT_TAIL)
        model = self._whisper.model
        found = model.find_alignment(tokenizer, [[*prefix, *tokens]], _storage(states), frames)[0]
        merge_punctuations(found, PREPENDED, APPENDED)
        spaced = tokenizer.language_code not in UNSPACED
        return words_of(found, len(prefix), span, spaced=spaced, limits=self._limits)


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
