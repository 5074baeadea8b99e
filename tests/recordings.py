"""Small recordings made on the spot, in every container, in which times can be read off.

The sound is silent before ``TONE_AT`` and a tone after it; the grey of each picture is its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

TONE_AT = 0.5
"""Seconds after the start of the sound."""

GREY_PER_S = 80.0
"""Grey levels per second; pictures start at 20 and again every 2.5 s."""

MS = Fraction(1, 1000)


def tone(seconds: float, rate: int) -> NDArray[np.float32]:
    """(n,) 440 Hz from ``TONE_AT`` on."""
    t = np.arange(round(seconds * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * 440 * t)
    return np.asarray(np.where(t >= TONE_AT, wave, 0.0), np.float32)


def grey_of(t: float) -> int:
    return round(20 + GREY_PER_S * t % 200)


def write(
    path: Path,
    *,
    audio: str | None = None,
    video: str | None = None,
    seconds: float = 2.0,
    rate: int = 48_000,
    audio_at: float = 0.0,
    hole: tuple[float, float] | None = None,
    times: Sequence[float] | None = None,
    fps: int = 25,
    size: tuple[int, int] = (96, 64),
    rotation: int = 0,
    options: dict[str, str] | None = None,
    layout: str = "mono",
) -> Path:
    """Write `path`; `times` are those of the pictures, there is no sound in `hole`."""
    with av.open(str(path), "w", options=options or {}) as container:
        sound = _add_audio(container, audio, rate, layout) if audio else None
        pictures = _add_video(container, video, fps, size, rotation) if video else None
        if times is None:
            times = [i / fps for i in range(round(seconds * fps))]
        shown = [(t, 1) for t in times] if pictures else []
        heard = [(audio_at + i * 0.1, 0) for i in range(round(seconds * 10))] if sound else []
        wave = tone(seconds, rate)
        for t, kind in sorted(shown + heard):
            if kind and pictures:
                picture = VideoFrame.from_ndarray(_picture(t, size), format="rgb24")
                picture.pts, picture.time_base = round(t * 1000), MS
                container.mux(pictures.encode(picture))
            elif sound and not (hole and hole[0] <= t - audio_at < hole[1]):
                start = round((t - audio_at) * rate)
                container.mux(sound.encode(_frame(wave, start, rate, audio_at, sound)))
        for stream in (sound, pictures):
            if stream is not None:
                container.mux(stream.encode(None))
    return path


def _add_audio(
    container: OutputContainer, codec: str, rate: int, layout: str = "mono"
) -> AudioStream:
    stream = cast(AudioStream, container.add_stream(codec, rate=rate))
    stream.codec_context.layout = layout
    return stream


def _add_video(
    container: OutputContainer, codec: str, fps: int, size: tuple[int, int], rotation: int
) -> VideoStream:
    stream = cast(VideoStream, container.add_stream(codec, rate=fps))
    stream.width, stream.height = size
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    stream.codec_context.time_base = MS
    if rotation:
        stream.set_display_rotation(rotation)
    return stream


def _frame(
    wave: NDArray[np.float32], start: int, rate: int, at: float, stream: AudioStream
) -> AudioFrame:
    layout = stream.codec_context.layout
    piece = np.repeat(wave[None, start : start + rate // 10], layout.nb_channels, axis=0)
    if stream.codec_context.format.name.startswith("s16"):
        samples = (piece * 32767).astype(np.int16)
        frame = AudioFrame.from_ndarray(samples.T.reshape(1, -1), "s16", layout.name)
    else:
        frame = AudioFrame.from_ndarray(piece, "fltp", layout.name)
    frame.sample_rate = rate
    frame.pts, frame.time_base = start + round(at * rate), Fraction(1, rate)
    return frame


def _picture(t: float, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3): grey, and white in the upper left quarter."""
    width, height = size
    image = np.full((height, width, 3), grey_of(t), np.uint8)
    image[: height // 2, : width // 2] = 255
    return image


def transcode(
    source: Path, target: Path, *, audio: str | None, video: str | None, seconds: float
) -> Path:
    """The first `seconds` of `source` in another container, with its own times."""
    with av.open(str(target), "w") as made:
        tracks: list[tuple[float, AudioFrame | VideoFrame, AudioStream | VideoStream]] = []
        if audio:
            heard = [f for f in _frames(source, "audio", seconds) if isinstance(f, AudioFrame)]
            sound = _add_audio(made, audio, heard[0].sample_rate)
            sound.codec_context.layout = heard[0].layout
            tracks += [(frame.time or 0.0, frame, sound) for frame in heard]
        if video:
            seen = [f for f in _frames(source, "video", seconds) if isinstance(f, VideoFrame)]
            pictures = _add_video(made, video, 25, (seen[0].width, seen[0].height), 0)
            for picture in seen:
                picture.pict_type = 0  # the encoder chooses
            tracks += [(frame.time or 0.0, frame, pictures) for frame in seen]
        for _, frame, stream in sorted(tracks, key=lambda track: track[0]):
            made.mux(stream.encode(frame))  # type: ignore[arg-type]
        for stream in {id(track[2]): track[2] for track in tracks}.values():
            made.mux(stream.encode(None))
    return target


def _frames(source: Path, kind: str, seconds: float) -> list[AudioFrame | VideoFrame]:
    with av.open(str(source)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        found = []
        for frame in container.decode(streams[0]):
            assert isinstance(frame, AudioFrame | VideoFrame) and frame.time is not None
            if frame.time >= seconds:
                break
            found.append(frame)
        return found
