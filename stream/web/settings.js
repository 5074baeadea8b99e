// What a person set for this page. Kept in this browser only if the person wants it, and nowhere else.

const KEY = "lddu-live.settings";

export const THEMES = ["system", "light", "dark"];
export const VIEWS = ["private", "group"];
export const SHOWN = ["outline", "labels", "subtitles", "table", "captions", "timeline", "events"];

const DEFAULTS = {
  remember: false,
  language: null, // null: that of the browser
  theme: "system",
  view: "private",
  lock: true,
  smoothing: null, // null: that of the server
  sensitivity: {}, // label -> logits
  ...Object.fromEntries(SHOWN.map((name) => [name, true])),
};

const isShift = (value) => Number.isFinite(value) && Math.abs(value) <= 2;
const CHECKS = {
  language: (value) => value === null || typeof value === "string",
  theme: (value) => THEMES.includes(value),
  view: (value) => VIEWS.includes(value),
  smoothing: (value) => value === null || typeof value === "string",
  sensitivity: (value) => Boolean(value) && typeof value === "object" && Object.values(value).every(isShift),
};
const fits = (name, value) => (CHECKS[name] ?? ((v) => typeof v === "boolean"))(value);

/** What was kept, as far as it still makes sense. */
function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return Object.fromEntries(Object.entries(found).filter(([name, value]) => name in DEFAULTS && fits(name, value)));
  } catch {
    return {}; // no storage, or somebody else's text in it
  }
}

export class Settings extends EventTarget {
  values = { ...DEFAULTS, ...kept() };

  get(name) {
    return this.values[name];
  }

  /** Change one; listeners of "change" get its name as `detail`. */
  set(name, value) {
    if (!fits(name, value)) throw new TypeError(name);
    this.values[name] = value;
    this.#keep();
    this.dispatchEvent(new CustomEvent("change", { detail: name }));
  }

  /** As in the beginning; what was kept is gone. */
  reset() {
    this.values = { ...DEFAULTS };
    this.#keep();
    for (const name of Object.keys(DEFAULTS)) this.dispatchEvent(new CustomEvent("change", { detail: name }));
  }

  /** Those that the server must know, as in an offer; `config` is the answer of /api/config. */
  forServer(config) {
    const choices = config.smoothing?.choices ?? [];
    const smoothing = choices.includes(this.values.smoothing) ? this.values.smoothing : null;
    const moved = Object.entries(this.values.sensitivity).filter(([name, by]) => by && config.labels.includes(name));
    return { smoothing, sensitivity: Object.fromEntries(moved) };
  }

  #keep() {
    try {
      if (this.values.remember) localStorage.setItem(KEY, JSON.stringify(this.values));
      else localStorage.removeItem(KEY);
    } catch {
      this.values.remember = false; // this browser keeps nothing
    }
  }
}
