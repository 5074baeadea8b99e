// What can go wrong, told as: what happened, and what to do. The texts are in texts/.

import { T } from "./texts.js";

export class Problem extends Error {
  constructor(title, what, hint) {
    super(`${title}: ${what}`);
    this.title = title;
    this.what = what;
    this.hint = hint;
  }
}

const problem = (texts) => new Problem(...texts);

/** A Problem for what getUserMedia threw; `kinds` is what was asked for. */
export function fromMedia(error, kinds) {
  const tell = T.problems[error.name] ?? T.problems.otherMedia;
  return problem(tell(T.problems.devices(kinds), error));
}

export const notShared = (error) => problem(T.problems.notShared(error));
export const sharingEnded = () => problem(T.problems.sharingEnded());
export const insecure = () => problem(T.problems.insecure());
export const unreachable = () => problem(T.problems.unreachable());
export const noMediaPath = () => problem(T.problems.noMediaPath());
export const otherSchema = (schema) => problem(T.problems.otherSchema(schema));
export const deviceGone = (kind) => problem(T.problems.deviceGone(kind));
export const ended = (reason) => problem(T.problems.ended(reason));
export const inPage = (error) => problem(T.problems.inPage(error));

/** A Problem for an HTTP answer that is not a success, with its `status`; reads {"error", "hint"}. */
export async function fromResponse(response) {
  const body = await response.json().catch(() => ({}));
  const texts = T.problems.response;
  const told = new Problem(
    texts[response.status] ?? texts.other,
    body.error ?? texts.answered(response.status, response.statusText),
    body.hint ?? texts.hint,
  );
  return Object.assign(told, { status: response.status });
}
