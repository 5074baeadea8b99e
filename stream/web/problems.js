// What can go wrong, told as: what happened, and what to do.

export class Problem extends Error {
  constructor(title, what, hint) {
    super(`${title}: ${what}`);
    this.title = title;
    this.what = what;
    this.hint = hint;
  }
}

const devices = (kinds) => [kinds.video && "camera", kinds.audio && "microphone"].filter(Boolean).join(" or ");

const MEDIA = {
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
};

/** A Problem for what getUserMedia threw; `kinds` is what was asked for. */
export function fromMedia(error, kinds) {
  const tell = MEDIA[error.name] ?? ((d) => [`The ${d} did not start`, `${error.name}: ${error.message}`, "Reload the page and try again."]);
  return new Problem(...tell(devices(kinds)));
}

export const insecure = () => new Problem(
  "The browser keeps the camera closed",
  "Browsers give camera and microphone only to pages that come over https or from localhost.",
  "Open this page as http://localhost, or start the server with a certificate and use https.",
);

export const unreachable = () => new Problem(
  "The server does not answer",
  "It was stopped, or the network between this page and it is broken.",
  "Start it again (python -m stream.serve) and try again.",
);

export const noMediaPath = () => new Problem(
  "Picture and sound do not get through",
  "The server answers, but no media connection could be made or kept.",
  "A firewall or VPN may block UDP between this browser and the server. Change that, then try again.",
);

export const otherSchema = (schema) => new Problem(
  "This page does not fit the server",
  `The server speaks record schema ${schema}; this page knows schema 1.`,
  "Reload the page without cache (Ctrl+Shift+R).",
);

export const deviceGone = (kind) => new Problem(
  kind === "video" ? "The camera stopped" : "The microphone stopped",
  "The device was unplugged, or the permission was taken back.",
  "Connect it again, then try again.",
);

export const ended = (reason) => new Problem(
  "The session has ended",
  reason && reason !== "finished" ? `The server ended it: ${String(reason).replaceAll("_", " ")}.` : "The server ended it.",
  "Nothing is being processed now. You can start again.",
);

/** A Problem for an HTTP answer that is not a success; reads {"error", "hint"}. */
export async function fromResponse(response) {
  const body = await response.json().catch(() => ({}));
  const titles = { 401: "A ticket is needed", 429: "Too many tries", 403: "The server refused to start", 503: "The server is full or not ready" };
  return new Problem(
    titles[response.status] ?? "The server could not start the session",
    body.error ?? `It answered ${response.status} ${response.statusText}.`,
    body.hint ?? "Look at the server's messages, then try again.",
  );
}
