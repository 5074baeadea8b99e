// What the model cannot do, from its model card, in a dialog.

import { byId, setText } from "./dom.js";
import { T } from "./texts.js";

export async function showLimits() {
  const dialog = byId("limits");
  const text = byId("limits-text");
  setText(text, T.limits.loading);
  dialog.showModal();
  try {
    const response = await fetch("/card?part=limits");
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    text.lang = page.documentElement.lang;
    text.replaceChildren(...document.importNode(page.querySelector("main > section"), true).childNodes);
  } catch {
    setText(text, T.limits.missing);
  }
}
