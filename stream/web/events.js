// What came and went lately, newest first; one line per time that a label was there.

import { eventText } from "./words.js";

const LINES = 4;

export class Events {
  constructor(list) {
    this.list = list;
    this.lines = [];
    this.draw();
  }

  /** @param {string} who whose event it is; "" where there is only one */
  take(record, who) {
    const { kind, label, onset, withdrawn, person } = record;
    const known = this.lines.find((line) => line.label === label && line.onset === onset && line.person === person);
    if (withdrawn && kind === "onset") this.lines = this.lines.filter((line) => line !== known);
    else if (withdrawn) Object.assign(known ?? {}, { kind: "onset" });
    else if (known) Object.assign(known, record);
    else this.lines.unshift({ ...record, who });
    this.lines.length = Math.min(this.lines.length, LINES);
    this.draw();
  }

  draw() {
    this.list.replaceChildren(...this.lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line.who ? `${line.who}: ${eventText(line)}` : eventText(line);
      if (line.kind === "onset") item.className = "now";
      return item;
    }));
  }
}
