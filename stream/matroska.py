"""Matroska (RFC 9559), as far as it takes to write encoded frames as they come.

FFmpeg's muxer holds sound back for as long as VP8 pictures fail to come, without end, and crashes
on H.264 whose parameters it has not seen. Here every cluster is whole: what is written can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

EBML = bytes.fromhex("1a45dfa3")
SEGMENT = bytes.fromhex("18538067")
UNKNOWN = b"\x01" + b"\xff" * 7
"""Size of what goes on until the file ends."""

NAME = b"lddu-live"
LONGEST_MS = 30_000
"""Times in a cluster are 16 bits."""

SEEK_PREROLL_NS = 80_000_000
"""Opus must be decoded from so long before a point to be right there (RFC 7845, 4.6)."""


class Sound(NamedTuple):
    """A track of Opus."""

    channels: int
    rate: int


class Picture(NamedTuple):
    """A track of VP8, or of H.264 with its parameters (ISO/IEC 14496-15, 5.3.3.1)."""

    codec: str
    width: int
    height: int
    private: bytes = b""


class Block(NamedTuple):
    """One frame."""

    track: int
    """1, 2, ... as in the header."""
    at: int
    """Milliseconds."""
    key: bool
    data: bytes


def header(tracks: Sequence[Sound | Picture]) -> bytes:
    """What a file begins with; ``cluster``s follow."""
    ebml = (
        _uint("4286", 1)
        + _uint("42f7", 1)
        + _uint("42f2", 4)
        + _uint("42f3", 8)
        + _element("4282", b"matroska")
        + _uint("4287", 4)
        + _uint("4285", 2)
    )
    info = _uint("2ad7b1", 1_000_000) + _element("4d80", NAME) + _element("5741", NAME)
    entries = b"".join(_track(number, track) for number, track in enumerate(tracks, start=1))
    start = _element(EBML.hex(), ebml) + SEGMENT + UNKNOWN
    return start + _element("1549a966", info) + _element("1654ae6b", entries)


def clusters(blocks: Iterable[Block]) -> bytes:
    """`blocks` in order of time."""
    made, part = b"", list[Block]()
    for block in sorted(blocks, key=lambda block: block.at):
        if part and block.at - part[0].at > LONGEST_MS:
            made, part = made + _cluster(part), []
        part.append(block)
    return made + (_cluster(part) if part else b"")


def _cluster(blocks: Sequence[Block]) -> bytes:
    begin = blocks[0].at
    content = _uint("e7", begin)
    for block in blocks:
        head = struct.pack(">BhB", 0x80 | block.track, block.at - begin, 0x80 * block.key)
        content += _element("a3", head + block.data)
    return _element("1f43b675", content)


def _track(number: int, track: Sound | Picture) -> bytes:
    content = _uint("d7", number) + _uint("73c5", number) + _uint("9c", 0)
    if isinstance(track, Sound):
        head = struct.pack("<8sBBHIhB", b"OpusHead", 1, track.channels, 0, track.rate, 0, 0)
        content += _uint("83", 2) + _element("86", b"A_OPUS") + _element("63a2", head)
        content += _uint("56bb", SEEK_PREROLL_NS)
        rate = _element("b5", struct.pack(">d", track.rate))
        content += _element("e1", rate + _uint("9f", track.channels))
    else:
        name = {"vp8": b"V_VP8", "h264": b"V_MPEG4/ISO/AVC"}[track.codec]
        content += _uint("83", 1) + _element("86", name)
        content += _element("63a2", track.private) if track.private else b""
        content += _element("e0", _uint("b0", track.width) + _uint("ba", track.height))
    return _element("ae", content)


def _element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + struct.pack(">Q", 1 << 56 | len(content)) + content


def _uint(name: str, value: int) -> bytes:
    return _element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))
