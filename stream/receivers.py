"""Received tracks as messages: what ``stream.aiortc_inside`` puts into aiortc's receivers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import av
from aiortc import RTCRtpReceiver
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from stream import aiortc_inside
from stream.buffers import Batch, DecoderQueue, Encoded, TimedAudioBuffer, VideoBuffer
from stream.clock import SenderClock, Stamp
from stream.convert import AudioConverter, VideoConverter, audio_frame
from stream.decoders import ErrorBudget, PictureDecoder, SoundDecoder, Verdict
from workers.messages import END, AudioChunk, Control, Gap, Progress, VideoFrame

log = logging.getLogger(__name__)

Kind = Literal["audio", "video"]
RATES: dict[Kind, int] = {"audio": 48_000, "video": 90_000}
"""RTP ticks per second of the codecs that are offered (Opus, VP8, H.264)."""

DELAYS: dict[Kind, float] = {"audio": 0.02, "video": 0.005}
"""Seconds from capture, as later sender reports have it, to the arrival of the first packet of a
frame on a short way; as measured with Chromium, whose sound comes 15-18 ms later than its pictures
(benchmarks/clock.py). Only used until the first sender report."""

CAPACITY: dict[Kind, int] = {"audio": 100, "video": 60}
"""Encoded frames that wait for the decoder: 2 s each."""

BUDGETS: dict[Kind, tuple[int, int]] = {"audio": (5, 1500), "video": (3, 900)}
"""Errors in a row after which a decoder is renewed (0.1 s), errors that end a track (30 s)."""

UNDECODABLE = "undecodable"
"""Why a track is stopped."""

Item = AudioChunk | VideoFrame | Control


class Sink(Protocol):
    """Where a live source puts what it makes; called on the event loop, must not block."""

    def push(self, item: AudioChunk | VideoFrame | Control) -> None:
        """Media in stream time, and what was lost of it."""

    def clock(self, unix_at_zero: float | None) -> None:
        """The sender's wall clock at stream time 0, None while only arrival places its media."""


Keep = Callable[[Kind, str, Encoded], bool]
"""Takes every encoded frame, with the name of its codec in lower case, in the decoder's thread.
True: a key frame is needed."""


class Receiver:
    """Turns what one ``RTCRtpReceiver`` receives into messages for `sink`.

    `clock_used` is called whenever `clock` may know more than before.
    ``counts`` holds packets lost, errors of the decoder by kind and the like.
    """

    def __init__(
        self,
        receiver: RTCRtpReceiver,
        kind: Kind,
        person: str,
        clock: SenderClock,
        sink: Sink,
        converter: AudioConverter | VideoConverter,
        counts: Counter[str],
        clock_used: Callable[[], None],
        keep: Keep | None = None,
    ) -> None:
        aiortc_inside.check(receiver)
        self.aiortc = receiver
        self.kind = kind
        self.counts = counts
        self._person = person
        self._clock = clock
        self._clock_used = clock_used
        self._keep = keep
        self._sink = sink
        self._converter = converter
        self._loop = asyncio.get_running_loop()
        self._codecs: dict[int, RTCRtpCodecParameters] = aiortc_inside.codecs(receiver)
        self._decoder = SoundDecoder(counts) if kind == "audio" else PictureDecoder()
        self._budget = ErrorBudget(*BUDGETS[kind])
        self._lost: str | None = None
        self._last: Stamp | None = None
        self._ended = False
        self._stopped = False
        clock.add_track(kind, RATES[kind], DELAYS[kind])
        self._buffer: TimedAudioBuffer | VideoBuffer
        if kind == "audio":
            self._buffer = TimedAudioBuffer(clock, counts, self._put)
        else:
            self._buffer = VideoBuffer(clock, counts)
            self._buffer.use_codecs(self._codecs)
        self.queue = DecoderQueue(
            CAPACITY[kind], self._decode, self._thread_ended, counts, self._need_key_frame
        )
        aiortc_inside.replace(receiver, self._buffer, self.queue, self._on_report, counts)

    def end(self) -> None:
        """Event loop: nothing more will come of this track; told once."""
        if isinstance(self._buffer, TimedAudioBuffer):
            self._buffer.stop()
        if not self._ended:
            self._ended = True
            self._sink.push(Progress(self._person, self.kind, END))

    def refuse(self) -> None:
        """Event loop: decode and keep nothing more; its person does not want it any longer."""
        self._stopped = True
        self.end()

    def _on_report(self, ntp: int, timestamp: int) -> None:
        self._clock.report(self.kind, ntp, timestamp)
        self._clock_used()

    def _put(self, payload_type: int, batch: Batch) -> None:
        codec = self._codecs.get(payload_type)
        if codec is not None:
            self.queue.put((codec, batch))

    def _decode(self, codec: RTCRtpCodecParameters, encoded: Encoded) -> None:
        """Decoder thread: one encoded frame."""
        self.counts["frames"] += 1
        if self._stopped:
            self.counts["frames_refused"] += 1
            return
        if self._keep is not None and encoded.data:
            wanted = self._keep(self.kind, codec.name.lower(), encoded)
            if wanted and isinstance(self._buffer, VideoBuffer):
                self._on_loop(self._buffer.want_key_frame)
        # an error of before explains what was dropped since
        self._lost = self._lost or encoded.lost
        try:
            messages = self._convert(codec, encoded)
        except Exception as error:  # noqa: BLE001  libraries read here what strangers sent
            self._decoding_failed(error, encoded)
        else:
            self._budget.worked()
            self._send(messages)

    def _convert(self, codec: RTCRtpCodecParameters, encoded: Encoded) -> list[Item]:
        if not encoded.data:  # to FFmpeg it would mean the end of the stream
            self.counts["frames_empty"] += 1
            return []
        if isinstance(self._decoder, SoundDecoder):
            return self._sound(self._decoder, encoded)
        return self._pictures(self._decoder, codec.name, encoded)

    def _sound(self, decoder: SoundDecoder, encoded: Encoded) -> list[Item]:
        assert isinstance(self._converter, AudioConverter)
        messages: list[Item] = []
        for heard in decoder.decode(encoded.data, encoded.stamp, self._lost):
            at = encoded.stamp._replace(timestamp=heard.timestamp)
            if heard.lost is not None:
                t1 = at.t + len(heard.samples) / RATES["audio"]
                messages.append(Gap(self._person, "audio", max(0.0, at.t), t1, heard.lost))
            messages += self._converter.push(audio_frame(heard.samples), at, self._lost)
            self._lost, self._last = None, at
        return messages

    def _pictures(self, decoder: PictureDecoder, name: str, encoded: Encoded) -> list[Item]:
        assert isinstance(self._converter, VideoConverter)
        messages: list[Item] = []
        for frame in decoder.decode(name, encoded.data, encoded.stamp.timestamp):
            at = encoded.stamp
            if frame.pts is not None:
                at = at._replace(timestamp=frame.pts)
            if self._lost is not None and self._last is not None:
                t0, t1 = self._last.t, at.t
                messages.append(Gap(self._person, "video", max(0.0, t0), t1, self._lost))
            messages += self._converter.push(frame, at)
            self._lost, self._last = None, at
        return messages

    def _decoding_failed(self, error: Exception, encoded: Encoded) -> None:
        kind = type(error).__name__
        self.counts[f"decode_error_{kind}"] += 1
        log.debug("%s frame of %d bytes: %s", self.kind, len(encoded.data), kind)
        self._lost = "decode_error"
        verdict = self._budget.failed()
        if verdict is Verdict.STOP:
            self._stop(encoded.stamp)
        elif verdict is Verdict.RENEW or isinstance(error, av.EOFError):
            self.counts["decoder_renewed"] += 1
            self._decoder.renew()
        self._on_loop(self._need_key_frame)

    def _need_key_frame(self) -> None:
        """Event loop: what comes cannot be decoded until a key frame."""
        if isinstance(self._buffer, VideoBuffer):
            self._buffer.need_key_frame()

    def _stop(self, stamp: Stamp) -> None:
        """Give this track up: its sender sends nothing that can be decoded."""
        self._stopped = True
        self.counts[UNDECODABLE] += 1
        log.warning("%s of %s is stopped: %s", self.kind, self._person, UNDECODABLE)
        t0 = 0.0 if self._last is None else max(0.0, self._last.t)
        self._send([Gap(self._person, self.kind, t0, max(t0, stamp.t), UNDECODABLE)])

    def _thread_ended(self) -> None:
        if isinstance(self._converter, AudioConverter):
            self._send(self._converter.flush())
        self._on_loop(self.end)

    def _send(self, messages: Sequence[Item]) -> None:
        if messages:
            self._on_loop(self._push, messages)

    def _push(self, messages: Sequence[Item]) -> None:
        self._clock_used()
        if not self._ended:
            for message in messages:
                self._sink.push(message)

    def _on_loop(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop has closed: nobody listens any more
            log.debug("%s ended after its event loop", self.kind)
