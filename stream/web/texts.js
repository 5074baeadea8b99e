// The language of the page. `T` holds its texts; it is another object after `useLanguage`.
//
// Elements of the pages name their text: data-text="start.title" (content) and data-label="..."
// (name for screen readers).

import de from "./texts/de.js";
import en from "./texts/en.js";

export const LANGUAGES = { en, de };

/** The first language of the browser that there are texts for. */
export function preferred() {
  const wanted = navigator.languages.map((tag) => tag.slice(0, 2).toLowerCase());
  return wanted.find((code) => code in LANGUAGES) ?? "en";
}

export let T = LANGUAGES[preferred()];

const find = (path) => path.split(".").reduce((texts, key) => texts[key], T);

/** Write the texts of the language into `root`. */
export function fill(root = document) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = find(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.ariaLabel = find(element.dataset.label);
}

/** Speak `code` from now on, where there are texts for it. */
export function useLanguage(code) {
  T = LANGUAGES[code] ?? LANGUAGES[preferred()];
  document.documentElement.lang = T.code;
  document.title = T.page.title;
  fill();
}

/** A label of the model in the language of the page. */
export const labelText = (name) => T.labels[name] ?? name;
