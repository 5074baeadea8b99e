"""Encoded frames of a call whose media is kept, as FFmpeg writes them into a file.

The first byte of an input chooses the codec of the pictures, and whether they begin with a whole
key frame: else hardly any file would be begun. Frames are divided by ``CUT``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.chaos.targets import Feed
from stream.buffers import Encoded
from stream.clock import Line, Stamp
from stream.keep import MediaQueue, MediaWriter
from stream.receivers import RATES, Kind
from tests.test_decoders import SPEECH, pictures

CUT = b"\xa5\x5a"
HEADER = {"type": "log", "started": 0.0, "keep_until": 1.0}
KEYS = {"vp8": pictures("libvpx")[0], "h264": pictures("libx264")[0]}
SEEDS = [
    *(bytes([n]) + CUT.join(pictures(name)[:3]) for n, name in enumerate(("libvpx", "libx264"))),
    b"\2" + CUT.join([SPEECH[5], pictures("libvpx")[1], SPEECH[6]]),
    b"\3" + CUT.join([SPEECH[5], pictures("libx264")[1], b"\0\0\0\1\x67\x42\0\0\1\x68\0\0\1\x65"]),
]


@contextmanager
def opened() -> Iterator[Feed]:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)

        def feed(data: bytes) -> None:
            if data:
                write(root, ("vp8", "h264")[data[0] % 2], data[0] & 2 > 0, data[1:].split(CUT))
                for path in root.iterdir():
                    path.unlink()

        yield feed


def write(root: Path, codec: str, whole: bool, frames: list[bytes]) -> None:
    """Frames that begin as Opus does here are sound; every third is written at once."""
    queue = MediaQueue(frozenset({"audio", "video"}))
    writer = MediaWriter(root / "media.log", root / "media.mkv", HEADER, queue)
    put = queue.inlet()
    for n, frame in enumerate([KEYS[codec], *frames] if whole else frames):
        sound = frame[:1] == SPEECH[5][:1]
        kind: Kind = "audio" if sound else "video"
        stamp = Stamp(n * RATES[kind] // 2, Line(RATES[kind], 0.0, False, 0))
        put(kind, "opus" if sound else codec, Encoded(frame, stamp, None))
        if n % 3 == 2:
            writer.write()
    writer.close()
