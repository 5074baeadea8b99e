// Numbers and lists as text, the same in every language but for the words.

export const percent = (value) => `${Math.round(value * 100)}`;

/** ["a", "b", "c"] and "and" -> "a, b and c" */
export function list(items, and) {
  return items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} ${and} ${items.at(-1)}`;
}

/** Seconds as minutes and seconds. */
export function clockText(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
