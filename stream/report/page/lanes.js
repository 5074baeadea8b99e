// The timelines: what is in view, zooming, pointing, and drawing no more than is seen.

import { stateAt } from "./data.js";
import { colours, GAP, laneHeight, paintOverview, paintPerson, paintRuler, ROW, SPEECH, STRIP } from "./paint.js";
import { clockText, percent, reasonTexts, verdict } from "./words.js";

const byId = (id) => document.getElementById(id);
const SHORTEST = 2; // seconds in view, at least

function make(tag, parent, text = "", name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (name) element.className = name;
  parent.append(element);
  return element;
}

export class Lanes {
  constructor(about, player) {
    this.about = about;
    this.player = player;
    this.view = { t0: 0, t1: about.duration };
    this.kind = about.people.some((person) => person.tracks.smoothed) ? "smoothed" : "live";
    this.theme = colours(about.labels.length);
    this.dirty = true;
    this.t = 0;
    this.rows = about.people.map((person) => this.build(person));
    this.listen();
    this.observe();
  }

  build(person) {
    const { about } = this;
    const section = make("section", byId("lanes"), "", "person");
    make("h3", section, person.id);
    const lane = make("div", section, "", "lane");
    const names = make("div", lane, "", "names");
    const values = about.labels.map((label, c) => {
      const name = make("div", names, label);
      name.style.top = `${c * (ROW + GAP)}px`;
      name.style.height = `${ROW}px`;
      name.style.borderColor = `var(--c${c % 8})`;
      return make("span", name, "–");
    });
    for (const [text, top, height] of [["reason", about.labels.length * (ROW + GAP), STRIP], ["speaks", about.labels.length * (ROW + GAP) + STRIP + GAP - 3, SPEECH + 3]]) {
      const name = make("div", names, text, "why");
      name.style.top = `${top}px`;
      name.style.height = `${height}px`;
    }
    const canvas = make("canvas", lane);
    canvas.style.height = `${laneHeight(about.labels.length)}px`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Estimates of ${person.id} over time; the tables below say the same in words`);
    const box = make("div", byId("now"), "", "verdict");
    const now = { box, text: make("b", box), why: make("small", box) };
    return { person, canvas, values, now, seen: false, stale: true };
  }

  observe() {
    const watching = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const row = this.rows.find((each) => each.canvas === entry.target);
        row.seen = entry.isIntersecting;
      }
      this.redraw(false);
    }, { rootMargin: "200px" });
    for (const row of this.rows) watching.observe(row.canvas);
    new ResizeObserver(() => this.redraw()).observe(byId("lanes"));
    new ResizeObserver(() => this.redraw()).observe(byId("overview"));
  }

  /** Draw soon what is in view; `all`: also what was drawn before. */
  redraw(all = true) {
    if (all) for (const row of this.rows) row.stale = true;
    if (all) this.dirty = true;
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.draw();
    });
  }

  draw() {
    const { about, view, kind, theme } = this;
    for (const row of this.rows) {
      if (!row.seen || !row.stale) continue;
      row.stale = false;
      paintPerson(row.canvas, row.person, kind, view, about, theme);
    }
    if (!this.dirty) return;
    this.dirty = false;
    paintRuler(byId("ruler").firstElementChild, view, theme, clockText);
    if (this.overview !== `${kind} ${theme.text} ${byId("overview").clientWidth}`) {
      this.overview = `${kind} ${theme.text} ${byId("overview").clientWidth}`;
      paintOverview(byId("overview").firstElementChild, about, kind, theme);
    }
    this.place();
  }

  /** The cursors and the window of the overview: moved, nothing is drawn. */
  place() {
    const { about, view, t } = this;
    const whole = byId("overview").clientWidth;
    const [, window, cursor] = byId("overview").children;
    window.style.transform = `translateX(${(view.t0 / about.duration) * whole}px)`;
    window.style.width = `${Math.max(4, ((view.t1 - view.t0) / about.duration) * whole)}px`;
    cursor.style.transform = `translateX(${(t / about.duration) * whole}px)`;
    const x = ((t - view.t0) / (view.t1 - view.t0)) * byId("ruler").clientWidth;
    byId("cursor").hidden = t < view.t0 || t > view.t1;
    byId("cursor").style.transform = `translateX(${x}px)`;
  }

  /** The recording is at `t`. */
  at(t) {
    this.t = t;
    const { view, about } = this;
    if (!this.dragging && (t < view.t0 || t > view.t1)) {
      const width = view.t1 - view.t0;
      this.show(t - 0.1 * width, t + 0.9 * width);
    }
    for (const { person, values, now } of this.rows) {
      const track = person.tracks[this.kind] ?? person.tracks.live;
      const i = track ? stateAt(track, t, about.longest) : -1;
      values.forEach((element, c) => this.put(element, i < 0 ? "–" : `${percent(track.p[c][i])} ${["", "yes", "not sure", "–"][track.status[c][i]]}`));
      const said = verdict(track, i, about);
      now.box.dataset.kind = said.kind;
      this.put(now.text, `${person.id} · ${said.text}`);
      this.put(now.why, said.why);
    }
    const slider = byId("overview");
    slider.setAttribute("aria-valuenow", t.toFixed(1));
    slider.setAttribute("aria-valuetext", `${clockText(t)} of ${clockText(about.duration)}`);
    this.place();
  }

  put(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  show(t0, t1) {
    const { duration } = this.about;
    const width = Math.min(duration, Math.max(Math.min(SHORTEST, duration), t1 - t0));
    const start = Math.max(0, Math.min(duration - width, t0));
    this.view = { t0: start, t1: start + width };
    this.redraw();
  }

  zoom(factor, around = this.t) {
    const { t0, t1 } = this.view;
    const at = around >= t0 && around <= t1 ? around : (t0 + t1) / 2;
    const [left, width] = [(at - t0) * factor, (t1 - t0) * factor];
    this.show(at - left, at - left + width);
  }

  choose(kind) {
    this.kind = kind;
    this.redraw();
    this.at(this.t);
  }

  recolour() {
    this.theme = colours(this.about.labels.length);
    this.redraw();
  }

  /** Draw everything now, in the colours that hold now: paper shows what the screen does not. */
  drawAll() {
    this.recolour();
    for (const row of this.rows) row.seen = true;
    this.draw();
  }

  timeAt(event, box, view) {
    const { left, width } = box.getBoundingClientRect();
    return view.t0 + ((event.clientX - left) / width) * (view.t1 - view.t0);
  }

  read(event, row) {
    const { about } = this;
    const t = this.timeAt(event, row.canvas, this.view);
    const track = row.person.tracks[this.kind] ?? row.person.tracks.live;
    const i = track ? stateAt(track, t, about.longest) : -1;
    if (i < 0) return;
    const shares = about.labels.map((name, c) => `${name} ${percent(track.p[c][i])} (${percent(track.lo[c][i])} to ${percent(track.hi[c][i])})`);
    const why = reasonTexts(track.reasons[i], about.reasons, 1).join(", ");
    this.put(byId("readout"), `${clockText(t, true)} ${row.person.id}: ${shares.join(", ")}${why ? `. Why not sure: ${why}` : ""}`);
  }

  drag(element, view) {
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      element.setPointerCapture(event.pointerId);
      this.dragging = true;
      this.player.seek(this.timeAt(event, element, view()));
    });
    element.addEventListener("pointermove", (event) => {
      if (this.dragging && element.hasPointerCapture(event.pointerId)) this.player.seek(this.timeAt(event, element, view()));
    });
    for (const name of ["pointerup", "pointercancel"]) {
      element.addEventListener(name, () => {
        this.dragging = false;
        this.at(this.t);
      });
    }
  }

  listen() {
    for (const row of this.rows) {
      this.drag(row.canvas, () => this.view);
      row.canvas.addEventListener("pointermove", (event) => this.read(event, row));
    }
    this.drag(byId("overview"), () => ({ t0: 0, t1: this.about.duration }));
    byId("lanes").addEventListener("wheel", (event) => {
      const { t0, t1 } = this.view;
      if (event.ctrlKey) {
        event.preventDefault();
        this.zoom(event.deltaY > 0 ? 1.25 : 0.8, this.timeAt(event, byId("ruler"), this.view));
      } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        const by = ((event.deltaX || event.deltaY) / byId("ruler").clientWidth) * (t1 - t0);
        this.show(t0 + by, t1 + by);
      }
    }, { passive: false });
    byId("zoom-in").addEventListener("click", () => this.zoom(0.5));
    byId("zoom-out").addEventListener("click", () => this.zoom(2));
    byId("fit").addEventListener("click", () => this.show(0, this.about.duration));
  }
}
