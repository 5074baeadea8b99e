// Where a face is at any moment, from outlines that come a few times per second: between two of
// them on the straight line, after the newest one for a short while further as it moved.

const KEPT_S = 1;
const AHEAD_S = 0.12;
const DAMPING = 0.4; // of several tried on four clips the best (python -m benchmarks.outline)

export class Motion {
  constructor() {
    this.found = []; // {t, box, outlines}, oldest first
  }

  /** A face as it was at stream time `t`; `wall` is now. */
  put(t, { box, outlines }, wall) {
    this.arrived = wall;
    this.found = this.found.filter((each) => each.t > t - KEPT_S && each.t !== t);
    this.found.push({ t, box, outlines });
    this.found.sort((a, b) => a.t - b.t);
  }

  get newest() {
    return this.found.at(-1);
  }

  /** Box and outlines at stream time `t`, or null where the face was not seen about then. */
  at(t, wall) {
    const { found } = this;
    const last = found.at(-1);
    if (!last || t > last.t + KEPT_S || wall > this.arrived + KEPT_S) return null;
    const next = found.findIndex((each) => each.t >= t);
    if (next === 0) return found[0];
    if (next > 0) return between(found[next - 1], found[next], t);
    const before = found.at(-2);
    if (!before || last.t - before.t > 3 * AHEAD_S || !alike(before, last)) return last;
    return between(before, last, last.t + DAMPING * Math.min(t - last.t, AHEAD_S));
  }
}

const alike = (a, b) => a.outlines.length === b.outlines.length && a.outlines.every((line, i) => line.length === b.outlines[i].length);

/** On the line from `a` to `b`, also beyond it. */
function between(a, b, t) {
  if (!alike(a, b)) return b;
  const share = (t - a.t) / (b.t - a.t);
  const mix = (u, v) => u + share * (v - u);
  return {
    box: a.box.map((edge, i) => mix(edge, b.box[i])),
    outlines: a.outlines.map((line, i) => line.map(([u, v], k) => [mix(u, b.outlines[i][k][0]), mix(v, b.outlines[i][k][1])])),
  };
}
