"""Opus packets -> sound, through libopus itself.

FFmpeg's wrapper of libopus decodes whole packets only. What makes up for lost packets needs more of
it: the copy of the sound before a packet that a sender may put into it (in-band forward error
correction, RFC 6716, 2.1.7), and concealment, which goes on from what was heard last.

The library is the one that PyAV brings along, or where PyAV was built here, the system's.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from stream.errors import StreamError
from workers.messages import Float32

RATE = 48_000
"""Samples per second of what is decoded, and RTP ticks per second of Opus."""

STEP = RATE // 400
"""2.5 ms in samples: what is concealed or recovered is a multiple of this."""

LONGEST = RATE * 120 // 1000
"""Samples of the longest packet."""


class OpusError(ValueError):
    """A packet that cannot be decoded."""


class OpusDecoder:
    """Decodes one stream, in order, to mono. For one thread. Raises ``OpusError``.

    Raises ``StreamError`` where there is no libopus.
    """

    def __init__(self) -> None:
        self._library = library()
        error = ctypes.c_int()
        state = self._library.opus_decoder_create(RATE, 1, ctypes.byref(error))
        if not state:
            raise OpusError(f"no decoder could be made ({error.value})")
        self._state = ctypes.c_void_p(state)
        self._pcm = np.empty(LONGEST, np.float32)
        weakref.finalize(self, self._library.opus_decoder_destroy, self._state)

    def decode(self, packet: bytes) -> Float32:
        """(n,) at ``RATE`` in [-1, 1]: what `packet` holds."""
        return self._run(packet, LONGEST, fec=False)

    def recover(self, packet: bytes, samples: int) -> Float32:
        """(`samples`,) that lie right before `packet`, from the copy in it (``has_copy``).

        `packet` itself is still to be decoded.
        """
        return self._run(packet, samples, fec=True)

    def conceal(self, samples: int) -> Float32:
        """(`samples`,) that go on from what was decoded last, softer and softer."""
        return self._run(None, samples, fec=False)

    def _run(self, packet: bytes | None, samples: int, *, fec: bool) -> Float32:
        got: int = self._library.opus_decode_float(
            self._state,
            packet,
            0 if packet is None else len(packet),
            self._pcm.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            samples,
            int(fec),
        )
        if got < 0:
            raise OpusError(f"libopus: error {got}")
        return np.clip(self._pcm[:got], -1.0, 1.0)


def duration(packet: bytes) -> int:
    """Samples at ``RATE`` in a packet. Raises ``OpusError``."""
    samples: int = library().opus_packet_get_nb_samples(packet, len(packet), RATE)
    if samples <= 0:
        raise OpusError(f"libopus: error {samples}")
    return samples


def has_copy(packet: bytes) -> bool:
    """Whether a packet of one frame carries a copy of the sound before it (RFC 6716, 4.2.4).

    Senders put one frame into a packet; of others the answer is no.
    """
    if len(packet) < 2 or packet[0] & 3 or packet[0] >= 0x80:  # several frames, or none of speech
        return False
    parts = max(1, duration(packet) * 50 // RATE)
    flags = packet[1] >> (7 - parts) & 1
    if packet[0] & 4:  # stereo: the side channel has flags of its own
        flags |= packet[1] >> (6 - 2 * parts) & 1
    return bool(flags)


def version() -> str:
    """Name and version of the library."""
    text: bytes = library().opus_get_version_string()
    return text.decode()


@cache
def library() -> Any:
    """The library. Raises ``StreamError`` where there is none."""
    for place in _places():
        try:
            found = ctypes.CDLL(place)
            return _declared(found)
        except (OSError, AttributeError):
            continue
    raise StreamError(
        "there is no libopus, so no call can be heard",
        hint="install it, e.g. apt-get install libopus0, or PyAV from a wheel",
    )


def _places() -> Iterator[str]:
    root = Path(av.__file__).parent
    for folder, pattern in ((root.parent / "av.libs", "*opus*"), (root / ".dylibs", "*opus*")):
        yield from (str(path) for path in sorted(folder.glob(pattern)))
    found = ctypes.util.find_library("opus")
    if found is not None:
        yield found


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    floats = ctypes.POINTER(ctypes.c_float)
    for name, result, arguments in (
        ("opus_decoder_create", pointer, [ctypes.c_int32, number, ctypes.POINTER(number)]),
        ("opus_decoder_destroy", None, [pointer]),
        ("opus_decode_float", number, [pointer, text, ctypes.c_int32, floats, number, number]),
        ("opus_packet_get_nb_samples", number, [text, ctypes.c_int32, ctypes.c_int32]),
        ("opus_get_version_string", text, []),
    ):
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found
