from __future__ import annotations

import struct
from collections import Counter

import av
import numpy as np
import pytest

from stream.clock import Line, Stamp
from stream.decoders import ErrorBudget, Heard, PictureDecoder, SoundDecoder, Verdict
from stream.opus import OpusError, has_copy
from tests.test_opus import encode, voice

SPEECH = encode(voice(1.0))
COPIED = next(n for n in range(4, 45) if all(map(has_copy, SPEECH[n : n + 9])))
"""From here on packets carry copies."""


def stamp(n: int, epoch: int = 0) -> Stamp:
    return Stamp(1000 + 960 * n, Line(48_000, 0.0, provisional=False, epoch=epoch))


def decode(numbers: list[int], *, epoch_at: int = 99) -> tuple[list[Heard], Counter[str]]:
    counts: Counter[str] = Counter()
    decoder = SoundDecoder(counts)
    heard: list[Heard] = []
    for before, n in zip([numbers[0] - 1, *numbers], numbers, strict=False):
        lost = "network" if n != before + 1 else None
        heard += decoder.decode(SPEECH[n], stamp(n, int(n >= epoch_at)), lost)
    return heard, counts


def assert_whole(heard: list[Heard]) -> None:
    ends = [piece.timestamp + len(piece.samples) for piece in heard]
    assert ends[:-1] == [piece.timestamp for piece in heard[1:]]


def test_one_lost_packet_is_recovered() -> None:
    heard, counts = decode([n for n in range(20) if n != COPIED])
    assert_whole(heard)
    assert all(piece.lost is None for piece in heard)
    assert counts == {"recovered_ms": 20, "concealed_ms": 0}


def test_of_several_lost_packets_the_last_is_recovered_and_the_others_are_concealed() -> None:
    heard, counts = decode([n for n in range(20) if n not in range(COPIED, COPIED + 3)])
    assert_whole(heard)
    assert [len(piece.samples) for piece in heard if piece.lost] == [1920]
    assert counts == {"recovered_ms": 20, "concealed_ms": 40}


def test_a_long_hole_stays_one_but_for_its_end() -> None:
    heard, counts = decode([0, 1, COPIED + 8])
    assert [piece.timestamp for piece in heard[2:]] == [
        stamp(COPIED + 7).timestamp,
        stamp(COPIED + 8).timestamp,
    ]
    assert counts == {"recovered_ms": 20, "concealed_ms": 0}


def test_nothing_is_made_up_where_nothing_was_lost() -> None:
    counts: Counter[str] = Counter()
    decoder = SoundDecoder(counts)
    decoder.decode(SPEECH[0], stamp(0), None)
    assert len(decoder.decode(SPEECH[9], stamp(9), None)) == 1  # the sender sends no silence
    assert not counts


def test_nothing_is_made_up_where_the_clock_moved() -> None:
    heard, counts = decode([0, 1, 2, 5, 6], epoch_at=5)
    assert len(heard) == 5
    assert not counts["concealed_ms"]


def test_a_packet_that_comes_again_is_dropped() -> None:
    heard, counts = decode([0, 1, 2, 1, 3])
    assert_whole(heard)
    assert counts["audio_repeated"] == 1


def test_an_error_is_made_up_for_by_the_next_packet() -> None:
    counts: Counter[str] = Counter()
    decoder = SoundDecoder(counts)
    heard = [*decoder.decode(SPEECH[COPIED - 1], stamp(0), None)]
    with pytest.raises(OpusError):
        decoder.decode(b"\xff", stamp(1), None)
    heard += decoder.decode(SPEECH[COPIED + 1], stamp(2), "decode_error")
    assert_whole(heard)
    assert counts["recovered_ms"] == 20


def test_error_budget() -> None:
    budget = ErrorBudget(run=3, capacity=8)
    assert [budget.failed() for _ in range(7)] == [
        Verdict.GO_ON, Verdict.GO_ON, Verdict.RENEW,
        Verdict.GO_ON, Verdict.GO_ON, Verdict.RENEW,
        Verdict.GO_ON,
    ]  # fmt: skip
    budget.worked()
    assert budget.failed() is Verdict.GO_ON
    assert budget.failed() is Verdict.STOP


def test_errors_with_as_many_frames_between_never_use_up_a_budget() -> None:
    budget = ErrorBudget(run=3, capacity=8)
    for _ in range(100):
        assert budget.failed() is Verdict.GO_ON
        budget.worked()


def pictures(codec: str, width: int = 64, height: int = 48, n: int = 3) -> list[bytes]:
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    if codec == "libx264":
        encoder.options = {"tune": "zerolatency", "preset": "ultrafast"}
    else:
        encoder.options = {"lag-in-frames": "0", "deadline": "realtime"}
    packets = []
    for k in range(n):
        image = np.full((height, width, 3), 40 * k, np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = k
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets + [bytes(packet) for packet in encoder.encode(None)]


@pytest.mark.parametrize(("name", "codec"), [("VP8", "libvpx"), ("H264", "libx264")])
def test_pictures_come_at_once_and_change_their_size(name: str, codec: str) -> None:
    decoder = PictureDecoder()
    sizes = []
    for k, data in enumerate([*pictures(codec), *pictures(codec, 128, 96)]):
        (frame,) = decoder.decode(name, data, 3000 * k)
        assert frame.pts == 3000 * k
        sizes.append((frame.width, frame.height))
    assert sizes == [(64, 48)] * 3 + [(128, 96)] * 3


def test_a_picture_that_claims_to_be_huge_is_refused() -> None:
    key = bytearray(pictures("libvpx")[0])
    assert struct.unpack_from("<HH", key, 6) == (64, 48)
    struct.pack_into("<HH", key, 6, 16_383, 16_383)
    decoder = PictureDecoder()
    with pytest.raises(av.FFmpegError):
        decoder.decode("VP8", bytes(key), 0)
    assert decoder.decode("VP8", pictures("libvpx")[0], 1)
