// What was estimated of one person in the last two minutes, in columns of half a second.

export const HISTORY_S = 120;
export const COLUMN_S = 0.5;
export const COLUMNS = HISTORY_S / COLUMN_S;

export const ABSENT = 0;
export const INACTIVE = 1;
export const UNSURE = 2;
export const ACTIVE = 3;
const CODES = { inactive: INACTIVE, unsure: UNSURE, active: ACTIVE };

export class History {
  /** @param {string[]} labels */
  constructor(labels) {
    const size = COLUMNS * labels.length;
    this.labels = labels;
    this.columns = new Int32Array(COLUMNS).fill(-1);
    this.indices = new Int32Array(COLUMNS).fill(-1);
    this.middle = new Float32Array(size);
    this.low = new Float32Array(size);
    this.high = new Float32Array(size);
    this.status = new Uint8Array(size);
    this.onsets = []; // {label, t}
    this.newest = -1;
  }

  /** Keep a state record; a later window or revision of the same column takes its place. */
  put({ t, index, labels }) {
    const column = Math.floor(t / COLUMN_S);
    if (column <= this.newest - COLUMNS || column < 0) return;
    const at = column % COLUMNS;
    if (this.columns[at] === column && this.indices[at] > index) return;
    this.columns[at] = column;
    this.indices[at] = index;
    this.newest = Math.max(this.newest, column);
    this.labels.forEach((name, i) => {
      const label = labels[name];
      const cell = at * this.labels.length + i;
      this.status[cell] = label ? CODES[label.status] : ABSENT;
      if (label) [this.middle[cell], this.low[cell], this.high[cell]] = [label.probability, ...label.interval];
    });
  }

  /** Keep an event record as a mark; a withdrawn onset loses it. */
  mark({ kind, label, t, withdrawn }) {
    if (kind !== "onset") return;
    this.onsets = this.onsets.filter((mark) => mark.t > t - HISTORY_S && !(withdrawn && mark.label === label && mark.t === t));
    if (!withdrawn) this.onsets.push({ label, t });
  }

  /** Cell of `column` (counted from t = 0) and the i-th label, or -1 where nothing is known. */
  cell(column, i) {
    const at = column % COLUMNS;
    return column >= 0 && this.columns[at] === column ? at * this.labels.length + i : -1;
  }
}
