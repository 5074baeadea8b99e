"""Between received RTP packets and their decoder: order, whole pictures, stream time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aiortc.codecs.vpx import VpxPayloadDescriptor
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtpPacket

from stream import aiortc_inside
from stream.clock import SenderClock, Stamp
from stream.reorder import FrameAssembler, Ordered, Patience, Reorder

SOUND = (0.04, 0.1)
"""Seconds for which a missing packet of sound is waited for: at least, at most."""

PICTURE = (0.25, 0.25)
"""And one of a picture: the sender is asked to send it again."""

MOST_SOUND, MOST_PICTURE = 64, 512
"""Packets that wait for a missing one; a picture may have hundreds."""

ASK_S = 0.25
"""A key frame is asked for no more often."""

MAX_AGE_S = 2.0
"""Encoded frames that waited for their decoder for longer are not worth decoding any more."""


class Encoded(NamedTuple):
    """One encoded frame."""

    data: bytes
    stamp: Stamp
    lost: str | None
    """Why media before it is missing; None: nothing is."""
    key: bool = True
    """Whether it can be decoded without what came before it."""


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
        self._order = Reorder[tuple[RtpPacket, float]](MOST_SOUND, Patience(*SOUND), counts)

    @property
    def deadline(self) -> float | None:
        """When ``give_up`` is due (monotonic clock); None: nothing waits."""
        return self._order.deadline

    def add(self, packet: RtpPacket) -> tuple[bool, Batch | None]:
        """Take a packet: whether a key frame is wanted, and the frames now complete."""
        now = time.monotonic()
        return False, self._batch(self._order.add(packet.sequence_number, (packet, now), now))

    def give_up(self, now: float) -> Batch | None:
        """The frames that need not wait for a missing one any more."""
        return self._batch(self._order.give_up(now))

    def _batch(self, ordered: Sequence[Ordered[tuple[RtpPacket, float]]]) -> Batch | None:
        frames = []
        for (packet, arrival), lost in ordered:
            stamp = self._clock.packet("audio", packet.timestamp, arrival)
            frames.append(Encoded(aiortc_inside.data(packet), stamp, "network" if lost else None))
        return Batch(frames) if frames else None


class TimedAudioBuffer(AudioBuffer):
    """Also gives up a missing packet when no other comes."""

    def __init__(
        self, clock: SenderClock, counts: Counter[str], put: Callable[[int, Batch], None]
    ) -> None:
        super().__init__(clock, counts)
        self._loop = asyncio.get_running_loop()
        self._put = put
        self._timer: asyncio.TimerHandle | None = None
        self._payload_type = 0

    def add(self, packet: Any) -> tuple[bool, Batch | None]:
        """As ``AudioBuffer.add``."""
        self._payload_type = packet.payload_type
        result = super().add(packet)
        self._arm()
        return result

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self.stop()
        if self.deadline is not None:
            wait = max(0.0, self.deadline - time.monotonic())
            self._timer = self._loop.call_later(wait, self._due)

    def _due(self) -> None:
        batch = self.give_up(time.monotonic())
        if batch is not None:
            self._put(self._payload_type, batch)
        self._arm()


class VideoBuffer:
    """Whole pictures; asks for a key frame after a loss."""

    def __init__(self, clock: SenderClock, counts: Counter[str]) -> None:
        self._clock = clock
        self._counts = counts
        self._order = Reorder[tuple[RtpPacket, float]](MOST_PICTURE, Patience(*PICTURE), counts)
        self._assembler = FrameAssembler[RtpPacket](self._starts_key, counts)
        self._codecs: dict[int, RTCRtpCodecParameters] = {}
        self._asked = -1.0
        self._wanted = False

    def use_codecs(self, codecs: dict[int, RTCRtpCodecParameters]) -> None:
        """`codecs` by payload type; filled by aiortc when media starts."""
        self._codecs = codecs

    def need_key_frame(self) -> None:
        """Ask for a key frame, and pass no picture on until it comes."""
        self._assembler.need_key_frame()

    def want_key_frame(self) -> None:
        """Ask for a key frame, and go on meanwhile."""
        self._wanted = True

    def add(self, packet: RtpPacket) -> tuple[bool, Batch | None]:
        """Take a packet: whether a key frame is wanted, and the frames now complete."""
        now = time.monotonic()
        frames = []
        for (ready, arrival), lost in self._order.add(packet.sequence_number, (packet, now), now):
            stamp = self._clock.packet("video", ready.timestamp, arrival)
            picture = self._assembler.add(Ordered(ready, lost))
            if picture is not None:
                key = any(map(self._starts_key, picture.packets))
                self._wanted &= not key
                data = b"".join(aiortc_inside.data(part) for part in picture.packets)
                why = "network" if picture.after_loss else None
                frames.append(Encoded(data, stamp, why, key))
        return self._ask(now), Batch(frames) if frames else None

    def _ask(self, now: float) -> bool:
        wanted = self._wanted or self._assembler.wants_key_frame
        if not wanted or now - self._asked < ASK_S:
            return False
        self._asked = now
        self._counts["key_frames_asked"] += 1
        return True

    def _starts_key(self, packet: RtpPacket) -> bool:
        codec = self._codecs.get(packet.payload_type)
        h264 = codec is not None and codec.mimeType.lower() == "video/h264"
        return starts_h264_key(packet.payload) if h264 else starts_vp8_key(packet.payload)


class DecoderQueue:
    """In the place of the queue that aiortc's decoder thread reads, and the decoding itself.

    ``get`` runs in that thread and decodes until the receiver stops; then it returns None, on
    which aiortc ends the thread. Nothing that a packet contains ends it earlier.

    When more than `capacity` frames wait, or one for longer than ``MAX_AGE_S``, the oldest are
    dropped, with all that rest on them. `broken` is called where these were all that waited, so
    that only a key frame can follow.
    """

    def __init__(
        self,
        capacity: int,
        decode: Callable[[Any, Encoded], None],
        ended: Callable[[], None],
        counts: Counter[str],
        broken: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._decode = decode
        self._ended = ended
        self._broken = broken
        self._clock = clock
        self._waiting: deque[tuple[float, Any, Encoded]] = deque()
        """Since when, the codec, the frame."""
        self._dropping: str | None = None
        """Why frames before the next one were dropped."""
        self._changed = threading.Condition()
        self._stopping = False
        self._counts = counts

    def put(self, task: tuple[RTCRtpCodecParameters, Batch] | None) -> None:
        """Event loop: take what the jitter buffer gave, or None to stop."""
        before = self._dropping
        with self._changed:
            if task is None:
                self._stopping = True
            else:
                codec, batch = task
                for frame in batch.frames:
                    self._append(codec, frame)
            self._changed.notify()
        if self._dropping and not before:
            self._broken()

    def get(self) -> None:
        """Decoder thread: decode all there is until stopped."""
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    break
                _, codec, frame = self._waiting.popleft()
            self._decode(codec, frame)
        self._ended()

    def _append(self, codec: RTCRtpCodecParameters, frame: Encoded) -> None:
        if self._dropping and not frame.key:
            self._counts[self._dropping] += 1
            return
        if self._dropping:
            frame, self._dropping = frame._replace(lost=self._dropping), None
        now = self._clock()
        self._waiting.append((now, codec, frame))
        while self._waiting and now - self._waiting[0][0] > MAX_AGE_S:
            self._drop_oldest("too_old")
        if len(self._waiting) > self._capacity:
            self._drop_oldest("queue_full")

    def _drop_oldest(self, why: str) -> None:
        self._waiting.popleft()
        self._counts[why] += 1
        while self._waiting and not self._waiting[0][2].key:
            self._waiting.popleft()
            self._counts[why] += 1
        if self._waiting:
            since, codec, frame = self._waiting[0]
            self._waiting[0] = (since, codec, frame._replace(lost=why))
        else:
            self._dropping = why


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
