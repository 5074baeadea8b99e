// The group view: how many of a room look like what, never who.

import { byId, make, setText } from "./dom.js";
import { labelText, T } from "./texts.js";

export class Group {
  constructor(labels) {
    this.labels = labels;
    this.record = null;
    this.rows = new Map(labels.map((name) => {
      const row = make("div", "", byId("group-levels"));
      return [name, [make("dt", "", row), make("dd", "", row)]];
    }));
    this.draw();
  }

  take(record) {
    this.record = record;
    this.draw();
  }

  draw() {
    const { record } = this;
    setText(byId("group-what"), record ? (record.reason ? T.group[record.reason] ?? record.reason : T.group.what) : T.group.waiting);
    for (const [name, [term, level]] of this.rows) {
      const told = record?.labels?.[name];
      setText(term, labelText(name));
      setText(level, told ? T.group.levels[told] : T.group.unknown);
    }
    byId("group-levels").hidden = !record || Boolean(record.reason);
  }

  close() {
    byId("group-levels").replaceChildren();
  }
}
