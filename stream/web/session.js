// From records to pixels: keeps what the records say of everybody and draws it at most once per
// animation frame.

import { Frames } from "./frames.js";
import { People } from "./people.js";
import { otherSchema, ended } from "./problems.js";
import { Stats, wallClock } from "./stats.js";

export const SCHEMA = 1;
const SILENT_S = 2;
const LATENCY_EVERY_S = 1;
const IDLE_MS = 250;
const HIDDEN_MS = 33;
const CAPTION_S = 6;

export class Session {
  /**
   * @param {object} config answer of /api/config
   * @param {{view: object, video?: HTMLVideoElement, copies?: HTMLElement, mirrored?: boolean}} parts
   *   copies: where frames of the video are shown in its place
   * @param {(problem: Error) => void} stop called when the session cannot go on
   */
  constructor(config, { view, video = null, copies = null, mirrored = false }, stop) {
    this.config = config;
    this.view = view;
    this.mirrored = mirrored;
    this.stop = stop;
    this.people = new People(config.labels);
    this.frames = video && new Frames(video, copies, () => this.wake());
    this.stats = new Stats();
    this.surfaces = new Set();
    this.host = null; // another window that is seen while this page may be hidden
    this.interrupted = false;
    this.paused = false;
    this.recorded = false;
    this.newest = 0;
    this.fresh = { faces: [], states: new Map(), transcripts: [] };
    this.captions = [];
    this.heard = wallClock();
    this.told = 0;
    this.clock = setInterval(() => this.wake(), IDLE_MS);
    this.wake();
  }

  close() {
    this.closed = true;
    clearInterval(this.clock);
    this.frames?.close();
    for (const surface of this.surfaces) surface.close();
    this.surfaces.clear();
  }

  /** The language of the page is another one. */
  retell() {
    this.view.retell();
    this.told = 0;
    this.#tell(this.#ownReason());
    this.wake();
  }

  take(record) {
    if (this.closed) return;
    this.stats.count(record.type);
    this.#kinds[record.type]?.(record);
    this.wake();
  }

  /** Draw in the next animation frame; a loop that never rests would cost as much as the video. */
  wake() {
    if (this.waiting || this.closed) return;
    this.waiting = true;
    const draw = () => this.#draw();
    if (this.host?.requestAnimationFrame) this.host.requestAnimationFrame(draw);
    else if (document.hidden) setTimeout(draw, HIDDEN_MS);
    else requestAnimationFrame(draw);
  }

  #kinds = {
    hello: (record) => {
      if (record.schema !== SCHEMA) this.stop(otherSchema(record.schema));
      else {
        if (record.source === "tab") this.mirrored = false;
        this.people.begin(record);
        this.view.begin(record, this.people);
      }
    },
    recording: (record) => {
      this.recorded ||= record.on;
      this.view.recording(record);
    },
    consent: (record) => { this.view.agree(record.consent); },
    load: (record) => { this.view.load(record); },
    clock: (record) => { this.stats.clock = record; },
    settings: (record) => { this.paused = record.paused; },
    group: (record) => { this.view.group(record); },
    person: (record) => {
      const person = this.people.get(record.person);
      if (person) person.present = record.present;
    },
    face: (record) => this.#face(record),
    state: (record) => {
      const { index, revision, t, complete, reason, labels } = record;
      const person = this.people.get(record.person);
      if (!person) return;
      const active = Object.keys(labels).filter((name) => labels[name].status === "active");
      const received = wallClock();
      const entry = this.stats.add("states", { index, revision, t, complete, reason, active, received });
      this.heard = received;
      this.newest = Math.max(this.newest, t);
      if (person.take(record, received)) this.fresh.states.set(person.id, { entry, t });
    },
    event: (record) => {
      const person = this.people.get(record.person);
      if (!person || record.smoothed) return;
      person.history.mark(record);
      this.view.event(record, person);
    },
    transcript: (record) => {
      const { t0, t1, words, text } = record;
      if (record.person !== null && !this.people.get(record.person)) return;
      const entry = this.stats.add("transcripts", { t0, t1, words, received: wallClock() });
      this.fresh.transcripts.push({ record, entry });
      if (text) this.captions.push({ record, until: wallClock() + CAPTION_S });
    },
    end: (record) => this.stop(ended(record.reason)),
  };

  #face(record) {
    const wall = wallClock();
    const entry = this.stats.add("faces", { t: record.t, faces: record.faces.length });
    record.faces.forEach((face, i) => {
      const id = this.people.many ? face.person : i === 0 ? record.person : null;
      this.people.get(id)?.motion.put(record.t, face, wall);
    });
    this.newest = Math.max(this.newest, record.t);
    const zero = this.stats.clock?.unix_at_zero;
    if (typeof zero === "number") this.frames?.late(wall - zero - record.t);
    this.fresh.faces.push({ entry, t: record.t });
  }

  /** What is to be painted now. */
  #scene(reason) {
    const wall = wallClock();
    const zero = this.stats.clock?.unix_at_zero;
    const { captured, copy } = this.frames?.show() ?? { captured: wall, copy: false };
    const t = typeof zero === "number" && this.frames ? captured - zero : this.newest;
    return {
      people: this.people.list(this.newest),
      names: (id) => this.people.name(id),
      config: this.config,
      reason,
      t,
      now: this.newest,
      wall,
      captions: this.captions.map(({ record }) => this.caption(record)),
      copy,
      mirrored: this.mirrored,
    };
  }

  /** A transcript record as a line, with the speaker where there may be several. */
  caption({ person, text }) {
    return this.people.many ? `${this.people.name(person)}: ${text}` : text;
  }

  #draw() {
    this.waiting = false;
    if (this.closed) return;
    const { states, transcripts } = this.fresh;
    const reason = this.#ownReason();
    const before = wallClock();
    this.captions = this.captions.filter(({ until }) => until > before);
    const scene = this.#scene(reason);
    for (const surface of this.surfaces) surface.paint(scene);
    if (states.size || reason !== this.reason) this.#tell(reason);
    for (const { record } of transcripts) if (record.text) this.view.caption(record, this.caption(record));
    this.view.timelines(this.people, this.newest);

    const now = wallClock();
    const [seen, later] = this.#seen(scene);
    for (const { entry, t } of seen) this.stats.paint(entry, t, now);
    for (const { entry, t } of states.values()) this.stats.paint(entry, t, now);
    for (const { entry, record } of transcripts) this.stats.paint(entry, record.t1, now);
    this.fresh = { faces: later, states: new Map(), transcripts: [] };
    this.view.announce(performance.now());
    this.#tellLatency(now);
  }

  /** Outlines whose picture is on the screen by now, and those whose picture is still to come. */
  #seen({ copy, t }) {
    const { faces } = this.fresh;
    if (!copy) return [faces.slice(-1), []];
    return [faces.filter((face) => face.t <= t).slice(-1), faces.filter((face) => face.t > t)];
  }

  #tell(reason) {
    this.reason = reason;
    this.view.estimates(this.people, reason);
  }

  /** What only the page knows: that nothing arrives. */
  #ownReason() {
    if (this.paused) return "paused";
    if (this.interrupted) return "interrupted";
    if (![...this.people.persons.values()].some((person) => person.state)) return "connecting";
    return wallClock() - this.heard > SILENT_S ? "silent" : null;
  }

  #tellLatency(now) {
    if (now - this.told < LATENCY_EVERY_S) return;
    this.told = now;
    const first = (entry) => entry.revision === 0;
    this.view.latency(this.stats.recent("faces", now), this.stats.recent("states", now, first));
  }
}
