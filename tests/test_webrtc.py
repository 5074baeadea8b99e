"""Real aiortc peers in this process send to ours: clock, loss, damage, consent, the end."""

from __future__ import annotations

import asyncio
import fractions
import itertools
import queue
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import aioice.ice
import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpReceiver, rtcrtpsender
from aiortc.codecs import get_decoder
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtcpRrPacket, RtpPacket, is_rtcp
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import aiortc_inside, buffers, receivers
from stream.buffers import DecoderQueue, Encoded
from stream.clock import Line, SenderClock, Stamp
from stream.errors import StreamError
from stream.limits import OfferError
from stream.receivers import Kind
from stream.webrtc import EventsChannel, Peer
from tests.webrtc_peers import (
    Beeps,
    Flashes,
    Paced,
    Recorder,
    accept,
    new_sender,
    offer_of,
    report_exactly,
    until,
)

pytestmark = pytest.mark.live

BOTH: frozenset[Kind] = frozenset({"audio", "video"})
OPUS = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48_000, channels=2, payloadType=96)


class Call:
    """A sender that is connected to a ``Peer`` of ours."""

    def __init__(self, *tracks: MediaStreamTrack, kinds: frozenset[Kind] = BOTH) -> None:
        self.got = Recorder()
        self.peer = Peer("p1", kinds, self.got, fps=30, max_width=640)
        self.sender = new_sender()
        for track in tracks:
            self.sender.addTrack(track)
        self.channel = self.sender.createDataChannel("events")
        self.answer = ""

    async def __aenter__(self) -> Call:
        self.answer = await self.peer.answer(await offer_of(self.sender))
        report_exactly(self.sender)
        await accept(self.sender, self.answer)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.sender.close()
        await self.peer.close()


@dataclass
class Scene:
    """A call with a flash and a beep every second."""

    audio_start: float
    video_start: float
    video_delay: float = 0.0
    """Seconds by which the network delays pictures more than sound."""

    async def errors(self) -> tuple[list[tuple[float, bool]], float]:
        """(|beep - flash| in seconds, whether either was provisional) for each flash.

        And by how much arrival times were wrong at worst: the network's and the senders' delay.
        """
        begin = time.monotonic() + 1.0
        flashes = Flashes(begin + self.video_start)
        beeping = Beeps(begin + self.audio_start, flashes.phase)
        async with Call(beeping, flashes) as call:
            delay_pictures(call.sender, self.video_delay)
            await asyncio.sleep(7.5)
            beeps = call.got.beeps()
            now = time.time() - call.peer.now()
            assert call.got.clocks[-1] == pytest.approx(now, abs=1.0)
            assert call.peer.clock.counts["reports"] >= 4
        result = []
        for flash, provisional in call.got.flashes():
            if flash > beeps[0][0] - 0.5:
                error, also = min((abs(beep - flash), also) for beep, also in beeps)
                result.append((error, provisional or also))
        return result, max(flashes.late, beeping.late) + self.video_delay


def delay_pictures(sender: RTCPeerConnection, seconds: float) -> None:
    transport = sender.getSenders()[0].transport
    send: Callable[[bytes], Awaitable[None]] = transport._send_rtp
    (ssrc,) = (part._ssrc for part in sender.getSenders() if part.kind == "video")
    loop = asyncio.get_running_loop()

    async def send_later(data: bytes) -> None:
        if is_rtcp(data) or RtpPacket.parse(data).ssrc != ssrc:
            await send(data)
        else:
            loop.call_later(seconds, lambda: asyncio.ensure_future(ignore_end(send(data))))

    async def ignore_end(sending: Awaitable[None]) -> None:
        with suppress(ConnectionError):
            await sending

    vars(transport)["_send_rtp"] = send_later


def test_flash_and_beep_are_on_one_clock_whatever_starts_late() -> None:
    """aiortc alone would be off by the full difference of the starts: up to 3 s."""
    scenes = [Scene(0.0, 0.0), Scene(0.0, 1.0), Scene(1.7, 0.0), Scene(0.0, 3.0, video_delay=0.3)]

    async def main() -> list[tuple[list[tuple[float, bool]], float]]:
        return await asyncio.gather(*(scene.errors() for scene in scenes))

    after = []
    for errors, late in asyncio.run(main()):
        assert len(errors) >= 2
        before = [error for error, provisional in errors if provisional]
        assert max(before, default=0.0) <= 0.120 + late
        after.append([error for error, provisional in errors if not provisional])
    assert min(map(len, after)) >= 1
    assert sum(map(len, after)) >= 10
    assert float(np.percentile(np.concatenate(after), 95)) <= 0.040


class Packets(Paced):
    """Opus packets, silent, of which some are replaced by what `spoil` gives."""

    kind = "audio"
    rate = 48_000

    def __init__(self, begin: float, spoil: dict[int, bytes]) -> None:
        super().__init__(begin, 0.02)
        self.spoil = spoil
        encoder = av.CodecContext.create("libopus", "w")
        assert isinstance(encoder, av.AudioCodecContext)
        encoder.format, encoder.layout, encoder.sample_rate = "s16", "stereo", 48_000
        silence = av.AudioFrame(format="s16", layout="stereo", samples=960)
        silence.sample_rate = 48_000
        self.good = bytes(encoder.encode(silence)[0])

    async def recv(self) -> Any:
        n, _ = await self.pace()
        packet = av.Packet(self.spoil.get(n, self.good))
        packet.pts = n * 960
        packet.time_base = fractions.Fraction(1, self.rate)
        return packet


MALFORMED = {
    30: b"\xff",  # claims frames it does not hold
    50: b"",  # FFmpeg takes it for the end of the stream
    51: b"",
    70: b"\x03",
    71: bytes(range(3, 200)),
}


def test_malformed_sound_costs_itself_alone() -> None:
    async def main() -> Call:
        async with Call(Packets(time.monotonic() + 0.3, MALFORMED)) as call:
            await until(lambda: bool(call.got.audio) and call.peer.counts["audio"]["frames"] >= 120)
        return call

    call = asyncio.run(main())
    counts = call.peer.counts["audio"]
    assert sum(n for kind, n in counts.items() if kind.startswith("decode_error_")) >= 2
    assert counts["frames_empty"] == 2
    heard = sum(len(chunk.samples) for chunk in call.got.audio) / 16_000
    missing = sum(gap.t1 - gap.t0 for gap in call.got.gaps)
    assert {gap.reason for gap in call.got.gaps} == {"decode_error"}
    assert 0.04 - 1e-6 <= missing <= 0.06 + 1e-6
    first, last = call.got.audio[0].t0, call.got.audio[-1].t1
    assert heard == pytest.approx(last - first, abs=0.002)  # what is missing is made up, and told
    assert last - first >= 119 * 0.02


def test_aiortc_alone_does_not_survive_an_empty_packet() -> None:
    """Should this fail, aiortc has mended what ``Receiver`` works around."""
    decoder = get_decoder(OPUS)
    decoder.decode(JitterFrame(b"", 0))
    with pytest.raises(av.EOFError):
        decoder.decode(JitterFrame(b"\xfc\xff\xfe", 960))


def test_a_sender_of_nothing_but_rubbish_is_stopped_and_the_call_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(receivers.BUDGETS, "audio", (5, 40))
    rubbish = dict.fromkeys(range(20, 100), b"\xff")

    async def main() -> Call:
        now = time.monotonic() + 0.3
        async with Call(Packets(now, rubbish), Flashes(now)) as call:
            await until(lambda: call.peer.counts["audio"]["frames_refused"] >= 50)
            seen = len(call.got.video)
            await until(lambda: len(call.got.video) > seen + 5)
        return call

    call = asyncio.run(main())
    counts = call.peer.counts["audio"]
    assert counts["decode_error_OpusError"] == 40
    assert counts["decoder_renewed"] == 7
    assert counts["undecodable"] == 1
    assert [gap.reason for gap in call.got.gaps if gap.source == "audio"] == ["undecodable"]
    assert max(chunk.t1 for chunk in call.got.audio) < call.got.gaps[-1].t1


def send_to_candidates(answer: str, *datagrams: bytes) -> None:
    """As anybody who knows the ports can."""
    pattern = r"^a=candidate:\S+ \d udp \d+ ([\d.]+) (\d+) typ host"
    for address, port in re.findall(pattern, answer, re.MULTILINE):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for data in datagrams:
                stranger.sendto(data, (address, int(port)))


STRANGE = [b"", b"\x00", b"\x80", b"\x80" * 12, b"\x90" + bytes(200), b"\x16\xfe\xfd" + bytes(60)]


def test_datagrams_of_strangers_end_nothing() -> None:
    async def main() -> Call:
        async with Call(Beeps(time.monotonic() + 0.3, 0.0)) as call:
            await until(lambda: len(call.got.audio) > 5)
            send_to_candidates(call.answer, *STRANGE)
            await until(lambda: bool(call.peer.faults))
            seen = len(call.got.audio)
            await until(lambda: len(call.got.audio) > seen + 20)
            assert not call.peer.ended.done()
        return call

    call = asyncio.run(main())
    assert call.peer.faults["packet_error_IndexError"] >= 1


def test_aiortc_alone_does_not_survive_an_empty_datagram(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should this fail, aiortc has mended what ``guard`` works around."""
    monkeypatch.setattr(aiortc_inside, "guard", lambda *_: None)

    async def main() -> None:
        call = Call(Beeps(time.monotonic() + 0.3, 0.0))
        async with call:
            await until(lambda: len(call.got.audio) > 5)
            send_to_candidates(call.answer, b"")
            await asyncio.wait_for(asyncio.shield(call.peer.ended), 5)

    asyncio.run(main())


def test_an_estimator_that_fails_costs_no_packet() -> None:
    """aiortc's divides by zero when its estimate has come down to 0, and the packet is gone."""
    counts: Counter[str] = Counter()
    careful = aiortc_inside.CarefulEstimator(counts)
    rate = careful._estimator.rate_control
    rate.current_bitrate = 0
    with pytest.raises(ZeroDivisionError):
        rate._near_max_rate_increase()
    vars(careful._estimator)["add"] = lambda **packet: rate._near_max_rate_increase()
    packet = {"arrival_time_ms": 1, "abs_send_time": 1, "payload_size": 1, "ssrc": 1}
    assert careful.add(**packet) is None
    assert counts == {"estimator_error_ZeroDivisionError": 1}
    assert careful.add(**packet) is None
    assert counts == {"estimator_error_ZeroDivisionError": 1}  # there is a new one


def test_the_answer_asks_for_copies_and_losses_are_reported() -> None:
    seen = 0

    def lose(packet: RtpPacket) -> bool:
        nonlocal seen
        seen += 1
        return seen % 4 == 0

    async def main() -> tuple[Call, list[int]]:
        reported: list[int] = []
        async with Call(Beeps(time.monotonic() + 0.3, 0.0)) as call:
            lossy(call.sender, lose)
            (part,) = call.sender.getSenders()
            hear = part._handle_rtcp_packet

            async def overhear(packet: Any) -> None:
                if isinstance(packet, RtcpRrPacket):
                    reported.extend(report.fraction_lost for report in packet.reports)
                await hear(packet)

            vars(part)["_handle_rtcp_packet"] = overhear
            await until(lambda: sum(share > 30 for share in reported) >= 2)
        return call, reported

    call, reported = asyncio.run(main())
    assert re.search(r"^a=fmtp:\d+ minptime=10;useinbandfec=1\r$", call.answer, re.MULTILINE)
    assert max(reported) == pytest.approx(64, abs=30)  # of 256


def test_numbers_that_wrap_and_a_size_that_changes_cost_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Growing(Flashes):
        async def recv(self) -> av.VideoFrame:
            if self.n == 40:
                self.shape = (180, 320, 3)
            return await super().recv()

    monkeypatch.setattr(rtcrtpsender, "random_sequence_number", lambda: 65_500)
    numbers = itertools.count(2**32 - 48_000)  # also what tells the tracks apart
    monkeypatch.setattr(rtcrtpsender, "random32", lambda: next(numbers))

    async def main() -> Call:
        now = time.monotonic() + 0.3
        async with Call(Beeps(now, 0.0), Growing(now)) as call:
            await until(lambda: call.peer.counts["audio"]["frames"] >= 130)
            await until(lambda: bool(call.got.video) and call.got.video[-1].image.shape[1] == 320)
        return call

    call = asyncio.run(main())
    assert not call.got.gaps
    assert not call.peer.clock.counts["jumps"]
    assert call.peer.counts["audio"]["packets_lost"] == 0
    moved = [later.t0 - chunk.t1 for chunk, later in pairwise(call.got.audio)]
    assert sum(max(each, 0.0) for each in moved) < 0.03
    # A clock without reports goes by arrival: it comes back from first packets that were late.
    assert sum(min(each, 0.0) for each in moved) > -0.15
    times = [frame.t for frame in call.got.video]
    assert times == sorted(times)
    assert {frame.image.shape for frame in call.got.video} == {(90, 160, 3), (180, 320, 3)}


def lossy(sender: RTCPeerConnection, lose: Callable[[RtpPacket], bool]) -> None:
    """Lose packets that `sender` sends."""
    transport = sender.getSenders()[0].transport
    send: Callable[[bytes], Awaitable[None]] = transport._send_rtp

    async def maybe_send(data: bytes) -> None:
        if is_rtcp(data) or not lose(RtpPacket.parse(data)):
            await send(data)

    vars(transport)["_send_rtp"] = maybe_send


def test_lost_sound_is_lost_alone_and_nothing_gets_late() -> None:
    """aiortc's own buffer loses five packets per lost one and is 200 ms later ever after."""
    lost: list[int] = []
    seen = 0

    def lose(packet: RtpPacket) -> bool:
        nonlocal seen
        seen += 1
        if seen in {40, 60, 61, 90}:
            lost.append(packet.timestamp)
            return True
        return False

    async def main() -> tuple[Call, float]:
        begin = time.monotonic() + 0.3
        async with Call(Beeps(begin, 0.0)) as call:
            lossy(call.sender, lose)
            await until(lambda: call.peer.counts["audio"]["frames"] >= 120)
            return call, call.peer.now() - call.got.audio[-1].t1

    call, late = asyncio.run(main())
    gaps = call.got.gaps
    assert [gap.reason for gap in gaps] == ["network"] * 3
    assert [round((gap.t1 - gap.t0) / 0.02) for gap in gaps] == [1, 2, 1]
    assert call.peer.counts["audio"]["packets_lost"] == len(lost) == 4
    assert late < 0.2


def test_lost_picture_is_not_decoded_into_a_wrong_one() -> None:
    seen = 0

    def lose(packet: RtpPacket) -> bool:
        nonlocal seen
        seen += 1
        return seen == 20 or packet.payload_type == 98  # and every retransmission

    async def main() -> Call:
        async with Call(Flashes(time.monotonic() + 0.3)) as call:
            lossy(call.sender, lose)
            vars(call.sender.getSenders()[0])["_retransmit"] = ignore
            await until(lambda: any(gap.source == "video" for gap in call.got.gaps))
            await until(lambda: call.got.video[-1].t > call.got.gaps[-1].t1)
        return call

    async def ignore(sequence_number: int) -> None:
        """Never send it again."""

    call = asyncio.run(main())
    (gap,) = (gap for gap in call.got.gaps if gap.source == "video")
    assert gap.reason == "network"
    assert 0.2 < gap.t1 - gap.t0 < 1.5
    assert not any(gap.t0 < frame.t < gap.t1 - 1e-6 for frame in call.got.video)
    assert call.peer.counts["video"]["key_frames_asked"] >= 1
    assert not any(kind.startswith("decode_error") for kind in call.peer.counts["video"])


def test_what_was_not_agreed_to_is_never_received() -> None:
    async def main() -> Call:
        now = time.monotonic() + 0.2
        only: frozenset[Kind] = frozenset({"audio"})
        async with Call(Beeps(now, 0.0), Flashes(now), kinds=only) as call:
            await until(lambda: len(call.got.audio) > 30)
            names = {thread.name for thread in threading.enumerate()}
            assert "audio-decoder" in names
            assert "video-decoder" not in names
        return call

    call = asyncio.run(main())
    assert "video" in call.got.ended()
    assert not call.got.video
    assert not call.peer.counts["video"]
    video = call.answer[call.answer.index("m=video") :]
    assert "a=inactive" in video


def test_both_sources_end_once_when_the_sender_leaves() -> None:
    async def main() -> tuple[Call, str]:
        now = time.monotonic() + 0.2
        async with Call(Beeps(now, 0.0), Flashes(now)) as call:
            await until(lambda: bool(call.got.audio) and bool(call.got.video))
            await call.sender.close()
            reason = await asyncio.wait_for(asyncio.shield(call.peer.ended), 5)
        return call, reason

    call, reason = asyncio.run(main())
    assert reason == "left"
    assert call.got.ended() == {"audio", "video"}
    ends = [item for item in call.got.control if getattr(item, "t", 0.0) == float("inf")]
    assert len(ends) == 2


def test_sender_that_vanishes_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.3)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)

    async def main() -> tuple[Call, str]:
        async with Call(Beeps(time.monotonic() + 0.2, 0.0)) as call:
            await until(lambda: len(call.got.audio) > 10)
            ice = call.sender.getSenders()[0].transport.transport._connection
            for protocol in ice._protocols:
                protocol.transport.abort()
            reason = await asyncio.wait_for(asyncio.shield(call.peer.ended), 10)
        return call, reason

    call, reason = asyncio.run(main())
    assert reason in ("connection lost", "left")
    assert call.got.ended() == {"audio", "video"}


def test_events_travel_over_the_data_channel_and_other_channels_are_closed() -> None:
    async def main() -> tuple[list[str], bool]:
        call = Call(Beeps(time.monotonic() + 0.2, 0.0))
        other = call.sender.createDataChannel("other")
        opened: list[EventsChannel] = []
        received: list[str] = []
        call.peer.on_events(opened.append)
        call.channel.on("message", received.append)
        async with call:
            await until(lambda: bool(opened))
            for n in range(2000):
                assert await opened[0].send(f"{n} " + "x" * 1000)
            await until(lambda: len(received) == 2000)
            await until(lambda: other.readyState == "closed")
            call.channel.close()
            await until(lambda: call.channel.readyState == "closed")
            return received, await opened[0].send("too late")

    received, late = asyncio.run(main())
    assert [text.split()[0] for text in received] == [str(n) for n in range(2000)]
    assert not late


@pytest.mark.parametrize("offer", ["", "nonsense", "v=0\r\n", "v=0\r\nm=audio\r\n"])
def test_offer_that_is_none(offer: str) -> None:
    async def main() -> None:
        peer = Peer("p1", BOTH, Recorder(), fps=10, max_width=640)
        try:
            with pytest.raises(OfferError) as caught:
                await peer.answer(offer)
            assert caught.value.hint
        finally:
            await peer.close()

    asyncio.run(main())


def test_offer_without_a_known_codec() -> None:
    async def main() -> None:
        sender = new_sender()
        sender.addTrack(Beeps(time.monotonic(), 0.0))
        peer = Peer("p1", BOTH, Recorder(), fps=10, max_width=640)
        offer = (await offer_of(sender)).replace("opus/48000", "speex/32000")
        try:
            with pytest.raises(OfferError, match="cannot be answered"):
                await peer.answer(offer)
        finally:
            await peer.close()
            await sender.close()

    asyncio.run(main())


def test_offer_of_nothing_that_was_agreed_to() -> None:
    async def main() -> None:
        sender = new_sender()
        sender.addTrack(Flashes(time.monotonic()))
        peer = Peer("p1", frozenset({"audio"}), Recorder(), fps=10, max_width=640)
        try:
            with pytest.raises(OfferError, match="agreed to"):
                await peer.answer(await offer_of(sender))
        finally:
            await peer.close()
            await sender.close()

    asyncio.run(main())


def aiortc_receiver() -> RTCRtpReceiver:
    connection = new_sender()
    return connection.addTransceiver("audio").receiver


def test_aiortc_has_the_parts_that_are_replaced() -> None:
    """Fails when another version of aiortc is built differently inside."""

    async def main() -> None:
        receiver = aiortc_receiver()
        aiortc_inside.check(receiver)
        parts = {name: vars(receiver)[aiortc_inside.PREFIX + name] for name in aiortc_inside.PARTS}
        assert callable(parts["jitter_buffer"].add)
        assert isinstance(parts["decoder_queue"], queue.Queue)
        assert parts["codecs"] == {}
        for name in aiortc_inside.PARTS:
            broken = aiortc_receiver()
            del vars(broken)[aiortc_inside.PREFIX + name]
            with pytest.raises(StreamError, match=name):
                aiortc_inside.check(broken)

    asyncio.run(main())


def test_aiortc_connections_and_transports_have_the_parts_that_are_used() -> None:
    """Fails when another version of aiortc is built differently inside."""

    async def main() -> None:
        sender = new_sender()
        transport = sender.addTransceiver("audio").receiver.transport
        assert not aiortc_inside.said_goodbye(transport)
        assert asyncio.iscoroutinefunction(transport._recv_next)
        await aiortc_inside.stop_transports(sender)
        assert transport.transport.state == "closed"
        await sender.close()

    asyncio.run(main())


packets = st.builds(
    lambda sequence, timestamp, marker, payload: (sequence, timestamp, marker, payload),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
    st.integers(0, 1),
    st.binary(max_size=30),
)


@settings(deadline=None)
@given(st.lists(packets, max_size=60), st.sampled_from(["video/VP8", "video/H264"]))
def test_no_packet_breaks_the_buffers(
    received: list[tuple[int, int, int, bytes]], mime: str
) -> None:
    """An error in there would end the connection: aiortc calls them where it reads packets."""
    clock = SenderClock(time.monotonic())
    clock.add_track("audio", 48_000, 0.0)
    clock.add_track("video", 90_000, 0.0)
    audio = buffers.AudioBuffer(clock, Counter())
    video = buffers.VideoBuffer(clock, Counter())
    video.use_codecs({97: RTCRtpCodecParameters(mimeType=mime, clockRate=90_000, payloadType=97)})
    frames = 0
    for sequence, timestamp, marker, payload in received:
        packet = RtpPacket(97, marker, sequence, timestamp)
        packet.payload = payload
        vars(packet)["_data"] = payload
        _, batch = audio.add(packet)
        frames += len(batch.frames) if batch else 0
        video.add(packet)
    assert frames <= len(received)


def encoded(n: int, *, key: bool = True) -> Encoded:
    line = Line(48_000, 0.0, provisional=False, epoch=0)
    return Encoded(bytes([n]), Stamp(n, line), None, key)


@pytest.mark.parametrize(
    ("keys", "left", "asks"),
    [
        ({0}, [(9, "queue_full")], 1),  # what follows rests on what was dropped, until a key frame
        ({0, 5}, [(5, "queue_full"), (9, None)], 1),
        ({0, 3}, [(3, "queue_full"), (4, None), (5, None), (9, None)], 0),
        ({0, 2, 4}, [(4, "queue_full"), (5, None), (9, None)], 0),
    ],
)
def test_pictures_that_rest_on_dropped_ones_are_dropped_too(
    keys: set[int], left: list[tuple[int, str | None]], asks: int
) -> None:
    decoded: list[tuple[int, str | None]] = []
    asked: list[None] = []
    tasks = DecoderQueue(
        3,
        lambda codec, frame: decoded.append((frame.data[0], frame.lost)),
        lambda: None,
        Counter(),
        lambda: asked.append(None),
    )
    for n in range(6):
        tasks.put((OPUS, buffers.Batch([encoded(n, key=n in keys)])))
    thread = threading.Thread(target=tasks.get)
    thread.start()
    end = time.monotonic() + 5
    while len(decoded) < len(left) - 1 and time.monotonic() < end:
        time.sleep(0.005)
    tasks.put((OPUS, buffers.Batch([encoded(9)])))
    while (not decoded or decoded[-1][0] != 9) and time.monotonic() < end:
        time.sleep(0.005)
    tasks.put(None)
    thread.join(5)
    assert not thread.is_alive()
    assert decoded == left
    assert len(asked) == asks


@pytest.mark.parametrize(("waited", "left"), [(1.9, [0, 1, 2]), (2.1, [2])])
def test_what_waits_for_its_decoder_gets_no_older_than_two_seconds(
    waited: float, left: list[int]
) -> None:
    """However few pictures come: five per second fill the queue in twelve."""
    now = [0.0]
    decoded: list[tuple[int, str | None]] = []
    counts: Counter[str] = Counter()
    tasks = DecoderQueue(
        60,
        lambda codec, frame: decoded.append((frame.data[0], frame.lost)),
        lambda: None,
        counts,
        clock=lambda: now[0],
    )
    for n, t in enumerate((0.0, 0.0, waited)):
        now[0] = t
        tasks.put((OPUS, buffers.Batch([encoded(n)])))
    thread = threading.Thread(target=tasks.get)
    thread.start()
    end = time.monotonic() + 5
    while len(decoded) < len(left) and time.monotonic() < end:
        time.sleep(0.005)
    tasks.put(None)
    thread.join(5)
    assert [n for n, _ in decoded] == left
    assert decoded[0][1] == ("too_old" if counts else None)
    assert counts == ({"too_old": 2} if len(left) == 1 else {})


def test_decoder_that_was_behind_gets_a_key_frame_and_no_picture_that_lacks_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sender makes a key frame only where it is asked for one."""
    monkeypatch.setitem(receivers.CAPACITY, "video", 4)
    busy, free = threading.Event(), threading.Event()
    given: list[tuple[bool, str | None]] = []
    decode = receivers.Receiver._decode

    def slow(receiver: receivers.Receiver, codec: RTCRtpCodecParameters, frame: Encoded) -> None:
        given.append((frame.data[0] & 1 == 0, frame.lost))
        if len(given) == 10:
            busy.set()
            free.wait(20)
        decode(receiver, codec, frame)

    monkeypatch.setattr(receivers.Receiver, "_decode", slow)

    async def main() -> Call:
        async with Call(Flashes(time.monotonic() + 0.3)) as call:
            counts = call.peer.counts["video"]
            await until(lambda: busy.is_set() and counts["queue_full"] > 0)
            before = counts["key_frames_asked"]
            await until(lambda: counts["key_frames_asked"] > before)
            free.set()
            await until(lambda: len(given) >= 30)
        return call

    try:
        call = asyncio.run(main())
    finally:
        free.set()
    assert given[0][0]
    after = [key for key, lost in given[10:] if lost == "queue_full"]
    assert after and all(after)
    assert "queue_full" in {gap.reason for gap in call.got.gaps if gap.source == "video"}
    assert call.peer.counts["video"]["key_frames_asked"] < 30  # however many packets came


def test_decoder_queue_is_bounded_and_marks_what_it_drops() -> None:
    decoded: list[Encoded] = []
    ended = threading.Event()
    counts: Counter[str] = Counter()
    tasks = DecoderQueue(3, lambda codec, frame: decoded.append(frame), ended.set, counts)
    for n in range(5):
        tasks.put((OPUS, buffers.Batch([encoded(n)])))
    thread = threading.Thread(target=tasks.get)
    thread.start()
    end = time.monotonic() + 5
    while len(decoded) < 3 and time.monotonic() < end:
        time.sleep(0.005)
    tasks.put(None)
    thread.join(5)
    assert not thread.is_alive()
    assert ended.is_set()
    assert counts == {"queue_full": 2}
    assert [frame.data[0] for frame in decoded] == [2, 3, 4]
    assert [frame.lost for frame in decoded] == ["queue_full", None, None]


def test_decoder_queue_stops_without_decoding_what_waits() -> None:
    tasks = DecoderQueue(3, lambda codec, frame: pytest.fail("decoded"), lambda: None, Counter())
    tasks.put((OPUS, buffers.Batch([encoded(1)])))
    tasks.put(None)
    tasks.get()


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        (b"\x10\x10\x00", True),  # first partition, key frame
        (b"\x10\x11\x00", False),  # first partition, no key frame
        (b"\x00\x10\x00", False),  # not the start of a partition
        (b"\x90\x80\x12\x10", True),  # with a picture number
        (b"\x90", False),
    ],
)
def test_vp8_key_frames(payload: bytes, *, key: bool) -> None:
    assert buffers.starts_vp8_key(payload) is key


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        (b"\x67\x42", True),  # parameter set
        (b"\x65\x88", True),  # key frame in one piece
        (b"\x61\x88", False),
        (b"\x7c\x85\x00", True),  # first fragment of a key frame
        (b"\x7c\x05\x00", False),  # later fragment
        (b"\x78\x00\x02\x67\x42", True),  # parameter set among several units
        (b"\x78", False),
        (b"\x7c", False),
    ],
)
def test_h264_key_frames(payload: bytes, *, key: bool) -> None:
    assert buffers.starts_h264_key(payload) is key


def test_counts_start_empty() -> None:
    async def main() -> None:
        peer = Peer("p1", BOTH, Recorder(), fps=10, max_width=640)
        assert peer.counts == {"audio": Counter(), "video": Counter()}
        await peer.close("gone")
        assert await peer.ended == "gone"

    asyncio.run(main())
