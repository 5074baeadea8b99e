from __future__ import annotations

import ctypes

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream import opus
from stream.errors import StreamError
from stream.opus import RATE, OpusDecoder, OpusError, duration, has_copy
from workers.messages import Float32


def encode(
    samples: Float32, *, fec: bool = True, bit_rate: int = 32_000, layout: str = "mono"
) -> list[bytes]:
    """Packets of 20 ms of (n,) at ``RATE``, as a browser makes them for a voice."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.format, encoder.layout, encoder.sample_rate = "flt", layout, RATE
    encoder.bit_rate = bit_rate
    encoder.options = {"application": "voip", "fec": str(int(fec)), "packet_loss": "20"}
    packets = []
    for at in range(0, len(samples) - 959, 960):
        piece = samples[at : at + 960]
        shaped = np.repeat(piece, 2) if layout == "stereo" else piece
        frame = av.AudioFrame.from_ndarray(shaped[None], "flt", layout)
        frame.sample_rate = RATE
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


def voice(seconds: float) -> Float32:
    """A buzz that glides and comes in syllables: encoders take it for speech."""
    t = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (120 * t + 8 * np.sin(2 * np.pi * 0.7 * t))
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
    loud = 0.2 * np.maximum(0.0, np.sin(2 * np.pi * 2 * t))
    return np.asarray(loud * buzz, np.float32)


SPEECH = encode(voice(2.0))


def decode_all(packets: list[bytes]) -> list[Float32]:
    decoder = OpusDecoder()
    return [decoder.decode(packet).copy() for packet in packets]


def test_decodes_as_ffmpeg_does() -> None:
    codec = av.CodecContext.create("libopus", "r")
    assert isinstance(codec, av.AudioCodecContext)
    codec.format, codec.layout, codec.sample_rate = "flt", "mono", RATE
    theirs = [
        frame.to_ndarray().reshape(-1) / (1.0 if frame.format.name.startswith("flt") else 32768)
        for packet in SPEECH
        for frame in codec.decode(av.Packet(packet))
    ]
    ours, other = np.concatenate(decode_all(SPEECH)), np.concatenate(theirs)
    n = min(len(ours), len(other))
    shift = len(ours) - len(other)  # FFmpeg leaves out what the encoder needs to start
    assert 0 <= shift < 960
    assert np.abs(ours[shift:][:n] - other[:n]).max() < 1e-3


def test_a_lost_packet_is_recovered_from_the_next() -> None:
    """Much better than it can be guessed from what was before it."""
    whole = decode_all(SPEECH)
    tried = [n for n in range(5, 95) if has_copy(SPEECH[n + 1])]
    assert len(tried) > 30
    recovered: list[float] = []
    guessed: list[float] = []
    for lost in tried:
        for guess, errors in ((False, recovered), (True, guessed)):
            decoder = OpusDecoder()
            for packet in SPEECH[:lost]:
                decoder.decode(packet)
            got = decoder.conceal(960) if guess else decoder.recover(SPEECH[lost + 1], 960)
            assert len(got) == 960
            errors.append(float(np.square(got - whole[lost]).sum()))
    assert sum(recovered) < 0.2 * sum(guessed)


def test_concealment_fades() -> None:
    decoder = OpusDecoder()
    for packet in SPEECH[:10]:
        decoder.decode(packet)
    loudness = [float(np.abs(decoder.conceal(960)).mean()) for _ in range(8)]
    assert loudness[0] > 0.05
    assert loudness[-1] < 0.01 * loudness[0]


def test_which_packets_carry_a_copy() -> None:
    assert sum(map(has_copy, SPEECH)) > 30
    assert not any(map(has_copy, encode(voice(1.0), fec=False)))


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60) | st.sampled_from(SPEECH))
@example(b"\x1c\x01")  # 60 ms, and only the side channel has one
def test_has_copy_agrees_with_libopus(packet: bytes) -> None:
    asks = getattr(opus.library(), "opus_packet_has_lbrr", None)
    if asks is None:
        pytest.skip("this libopus is too old to ask")
    asks.argtypes = [ctypes.c_char_p, ctypes.c_int32]
    try:
        mine = has_copy(packet)
    except OpusError:
        return
    if not packet[0] & 3 and len(packet) > 1:
        assert mine == (asks(packet, len(packet)) == 1)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_whatever_comes_is_sound_or_an_error(packets: list[bytes]) -> None:
    decoder = OpusDecoder()
    for packet in packets:
        try:
            got = decoder.decode(packet)
        except OpusError:
            continue
        assert 0 <= len(got) <= opus.LONGEST
        assert np.isfinite(got).all()
        assert np.abs(got).max(initial=0.0) <= 1.0


def test_duration() -> None:
    assert {duration(packet) for packet in SPEECH} == {960}
    with pytest.raises(OpusError):
        duration(b"")


def test_stereo_becomes_its_mean() -> None:
    packets = encode(voice(0.5), layout="stereo")
    mono = np.concatenate(decode_all(encode(voice(0.5))))
    both = np.concatenate(decode_all(packets))
    assert float(np.std(both)) == pytest.approx(float(np.std(mono)), rel=0.1)


def test_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus, "_places", lambda: iter(["/nowhere/libopus.so"]))
    opus.library.cache_clear()
    try:
        with pytest.raises(StreamError, match="libopus") as caught:
            OpusDecoder()
        assert "apt-get" in (caught.value.hint or "")
    finally:
        opus.library.cache_clear()
