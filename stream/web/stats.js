// What was received and how late it was painted, for the latency line and for measurements.
//
// `window.ldduStats` (read-only; every access gives a fresh copy):
//   counts       records received, by type
//   clock        the newest clock record, or null
//   faces        [{t, faces, painted, latency}]
//   states       [{index, revision, t, complete, reason, active, received, painted, latency}]
//   transcripts  [{t0, t1, words: [{t0, t1, text, probability}], received, painted, latency}]
// Times `t*` are seconds of stream time, `received` and `painted` seconds of the wall clock, `latency`
// seconds from capture (of a face's picture, of the end of a state's window, of the end of a
// segment) to the animation frame in which it was drawn; null while the sender's clock is not
// known. `painted` is null for what a newer record replaced before it was drawn.
// The lists hold the newest entries and start anew with each session.

const KEPT = { faces: 5000, states: 5000, transcripts: 1000 };
const RECENT_S = 10;

/** Wall clock in seconds, at the resolution of the performance timer. */
export const wallClock = () => (performance.timeOrigin + performance.now()) / 1000;

export class Stats {
  constructor() {
    this.counts = {};
    this.clock = null;
    this.lists = { faces: [], states: [], transcripts: [] };
  }

  count(type) {
    this.counts[type] = (this.counts[type] ?? 0) + 1;
  }

  add(list, entry) {
    const entries = this.lists[list];
    entries.push({ ...entry, painted: null, latency: null });
    if (entries.length > KEPT[list]) entries.shift();
    return entries.at(-1);
  }

  /** `entry`, captured at stream time `t`, has just been drawn. */
  paint(entry, t, now) {
    entry.painted = now;
    const zero = this.clock?.unix_at_zero;
    if (zero !== null && zero !== undefined) entry.latency = now - (zero + t);
  }

  /** Median latency in seconds of what was painted lately, or null. */
  recent(list, now, wanted = () => true) {
    const found = [];
    const entries = this.lists[list];
    for (let i = entries.length - 1; i >= 0; i -= 1) {
      const { painted, latency } = entries[i];
      if (painted !== null && painted < now - RECENT_S) break;
      if (latency !== null && wanted(entries[i])) found.push(latency);
    }
    return found.sort((a, b) => a - b)[Math.floor(found.length / 2)] ?? null;
  }

  snapshot() {
    return structuredClone({ counts: this.counts, clock: this.clock, ...this.lists });
  }
}
