"""Pictures of the page: ``python -m benchmarks.picture IMAGE SOUND [--out FILE] [--size WxH]``.

A real call, as in ``benchmarks.live``, in which the camera shows a still image.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

import av
import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.served import serve
from tests.browser import GRANT, launch, open_page, stats, wait_until
from tests.fake_media import fake_still

SECONDS = 8.0
"""Of the loop: `SOUND` must be shorter."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Take a picture of the page.")
    parser.add_argument("image", type=Path)
    parser.add_argument("sound", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/overlay.png"))
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--size", default="1280x800", help="of the window (default: %(default)s)")
    parser.add_argument("--locale", default="en-US")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="lddu-picture-") as name:
        folder = Path(name)
        media = fake_still(arguments.image, folder, seconds=SECONDS, sound=arguments.sound)
        with (
            serve(folder, *arguments.overrides) as server,
            sync_playwright() as playwright,
            launch(playwright, [GRANT, *media.flags]) as browser,
            open_page(
                browser,
                server.url,
                viewport={"width": width, "height": height},
                locale=arguments.locale,
                color_scheme="dark" if arguments.dark else "light",
            ) as page,
        ):
            for kind in ("face", "voice", "words"):
                page.locator(f"input[name={kind}]").check()
            page.locator("#begin").click()
            wait_until(page, lambda: said(page), "the second caption of a round", seconds=60)
            page.wait_for_timeout(1200)
            shot = page.screenshot()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(smaller(shot))
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1000:.0f} KB")


def smaller(png: bytes) -> bytes:
    """The same picture with 32 shades per colour: half the size, and hardly to be seen."""
    with av.open(io.BytesIO(png), "r") as source:
        pixels = next(source.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    rounded = ((pixels * 31 + 127) // 255 * 255 // 31).astype(np.uint8)
    result = io.BytesIO()
    with av.open(result, "w", format="image2pipe") as target:
        stream = target.add_stream("png", rate=1, options={"pred": "mixed"})
        stream.height, stream.width = rounded.shape[:2]
        stream.pix_fmt = "rgb24"
        frame = av.VideoFrame.from_ndarray(rounded, format="rgb24")
        target.mux([*stream.encode(frame), *stream.encode(None)])
    return result.getvalue()


def said(page: Page) -> bool:
    """Some seconds of the call are over and something has just been said."""
    found = stats(page)
    return bool(found) and len(found["transcripts"]) >= 4 and found["clock"] is not None


if __name__ == "__main__":
    main()
