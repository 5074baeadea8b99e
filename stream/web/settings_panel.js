// The dialog in which a person changes settings.

import { byId, make, setText } from "./dom.js";
import { SHOWN, THEMES, VIEWS } from "./settings.js";
import { LANGUAGES, labelText, T } from "./texts.js";

const STEP = 0.25;

export class SettingsPanel {
  /** @param {object} config answer of /api/config */
  constructor(dialog, settings, config) {
    this.dialog = dialog;
    this.settings = settings;
    this.config = config;
    this.form = dialog.querySelector("form");
    this.link = "";
    byId("settings-close").addEventListener("click", () => dialog.close());
    byId("settings-reset").addEventListener("click", () => {
      settings.reset();
      this.draw();
    });
    byId("obs-copy").addEventListener("click", () => this.#copy());
  }

  /** @param {string} link address for browser sources; "" while there is none */
  open(link) {
    this.link = link;
    this.draw();
    this.dialog.showModal();
  }

  /** Everything anew: it is seldom open, and the language may be another one. */
  draw() {
    for (const id of ["set-show", "set-smoothing", "set-sensitivity", "set-view", "set-page"]) byId(id).replaceChildren();
    for (const name of [...SHOWN, "lock"]) this.#tick(byId("set-show"), name);
    const choices = this.config.smoothing?.choices ?? [];
    const standard = T.settings.standard(T.settings.filters[this.config.smoothing?.default] ?? "");
    this.#choose("smoothing", "smoothing", [["", standard], ...choices.map((name) => [name, T.settings.filters[name] ?? name])]);
    for (const name of this.config.labels) this.#slide(name);
    this.#choose("view", "view", VIEWS.map((name) => [name, T.settings.views[name]]));
    this.#choose("page", "language", Object.values(LANGUAGES).map(({ code, language }) => [code, language]), T.code);
    this.#choose("page", "theme", THEMES.map((name) => [name, T.settings.themes[name]]));
    this.#tick(byId("set-page"), "remember");
    byId("obs-link").value = this.link;
    byId("set-obs").hidden = !this.link;
    setText(byId("obs-copied"), "");
  }

  #tick(parent, name) {
    const label = make("label", "choice", parent);
    const box = make("input", "", label);
    box.type = "checkbox";
    box.name = name;
    box.checked = this.settings.get(name);
    make("span", "", label).textContent = T.settings[name];
    box.addEventListener("change", () => this.settings.set(name, box.checked));
  }

  #choose(part, name, options, value = this.settings.get(name) ?? "") {
    const label = make("label", "pick", byId(`set-${part}`));
    make("span", "", label).textContent = T.settings[name];
    const select = make("select", "", label);
    select.name = name;
    for (const [code, text] of options) select.add(new Option(text, code));
    select.value = value;
    select.addEventListener("change", () => this.settings.set(name, select.value || null));
  }

  #slide(name) {
    const most = this.config.max_sensitivity ?? 2;
    const label = make("label", "slide", byId("set-sensitivity"));
    make("span", "", label).textContent = labelText(name);
    const range = make("input", "", label);
    Object.assign(range, { type: "range", name: `sensitivity-${name}`, min: -most, max: most, step: STEP });
    range.value = this.settings.get("sensitivity")[name] ?? 0;
    const told = make("output", "", label);
    const tell = () => {
      setText(told, T.settings.shift(Number(range.value)));
      range.ariaValueText = told.textContent;
    };
    tell();
    range.addEventListener("input", tell);
    range.addEventListener("change", () => this.settings.set("sensitivity", { ...this.settings.get("sensitivity"), [name]: Number(range.value) }));
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.link);
      setText(byId("obs-copied"), T.settings.copied);
    } catch {
      byId("obs-link").select(); // the browser refuses: it is marked, to be copied by hand
    }
  }
}
