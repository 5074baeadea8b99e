"""How far outlines are from the faces under them: ``python -m benchmarks.outline [CLIP ...]``.

The landmarks of every frame of a clip are the truth. The page gets those of ten frames per second,
each so long after its frame as in a call, and draws outlines for every frame. Compared are the
*newest* outline, as it is, on the live picture; the outline *predicted* for the live picture
(`motion.js`); and the one drawn on a picture that is *locked*: shown later by as much as outlines
are late. Errors are mean distances of the points of the face's oval, in percent of the width of the
face. The last line is JSON; it is also written to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.live import RESULTS, default_clip
from benchmarks.overlay import commit
from stream.config import StreamConfig
from stream.extractors import LazyExtractors
from stream.overlay import outlines
from tests.browser import GRANT, launch, open_page
from tests.fake_server import fake_server
from workers.face import FaceStage
from workers.messages import FaceFrame, VideoFrame

FPS = 10.0
LAG_S = 0.05
"""p95 of the time from capture to an outline in a call, about (benchmarks/results/live.json)."""
Seen = dict[str, Any]

DRAW = """async ([frames, fps, lag]) => {
  const { Motion } = await import("/static/motion.js");
  const far = ([x, y], [u, v]) => Math.hypot(x - u, y - v);
  const distance = (a, b) => a.reduce((sum, point, i) => sum + far(point, b[i]), 0) / a.length;
  const errors = { newest: [], predicted: [], locked: [] };
  const analysed = [];
  for (const face of frames) {
    const last = analysed.at(-1);
    if (!last || face.t >= last.t + 1 / fps - 0.01) analysed.push(face);
  }
  const arrived = (wall) => analysed.filter((face) => face.t + lag <= wall).slice(-5);
  for (const truth of frames) {
    if (truth.t < 1) continue;
    const width = truth.box[2] - truth.box[0];
    const at = (known) => {
      const motion = new Motion();
      for (const face of known) motion.put(face.t, face, truth.t);
      return motion.at(truth.t, truth.t)?.outlines[0];
    };
    const drawn = {
      newest: arrived(truth.t).at(-1)?.outlines[0],
      predicted: at(arrived(truth.t)),
      locked: at(arrived(truth.t + lag)),
    };
    for (const [name, line] of Object.entries(drawn)) {
      if (line) errors[name].push(distance(line, truth.outlines[0]) / width);
    }
  }
  return errors;
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how outlines fit the faces under them.")
    parser.add_argument("clips", nargs="*", type=Path, default=[default_clip()])
    parser.add_argument("--lag", type=float, default=LAG_S, help="seconds (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS / "outline.json")
    arguments = parser.parse_args()
    extractors = LazyExtractors(StreamConfig())
    try:
        seen = {clip.name: faces(clip, extractors) for clip in arguments.clips}
    finally:
        extractors.close()
    with (
        fake_server() as server,
        sync_playwright() as playwright,
        launch(playwright, [GRANT]) as browser,
        open_page(browser, server.url) as page,
    ):
        rows = {name: errors(page, each, arguments.lag) for name, each in seen.items()}
    for name, row in rows.items():
        for how, error in row.items():
            print(f"{name:40} {how:10} p50 {error['p50']:5.2f} %  p95 {error['p95']:5.2f} %")
    result = {"benchmark": "outline", "lag_s": arguments.lag, "commit": commit(), "clips": rows}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


def faces(clip: Path, extractors: LazyExtractors) -> list[Seen]:
    """The largest face of every frame of a clip."""
    stage = FaceStage("p1", extractors.face)
    found = []
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            seen, _ = stage.push(VideoFrame("p1", frame.time or 0.0, image))
            assert isinstance(seen, FaceFrame)
            if seen.faces:
                face = seen.faces[0]
                box = [float(edge) for edge in face.box]
                found.append({"t": seen.t, "box": box, "outlines": outlines(face)[:1]})
    return found


def errors(page: Page, frames: Sequence[Seen], lag: float) -> dict[str, dict[str, float]]:
    """Median and 95th percentile, in percent of the width of the face."""
    found: dict[str, list[float]] = page.evaluate(DRAW, [list(frames), FPS, lag])
    return {
        name: {f"p{q}": round(100 * float(np.percentile(each, q)), 2) for q in (50, 95)}
        for name, each in found.items()
    }


if __name__ == "__main__":
    sys.exit(main())
