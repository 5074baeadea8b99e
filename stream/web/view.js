// The estimates, the captions and what screen readers are told. Elements are made once; drawing
// only changes their text and positions.

import { Events } from "./events.js";
import { recordingText, STATUS, verdict } from "./words.js";

const CAPTION_LINES = 20;
const ANNOUNCE_MS = 4000;

const byId = (id) => document.getElementById(id);
const percent = (value) => `${Math.round(value * 100)}`;

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
    this.row = make("tr", "", table);
    const head = make("th", "", this.row);
    head.scope = "row";
    head.textContent = name;
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
    const status = STATUS[label?.status] ?? STATUS.unsure;
    const [low, high] = label?.interval ?? [0, 1];
    this.row.dataset.status = label?.status ?? "unknown";
    this.band.style.left = `${low * 100}%`;
    this.band.style.width = `${(high - low) * 100}%`;
    this.mark.style.left = `${(label?.probability ?? 0.5) * 100}%`;
    setText(this.estimate, label ? `${percent(label.probability)} %` : "–");
    setText(this.range, label ? `${percent(low)} to ${percent(high)}` : "");
    setText(this.status, `${status.sign} ${status.text}`);
  }
}

export class View {
  constructor(config, consent) {
    this.config = config;
    this.consent = consent;
    this.announced = -Infinity;
    byId("labels").replaceChildren();
    byId("captions").replaceChildren();
    this.events = new Events(byId("events"));
    byId("no-camera").hidden = consent.face;
    byId("no-words").hidden = consent.words;
    this.rows = new Map(config.labels.map((name) => [name, new Row(name, byId("labels"))]));
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
    if (text) setText(byId("notice-long"), text);
  }

  /** The short notice says whether a record is kept. */
  recording(record) {
    this.short ??= byId("notice").textContent;
    setText(byId("notice"), this.short + recordingText(record));
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
    const told = (seconds) => (seconds === null ? "measuring" : `${Math.round(seconds * 1000)} ms`);
    setText(byId("latency-face"), this.consent.face ? told(face) : "not in use");
    setText(byId("latency-state"), told(state));
  }
}
