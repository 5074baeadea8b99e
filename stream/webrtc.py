"""One participant's WebRTC connection: an offer comes in, media in stream time comes out.

What is needed of aiortc beyond what it promises is in ``stream.aiortc_inside``.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidStateError
from aiortc.sdp import SessionDescription

from stream import aiortc_inside
from stream.clock import SenderClock
from stream.convert import AudioConverter, VideoConverter
from stream.limits import OfferError, check_offer
from stream.receivers import RATES, Keep, Kind, Receiver, Sink
from stream.turn import IceServer
from workers.messages import END, Progress

log = logging.getLogger(__name__)

EVENTS = "events"
"""Label of the data channel that carries records."""

CODECS = {"audio": ("audio/opus",), "video": ("video/vp8", "video/h264", "video/rtx")}
"""What the receivers and their clocks are made for; every browser has them."""

CHANNEL_BYTES = 256 * 1024
"""Bytes that wait inside a data channel before its reader counts as slow."""


LOST = "connection lost"
"""Why a connection is over whose sender may come back."""

COPIES = "minptime=10;useinbandfec=1"
"""Parameters of Opus: send a copy of each packet's sound in the next one when packets get lost."""


def asking_for_copies(answer: str) -> str:
    """An SDP answer that asks senders of Opus for in-band forward error correction (RFC 7587)."""
    for payload_type in re.findall(r"^a=rtpmap:(\d+) opus/", answer, re.MULTILINE | re.IGNORECASE):
        rtpmap = re.compile(rf"^(a=rtpmap:{payload_type} .*?)(\r?)$", re.MULTILINE)
        answer = rtpmap.sub(rf"\1\2\na=fmtp:{payload_type} {COPIES}\2", answer, count=1)
    return answer


def offered(offer: str) -> frozenset[Kind]:
    """The kinds of media that an SDP offer sends. Raises ``OfferError``."""
    check_offer(offer)
    try:
        description = SessionDescription.parse(offer)
    except Exception as error:  # the boundary to a parser that raises whatever it runs into
        log.debug("an offer cannot be parsed: %s", type(error).__name__, exc_info=error)
        raise OfferError(
            "the offer is not a session description (SDP)",
            hint="send the sdp of RTCPeerConnection.createOffer()",
        ) from error
    names = [media.rtp.muxId for media in description.media if media.rtp.muxId]
    bundled = {
        str(name)
        for group in description.group
        if group.semantic == "BUNDLE"
        for name in group.items
    }
    if len(set(names)) < len(names) or not bundled <= set(names):
        raise OfferError(
            "the media sections of the offer have no names of their own (a=mid, a=group:BUNDLE)",
            hint="send the sdp of RTCPeerConnection.createOffer()",
        )
    sends = {
        media.kind
        for media in description.media
        if media.port != 0 and media.direction in ("sendonly", "sendrecv", None)
    }
    return frozenset(kind for kind in RATES if kind in sends)


MAX_CHANNELS = 8
"""Data channels that a sender may open in all; it needs one."""


class Peer:
    """Receives audio and video of one sender; sends records over the data channel ``events``.

    `kinds` are the media that may be received at all: others are refused in the answer and never
    decoded. Stream time 0 is `start` (monotonic clock), or the moment of creation. `keep`
    takes all media that is received, as it came.
    """

    def __init__(
        self,
        person: str,
        kinds: frozenset[Kind],
        sink: Sink,
        *,
        fps: float,
        max_width: int,
        ice_servers: Sequence[IceServer] = (),
        start: float | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.person = person
        self.start = time.monotonic() if start is None else start
        self.clock = SenderClock(self.start)
        self._keep = keep
        self.counts: dict[Kind, Counter[str]] = {"audio": Counter(), "video": Counter()}
        self.faults: Counter[str] = Counter()
        """Packets that aiortc could not take, by kind of error."""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Set to the reason when the connection is over."""
        self._kinds = kinds
        self._sink = sink
        self._fps = fps
        self._max_width = max_width
        self._told: float | None = None
        self._closing = False
        self._receivers: dict[Kind, Receiver] = {}
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection stands; may never be."""
        servers = [
            RTCIceServer(list(server.urls), server.username, server.credential)
            for server in ice_servers
        ]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._connection.on("connectionstatechange", self._state_changed)

    def now(self) -> float:
        """Current stream time."""
        return time.monotonic() - self.start

    @property
    def taken(self) -> frozenset[Kind]:
        """Media that the answer accepted."""
        return frozenset(self._receivers)

    def on_events(self, opened: Callable[[EventsChannel], None]) -> None:
        """Call `opened` with the data channel for records when the sender opens it."""
        number = 0

        def check(channel: RTCDataChannel) -> None:
            nonlocal number
            number += 1
            if number > MAX_CHANNELS:
                self._end("too many data channels")
            if channel.label == EVENTS:
                opened(EventsChannel(channel))
            else:
                channel.close()

        self._connection.on("datachannel", check)

    async def answer(self, offer: str) -> str:
        """The SDP answer to an SDP offer. Raises ``OfferError``."""
        kinds = offered(offer) & self._kinds
        if not kinds:
            wanted = " or ".join(sorted(self._kinds)) or "nothing"
            raise OfferError(
                f"the offer sends nothing that was agreed to ({wanted})",
                hint="add a camera or microphone track, or agree to what you send",
            )
        connection = self._connection
        try:
            for kind in sorted(kinds):
                self._take(connection.addTransceiver(kind, direction="recvonly"), kind)
            await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            self._refuse_others()
            answer = await connection.createAnswer()
            await connection.setLocalDescription(answer)
            self._guard()
        except OSError:
            raise  # of this machine, not of the offer
        except Exception as error:  # the boundary to what aiortc makes of what others send
            log.debug("an offer cannot be answered: %s", type(error).__name__, exc_info=error)
            raise OfferError(
                f"the offer cannot be answered ({type(error).__name__})",
                hint="offer Opus audio and VP8 or H.264 video with ICE and DTLS",
            ) from error
        text = asking_for_copies(connection.localDescription.sdp)
        if "a=candidate:" not in text:
            raise OfferError(
                "this machine has no network address besides loopback, so no media can reach it",
                hint="connect it to a network, or give it an address on any interface",
            )
        for missing in sorted({"audio", "video"} - set(self._receivers)):
            self._sink.push(Progress(self.person, "audio" if missing == "audio" else "video", END))
        return text

    def refuse(self, kinds: Iterable[Kind]) -> None:
        """Of these nothing is decoded any more."""
        for kind in kinds:
            if kind in self._receivers:
                self._receivers[kind].refuse()

    def finish(self) -> None:
        """No more media for the sink; the connection, and with it the channel, stays."""
        for receiver in self._receivers.values():
            receiver.end()

    async def close(self, reason: str = "closed") -> None:
        """End the connection; the sink is told that no more media comes."""
        self._end(reason)
        self.finish()
        if self._closing:
            return
        self._closing = True
        try:
            await self._connection.close()
        except Exception as error:  # aiortc cannot close what an odd offer left half built
            log.debug("a connection did not close: %s", type(error).__name__, exc_info=error)
            await aiortc_inside.stop_transports(self._connection)

    def _take(self, transceiver: RTCRtpTransceiver, kind: Kind) -> None:
        """Receive this track: with our parts in aiortc's receiver, before any packet arrives."""
        able = RTCRtpReceiver.getCapabilities(kind)
        assert able is not None
        transceiver.setCodecPreferences(
            [codec for codec in able.codecs if codec.mimeType.lower() in CODECS[kind]]
        )
        counts = self.counts[kind]
        converter: AudioConverter | VideoConverter
        if kind == "audio":
            converter = AudioConverter(self.person, RATES[kind], counts)
        else:
            converter = VideoConverter(self.person, self._fps, self._max_width, counts)
        self._receivers[kind] = Receiver(
            transceiver.receiver,
            kind,
            self.person,
            self.clock,
            self._sink,
            converter,
            counts,
            self._tell_clock,
            self._keep,
        )

    def _guard(self) -> None:
        sctp = self._connection.sctp
        transports = [receiver.aiortc.transport for receiver in self._receivers.values()]
        for transport in [*transports, *([] if sctp is None else [sctp.transport])]:
            aiortc_inside.guard(transport, self.faults)

    def _goodbye(self) -> bool:
        transports = [receiver.aiortc.transport for receiver in self._receivers.values()]
        return any(map(aiortc_inside.said_goodbye, transports))

    def _tell_clock(self) -> None:
        if self.clock.unix_at_zero != self._told:
            self._told = self.clock.unix_at_zero
            self._sink.clock(self._told)

    def _refuse_others(self) -> None:
        taken = {id(receiver.aiortc) for receiver in self._receivers.values()}
        for transceiver in self._connection.getTransceivers():
            if id(transceiver.receiver) not in taken:
                transceiver.direction = "inactive"

    def _state_changed(self) -> None:
        state = self._connection.connectionState
        log.debug("connection of %s is %s", self.person, state)
        if state == "connected" and not self.connected.done():
            self.connected.set_result(None)
        elif state == "failed":
            self._end(LOST)
        elif state == "closed":
            self._end("left" if self._goodbye() else LOST)

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)


class EventsChannel:
    """Sends text over a data channel, waiting while it is full."""

    def __init__(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        self._changed = asyncio.Event()
        channel.bufferedAmountLowThreshold = CHANNEL_BYTES // 2
        channel.on("bufferedamountlow", self._changed.set)
        channel.on("close", self._changed.set)

    def close(self) -> None:
        self._channel.close()

    async def send(self, text: str) -> bool:
        """Send one message. False: the channel is closed."""
        channel = self._channel
        while channel.readyState == "open" and channel.bufferedAmount > CHANNEL_BYTES:
            self._changed.clear()
            await self._changed.wait()
        if channel.readyState != "open":
            return False
        try:
            channel.send(text)
        except (InvalidStateError, ConnectionError):
            return False
        return True
