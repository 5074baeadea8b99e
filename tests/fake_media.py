"""A recording or a picture as the camera and microphone of a browser.

Chromium plays both files over and over, from the moment in which the page opens the devices.
They have the same length, so that picture and sound stay together.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, RATE = 640, 360, 30
AUDIO_RATE = 48_000
FAKE_DEVICE = "--use-fake-device-for-media-stream"


@dataclass(frozen=True)
class FakeMedia:
    video: Path
    """Uncompressed YUV4MPEG, 640x360 at 30 pictures per second."""
    audio: Path
    """16 bit mono WAV, 48 kHz."""
    seconds: float
    """Length of one round of both."""

    @property
    def flags(self) -> list[str]:
        return [
            FAKE_DEVICE,
            f"--use-file-for-fake-video-capture={self.video}",
            f"--use-file-for-fake-audio-capture={self.audio}",
        ]


def fake_media(clip: Path, folder: Path, *, lead: float = 0.0, tail: float = 0.5) -> FakeMedia:
    """Camera and microphone files from `clip` (sound may be absent: silence).

    `lead` and `tail` are seconds of silence with the first and the last picture standing still, so
    that a round of the loop starts and ends between words.
    """
    pictures, sound = _decode(clip)
    pictures = [pictures[0]] * round(lead * RATE) + pictures + [pictures[-1]] * round(tail * RATE)
    silence = np.zeros(round(lead * AUDIO_RATE), dtype=np.int16)
    return _write(clip.stem, folder, pictures, np.concatenate([silence, sound]))


def fake_still(
    image: Path, folder: Path, *, seconds: float = 4.0, sound: Path | None = None
) -> FakeMedia:
    """A camera that shows the top of `image`, drifting gently; `sound` (or none) is heard."""
    with av.open(str(image)) as container:
        still = _rgb(next(container.decode(video=0)))
    drift = 4
    width = (still.shape[1] - 2 * drift) // 16 * 16  # so that the height is whole, too
    height = width * HEIGHT // WIDTH
    pictures = []
    for i in range(round(seconds * RATE)):
        turn = 2 * np.pi * i / round(seconds * RATE)
        x, y = drift + round(drift * np.sin(turn)), drift + round(drift * np.sin(2 * turn) / 2)
        pictures.append(_fit(still[y : y + height, x : x + width]))
    samples = np.zeros(0, dtype=np.int16) if sound is None else _decode(sound)[1]
    return _write(image.stem, folder, pictures, samples)


def fake_pictures(name: str, folder: Path, pictures: Sequence[NDArray[np.uint8]]) -> FakeMedia:
    """A camera that shows (H, W, 3) RGB pictures, RATE per second, and a silent microphone."""
    return _write(name, folder, [_fit(each) for each in pictures], np.zeros(0, dtype=np.int16))


def _write(
    name: str, folder: Path, pictures: Sequence[av.VideoFrame], sound: NDArray[np.int16]
) -> FakeMedia:
    """Both files, the sound cut or extended to the length of the picture."""
    seconds = len(pictures) / RATE
    samples = np.zeros(round(seconds * AUDIO_RATE), dtype=np.int16)
    samples[: len(sound)] = sound[: len(samples)]
    video, audio = folder / f"{name}.y4m", folder / f"{name}.wav"
    with video.open("wb") as file:
        _write_y4m(file, pictures)
    _write_wav(audio, samples)
    return FakeMedia(video, audio, seconds)


def _decode(clip: Path) -> tuple[list[av.VideoFrame], NDArray[np.int16]]:
    """Pictures on an even grid, fitted into WIDTH x HEIGHT, and sound, both from time 0."""
    pictures: list[av.VideoFrame] = []
    sound: list[NDArray[np.int16]] = []
    resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO_RATE)
    with av.open(str(clip)) as container:
        for frame in container.decode(*container.streams.video[:1], *container.streams.audio[:1]):
            if isinstance(frame, av.VideoFrame):
                until = round((frame.time or 0.0) * RATE)
                fitted = _fit(_rgb(frame))
                while pictures and len(pictures) < until:
                    pictures.append(pictures[-1])
                pictures.append(fitted)
            elif isinstance(frame, av.AudioFrame):
                sound += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return pictures, np.concatenate(sound) if sound else np.zeros(0, dtype=np.int16)


def _rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def _fit(image: NDArray[np.uint8]) -> av.VideoFrame:
    """The whole picture, centred on black."""
    height, width = image.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    w, h = (round(width * scale) // 2 * 2, round(height * scale) // 2 * 2)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    small = _rgb(frame.reformat(width=w, height=h))
    canvas = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    x, y = (WIDTH - w) // 2, (HEIGHT - h) // 2
    canvas[y : y + h, x : x + w] = small
    return av.VideoFrame.from_ndarray(canvas, format="rgb24").reformat(format="yuv420p")


def _write_y4m(file: IO[bytes], pictures: Sequence[av.VideoFrame]) -> None:
    file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 C420jpeg\n".encode())
    for picture in pictures:
        file.write(b"FRAME\n" + picture.to_ndarray().tobytes())


def _write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(AUDIO_RATE)
        file.writeframes(samples.tobytes())
