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
    this.last = null;
    this.box.addEventListener("click", (event) => {
      const segment = event.target.closest(".seg");
      if (segment) player.seek(Number(segment.dataset.t));
    });
  }

  at(t) {
    // Several people may speak at once: the segment that began last counts.
    const i = countUpTo(this.starts, t + 1e-3) - 1;
    const found = i >= 0 && t <= this.ends[i] + 1.5 ? this.segments[i] : null;
    if (found !== this.here) {
      this.here?.classList.remove("here");
      found?.classList.add("here");
      this.here = found;
    }
    if (i === this.last) return;
    this.last = i;
    if (byId("follow").checked) this.follow(this.segments[Math.max(0, i)]);
  }

  /** Scroll to a segment, in silence to the last one. Heights are known only of what was shown. */
  follow(segment) {
    for (let again = 0; again < 3 && segment; again += 1) {
      const { top } = segment.getBoundingClientRect();
      const wanted = this.box.getBoundingClientRect().top + this.box.clientHeight / 2;
      if (Math.abs(top - wanted) < 4) return;
      this.box.scrollTop += top - wanted;
    }
  }
}
