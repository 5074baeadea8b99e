// The estimates, the captions and what screen readers are told. Elements are made once; drawing
// only changes their text and positions.

import { byId, make, setText } from "./dom.js";
import { Events } from "./events.js";
import { percent } from "./format.js";
import { Group } from "./group.js";
import { fill, LANGUAGES, labelText, T } from "./texts.js";
import { Timelines } from "./timelines.js";
import { recordingText, statusText, verdict } from "./words.js";

const PARTS = ["face", "voice", "words"];
const CAPTION_LINES = 20;
const ANNOUNCE_MS = 4000;

class Row {
  constructor(name, table) {
    this.name = name;
    this.row = make("tr", "", table);
    this.head = make("th", "", this.row);
    this.head.scope = "row";
    const bar = make("td", "bar", this.row);
    bar.ariaHidden = "true";
    const track = make("div", "track", bar);
    this.band = make("div", "band", track);
    this.mark = make("div", "mark", track);
    const number = make("td", "number", this.row);
    this.estimate = make("span", "estimate", number);
    this.range = make("small", "", number);
    this.status = make("td", "status", this.row);
    this.draw(null);
  }

  draw(label) {
    setText(this.head, labelText(this.name));
    const [low, high] = label?.interval ?? [0, 1];
    this.row.dataset.status = label?.status ?? "unknown";
    this.band.style.left = `${low * 100}%`;
    this.band.style.width = `${(high - low) * 100}%`;
    this.mark.style.left = `${(label?.probability ?? 0.5) * 100}%`;
    setText(this.estimate, label ? `${percent(label.probability)} %` : "–");
    setText(this.range, label ? T.live.range(low, high) : "");
    setText(this.status, statusText(label?.status ?? "unsure"));
  }
}

export class View {
  /** @param {{own: boolean, heard: boolean}} media own: not shared from elsewhere; heard: with sound */
  constructor(config, consent, { own, heard }) {
    this.config = config;
    this.own = own;
    this.heard = heard;
    this.consent = consent;
    this.announced = -Infinity;
    this.long = "";
    this.recorded = null;
    this.busy = "full";
    this.people = null;
    this.focus = null; // the person whose estimates are in the table
    byId("labels").replaceChildren();
    byId("captions").replaceChildren();
    this.events = new Events(byId("events"));
    this.lines = new Timelines(byId("people"), (id) => {
      this.focus = id;
      this.estimates(this.people, this.reason);
    });
    this.together = new Group(config.labels);
    this.agree(consent);
    this.rows = new Map(config.labels.map((name) => [name, new Row(name, byId("labels"))]));
    this.notice("");
    this.latency(null, null);
  }

  /** What is agreed to, now; each part of it can be taken back, as long as another is left. */
  agree(consent) {
    this.consent = consent;
    byId("no-camera").hidden = consent.face;
    const silent = !this.heard && (consent.voice || consent.words);
    byId("no-words").dataset.text = silent ? "live.noSound" : "live.noWords";
    byId("no-words").hidden = consent.words && !silent;
    const left = PARTS.filter((name) => consent[name]);
    byId("self-title").dataset.text = this.own ? "live.self" : "live.shared";
    byId("video").dataset.label = this.own ? "live.camera" : "live.shared";
    fill(byId("live"));
    byId("less").replaceChildren();
    for (const name of left.length > 1 ? left : []) {
      const button = make("button", "", byId("less"));
      button.type = "button";
      button.dataset.part = name;
      button.textContent = (this.own ? T.live.without : T.live.withoutShared)[name];
    }
  }

  close() {
    this.together.close();
  }

  begin({ notice, source }, people) {
    byId("stage").dataset.source = source;
    this.people = people;
    this.notice(notice);
    byId("people").dataset.many = people.many;
  }

  /** Draw what holds of everybody; `reason` is one of the page's own and replaces it where set. */
  estimates(people, reason) {
    this.people = people;
    this.reason = reason;
    const now = Math.max(0, ...[...people.persons.values()].map((person) => person.state?.t ?? 0));
    const shown = (person) => (reason ? { labels: {}, reason } : person?.state ?? { labels: {}, reason: "warming_up" });
    const present = people.list(now);
    if (!present.some((person) => person.id === this.focus)) this.focus = present[0]?.id ?? null;
    const focus = people.get(this.focus);
    this.lines.tell(people, now, (person) => verdict(shown(person), this.config).text, this.focus);
    this.#table(shown(focus), focus && people.many ? people.name(focus.id) : "");
    if (!reason && focus?.state) byId("distrust").classList.toggle("held", focus.state.variance_trusted === false);
  }

  #table(state, who) {
    for (const [name, row] of this.rows) row.draw(state.labels?.[name]);
    const said = verdict(state, this.config);
    byId("verdict").dataset.kind = said.kind;
    setText(byId("verdict-who"), who);
    setText(byId("verdict-text"), said.text);
    setText(byId("verdict-reason"), said.reason);
    const told = said.kind === "unsure" ? `${said.text}. ${said.reason}` : said.text;
    this.pending = who ? T.people.strip(who, told) : told;
  }

  /** Timelines go on while time does. */
  timelines(people, now) {
    this.lines.draw(people.many, now);
  }

  /** Tell screen readers of a change, but not more often than they can read it out. */
  announce(now) {
    if (!this.pending || now - this.announced < ANNOUNCE_MS) return;
    if (byId("announce").textContent === this.pending) return;
    this.announced = now;
    setText(byId("announce"), this.pending);
  }

  /** What the server wants to be read all the time, beside this page's own short notice. */
  notice(text) {
    this.long = text;
    setText(byId("notice-long"), text && text !== LANGUAGES.en.page.noticeLong ? text : T.page.noticeLong);
  }

  /** The short notice says whether a record is kept, and whether anything is analysed at all. */
  recording(record) {
    this.recorded = record;
    this.tellNotice(this.paused);
  }

  /** The short notice also says where the server cannot analyse everything. */
  load(record) {
    this.busy = record.load;
    this.tellNotice(this.paused);
  }

  tellNotice(paused) {
    this.paused = paused;
    const running = T.page.notice + (this.recorded ? recordingText(this.recorded) : "") + (T.load[this.busy] ?? "");
    setText(byId("notice"), paused ? T.page.pausedNotice : running);
  }

  /** Tell everything that stays in the language of the page. */
  retell() {
    this.agree(this.consent);
    this.notice(this.long);
    this.tellNotice(this.paused);
    this.events.draw();
    this.together.draw();
  }

  event(record, person) {
    this.events.take(record, this.people.many ? this.people.name(person.id) : "");
  }

  group(record) {
    this.together.take(record);
  }

  /** A transcript record; `line` is its text with the speaker where there may be several. */
  caption(record, line) {
    const box = byId("captions");
    const text = make("p", "", box);
    text.textContent = line;
    if (record.overlap) text.append(" ", T.live.overlap);
    while (box.childElementCount > CAPTION_LINES) box.firstElementChild.remove();
    box.scrollTop = box.scrollHeight;
  }

  latency(face, state) {
    const told = (seconds) => (seconds === null ? T.live.measuring : T.live.delay(seconds));
    setText(byId("latency-face"), this.consent.face ? told(face) : T.live.notInUse);
    setText(byId("latency-state"), told(state));
  }
}
