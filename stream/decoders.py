"""Decoders of live tracks, and how many errors of theirs are borne; for the decoder's thread."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import NamedTuple

import av

from stream.clock import Stamp
from stream.opus import RATE, STEP, OpusDecoder, duration, has_copy
from workers.messages import Float32

MAX_CONCEALED = RATE // 10
"""Samples: a longer hole stays one, as concealment has faded by then."""

MAX_PIXELS = 3840 * 2160
"""A larger picture is refused before memory is taken for it."""

FFMPEG = {"VP8": "vp8", "H264": "h264"}
"""Codec of RTP -> FFmpeg's own decoder, which minds ``MAX_PIXELS``."""


class Heard(NamedTuple):
    """A piece of sound."""

    samples: Float32
    """(n,) at ``stream.opus.RATE``."""
    timestamp: int
    """Of its first sample, unwrapped."""
    lost: str | None = None
    """Why it is made up from what came before; None: it was sent so."""


class SoundDecoder:
    """Opus packets of one track, in order; makes up for what is missing between them.

    A hole of at most ``MAX_CONCEALED`` is filled: its last part from the copy in the next packet,
    where there is one, the rest by concealment.
    """

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._opus = OpusDecoder()
        self._end: tuple[int, int] | None = None
        """Epoch of the clock, and timestamp right after what was decoded last."""

    def renew(self) -> None:
        """Forget the state of the decoder."""
        self._opus = OpusDecoder()

    def decode(self, data: bytes, stamp: Stamp, lost: str | None) -> list[Heard]:
        """What `data` holds, after what is made up; `lost`: why sound before it may be missing.

        Raises ``OpusError``.
        """
        epoch, samples = stamp.line.epoch, duration(data)
        known = self._end is not None and self._end[0] == epoch
        missing = stamp.timestamp - self._end[1] if self._end is not None and known else 0
        if missing < 0:
            self._counts["audio_repeated"] += 1
            return []
        heard = []
        if lost is not None and missing and missing % STEP == 0:
            heard = self._make_up(data, samples, missing, stamp.timestamp, lost)
        heard.append(Heard(self._opus.decode(data), stamp.timestamp))
        self._end = epoch, stamp.timestamp + len(heard[-1].samples)
        return heard

    def _make_up(
        self, data: bytes, samples: int, missing: int, until: int, lost: str
    ) -> list[Heard]:
        copied = min(samples, missing) if has_copy(data) else 0
        concealed = missing - copied if missing <= MAX_CONCEALED else 0
        heard = []
        if concealed:
            heard.append(Heard(self._opus.conceal(concealed), until - missing, lost))
        if copied:
            heard.append(Heard(self._opus.recover(data, copied), until - copied))
        self._counts["concealed_ms"] += concealed * 1000 // RATE
        self._counts["recovered_ms"] += copied * 1000 // RATE
        return heard


class PictureDecoder:
    """VP8 or H.264 of one track, in order."""

    def __init__(self) -> None:
        self._codec: av.VideoCodecContext | None = None
        self._name: str | None = None

    def renew(self) -> None:
        """Forget the state of the decoder."""
        self._codec = None

    def decode(self, name: str, data: bytes, timestamp: int) -> list[av.VideoFrame]:
        """The pictures that `data` completes; `name` of the codec as in RTP.

        Raises ``av.FFmpegError``.
        """
        if name != self._name or self._codec is None:
            codec = av.CodecContext.create(FFMPEG[name], "r")
            assert isinstance(codec, av.VideoCodecContext)
            codec.options = {"max_pixels": str(MAX_PIXELS)}
            codec.thread_count = 1  # more would hold pictures back
            self._codec, self._name = codec, name
        packet = av.Packet(data)
        packet.pts = timestamp
        return list(self._codec.decode(packet))


class Verdict(Enum):
    """What is to be done after an error of a decoder."""

    GO_ON = "go on"
    RENEW = "renew"
    STOP = "stop"


class ErrorBudget:
    """Errors that a track may make: each costs 1, each frame that decodes gives 1 back.

    After every `run` of errors without a frame between them the decoder is to be renewed, and when
    `capacity` is used up the track is to be stopped.
    """

    def __init__(self, run: int, capacity: int) -> None:
        self._run = run
        self._capacity = capacity
        self._left = capacity
        self._in_a_row = 0

    def worked(self) -> None:
        self._in_a_row = 0
        self._left = min(self._capacity, self._left + 1)

    def failed(self) -> Verdict:
        self._in_a_row += 1
        self._left -= 1
        if self._left <= 0:
            return Verdict.STOP
        return Verdict.RENEW if self._in_a_row % self._run == 0 else Verdict.GO_ON
