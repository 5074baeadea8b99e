"""Labelled recordings and texts -> samples, through the feature stages of the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from zlib import crc32

import numpy as np

from lddu_model import FeatureSpec, Sample
from stream import inline
from stream.config import PrepareConfig, SetConfig
from stream.corruption import Mishearing, damage_sound, damage_words
from stream.datasets import Clip, Comment, Utterance
from stream.errors import ConfigError
from stream.extractors import LazyExtractors
from stream.graph import feature_stages
from stream.graph_settings import align_config, vad_config
from stream.media import Media, open_media
from stream.spec import LABELS
from workers.align import AlignStage
from workers.infer import to_sample
from workers.messages import (
    END,
    AlignedWindow,
    AudioChunk,
    Float32,
    Message,
    Modality,
    Progress,
    TranscriptSegment,
    VideoFrame,
    Word,
    freeze,
)
from workers.text import CONTEXT_WORDS, TEXT_DIM, TextEncoder, TextStage
from workers.windows import WindowPlan
from workers.worker import Stage

PERSON = "p1"

ChangeSound = Callable[[Float32], Float32]
"""(n,) -> (n,)."""

ANY_WORDS = 10_000
"""An utterance keeps all its words; only windows have a largest number."""

COPY = "~"
"""Between the id of a recording or text and the number of its damaged copy."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What becomes one sample: [t0, t1) and the utterance that labels it."""

    id: str
    t0: float
    t1: float
    utterance: Utterance


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the samples of one set."""

    config: PrepareConfig
    chosen: SetConfig
    expected: frozenset[Modality]
    spec: FeatureSpec
    extractors: LazyExtractors
    voices: Sequence[Float32] = ()
    """For babble, where the set is damaged."""

    def of_clip(self, clip: Clip) -> Iterator[Sample]:
        """One sample per stretch in which anything was found. Raises what decoding raises.

        Of a set that is damaged, as many of each as there are copies.
        """
        with self._open(clip) as media:
            stretches = self._stretches(clip.utterances, media.duration, str(clip.path))
            if not self.chosen.damaged:
                yield from self._through(media, stretches, clip.group)
                return
            items = [item for item in media if not isinstance(item, VideoFrame)]
        for k in range(self.chosen.damaged):
            rng = np.random.default_rng([crc32(clip.path.name.encode()), k])
            copies = [replace(each, id=copy_name(each.id, k)) for each in stretches]

            def damage(sound: Float32, rng: np.random.Generator = rng) -> Float32:
                return damage_sound(sound, self.voices, rng)

            yield from self._through(_changed(items, damage), copies, clip.group)

    def of_changed(self, clip: Clip, changes: Iterable[ChangeSound]) -> Iterator[list[Sample]]:
        """For each change of the clip's sound its samples. Raises what decoding raises."""
        with self._open(clip) as media:
            stretches = self._stretches(clip.utterances, media.duration, str(clip.path))
            items = [item for item in media if not isinstance(item, VideoFrame)]
        for change in changes:
            yield list(self._through(_changed(items, change), stretches, clip.group))

    def _through(
        self, items: Iterable[Message], stretches: Sequence[Stretch], group: str
    ) -> Iterator[Sample]:
        plan = WindowPlan.fixed([(each.t0, each.t1) for each in stretches])
        align = align_config(self.spec, self.expected)
        if self.chosen.mode == "utterance":
            align = replace(align, max_words=ANY_WORDS)
        stages = feature_stages(PERSON, plan, vad_config(self.config), align, self.extractors)
        yield from self._samples(inline.windows(stages, items), stretches, group)

    def sound_of(self, clip: Clip, seconds: float) -> Float32:
        """(n,) the beginning of the sound. Raises what decoding raises."""
        parts = []
        with self._open(clip) as media:
            for item in media:
                if isinstance(item, AudioChunk):
                    if item.t0 >= seconds:
                        break
                    parts.append(item.samples)
        return np.concatenate([*parts, np.zeros(0, np.float32)])

    def _open(self, clip: Clip) -> Media:
        analysis = self.config.analysis
        return open_media(
            clip.path,
            fps=analysis.frames_per_second,
            max_width=analysis.max_width,
            audio=bool(self.expected & {"voice", "words"}),
            video="face" in self.expected,
            person=PERSON,
        )

    def of_comments(self, comments: Sequence[Comment]) -> Iterator[list[Sample]]:
        """The samples of each text, which must have words; texts are encoded together."""
        longest = self.config.analysis.max_segment
        spoken = [_spoken(comment.words, longest) for comment in comments]
        before = [_ending_at_zero(_spoken(comment.before, longest)) for comment in comments]
        later = _Later(self.extractors.text.languages)
        for first, segments in zip(before, spoken, strict=True):
            stage, asked = TextStage(PERSON, later), len(later.texts)
            _push_all(stage, first)
            del later.texts[asked:]  # they are context; nobody looks at their own vectors
            _push_all(stage, segments)
        known = _Known(self.extractors.text, later)
        for comment, first, segments in zip(comments, before, spoken, strict=True):
            utterance = Utterance(comment.id, comment.labels, 0.0, segments[-1].t1)
            stretches = self._stretches([utterance], None, comment.id)
            plan = WindowPlan.fixed([(each.t0, each.t1) for each in stretches])
            align = align_config(self.spec, frozenset({"words"}))
            if self.chosen.mode == "utterance":
                align = replace(align, max_words=ANY_WORDS)
            stages: Mapping[str, Stage] = {
                "text": TextStage(PERSON, known),
                "align": AlignStage(PERSON, plan, align),
            }
            items: list[Message] = [*first, *segments, Progress(PERSON, "words", END)]
            group = comment.id.rpartition(COPY)[0] if self.chosen.damaged else comment.id
            yield list(self._samples(inline.windows(stages, items), stretches, group))

    def _stretches(
        self, utterances: Sequence[Utterance], duration: float | None, where: str
    ) -> list[Stretch]:
        found = [
            stretch
            for utterance in utterances
            for stretch in self._cut(utterance, _end(utterance, duration, where))
        ]
        found.sort(key=lambda each: (each.t0, each.t1))
        for before, after in pairwise(found):
            if after.t1 < before.t1:
                raise ConfigError(
                    f"{where}: {after.t0:g} to {after.t1:g} s lies inside another utterance",
                    hint="label it in a table of its own",
                )
        return found

    def _cut(self, utterance: Utterance, end: float) -> list[Stretch]:
        """The utterance itself, or the windows whose middle lies in it (at least one)."""
        start = utterance.t0
        if self.chosen.mode == "utterance":
            return [Stretch(utterance.id, start, end, utterance)]
        width, hop = self.config.window.width, self.config.window.hop
        first = max(0, math.ceil((start - width / 2) / hop - 1e-9))
        last = math.ceil((end - width / 2) / hop - 1e-9)
        return [
            Stretch(f"{utterance.id}#{k * hop:g}", k * hop, k * hop + width, utterance)
            for k in range(first, max(last, first + 1))
        ]

    def _samples(
        self, windows: Iterator[AlignedWindow], stretches: Sequence[Stretch], group: str
    ) -> Iterator[Sample]:
        for window in windows:
            sample = to_sample(window)
            if not sample.features:
                continue
            stretch = stretches[window.index]
            present = [label in stretch.utterance.labels for label in LABELS]
            labels = np.asarray(present, np.float32)
            yield replace(sample, labels=labels, id=stretch.id, group=group)


class _Later:
    """Notes what is to be encoded, so that it can be done in batches."""

    def __init__(self, languages: frozenset[str]) -> None:
        self.languages = languages
        self.texts: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def encode(self, words: Sequence[str], context: Sequence[str] = ()) -> Float32:
        self.texts.append((tuple(words), tuple(context)))
        return np.zeros((len(words), 0), np.float32)


class _Known:
    """Answers what was noted; zeros for what was not."""

    def __init__(self, encoder: TextEncoder, later: _Later) -> None:
        self.languages = encoder.languages
        vectors = encoder.encode_many(later.texts)
        self._vectors = dict(zip(later.texts, vectors, strict=True))

    def encode(self, words: Sequence[str], context: Sequence[str] = ()) -> Float32:
        found = self._vectors.get((tuple(words), tuple(context)))
        return np.zeros((len(words), TEXT_DIM), np.float32) if found is None else found


def copy_name(name: str, k: int) -> str:
    """Id of the `k`-th damaged copy."""
    return f"{name}{COPY}{k}"


def misheard(comments: Sequence[Comment], copies: int) -> list[Comment]:
    """Damaged copies of texts."""
    mishearing = Mishearing([comment.words for comment in comments])
    return [
        replace(
            comment,
            id=copy_name(comment.id, k),
            words=damage_words(
                comment.words,
                mishearing,
                np.random.default_rng([crc32(comment.id.encode()), k]),
            ),
        )
        for comment in comments
        if comment.words
        for k in range(copies)
    ]


def after_others(comments: Sequence[Comment], share: float) -> list[Comment]:
    """A `share` of the texts with the end of another one in front, drawn by their ids."""
    preceded = []
    for comment in comments:
        rng = np.random.default_rng([crc32(comment.id.encode()), 7])
        other = comments[int(rng.integers(len(comments)))]
        before = other.words[-CONTEXT_WORDS:] if rng.random() < share and other != comment else ()
        preceded.append(replace(comment, before=before))
    return preceded


def _changed(items: Sequence[Message], change: ChangeSound) -> Iterator[Message]:
    """`items` with other sound, of the same lengths."""
    sound = [item.samples for item in items if isinstance(item, AudioChunk)]
    left = change(np.concatenate([*sound, np.zeros(0, np.float32)]))
    for item in items:
        if isinstance(item, AudioChunk):
            yield replace(item, samples=freeze(left[: len(item.samples)].copy()))
            left = left[len(item.samples) :]
        else:
            yield item


def _push_all(stage: Stage, items: Sequence[Message]) -> None:
    for item in items:
        stage.push(item)


def _spoken(words: Sequence[str], longest: float) -> list[TranscriptSegment]:
    """`words` as somebody would say them, in segments of at most `longest` seconds."""
    segments: list[TranscriptSegment] = []
    current: list[Word] = []
    t = 0.0
    for text in words:
        word = Word(t, t + 0.12 + 0.05 * min(len(text), 20), text, 1.0)
        if current and word.t1 - current[0].t0 > longest:
            segments.append(_segment(len(segments), current))
            current = []
        current.append(word)
        t = word.t1
    return [*segments, _segment(len(segments), current)] if current else segments


def _ending_at_zero(segments: Sequence[TranscriptSegment]) -> list[TranscriptSegment]:
    """The same, just before what begins at 0."""
    if not segments:
        return []
    end = segments[-1].t1
    return [
        replace(
            each,
            t0=each.t0 - end,
            t1=each.t1 - end,
            words=tuple(replace(word, t0=word.t0 - end, t1=word.t1 - end) for word in each.words),
        )
        for each in segments
    ]


def _segment(index: int, words: Sequence[Word]) -> TranscriptSegment:
    return TranscriptSegment(PERSON, index, words[0].t0, words[-1].t1, tuple(words), "en")


def _end(utterance: Utterance, duration: float | None, where: str) -> float:
    end = duration if utterance.t1 is None else utterance.t1
    if end is None:
        raise ConfigError(
            f"{where} does not say how long it lasts", hint="give t0 and t1 in the table"
        )
    if not (0 <= utterance.t0 < end < math.inf):
        raise ConfigError(
            f"{where}: {utterance.t0:g} to {end:g} s is no stretch of time",
            hint="correct t0 and t1",
        )
    return end
