"""The only file that relies on what aiortc does not promise; ``check`` fails where it is otherwise.

aiortc gives every track its own time 0, hides sender reports, waits for lost audio until its buffer
is full and decodes into a queue without bound. So parts of an ``RTCRtpReceiver`` are taken out and
ours put in, before any packet arrives:

==========================  ========================================================================
jitter buffer               gives each frame the stream time of its RTP timestamp; gives up lost
                            packets early; asks for key frames
decoder queue               bounded; aiortc's decoder thread, which waits on it, runs our decoding
                            in there, so that no error ends it
handler of RTCP packets     also tells the clock what sender reports say
estimator of the bit rate   made anew when it fails (it divides by 0), so that no packet is lost
==========================  ========================================================================

And a transport that reads a packet which aiortc cannot take ends with all its tracks: even an
empty datagram, from whoever knows the port, does that. ``guard`` makes it a packet that is counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiortc import RTCDtlsTransport, RTCPeerConnection, RTCRtpReceiver
from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtp import RtcpSrPacket, RtpPacket

from stream.errors import StreamError

log = logging.getLogger(__name__)

PREFIX = "_RTCRtpReceiver__"
PARTS = (
    "jitter_buffer",
    "decoder_queue",
    "decoder_thread",
    "codecs",
    "remote_bitrate_estimator",
)
"""Private attributes of ``RTCRtpReceiver`` that are replaced or relied on."""

METHODS = ("_handle_rtcp_packet",)
TRANSPORT = ("_recv_next", "_ssl")
"""And those of ``RTCDtlsTransport``."""

RECEIVED_SHUTDOWN = 2
"""Of OpenSSL: the other side sent that it closes."""


class BufferPart(Protocol):
    """In the place of aiortc's jitter buffer."""

    def add(self, packet: Any) -> tuple[bool, Any]: ...


class QueuePart(Protocol):
    """In the place of the queue that aiortc's decoder thread reads; ``get`` ends it with None."""

    def put(self, task: Any) -> None: ...

    def get(self) -> None: ...


def check(receiver: RTCRtpReceiver) -> None:
    """Raise ``StreamError`` unless `receiver` and its transport have what this file relies on."""
    missing = [name for name in PARTS if PREFIX + name not in vars(receiver)]
    missing += [name for name in METHODS if not callable(getattr(receiver, name, None))]
    missing += [name for name in TRANSPORT if not hasattr(receiver.transport, name)]
    if missing:
        raise StreamError(
            f"this version of aiortc has other receivers: no {', '.join(missing)}",
            hint="install the version of aiortc that pyproject.toml asks for",
        )


def codecs(receiver: RTCRtpReceiver) -> Any:
    """Codecs by payload type; filled by aiortc when media starts."""
    return vars(receiver)[PREFIX + "codecs"]


def data(packet: RtpPacket) -> bytes:
    """What the payload of a packet holds of a frame; aiortc takes it out on arrival."""
    found: Any = vars(packet)["_data"]
    return bytes(found)


def replace(
    receiver: RTCRtpReceiver,
    buffer: BufferPart,
    queue: QueuePart,
    report: Callable[[int, int], None],
    counts: Counter[str],
) -> None:
    """Put our parts in; `report` hears NTP time and RTP timestamp of every sender report.

    Failures of parts of aiortc are in `counts`.
    """
    tell_aiortc = receiver._handle_rtcp_packet

    async def on_rtcp(packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket):
            report(packet.sender_info.ntp_timestamp, packet.sender_info.rtp_timestamp)
        await tell_aiortc(packet)

    vars(receiver)[PREFIX + "jitter_buffer"] = buffer
    vars(receiver)[PREFIX + "decoder_queue"] = queue
    vars(receiver)["_handle_rtcp_packet"] = on_rtcp
    estimator = PREFIX + "remote_bitrate_estimator"
    if vars(receiver)[estimator] is not None:
        vars(receiver)[estimator] = CarefulEstimator(counts)


class CarefulEstimator:
    """In the place of aiortc's estimator of the bit rate, around one."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._estimator = RemoteBitrateEstimator()

    def add(self, **packet: Any) -> Any:
        """As ``RemoteBitrateEstimator.add``; None also where that fails."""
        try:
            return self._estimator.add(**packet)
        except (ArithmeticError, ValueError, LookupError, AssertionError) as error:
            self._counts[f"estimator_error_{type(error).__name__}"] += 1
            self._estimator = RemoteBitrateEstimator()
            return None


def guard(transport: RTCDtlsTransport, counts: Counter[str]) -> None:
    """Let no packet end `transport`; what it cannot take is counted by kind of error."""
    if "_recv_next" in vars(transport):
        return
    receive: Callable[[], Awaitable[None]] = transport._recv_next

    async def receive_next() -> None:
        try:
            await receive()
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  the boundary to what strangers send
            counts[f"packet_error_{type(error).__name__}"] += 1
            log.debug("a packet was not taken: %s", type(error).__name__)

    vars(transport)["_recv_next"] = receive_next


def said_goodbye(transport: RTCDtlsTransport) -> bool:
    """Whether the other side closed the transport, rather than vanished."""
    connection = transport._ssl
    return connection is not None and bool(connection.get_shutdown() & RECEIVED_SHUTDOWN)


async def stop_transports(connection: RTCPeerConnection) -> None:
    """Let go of the ports of a connection that cannot be closed."""
    for transport in vars(connection)["_RTCPeerConnection__iceTransports"]:
        await transport.stop()
