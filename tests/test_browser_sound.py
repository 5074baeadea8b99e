"""Chromium answers losses with copies: what one packet loses, the next one brings."""

from __future__ import annotations

import asyncio
import random
import wave
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiortc import RTCDtlsTransport
from playwright.async_api import async_playwright

from benchmarks.chaos.speech import RATE, speech
from stream.webrtc import Peer
from tests.browser import FLAGS, GRANT, find_browser
from tests.fake_media import FAKE_DEVICE
from tests.webrtc_peers import Recorder

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(find_browser() is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.live,
]

PAGE = """<!doctype html><title>voice</title><script>
async function call() {
  const sound = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: sound });
  const peer = new RTCPeerConnection();
  peer.addTrack(stream.getTracks()[0], stream);
  await peer.setLocalDescription();
  await new Promise((done) => {
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
    setTimeout(done, 2000);
  });
  const answer = await fetch("/offer", { method: "POST", body: peer.localDescription.sdp });
  await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
}
</script>"""


async def hear(flags: list[str], seconds: float) -> Peer:
    """What Chromium sends, of which 10 % of the packets get lost."""
    peer = Peer("p1", frozenset({"audio"}), Recorder(), fps=10, max_width=64)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def offer(request: web.Request) -> web.Response:
        return web.Response(text=await peer.answer(await request.text()))

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_post("/offer", offer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=find_browser(), args=[*FLAGS, *flags]
            )
            tab = await browser.new_page()
            await tab.goto(f"http://127.0.0.1:{port}/")
            await tab.evaluate("call()")
            await asyncio.sleep(seconds)
            await browser.close()
    finally:
        await peer.close()
        await runner.cleanup()
    return peer


def test_chromium_sends_copies_when_packets_get_lost(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = tmp_path / "voice.wav"
    with wave.open(str(voice), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((speech(shared / "media", 20.0) * 32_767).astype("<i2").tobytes())
    rng = random.Random(1)
    take = RTCDtlsTransport._handle_rtp_data

    async def lose(self: Any, data: bytes, arrival_time_ms: int) -> None:
        if rng.random() >= 0.1:
            await take(self, data, arrival_time_ms)

    monkeypatch.setattr(RTCDtlsTransport, "_handle_rtp_data", lose)
    flags = [GRANT, FAKE_DEVICE, f"--use-file-for-fake-audio-capture={voice}"]
    counts = asyncio.run(hear(flags, 25.0)).counts["audio"]
    assert counts["frames"] > 800
    assert counts["packets_lost"] > 50
    assert counts["recovered_ms"] > 0.3 * 20 * counts["packets_lost"], counts
