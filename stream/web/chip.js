// What a picture says of one person: the name, how the likeliest labels stand with their intervals,
// and why nothing can be said. Every chip of a kind has the same size, whatever it says.

import { DOUBT, GROUND, QUIET, TEXT } from "./colours.js";
import { percent } from "./format.js";
import { rank } from "./rank.js";
import { labelText, T } from "./texts.js";
import { SIGN } from "./words.js";

const PAD = 7;
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif";
const FADE_AFTER_S = 1;
const FADE_S = 3;
const FAINT = 0.3;
const NUMBER = 16;
const NARROWEST = 0.75; // letters are made narrower, down to this, before a text is cut

/** For one or two people, for some, and for many. `reason`: there is a line for it. */
export const WIDE = { width: 214, height: 100, rows: 3, line: 18, bar: 68, reason: true };
export const SMALL = { width: 148, height: 60, rows: 2, line: 17, bar: 0, reason: false };
export const TINY = { ...SMALL, height: 43, rows: 1 };
/** One line, with the number for a name: between faces that lie close to each other. */
export const SLIM = { ...SMALL, height: 24, rows: 1, slim: true };

/** How sure an estimate is, as opacity: from its interval, and from how long ago it came. */
function opacity([low, high], age) {
  const certainty = 1 - Math.min(1, (high - low) / 0.7);
  const fresh = 1 - Math.min(1, Math.max(0, age - FADE_AFTER_S) / FADE_S);
  return FAINT + (1 - FAINT) * (0.35 + 0.65 * certainty) * fresh;
}

/**
 * Draw at [x, y].
 * @param {{kind: object, person: object, name: string, labels: object, age: number, colour: string,
 *   said: {kind: string, text: string, reason: string}}} chip
 */
export function drawChip(context, [x, y], { kind, person, name, said, labels, age, colour }) {
  const { width, height, rows, line } = kind;
  const inner = width - 2 * PAD - 2;
  const left = x + PAD + 2;
  context.fillStyle = GROUND;
  rounded(context, x, y, width, height);
  context.fillStyle = colour;
  context.fillRect(x, y + 6, 3, height - 12);
  context.textBaseline = "middle";
  const unsure = said.kind === "unsure";
  if (kind.slim) {
    drawLine(context, left, y + 2, inner, { kind, person, labels, age, told: unsure ? T.verdict.unsure : said.text, unsure });
    return;
  }
  const verdict = said.kind === "sure" ? T.live.looksLike : said.text;
  const title = kind.reason || unsure ? `${name}: ${verdict}` : name;
  const bold = `600 12px ${FONT}`;
  squeeze(context, bold, TEXT, title, left, y + PAD + line / 2 - 1, inner);
  person.order = rank(labels, person.order, rows);
  person.order.forEach((label, i) => drawRow(context, left, y + PAD + (i + 1) * line, inner, kind, label, labels[label], age));
  if (!kind.reason || !unsure) return;
  const font = `11px ${FONT}`;
  write(context, font, DOUBT, fit(context, font, said.reason, inner), left, y + PAD + (rows + 1.5) * line - 2);
}

/** The number of a person, and the likeliest label or that it is not sure. */
function drawLine(context, x, y, width, { kind, person, labels, age, told, unsure }) {
  const bold = `600 12px ${FONT}`;
  write(context, bold, TEXT, String(person.number), x, y + kind.line / 2 - 1);
  const [from, room] = [x + NUMBER, width - NUMBER];
  person.order = rank(labels, person.order, 1);
  const [label] = person.order;
  if (!unsure && label) drawRow(context, from, y, room, kind, label, labels[label], age);
  else squeeze(context, bold, unsure ? DOUBT : TEXT, told, from, y + kind.line / 2 - 1, room);
}

function drawRow(context, x, y, width, kind, name, label, age) {
  const { probability, interval, status } = label;
  const middle = y + kind.line / 2;
  context.globalAlpha = opacity(interval, age);
  const font = `${status === "active" ? "700" : "400"} 12px ${FONT}`;
  const number = `400 12px ${FONT}`;
  const room = width - 36 - (kind.bar ? kind.bar + 6 : 0);
  const colour = status === "unsure" ? DOUBT : TEXT;
  squeeze(context, font, colour, `${SIGN[status]} ${labelText(name)}`, x, middle - (kind.bar ? 0 : 1), room);
  context.textAlign = "right";
  write(context, number, TEXT, `${percent(probability)} %`, x + width, middle - (kind.bar ? 0 : 1));
  context.textAlign = "left";
  if (kind.bar) drawBar(context, x + room + 2, middle - 4, kind.bar, 8, label);
  else drawBar(context, x, y + kind.line - 3, width, 2.5, label);
  context.globalAlpha = 1;
}

/** The interval as a band, hatched where it is not sure, and the estimate as a line. */
function drawBar(context, x, y, width, height, { probability, interval: [low, high], status }) {
  context.fillStyle = "rgb(255 255 255 / 20%)";
  context.fillRect(x, y, width, height);
  context.fillStyle = status === "unsure" ? DOUBT : QUIET;
  const [from, size] = [x + width * low, Math.max(2, width * (high - low))];
  if (status === "unsure") for (let at = 0; at < size; at += 4) context.fillRect(from + at, y, Math.min(2, size - at), height);
  else context.fillRect(from, y, size, height);
  context.fillStyle = TEXT;
  context.fillRect(x + width * probability - 1, y - 1.5, 2.5, height + 3);
}

export function rounded(context, x, y, width, height) {
  context.beginPath();
  context.roundRect(x, y, width, height, 7);
  context.fill();
}

export function write(context, font, colour, text, x, y) {
  context.font = font;
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

/** Write `text` into `room` pixels: narrower where it is a little too long, cut where that is not enough. */
function squeeze(context, font, colour, text, x, y, room) {
  const told = fit(context, font, text, room / NARROWEST);
  context.font = font;
  context.fillStyle = colour;
  context.fillText(told, x, y, room);
}

const fitted = new Map();

/** `text` cut to `width` pixels. */
export function fit(context, font, text, width) {
  const key = `${font}|${width}|${text}`;
  let found = fitted.get(key);
  if (found === undefined) {
    context.font = font;
    found = text;
    for (let n = text.length - 1; n > 0 && context.measureText(found).width > width; n -= 1) found = `${text.slice(0, n)}…`;
    if (fitted.size > 2000) fitted.clear();
    fitted.set(key, found);
  }
  return found;
}
