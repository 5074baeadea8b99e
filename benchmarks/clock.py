"""How well sound and picture of a call lie on one clock: flashes and beeps at the same moments.

``python -m benchmarks.clock [--sender aiortc] [--sender browser] [--sender ffmpeg]``

A sender makes a flash and a beep every second and starts its tracks with offsets of up to 3 s. The
error is the stream time of a beep minus that of its flash, less by how much the page was late to
draw it (a busy browser is, by tens of ms). ``before`` are those that were placed
by arrival, before the sender reports of both tracks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from aiohttp import web
from playwright.async_api import async_playwright

from stream.receivers import Kind
from stream.webrtc import Peer
from tests.browser import FLAGS, find_browser
from tests.certificates import write_certificate
from tests.webrtc_peers import Beeps, Flashes, Recorder, accept, new_sender, offer_of

OFFSETS = ((0.0, 0.0), (0.0, 1.0), (1.7, 0.0), (0.0, 3.0), (3.0, 0.0))
"""(start of sound, start of pictures) in seconds."""

KINDS: frozenset[Kind] = frozenset({"audio", "video"})

PAGE = """
<!doctype html><title>flash and beep</title><canvas width=320 height=180></canvas><script>
const wall = () => (performance.timeOrigin + performance.now()) / 1000;
async function start(audioAfter, videoAfter) {
  const canvas = document.querySelector("canvas"), pen = canvas.getContext("2d");
  const sound = new AudioContext({ latencyHint: "interactive" });
  const out = sound.createMediaStreamDestination();
  const gain = sound.createGain(), tone = sound.createOscillator();
  tone.frequency.value = 1000; gain.gain.value = 0;
  tone.connect(gain).connect(out); tone.start();
  const first = performance.now() / 1000 + 1, zero = sound.currentTime - performance.now() / 1000;
  for (let k = 0; k < 60; k += 0.5) {
    gain.gain.setValueAtTime(0.5, first + k + zero);
    gain.gain.setValueAtTime(0, first + k + 0.1 + zero);
  }
  // A canvas that is captured hands its picture on one or two display frames later, stamped then:
  // a generator takes each picture with the time at which it was drawn.
  const track = new MediaStreamTrackGenerator({ kind: "video" });
  const pictures = track.writable.getWriter();
  window.drawn = [];
  let white = false;
  const draw = () => {
    const phase = (performance.now() / 1000 - first) % 0.5;
    const flash = phase >= 0 && phase < 0.1;
    pen.fillStyle = flash ? "white" : "black";
    pen.fillRect(0, 0, 320, 180);
    pictures.write(new VideoFrame(canvas, { timestamp: 1000 * performance.now() }));
    if (flash && !white) window.drawn.push([wall(), phase]);
    white = flash;
  };
  setInterval(draw, 33);
  for (let k = 0; k < 60; k += 0.5)  // right when a flash begins, whatever the interval
    setTimeout(draw, 1000 * (first + k) - performance.now() + 1);
  const peer = new RTCPeerConnection({ iceServers: [] });
  const audio = peer.addTransceiver("audio", { direction: "sendonly" }).sender;
  const video = peer.addTransceiver("video", { direction: "sendonly" }).sender;
  await peer.setLocalDescription();
  await new Promise((done) => {
    if (peer.iceGatheringState === "complete") done();
    else peer.addEventListener("icegatheringstatechange",
      () => peer.iceGatheringState === "complete" && done());
  });
  const answer = await fetch("/offer", { method: "POST", body: peer.localDescription.sdp });
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  while (peer.connectionState !== "connected") await new Promise((done) => setTimeout(done, 20));
  setTimeout(() => audio.replaceTrack(out.stream.getAudioTracks()[0]), audioAfter * 1000);
  setTimeout(() => video.replaceTrack(track), videoAfter * 1000);
}
</script>
"""


@dataclass
class Call:
    """What came of a call."""

    got: Recorder
    began: float
    """Unix time of stream time 0 by arrival."""
    drawn: list[tuple[float, float]] = field(default_factory=list)
    """Unix time at which the sender drew a flash, and how late after its beep that was."""

    def late(self, unix: float) -> float:
        """How late the flash that was drawn about then was."""
        return min(((abs(at - unix), late) for at, late in self.drawn), default=(0.0, 0.0))[1]


@dataclass
class Errors:
    """In seconds, and whether the call's clock rested on reports."""

    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    anchor: list[float] = field(default_factory=list)
    """Stream time minus time since the call began, at capture: the constant error of all sources
    of a call together, since its first packets were placed by arrival."""

    def add(self, call: Call) -> None:
        """Pair flashes and beeps of one call."""
        got = call.got
        zero = next((unix for unix in reversed(got.clocks) if unix is not None), call.began)
        self.anchor.append(call.began - zero)
        beeps = got.beeps()
        for flash, provisional in got.flashes():
            near = [(abs(beep - flash), beep - flash, early) for beep, early in beeps]
            if near and min(near)[0] < 0.25:
                _, error, early = min(near)
                error += call.late(zero + flash)
                (self.before if provisional or early else self.after).append(error)

    def row(self) -> dict[str, float | int]:
        """Figures in ms."""
        result: dict[str, float | int] = {}
        for name, errors in (("before", self.before), ("after", self.after)):
            ms = 1000 * np.asarray(errors)
            result[f"{name}_n"] = len(ms)
            if len(ms):
                result[f"{name}_mean_ms"] = round(float(ms.mean()), 1)
                result[f"{name}_median_ms"] = round(float(np.median(ms)), 1)
                result[f"{name}_sd_ms"] = round(float(ms.std()), 1)
                result[f"{name}_p95_ms"] = round(float(np.percentile(np.abs(ms), 95)), 1)
                result[f"{name}_max_ms"] = round(float(np.abs(ms).max()), 1)
        result["anchor_ms"] = round(1000 * float(np.median(self.anchor)), 1)
        return result


def new_peer() -> tuple[Peer, Recorder]:
    got = Recorder()
    return Peer("p1", KINDS, got, fps=30, max_width=640), got


async def from_aiortc(audio_after: float, video_after: float, seconds: float) -> Call:
    peer, got = new_peer()
    sender = new_sender()
    begin = time.monotonic() + 0.5
    flashes = Flashes(begin + video_after)
    sender.addTrack(Beeps(begin + audio_after, flashes.phase))
    sender.addTrack(flashes)
    await accept(sender, await peer.answer(await offer_of(sender)))
    await asyncio.sleep(seconds)
    await sender.close()
    await peer.close()
    return Call(got, time.time() - peer.now())


@asynccontextmanager
async def answering(peer: Peer) -> AsyncIterator[str]:
    """The address of a server that shows PAGE and answers offers for `peer`."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def offer(request: web.Request) -> web.Response:
        answer = await peer.answer(await request.text())
        return web.Response(
            text=answer, status=201, content_type="application/sdp", headers={"Location": "/call"}
        )

    app = web.Application()
    app.add_routes([web.get("/", page), web.post("/offer", offer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def from_browser(audio_after: float, video_after: float, seconds: float) -> Call:
    peer, got = new_peer()
    async with answering(peer) as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        page = await browser.new_page()
        await page.goto(url)
        await page.evaluate(f"start({audio_after}, {video_after})")
        await asyncio.sleep(seconds)
        drawn = await page.evaluate("drawn")
        await browser.close()
        await peer.close()
    return Call(got, time.time() - peer.now(), [(at, late) for at, late in drawn])


async def from_ffmpeg(_audio_after: float, _video_after: float, seconds: float) -> Call:
    """FFmpeg's muxer starts both tracks together."""
    peer, got = new_peer()
    with tempfile.TemporaryDirectory() as folder:
        identity = map(str, write_certificate(Path(folder)))
        async with answering(peer) as url:
            command = ["-m", "tests.whip_publisher", f"{url}/offer", "none", *identity]
            process = await asyncio.create_subprocess_exec(sys.executable, *command, str(seconds))
            await process.wait()
    await peer.close()
    return Call(got, time.time() - peer.now())


SENDERS: dict[str, Callable[[float, float, float], Awaitable[Call]]] = {
    "aiortc": from_aiortc,
    "browser": from_browser,
    "ffmpeg": from_ffmpeg,
}


async def measure(sender: str, seconds: float) -> Errors:
    errors = Errors()
    for offsets in OFFSETS if sender != "ffmpeg" else OFFSETS[:1]:
        errors.add(await SENDERS[sender](*offsets, seconds))
    return errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sender", action="append", choices=[*SENDERS])
    parser.add_argument("--seconds", type=float, default=15.0, help="per call")
    args = parser.parse_args()
    for sender in args.sender or SENDERS:
        row = asyncio.run(measure(sender, args.seconds)).row()
        print(json.dumps({"sender": sender, **row}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
