// What records say in words; the words themselves are in texts/.

import { labelText, T } from "./texts.js";

/** The reason code of a state record, or one of this page's own, as a sentence. */
export const reasonText = (reason, config) => T.reasons[reason]?.(config) ?? T.otherReason(reason);

/** Status of a label as a sign and a word. */
export const SIGN = { active: "●", unsure: "◐", inactive: "○" };
export const statusText = (status) => `${SIGN[status]} ${T.status[status]}`;

export const purposeText = (purpose) => T.purposes[purpose] ?? String(purpose).replaceAll("_", " ");

/** Where picture and sound go, told from the address of this page. */
export function whereText(host) {
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(host);
  return local ? T.where.here : T.where.there(host);
}

/** What is kept of a session; `record` is for how many days, by kind, or null for nothing. */
export const storedText = (record) => (record ? T.stored.ifAgreed(record.media > 0) : T.stored.nothing);
export const recordText = ({ media, ...record }) => T.stored.kept(record);

/** What was erased after consent was taken back. */
export function receiptText({ erased, audit }) {
  const lines = erased.reduce((n, part) => n + part.lines, 0);
  return T.receipt(erased.length > 0, lines, audit?.hash.slice(0, 12));
}

/** Whether the session is recorded, as the end of the short notice. */
export const recordingText = (record) => T.recording(record);

const SHOWN_REASONS = 2;

/** One line for an event record: since when, or from when to when, and where it was strongest. */
export function eventText({ kind, label, onset, t, peak }) {
  const name = labelText(label);
  return kind === "onset" ? T.event.onset(name, onset) : T.event.offset(name, onset, t, peak);
}

/**
 * What a state says in one line and why it may say less.
 * @returns {{kind: "sure" | "none" | "unsure", text: string, reason: string}}
 */
export function verdict(state, config) {
  const labels = Object.entries(state.labels ?? {});
  const named = (status) => labels.filter(([, label]) => label.status === status).map(([name]) => labelText(name));
  const active = named("active");
  const unsure = named("unsure");
  const reasons = (state.reasons ?? [state.reason]).filter(Boolean).slice(0, SHOWN_REASONS);
  const say = (list) => list.map((reason) => reasonText(reason, config)).join(" ");
  if (active.length) {
    const rest = unsure.length ? T.verdict.rest(unsure) : "";
    return { kind: "sure", text: T.verdict.active(active), reason: [say(reasons), rest].filter(Boolean).join(" ") };
  }
  if (unsure.length || !labels.length) {
    const why = reasons.filter((reason) => reason !== "no_consent");
    return { kind: "unsure", text: T.verdict.unsure, reason: say(why) || reasonText("unclear", config) };
  }
  return { kind: "none", text: T.verdict.none, reason: say(reasons) };
}
