"""Publish flashes and beeps by FFmpeg's WHIP muxer: a WebRTC sender that is not aiortc.

A process of its own, ``python -m tests.whip_publisher URL TOKEN CERT KEY SECONDS``, since the muxer
holds the interpreter while it waits for the server.
"""

from __future__ import annotations

import fractions
import sys
import time

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

RATE, FPS = 48_000, 30


def picture(n: int) -> av.VideoFrame:
    """Bright for 0.1 s of every second, from 0.5 s on."""
    image = np.full((180, 320, 3), 220 if n % FPS in (15, 16, 17) else 20, np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
    frame.pts, frame.time_base = n, fractions.Fraction(1, FPS)
    return frame


def sound(n: int) -> av.AudioFrame:
    """20 ms; a beep with every flash."""
    t = n * 0.02 + np.arange(960) / RATE
    beep = np.sin(2 * np.pi * 1000 * t) * 12_000 * ((t - 0.5) % 1.0 < 0.1)
    samples = np.repeat(beep.astype(np.int16), 2)[None, :]
    frame = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
    frame.sample_rate = RATE
    frame.pts, frame.time_base = n * 960, fractions.Fraction(1, RATE)
    return frame


def streams(output: OutputContainer) -> tuple[VideoStream, AudioStream]:
    options = {"tune": "zerolatency", "profile": "baseline", "preset": "ultrafast", "g": str(FPS)}
    video = output.add_stream("libx264", rate=FPS, options=options)
    video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
    audio = output.add_stream("libopus", rate=RATE)
    audio.layout = "stereo"
    return video, audio


def publish(url: str, options: dict[str, str], seconds: float) -> None:
    output = av.open(url, "w", format="whip", options=options)
    video, audio = streams(output)
    output.start_encoding()
    pictures = sounds = 0
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        while pictures / FPS <= elapsed:
            output.mux(video.encode(picture(pictures)))
            pictures += 1
        while sounds * 0.02 <= elapsed:
            output.mux(audio.encode(sound(sounds)))
            sounds += 1
        time.sleep(0.005)
    output.close()


if __name__ == "__main__":
    url, token, cert, key, seconds = sys.argv[1:]
    publish(url, {"authorization": token, "cert_file": cert, "key_file": key}, float(seconds))
