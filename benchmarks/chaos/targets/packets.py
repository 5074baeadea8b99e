"""Decrypted packets of a sender, as aiortc reads them and our receivers take them.

The first byte of an input chooses: RTP of sound or pictures, RTCP, or any datagram.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtp import RtcpSenderInfo, RtcpSrPacket
from OpenSSL import SSL

from benchmarks.chaos.targets import Feed
from stream.aiortc_inside import guard, said_goodbye
from stream.receivers import Receiver
from stream.webrtc import Peer
from tests.test_decoders import SPEECH, pictures
from tests.test_offer_fuzz import OFFER
from tests.webrtc_peers import Recorder


def rtp(payload_type: int, payload: bytes, extension: bytes = b"") -> bytes:
    head = struct.pack(">BBHLL", 0x90 if extension else 0x80, payload_type, 7, 960, 1)
    if extension:
        extension += bytes(-len(extension) % 4)
        head += struct.pack(">HH", 0xBEDE, len(extension) // 4) + extension
    return head + payload


REPORT = RtcpSrPacket(1, RtcpSenderInfo(1 << 32, 2, 3, 4))
SEEDS = [
    b"\0" + rtp(96, SPEECH[5], b"\x10\x00"),
    b"\1" + rtp(0x80 | 97, b"\x90\x80\x12\x10" + pictures("libvpx")[0]),
    b"\2" + rtp(0x80 | 99, pictures("libx264")[0][4:]),
    b"\3" + bytes(REPORT),
    b"\4" + b"\x80" + bytes(20),
]
AUDIO, VP8, H264 = 96, 97, 99


class Wire:
    """In the place of ICE and of SRTP: what is fed is what was decrypted."""

    def __init__(self) -> None:
        self.data = b""

    async def send(self, data: bytes) -> None:
        """What DTLS answers: the connection stands."""

    async def receive(self) -> bytes:
        return self.data

    def unprotect(self, data: bytes) -> bytes:
        return data

    unprotect_rtcp = unprotect


@contextmanager
def opened() -> Iterator[Feed]:
    loop = asyncio.new_event_loop()
    feed, peer = loop.run_until_complete(make(loop))
    try:
        yield feed
    finally:
        loop.run_until_complete(peer.close())
        loop.close()


async def make(loop: asyncio.AbstractEventLoop) -> tuple[Feed, Peer]:
    peer = Peer("p1", frozenset({"audio", "video"}), Recorder(), fps=10, max_width=64)
    await peer.answer(OFFER)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # it connects, and would read what is fed beside us
    receivers: list[Receiver] = list(peer._receivers.values())
    wire = Wire()
    for receiver in receivers:
        register(receiver)
        receiver._clock_used = lambda: None
        transport: Any = receiver.aiortc.transport
        transport._rx_srtp = wire
        transport._ssl = dtls(transport)
        vars(transport.transport)["_recv"] = wire.receive
        vars(transport.transport)["_send"] = wire.send
        transport._RTCDtlsTransport__handshake_done = True
        guard(transport, peer.faults)
    transport = receivers[0].aiortc.transport

    def feed(data: bytes) -> None:
        if not data:
            return
        wire.data = shaped(data[0], data[1:])
        loop.run_until_complete(take(transport, receivers))

    return feed, peer


def dtls(transport: Any) -> SSL.Connection:
    """As where the handshake begins."""
    certificate = transport._RTCDtlsTransport__local_certificate
    made = SSL.Connection(certificate._create_ssl_context(srtp_profiles=transport._srtp_profiles))
    made.set_accept_state()
    return made


def register(receiver: Receiver) -> None:
    """As when media begins, without a thread: frames are decoded here."""
    part: Any = receiver.aiortc
    able = type(part).getCapabilities(receiver.kind)
    assert able is not None
    numbers = {"audio/opus": AUDIO, "video/vp8": VP8, "video/h264": H264}
    found = [
        RTCRtpCodecParameters(
            mimeType=codec.mimeType,
            clockRate=codec.clockRate,
            channels=codec.channels,
            payloadType=numbers[codec.mimeType.lower()],
        )
        for codec in able.codecs
        if codec.mimeType.lower() in numbers
    ]
    parameters = RTCRtpReceiveParameters(codecs=found, muxId=receiver.kind)
    receiver._codecs.update({numbers[codec.mimeType.lower()]: codec for codec in found})
    part._RTCRtpReceiver__decoder_thread = object()  # else aiortc decodes nothing
    part.transport._register_rtp_receiver(part, parameters)


def shaped(choice: int, data: bytes) -> bytes:
    kind = choice % 5
    if kind == 4 or len(data) < 2:
        return data or b"\x80"
    second = (AUDIO, VP8, H264)[kind] | (data[1] & 0x80) if kind < 3 else 192 + data[1] % 32
    return bytes([0x80 | (data[0] & 0x3F), second]) + data[2:]


async def take(transport: Any, receivers: list[Receiver]) -> None:
    try:
        await transport._recv_next()
    except ConnectionError:
        if not said_goodbye(transport):  # which nobody else can say once DTLS is agreed on
            raise
    for receiver in receivers:
        waiting = receiver.queue._waiting
        while waiting:
            _, codec, frame = waiting.popleft()
            receiver._decode(codec, frame)
        receiver._budget.__init__(5, 1500)  # type: ignore[misc]  # never stopped
