// From records to pixels: keeps the newest record of each kind and draws them once per animation
// frame. Every record names its person; this page shows the one of its own session.

import { Outline } from "./outline.js";
import { otherSchema, ended } from "./problems.js";
import { Stats, wallClock } from "./stats.js";
import { View } from "./view.js";

export const SCHEMA = 1;
const SILENT_S = 2;
const LATENCY_EVERY_S = 1;
const IDLE_MS = 250;

// A stale state has the index of the last window, and a time that goes on.
const newer = (state, shown) =>
  !shown || state.index > shown.index || (state.index === shown.index && (state.revision > shown.revision || state.t > shown.t));

export class Session {
  /** @param {(problem: Error) => void} stop called when the session cannot go on */
  constructor(config, consent, elements, stop) {
    this.config = config;
    this.stop = stop;
    this.view = new View(config, consent);
    this.outline = new Outline(elements.canvas, elements.video);
    this.stats = new Stats();
    this.shown = null;
    this.interrupted = false;
    this.recorded = false;
    this.fresh = {};
    this.captions = [];
    this.heard = wallClock();
    this.told = 0;
    this.clock = setInterval(() => this.#wake(), IDLE_MS);
    this.#wake();
  }

  close() {
    clearInterval(this.clock);
    cancelAnimationFrame(this.frame);
    this.outline.clear();
    this.outline.draw();
  }

  /** The language of the page is another one. */
  retell() {
    this.view.retell();
    this.view.estimates(this.shown, this.reason);
    this.told = 0;
    this.#wake();
  }

  take(record) {
    this.stats.count(record.type);
    if (this.person && record.person && record.person !== this.person) return;
    this.#kinds[record.type]?.(record);
    this.#wake();
  }

  /** Draw in the next animation frame; a loop that never rests would cost as much as the video. */
  #wake() {
    this.frame ??= requestAnimationFrame(() => this.#draw());
  }

  #kinds = {
    hello: (record) => {
      this.person = record.person;
      if (record.schema !== SCHEMA) this.stop(otherSchema(record.schema));
      else this.view.notice(record.notice);
    },
    recording: (record) => {
      this.recorded ||= record.on;
      this.view.recording(record);
    },
    load: (record) => { this.view.load(record); },
    clock: (record) => { this.stats.clock = record; },
    face: (record) => {
      const entry = this.stats.add("faces", { t: record.t, faces: record.faces.length });
      this.fresh.face = { record, entry };
    },
    state: (record) => {
      const { index, revision, t, complete, reason, labels } = record;
      const active = Object.keys(labels).filter((name) => labels[name].status === "active");
      const received = wallClock();
      const entry = this.stats.add("states", { index, revision, t, complete, reason, active, received });
      this.heard = received;
      if (!newer(record, this.shown)) return;
      this.shown = record;
      this.fresh.state = { record, entry };
    },
    event: (record) => { this.view.event(record); },
    transcript: (record) => {
      const { t0, t1, words } = record;
      const entry = this.stats.add("transcripts", { t0, t1, words, received: wallClock() });
      this.captions.push({ record, entry });
    },
    end: (record) => this.stop(ended(record.reason)),
  };

  #draw() {
    this.frame = null;
    const { face, state } = this.fresh;
    const captions = this.captions;
    this.fresh = {};
    this.captions = [];

    if (face) this.outline.show(face.record.faces);
    this.outline.draw();
    const reason = this.#ownReason();
    if (state || reason !== this.reason) this.view.estimates(this.shown, reason);
    this.reason = reason;
    for (const { record } of captions) if (record.text) this.view.caption(record.text);

    const now = wallClock();
    if (face) this.stats.paint(face.entry, face.record.t, now);
    if (state) this.stats.paint(state.entry, state.record.t, now);
    for (const { record, entry } of captions) this.stats.paint(entry, record.t1, now);
    this.view.announce(performance.now());
    this.#tellLatency(now);
  }

  /** What only the page knows: that nothing arrives. */
  #ownReason() {
    if (this.interrupted) return "interrupted";
    if (!this.shown) return "connecting";
    return wallClock() - this.heard > SILENT_S ? "silent" : null;
  }

  #tellLatency(now) {
    if (now - this.told < LATENCY_EVERY_S) return;
    this.told = now;
    const first = (entry) => entry.revision === 0;
    this.view.latency(this.stats.recent("faces", now), this.stats.recent("states", now, first));
  }
}
