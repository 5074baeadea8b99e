"""Decoded frames of live tracks as messages in stream time; runs in the decoder's thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import av
import numpy as np

from stream.clock import SampleGrid, Stamp
from stream.decimate import Decimator
from workers.messages import (
    SAMPLE_RATE,
    AudioChunk,
    Float32,
    Gap,
    Progress,
    VideoFrame,
    freeze,
)

MAX_SILENCE_S = 2.0
"""A longer pause in which the sender sent nothing is left open instead of filled."""

AudioMessage = AudioChunk | Gap
VideoMessage = VideoFrame | Progress


class AudioConverter:
    """48 kHz frames with RTP timestamps -> mono 16 kHz chunks without seams.

    Sample k of the resampler's output lies at sample 3k of its input (it has no delay, it only
    holds back the last 1 ms), so time is counted in samples from the first frame of a run. A run
    ends where frames are missing or the track was moved on the clock.
    """

    def __init__(self, person: str, rate: int, counts: Counter[str]) -> None:
        self._person = person
        self._rate = rate
        self._counts = counts
        self._grid = SampleGrid()
        self._resampler: av.AudioResampler | None = None
        self._stamp: Stamp | None = None
        """Of the newest frame."""
        self._start = 0
        """Timestamp of the first sample of this run."""
        self._expected = 0
        """Timestamp right after the newest frame."""
        self._made = 0
        """Samples made in this run."""

    def push(self, frame: av.AudioFrame, stamp: Stamp, lost: str | None) -> list[AudioMessage]:
        """Take a frame; `lost`: why sound before it may be missing, None if nothing was lost."""
        result: list[AudioMessage] = []
        if self._stamp is not None:
            ticks = stamp.timestamp - self._expected
            moved = stamp.line.epoch != self._stamp.line.epoch
            if ticks < 0 and not moved:
                self._counts["audio_repeated"] += 1
                return []
            if ticks or moved:
                result += self._end_of_run(stamp, moved=moved, lost=lost)
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            self._start, self._made = stamp.timestamp, 0
        frame.pts = None  # the resampler must neither fill nor trim
        self._stamp = stamp
        self._expected = stamp.timestamp + round(frame.samples * self._rate / frame.sample_rate)
        return result + self._chunks(self._resampler.resample(frame), stamp)

    def flush(self) -> list[AudioMessage]:
        """The end of a run: what the resampler still holds."""
        if self._resampler is None or self._stamp is None:
            return []
        chunks = self._chunks(self._resampler.resample(None), self._stamp)
        self._resampler = None
        self._grid.restart()
        return chunks

    def _end_of_run(self, stamp: Stamp, *, moved: bool, lost: str | None) -> list[AudioMessage]:
        assert self._stamp is not None
        result = self.flush()
        if moved:
            return result
        t0, t1 = stamp.line.time(self._expected), stamp.t
        if lost is not None:
            self._counts["audio_gaps"] += 1
            return [*result, Gap(self._person, "audio", max(0.0, t0), t1, lost)]
        if t1 - t0 <= MAX_SILENCE_S:  # the sender does not send silence
            silence = np.zeros(round((t1 - t0) * SAMPLE_RATE), np.float32)
            result += self._chunk(silence, t0, stamp)
        return result

    def _chunks(self, frames: Sequence[av.AudioFrame], stamp: Stamp) -> list[AudioMessage]:
        result: list[AudioMessage] = []
        for frame in frames:
            samples: Float32 = frame.to_ndarray()[0].astype(np.float32, copy=False)
            t = stamp.line.time(self._start) + self._made / SAMPLE_RATE
            self._made += len(samples)
            result += self._chunk(samples, t, stamp)
        return result

    def _chunk(self, samples: Float32, t: float, stamp: Stamp) -> list[AudioMessage]:
        if t < 0 or not len(samples):
            return []
        placed = self._grid.place(t, len(samples))
        samples = stretch(samples, placed.samples)
        return [AudioChunk(self._person, placed.t0, freeze(samples), stamp.line.provisional)]


def audio_frame(samples: Float32) -> av.AudioFrame:
    """(n,) mono at 48 kHz as FFmpeg's frame."""
    frame = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
    frame.sample_rate = 48_000
    return frame


def stretch(samples: Float32, length: int) -> Float32:
    """`samples` at `length` even points, for lengths that differ by a sample or two."""
    if length == len(samples):
        return samples
    at = np.linspace(0, len(samples) - 1, length)
    return np.interp(at, np.arange(len(samples)), samples).astype(np.float32)


class VideoConverter:
    """Decoded pictures -> the few that are analysed, as RGB of limited width."""

    def __init__(self, person: str, fps: float, max_width: int, counts: Counter[str]) -> None:
        self._person = person
        self._decimator = Decimator(fps)
        self._max_width = max_width
        self._counts = counts
        self._last = -1.0

    def push(self, frame: av.VideoFrame, stamp: Stamp) -> list[VideoMessage]:
        """Take a picture; skipped ones give progress only."""
        t = stamp.t
        if t <= self._last or t < 0:  # the track was moved back
            self._counts["pictures_back"] += 1
            return []
        self._last = t
        if not self._decimator.keep(t):
            return [Progress(self._person, "video", t)]
        width = min(frame.width, self._max_width)
        height = max(2, round(frame.height * width / frame.width))
        rgb = frame.reformat(width=width, height=height, format="rgb24")
        image = np.asarray(rgb.to_ndarray(), np.uint8)
        return [VideoFrame(self._person, t, freeze(image), stamp.line.provisional)]
