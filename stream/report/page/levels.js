// The same track in fewer and fewer points, so that hours are drawn as fast as seconds. Of every
// FACTOR points the band keeps its extremes, the line its mean, and a label that was active or
// unsure for a moment is not lost: shares are kept.

const FACTOR = 4;

function first(track) {
  const share = (status, code) => status.map((values) => Uint8Array.from(values, (value) => (value === code ? 255 : 0)));
  const unsure = track.status.map((values) => Uint8Array.from(values, (value) => (value >= 2 ? 255 : 0)));
  return { t: track.t, p: track.p, lo: track.lo, hi: track.hi, active: share(track.status, 1), unsure, reasons: track.reasons };
}

function reduce(values, start) {
  const n = Math.ceil(values.length / FACTOR);
  const result = new Uint8Array(n);
  for (let i = 0; i < n; i += 1) result[i] = start(values, i * FACTOR, Math.min(values.length, (i + 1) * FACTOR));
  return result;
}

function mean(values, from, to) {
  let sum = 0;
  for (let i = from; i < to; i += 1) sum += values[i];
  return Math.ceil(sum / (to - from));
}

function least(values, from, to) {
  let found = 255;
  for (let i = from; i < to; i += 1) if (values[i] < found) found = values[i];
  return found;
}

function most(values, from, to) {
  let found = 0;
  for (let i = from; i < to; i += 1) if (values[i] > found) found = values[i];
  return found;
}

function coarser(level) {
  const each = (values, how) => values.map((row) => reduce(row, how));
  const n = Math.ceil(level.t.length / FACTOR);
  return {
    t: Float32Array.from({ length: n }, (_, i) => level.t[i * FACTOR]),
    p: each(level.p, mean),
    lo: each(level.lo, least),
    hi: each(level.hi, most),
    active: each(level.active, mean),
    unsure: each(level.unsure, mean),
    reasons: Uint32Array.from({ length: n }, (_, i) => level.reasons[Math.min(level.reasons.length - 1, i * FACTOR + FACTOR / 2)]),
  };
}

const made = new WeakMap();

/** The level of `track` with at most `most` points per second of what is shown. */
export function levelFor(track, pointsPerSecond, hop) {
  if (!made.has(track)) made.set(track, [first(track)]);
  const levels = made.get(track);
  let k = 0;
  while (1 / (hop * FACTOR ** k) > pointsPerSecond && k < 9) k += 1;
  while (levels.length <= k) levels.push(coarser(levels.at(-1)));
  return { ...levels[k], step: hop * FACTOR ** k };
}
