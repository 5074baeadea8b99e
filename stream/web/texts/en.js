// English: every sentence that people read. The page speaks of what an expression looks like, never
// of what somebody feels. Keys and functions are those of en.js in every language.

import { clockText, list as join, percent } from "../format.js";

const list = (items) => join(items, "and");
const days = (n) => `${n} ${n === 1 ? "day" : "days"}`;
const KEPT = { estimates: "estimates", words: "words", faces: "outlines of faces" };
const RECORDING = {
  disk_full: "the disk is full",
  read_only: "the disk cannot be written",
  disk_failed: "the disk failed",
};

export default {
  code: "en",
  language: "English",
  list,

  page: {
    title: "Live emotion estimates",
    notice: "Emotion estimates are running",
    noticeLong: "Emotion estimates are running. They are guesses about expression, not facts about people.",
    stop: "Stop",
    withdraw: "Withdraw and erase",
    retry: "Try again",
    languageLabel: "Language",
  },

  start: {
    title: "Before anything starts",
    recorded: "The session that ended was recorded.",
    erase: "Erase the record",
    saveReceipt: "Save the receipt",
    what: (labels) => `This page guesses which emotions your expression, voice and words look like: ${list(labels)}. It cannot know what goes on inside you, it is often wrong, and it says so when it is not sure.`,
    purpose: "Purpose",
    processed: "Processed",
    stored: "Stored",
    agree: "I agree that these are processed",
    face: "Face",
    faceWhat: "points and movements of the face, from the camera",
    voice: "Voice",
    voiceWhat: "how something is said, from the microphone",
    words: "Words",
    wordsWhat: "what is said, as captions, from the microphone",
    agreeKept: "I also agree that these are kept",
    record: "Record",
    begin: "Agree and start",
    nothing: "Choose at least one of face, voice and words.",
    fine: "Only then the browser asks for the camera and the microphone, and only for what you chose. You can stop at any time. Agree only for yourself: whoever else is in the picture or can be heard is analysed too.",
    noticeLink: "How your data are used",
    mustNot: "What this must not be used for",
    mustNotWhat: "Not for decisions about people: no hiring, grading, policing, insurance, no watching of staff or pupils, no diagnosis. Expressions differ between people and cultures.",
  },

  live: {
    self: "Your picture",
    camera: "Your camera, mirrored",
    noCamera: "Camera not in use",
    estimates: "What it looks like",
    table: "Estimate per emotion, with its range of uncertainty",
    looksLike: "Looks like",
    bar: "Bar",
    estimate: "Estimate",
    status: "Status",
    legend: "The line is the estimate, the band its range (one standard deviation).",
    distrust: "The model's own doubt does not hold for this session: all moments count alike, and the bands are an average.",
    faceDelay: "Outline delay",
    stateDelay: "Estimate delay",
    delayWhat: "From camera and microphone to screen, median of the last 10 seconds.",
    captions: "Captions",
    noWords: "Words not in use",
    lately: "Lately",
    latelyWhat: "What came and went",
    measuring: "measuring",
    notInUse: "not in use",
    range: (low, high) => `${percent(low)} to ${percent(high)}`,
    delay: (seconds) => `${Math.round(seconds * 1000)} ms`,
  },

  reasons: {
    connecting: () => "Connecting to the server.",
    paused: () => "Paused: nothing is analysed.",
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
    overload: () => "Too much to do: not everything is analysed for now.",
    silent: () => "No new estimates arrive. The server may be busy.",
    interrupted: () => "The connection is interrupted. Trying to get it back.",
  },
  otherReason: (reason) => `Reason given by the server: ${reason}.`,

  labels: {},
  status: { active: "active", unsure: "not sure", inactive: "not active" },
  verdict: {
    active: (labels) => `Looks like: ${list(labels)}`,
    none: "Looks like: none of these",
    unsure: "Not sure",
    rest: (labels) => `Not sure about ${list(labels)}.`,
  },
  event: {
    onset: (label, onset) => `${label} since ${clockText(onset)}`,
    offset: (label, onset, t, peak) => `${label} ${clockText(onset)} to ${clockText(t)}, most at ${clockText(peak.t)} (${percent(peak.probability)} %)`,
  },

  purposes: {
    self_view: "Self view: these estimates are shown to you alone.",
    research: "Research: look at what you signed for it.",
    personal_training: "Personal training: for you, never for your employer or school.",
    media_analysis: "Analysis of media.",
    medical_safety: "Medical or safety reasons, as agreed with you.",
    workplace: "At work: shown to you alone, or from words alone.",
    education: "At school: shown to you alone, or from words alone.",
  },
  where: {
    here: "On this machine. Picture and sound are sent nowhere else.",
    there: (host) => `On ${host}. Picture and sound are sent there and nowhere else.`,
  },
  stored: {
    nothing: "Nothing. Picture, sound, words and estimates are forgotten when the session ends.",
    ifAgreed: "Nothing, unless you agree to it below. Picture and sound are never stored.",
    kept: (record) => list(Object.entries(record).filter(([, n]) => n > 0).map(([name, n]) => `${KEPT[name] ?? name} for ${days(n)}`)),
  },
  receipt: (erased, lines, hash) => `You withdrew your consent. The session ended at once, and ${erased ? `${lines} recorded lines were erased` : "nothing had been recorded"}.${hash ? ` Receipt ${hash}.` : ""}`,
  recording: ({ on, reason }) => (on ? " and recorded" : `; not recorded: ${RECORDING[reason] ?? "the recorder failed"}`),
  load: {
    full: "",
    fewer_pictures: "; busy: every second picture is looked at",
    few_pictures: "; busy: few pictures are looked at",
    no_words: "; busy: few pictures are looked at, and no words",
    nothing: "; too busy: nothing is analysed for now",
  },

  problems: {
    devices: (kinds) => [kinds.video && "camera", kinds.audio && "microphone"].filter(Boolean).join(" or "),
    NotAllowedError: (d) => [
      `The ${d} was refused`,
      "The browser or the operating system did not give permission.",
      "Allow it with the sign beside the address of this page (and in the system's privacy settings), then try again. Or start without it.",
    ],
    NotFoundError: (d) => [
      `No ${d} found`,
      "The browser knows of no such device.",
      "Plug it in or switch it on, then try again. Or agree only to what you can provide.",
    ],
    NotReadableError: (d) => [
      `The ${d} is busy`,
      "Another program uses it, or the system does not let the browser have it.",
      "Close other programs that use it (calls, recorders, other tabs), then try again.",
    ],
    otherMedia: (d, error) => [`The ${d} did not start`, `${error.name}: ${error.message}`, "Reload the page and try again."],
    insecure: () => [
      "The browser keeps the camera closed",
      "Browsers give camera and microphone only to pages that come over https or from localhost.",
      "Open this page as http://localhost, or start the server with a certificate and use https.",
    ],
    unreachable: () => [
      "The server does not answer",
      "It was stopped, or the network between this page and it is broken.",
      "Start it again (python -m stream.serve) and try again.",
    ],
    noMediaPath: () => [
      "Picture and sound do not get through",
      "The server answers, but no media connection could be made or kept.",
      "A firewall or VPN may block UDP between this browser and the server. Change that, then try again.",
    ],
    otherSchema: (schema) => [
      "This page does not fit the server",
      `The server speaks record schema ${schema}; this page knows schema 1.`,
      "Reload the page without cache (Ctrl+Shift+R).",
    ],
    deviceGone: (kind) => [
      kind === "video" ? "The camera stopped" : "The microphone stopped",
      "The device was unplugged, or the permission was taken back.",
      "Connect it again, then try again.",
    ],
    ended: (reason) => [
      "The session has ended",
      reason && reason !== "finished" ? `The server ended it: ${String(reason).replaceAll("_", " ")}.` : "The server ended it.",
      "Nothing is being processed now. You can start again.",
    ],
    response: {
      401: "A ticket is needed",
      429: "Too many tries",
      403: "The server refused to start",
      503: "The server is full or not ready",
      other: "The server could not start the session",
      answered: (status, text) => `It answered ${status} ${text}.`,
      hint: "Look at the server's messages, then try again.",
    },
    inPage: (error) => ["Something in this page failed", `${error.name}: ${error.message}`, "Reload the page and try again."],
  },
};
