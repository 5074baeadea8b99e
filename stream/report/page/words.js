// Sentences that the page makes itself: of what people look like, and of nothing else.

export function clockText(seconds, tenths = false) {
  const whole = Math.max(0, tenths ? Math.floor(seconds * 10 + 1e-6) / 10 : Math.floor(seconds + 1e-6));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = (whole % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export const percent = (byte) => `${Math.round((byte / 255) * 100)} %`;

const list = (items) => (items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`);

/** Sentences for the bits of a state's reasons. */
export function reasonTexts(bits, reasons, place) {
  return reasons.filter((_, k) => (bits >>> k) & 1).map((each) => each[place]);
}

/** What a person looks like at state `i` of `track`. */
export function verdict(track, i, about) {
  if (i < 0) return { kind: "unknown", text: "No estimate", why: "Nothing is known of this moment." };
  const named = (test) => about.labels.filter((_, c) => test(track.status[c][i]));
  const active = named((status) => status === 1);
  const unsure = named((status) => status >= 2);
  const why = reasonTexts(track.reasons[i], about.reasons, 2).slice(0, 2).join(" ");
  if (active.length) {
    const rest = unsure.length ? ` Not sure about ${list(unsure)}.` : "";
    return { kind: "sure", text: `Looks like: ${list(active)}`, why: why + rest };
  }
  if (unsure.length) return { kind: "unsure", text: "Not sure", why: why || about.unclear };
  return { kind: "none", text: "Looks like none of these", why };
}
