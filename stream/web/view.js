// The estimates, the captions and what screen readers are told. Elements are made once; drawing
// only changes their text and positions.

import { Events } from "./events.js";
import { percent } from "./format.js";
import { LANGUAGES, labelText, T } from "./texts.js";
import { recordingText, statusText, verdict } from "./words.js";

const CAPTION_LINES = 20;
const ANNOUNCE_MS = 4000;

const byId = (id) => document.getElementById(id);

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, className, parent) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  parent.append(element);
  return element;
}

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
  constructor(config, consent) {
    this.config = config;
    this.consent = consent;
    this.announced = -Infinity;
    this.long = "";
    this.recorded = null;
    this.busy = "full";
    byId("labels").replaceChildren();
    byId("captions").replaceChildren();
    this.events = new Events(byId("events"));
    byId("no-camera").hidden = consent.face;
    byId("no-words").hidden = consent.words;
    this.rows = new Map(config.labels.map((name) => [name, new Row(name, byId("labels"))]));
    this.notice("");
    this.latency(null, null);
  }

  /** Draw a state record; `reason` is one of the page's own and replaces it where set. */
  estimates(state, reason) {
    const shown = reason ? { labels: {}, reason } : state;
    for (const [name, row] of this.rows) row.draw(shown.labels?.[name]);
    const said = verdict(shown, this.config);
    byId("verdict").dataset.kind = said.kind;
    setText(byId("verdict-text"), said.text);
    setText(byId("verdict-reason"), said.reason);
    if (!reason && state) byId("distrust").hidden = state.variance_trusted !== false;
    this.pending = said.kind === "unsure" ? `${said.text}. ${said.reason}` : said.text;
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

  /** The short notice says whether a record is kept. */
  recording(record) {
    this.recorded = record;
    const busy = T.load[this.busy] ?? "";
    setText(byId("notice"), T.page.notice + (record ? recordingText(record) : "") + busy);
  }

  /** The short notice also says where the server cannot analyse everything. */
  load(record) {
    this.busy = record.load;
    this.recording(this.recorded);
  }

  /** Tell everything that stays in the language of the page. */
  retell() {
    this.notice(this.long);
    this.recording(this.recorded);
    this.events.draw();
  }

  event(record) {
    this.events.take(record);
  }

  caption(text) {
    const box = byId("captions");
    make("p", "", box).textContent = text;
    while (box.childElementCount > CAPTION_LINES) box.firstElementChild.remove();
    box.scrollTop = box.scrollHeight;
  }

  latency(face, state) {
    const told = (seconds) => (seconds === null ? T.live.measuring : T.live.delay(seconds));
    setText(byId("latency-face"), this.consent.face ? told(face) : T.live.notInUse);
    setText(byId("latency-state"), told(state));
  }
}
