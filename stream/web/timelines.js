// Under the picture: for everybody a button that shows the estimates of that person, and the timeline
// of the last two minutes.

import { colourOf } from "./colours.js";
import { make, setText } from "./dom.js";
import { COLUMN_S } from "./history.js";
import { drawLead, drawRows } from "./strip.js";
import { T } from "./texts.js";

class Line {
  constructor(list, person, chosen) {
    this.person = person;
    this.item = make("li", "", list);
    this.button = make("button", "person", this.item);
    this.button.type = "button";
    this.button.style.setProperty("--own", colourOf(person.number));
    this.name = make("strong", "", this.button);
    this.said = make("span", "", this.button);
    this.button.addEventListener("click", () => chosen(person.id));
    this.canvas = make("canvas", "strip", this.item);
    this.canvas.role = "img";
    this.key = "";
    new ResizeObserver(() => { this.key = ""; }).observe(this.canvas);
  }

  tell(name, said, pressed, many) {
    this.button.hidden = !many;
    setText(this.name, name);
    setText(this.said, said);
    if (this.button.ariaPressed !== String(pressed)) this.button.ariaPressed = String(pressed);
    this.label = T.people.strip(name, said);
  }

  /** Draw anew when there is a new column, or a mark. */
  draw(now, rows) {
    const key = `${Math.floor(now / COLUMN_S)} ${this.person.history.onsets.length} ${rows} ${T.code}`;
    if (key === this.key || !this.canvas.clientWidth) return;
    this.key = key;
    if (this.canvas.ariaLabel !== this.label) this.canvas.ariaLabel = this.label;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.canvas.width = width * devicePixelRatio;
    this.canvas.height = height * devicePixelRatio;
    const context = this.canvas.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    (rows ? drawRows : drawLead)(context, [0, 0, width, height], this.person.history, now);
  }
}

export class Timelines {
  /** @param {(id: string) => void} chosen called when a person was chosen */
  constructor(list, chosen) {
    this.list = list;
    this.chosen = chosen;
    this.lines = new Map();
    list.replaceChildren();
  }

  /** Say of everybody what holds; `said(person)` in a few words, `focus` is shown in full. */
  tell(people, now, said, focus) {
    const shown = people.list(now);
    for (const [id, line] of this.lines) {
      if (shown.some((person) => person.id === id)) continue;
      line.item.remove();
      this.lines.delete(id);
    }
    shown.forEach((person, i) => {
      if (!this.lines.has(person.id)) this.lines.set(person.id, new Line(this.list, person, this.chosen));
      const line = this.lines.get(person.id);
      if (this.list.children[i] !== line.item) this.list.insertBefore(line.item, this.list.children[i]);
      line.tell(people.name(person.id), said(person), person.id === focus, people.many);
    });
    this.list.dataset.many = people.many;
  }

  draw(many, now) {
    for (const line of this.lines.values()) line.draw(now, !many);
  }
}
