"""The only file that knows the inside of aiortc's receivers.

aiortc gives every track its own time 0, hides sender reports, waits for lost audio until its buffer
is full, decodes into a queue without bound and lets a decoder die while its track stays "live". So
a ``Receiver`` takes these parts of an ``RTCRtpReceiver`` out and puts its own in, before any packet
arrives:

==========================  ========================================================================
jitter buffer               gives each frame the stream time of its RTP timestamp; gives up lost
                            packets early; asks for key frames
decoder queue               bounded; aiortc's decoder thread, which waits on it, runs our decoding
                            in there, so that no error ends it
handler of RTCP packets     also tells the clock what sender reports say
==========================  ========================================================================

``check_internals`` fails when a version of aiortc has other parts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import av
from aiortc import RTCRtpReceiver
from aiortc.codecs import get_decoder
from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtcpSrPacket, RtpPacket

from stream.clock import SenderClock, Stamp
from stream.convert import AudioConverter, VideoConverter
from stream.errors import StreamError
from stream.reorder import FrameAssembler, Ordered, Reorder
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

PREFIX = "_RTCRtpReceiver__"
PARTS = ("jitter_buffer", "decoder_queue", "decoder_thread", "codecs")
"""Private attributes of ``RTCRtpReceiver`` that are replaced or relied on."""


class Sink(Protocol):
    """Where a live source puts what it makes; called on the event loop, must not block."""

    def push(self, item: AudioChunk | VideoFrame | Control) -> None:
        """Media in stream time, and what was lost of it."""

    def clock(self, unix_at_zero: float | None) -> None:
        """The sender's wall clock at stream time 0, None while only arrival places its media."""


class Encoded(NamedTuple):
    """One encoded frame."""

    data: bytes
    stamp: Stamp
    lost: str | None
    """Why media before it is missing; None: nothing is."""


class Batch:
    """Encoded frames that one packet completed, in the place of aiortc's one frame."""

    def __init__(self, frames: Sequence[Encoded]) -> None:
        self.frames = frames
        self.timestamp = 0
        """For aiortc, whose mapping of it takes every backward step for a wrap: unused."""


class AudioBuffer:
    """One Opus packet is one frame."""

    def __init__(self, clock: SenderClock, counts: Counter[str]) -> None:
        self._clock = clock
        self._order = Reorder[tuple[RtpPacket, float]](packets=3, seconds=0.08, counts=counts)

    def add(self, packet: RtpPacket) -> tuple[bool, Batch | None]:
        """Take a packet: whether a key frame is wanted, and the frames now complete."""
        now = time.monotonic()
        frames = []
        for (ready, arrival), lost in self._order.add(packet.sequence_number, (packet, now), now):
            stamp = self._clock.packet("audio", ready.timestamp, arrival)
            frames.append(Encoded(_data(ready), stamp, "network" if lost else None))
        return False, Batch(frames) if frames else None


class VideoBuffer:
    """Whole pictures; asks for a key frame after a loss."""

    def __init__(self, clock: SenderClock, counts: Counter[str]) -> None:
        self._clock = clock
        self._counts = counts
        self._order = Reorder[tuple[RtpPacket, float]](packets=512, seconds=0.25, counts=counts)
        self._assembler = FrameAssembler[RtpPacket](self._starts_key, counts)
        self._codecs: dict[int, RTCRtpCodecParameters] = {}
        self._asked = -1.0

    def use_codecs(self, codecs: dict[int, RTCRtpCodecParameters]) -> None:
        """`codecs` by payload type; filled by aiortc when media starts."""
        self._codecs = codecs

    def need_key_frame(self) -> None:
        self._assembler.need_key_frame()

    def add(self, packet: RtpPacket) -> tuple[bool, Batch | None]:
        """Take a packet: whether a key frame is wanted, and the frames now complete."""
        now = time.monotonic()
        frames = []
        for (ready, arrival), lost in self._order.add(packet.sequence_number, (packet, now), now):
            stamp = self._clock.packet("video", ready.timestamp, arrival)
            picture = self._assembler.add(Ordered(ready, lost))
            if picture is not None:
                data = b"".join(_data(part) for part in picture.packets)
                frames.append(Encoded(data, stamp, "network" if picture.after_loss else None))
        return self._ask(now), Batch(frames) if frames else None

    def _ask(self, now: float) -> bool:
        if not self._assembler.wants_key_frame or now - self._asked < 0.5:
            return False
        self._asked = now
        self._counts["key_frames_asked"] += 1
        return True

    def _starts_key(self, packet: RtpPacket) -> bool:
        codec = self._codecs.get(packet.payload_type)
        h264 = codec is not None and codec.mimeType.lower() == "video/h264"
        return starts_h264_key(packet.payload) if h264 else starts_vp8_key(packet.payload)


def starts_vp8_key(payload: bytes) -> bool:
    """Whether an RTP payload begins a VP8 key frame (RFC 7741, 4.2 and 4.3)."""
    try:
        descriptor, data = VpxPayloadDescriptor.parse(payload)
    except ValueError:
        return False
    first = descriptor.partition_start == 1 and descriptor.partition_id == 0
    return first and bool(data) and data[0] & 1 == 0


def starts_h264_key(payload: bytes) -> bool:
    """Whether an RTP payload begins an H.264 key frame or its parameter sets (RFC 6184, 5)."""
    kind = payload[0] & 0x1F
    if kind == 28 and len(payload) > 1:  # a fragment: begins, and of which kind
        return bool(payload[1] & 0x80) and payload[1] & 0x1F == 5
    if kind == 24 and len(payload) > 3:  # several units in one packet
        kind = payload[3] & 0x1F
    return kind in (5, 7)


class DecoderQueue:
    """In the place of the queue that aiortc's decoder thread reads, and the decoding itself.

    ``get`` runs in that thread and decodes until the receiver stops; then it returns None, on
    which aiortc ends the thread. Nothing that a packet contains ends it earlier.
    """

    def __init__(
        self, capacity: int, decode: Callable[[Any, Encoded], None], ended: Callable[[], None]
    ) -> None:
        self._capacity = capacity
        self._decode = decode
        self._ended = ended
        self._waiting: deque[tuple[Any, Encoded]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self.dropped = 0

    def put(self, task: tuple[RTCRtpCodecParameters, Batch] | None) -> None:
        """Event loop: take what the jitter buffer gave, or None to stop."""
        with self._changed:
            if task is None:
                self._stopping = True
            else:
                codec, batch = task
                self._waiting.extend((codec, frame) for frame in batch.frames)
                while len(self._waiting) > self._capacity:
                    self._drop_oldest()
            self._changed.notify()

    def get(self) -> None:
        """Decoder thread: decode all there is until stopped."""
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    break
                codec, frame = self._waiting.popleft()
            self._decode(codec, frame)
        self._ended()

    def _drop_oldest(self) -> None:
        self._waiting.popleft()
        self.dropped += 1
        codec, frame = self._waiting[0]
        self._waiting[0] = (codec, frame._replace(lost="queue_full"))


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
    ) -> None:
        check_internals(receiver)
        self.aiortc = receiver
        self.kind = kind
        self.counts = counts
        self._person = person
        self._clock = clock
        self._clock_used = clock_used
        self._sink = sink
        self._converter = converter
        self._loop = asyncio.get_running_loop()
        self._decoder: Any = None
        self._codec: str | None = None
        self._lost: str | None = None
        self._last: Stamp | None = None
        self._ended = False
        clock.add_track(kind, RATES[kind], DELAYS[kind])
        self._buffer: AudioBuffer | VideoBuffer
        if kind == "audio":
            self._buffer = AudioBuffer(clock, counts)
        else:
            self._buffer = VideoBuffer(clock, counts)
            self._buffer.use_codecs(_part(receiver, "codecs"))
        self.queue = DecoderQueue(CAPACITY[kind], self._decode, self._thread_ended)
        self._tell_aiortc = receiver._handle_rtcp_packet
        _replace(receiver, "jitter_buffer", self._buffer)
        _replace(receiver, "decoder_queue", self.queue)
        vars(receiver)["_handle_rtcp_packet"] = self._on_rtcp

    def end(self) -> None:
        """Event loop: nothing more will come of this track; told once."""
        if not self._ended:
            self._ended = True
            self._sink.push(Progress(self._person, self.kind, END))

    async def _on_rtcp(self, packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket):
            info = packet.sender_info
            self._clock.report(self.kind, info.ntp_timestamp, info.rtp_timestamp)
            self._clock_used()
        await self._tell_aiortc(packet)

    def _decode(self, codec: RTCRtpCodecParameters, encoded: Encoded) -> None:
        """Decoder thread: one encoded frame."""
        self.counts["frames"] += 1
        self._lost = encoded.lost or self._lost
        try:
            messages = self._convert(self._frames(codec, encoded), encoded.stamp)
        except Exception as error:  # noqa: BLE001  libraries read here what strangers sent
            self._decoding_failed(error, encoded)
        else:
            self._send(messages)

    def _frames(self, codec: RTCRtpCodecParameters, encoded: Encoded) -> list[Any]:
        if not encoded.data:  # to FFmpeg it would mean the end of the stream
            self.counts["frames_empty"] += 1
            return []
        if codec.name != self._codec:
            self._codec, self._decoder = codec.name, None
        if self._decoder is None:
            self._decoder = get_decoder(codec)
        frame = JitterFrame(encoded.data, encoded.stamp.timestamp)
        frames: list[Any] = self._decoder.decode(frame)
        return frames

    def _convert(
        self, frames: Sequence[Any], stamp: Stamp
    ) -> Sequence[AudioChunk | VideoFrame | Control]:
        messages: list[AudioChunk | VideoFrame | Control] = []
        for frame in frames:
            at = stamp if frame.pts is None else stamp._replace(timestamp=frame.pts)
            if isinstance(self._converter, AudioConverter):
                messages += self._converter.push(frame, at, self._lost)
            else:
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
        if isinstance(error, av.EOFError) or not isinstance(error, av.FFmpegError):
            self._decoder = None  # its state is unusable
        if isinstance(self._buffer, VideoBuffer):
            self._on_loop(self._buffer.need_key_frame)

    def _thread_ended(self) -> None:
        if isinstance(self._converter, AudioConverter):
            self._send(self._converter.flush())
        self._on_loop(self.end)

    def _send(self, messages: Sequence[AudioChunk | VideoFrame | Control]) -> None:
        if messages:
            self._on_loop(self._push, messages)

    def _push(self, messages: Sequence[AudioChunk | VideoFrame | Control]) -> None:
        self._clock_used()
        if not self._ended:
            for message in messages:
                self._sink.push(message)

    def _on_loop(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop has closed: nobody listens any more
            log.debug("%s ended after its event loop", self.kind)


def check_internals(receiver: RTCRtpReceiver) -> None:
    """Raise ``StreamError`` unless `receiver` has the parts that this file replaces."""
    missing = [name for name in PARTS if PREFIX + name not in vars(receiver)]
    if not callable(getattr(receiver, "_handle_rtcp_packet", None)):
        missing.append("_handle_rtcp_packet")
    if missing:
        raise StreamError(
            f"this version of aiortc has other receivers: no {', '.join(missing)}",
            hint="install the version of aiortc that pyproject.toml asks for",
        )


def _part(receiver: RTCRtpReceiver, name: str) -> Any:
    return vars(receiver)[PREFIX + name]


def _replace(receiver: RTCRtpReceiver, name: str, part: object) -> None:
    vars(receiver)[PREFIX + name] = part


def _data(packet: RtpPacket) -> bytes:
    data: bytes = packet._data  # type: ignore[attr-defined]  # set by aiortc on arrival
    return data
