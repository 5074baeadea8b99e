// The transcript follows the recording, and takes it along.

import { countUpTo } from "./data.js";

const byId = (id) => document.getElementById(id);

export class Transcript {
  constructor(player) {
    this.box = byId("transcript");
    this.segments = [...this.box.querySelectorAll(".seg")];
    this.starts = Float64Array.from(this.segments, (segment) => Number(segment.dataset.t));
    this.ends = Float64Array.from(this.segments, (segment) => Number(segment.dataset.e));
    this.here = null;
    this.box.addEventListener("click", (event) => {
      const segment = event.target.closest(".seg");
      if (segment) player.seek(Number(segment.dataset.t));
    });
  }

  at(t) {
    // Several people may speak at once: the segment that began last counts.
    const i = countUpTo(this.starts, t + 1e-3) - 1;
    const found = i >= 0 && t <= this.ends[i] + 1.5 ? this.segments[i] : null;
    if (found === this.here) return;
    this.here?.classList.remove("here");
    this.here = found;
    if (!found) return;
    found.classList.add("here");
    if (!byId("follow").checked) return;
    const turn = found.closest(".turn");
    const place = turn.offsetTop + found.offsetTop - (found.offsetParent === turn ? 0 : turn.offsetTop);
    this.box.scrollTop = place - this.box.clientHeight / 2;
  }
}
