// Every sentence that people read. The page speaks of what an expression looks like, never of
// what somebody feels.

const REASONS = {
  connecting: () => "Connecting to the server.",
  warming_up: (config) => `Warming up: the first estimate needs ${config.window_s} s of picture and sound.`,
  no_face: () => "No face found. Move into the picture, come closer or add light.",
  several_faces: () => "Several faces: the largest is used, and the voice may be somebody else's.",
  small_or_dark_face: () => "The face is small or dark. Come closer or add light.",
  no_speech: () => "No speech heard.",
  overlap: () => "Several people speak at once: their voices and words do not count.",
  out_of_domain: () => "Picture, sound or words are unlike anything that the model has learnt from.",
  modality_conflict: () => "Face, voice and words contradict each other.",
  language: () => "Most words are of a language that is not understood here. They do not count.",
  asr_lag: () => "Words are late or missing: transcription cannot keep up.",
  clock_provisional: () => "Picture and sound are still being put on one clock.",
  variance_high: () => "Face, voice and words say too little to be sure.",
  unclear: () => "No emotion stands out clearly enough.",
  stale: () => "The newest picture or sound is too old. The server may be busy.",
  no_consent: () => "The estimate rests only on what you agreed to.",
  failed: () => "The analysis failed for a moment. It goes on by itself.",
  silent: () => "No new estimates arrive. The server may be busy.",
  interrupted: () => "The connection is interrupted. Trying to get it back.",
};

/** The reason code of a state record, or one of this page's own, as a sentence. */
export function reasonText(reason, config) {
  return REASONS[reason]?.(config) ?? `Reason given by the server: ${reason}.`;
}

export const STATUS = {
  active: { sign: "●", text: "active" },
  unsure: { sign: "◐", text: "not sure" },
  inactive: { sign: "○", text: "not active" },
};

const PURPOSES = {
  self_view: "Self view: these estimates are shown to you alone.",
  research: "Research: look at what you signed for it.",
  personal_training: "Personal training: for you, never for your employer or school.",
  media_analysis: "Analysis of media.",
  medical_safety: "Medical or safety reasons, as agreed with you.",
  workplace: "At work: shown to you alone, or from words alone.",
  education: "At school: shown to you alone, or from words alone.",
};

export function purposeText(purpose) {
  return PURPOSES[purpose] ?? String(purpose).replaceAll("_", " ");
}

/** Where picture and sound go, told from the address of this page. */
export function whereText(host) {
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(host);
  return local
    ? "On this machine. Picture and sound are sent nowhere else."
    : `On ${host}. Picture and sound are sent there and nowhere else.`;
}

const KEPT = { estimates: "estimates", words: "words", faces: "outlines of faces" };

/** What is kept of a session; `record` is for how many days, by kind, or null for nothing. */
export function storedText(record) {
  return record
    ? "Nothing, unless you agree to it below. Picture and sound are never stored."
    : "Nothing. Picture, sound, words and estimates are forgotten when the session ends.";
}

export function recordText(record) {
  const kept = Object.entries(record).filter(([, days]) => days > 0);
  return list(kept.map(([name, days]) => `${KEPT[name] ?? name} for ${days} ${days === 1 ? "day" : "days"}`));
}

/** What was erased after consent was taken back. */
export function receiptText({ erased, audit }) {
  const lines = erased.reduce((n, part) => n + part.lines, 0);
  const gone = erased.length ? `${lines} recorded lines were erased` : "nothing had been recorded";
  return `You withdrew your consent. The session ended at once, and ${gone}.${audit ? ` Receipt ${audit.hash.slice(0, 12)}.` : ""}`;
}

const RECORDING = {
  disk_full: "the disk is full",
  read_only: "the disk cannot be written",
  disk_failed: "the disk failed",
};

/** Whether the session is recorded, as the end of the short notice. */
export function recordingText({ on, reason }) {
  return on ? " and recorded" : `; not recorded: ${RECORDING[reason] ?? "the recorder failed"}`;
}

/** ["a", "b", "c"] -> "a, b and c" */
export function list(items) {
  return items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
}

const SHOWN_REASONS = 2;

/** Seconds as minutes and seconds. */
export function clockText(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** One line for an event record: since when, or from when to when, and where it was strongest. */
export function eventText({ kind, label, onset, t, peak }) {
  if (kind === "onset") return `${label} since ${clockText(onset)}`;
  return `${label} ${clockText(onset)} to ${clockText(t)}, most at ${clockText(peak.t)} (${Math.round(peak.probability * 100)} %)`;
}

/**
 * What a state says in one line and why it may say less.
 * @returns {{kind: "sure" | "none" | "unsure", text: string, reason: string}}
 */
export function verdict(state, config) {
  const labels = Object.entries(state.labels ?? {});
  const named = (status) => labels.filter(([, label]) => label.status === status).map(([name]) => name);
  const active = named("active");
  const unsure = named("unsure");
  const reasons = (state.reasons ?? [state.reason]).filter(Boolean).slice(0, SHOWN_REASONS);
  const say = (list) => list.map((reason) => reasonText(reason, config)).join(" ");
  if (active.length) {
    const rest = unsure.length ? `Not sure about ${list(unsure)}.` : "";
    return { kind: "sure", text: `Looks like: ${list(active)}`, reason: [say(reasons), rest].filter(Boolean).join(" ") };
  }
  if (unsure.length || !labels.length) {
    const why = reasons.filter((reason) => reason !== "no_consent");
    return { kind: "unsure", text: "Not sure", reason: say(why) || reasonText("unclear", config) };
  }
  return { kind: "none", text: "Looks like: none of these", reason: say(reasons) };
}
