// The timeline of one person: two minutes up to now. Per label a row with the interval as a band and
// the estimate as a line, or one row with whichever label is likeliest. Where it is not sure, the
// band is hollow. Triangles mark onsets.

import { ABSENT, COLUMN_S, COLUMNS, HISTORY_S, UNSURE } from "./history.js";
import { colourOf, GROUND, QUIET, TEXT } from "./colours.js";
import { labelText } from "./texts.js";

const NAMES = 74; // pixels for the names of rows
const MARK = 4;

/** Draw rows of all labels into [x, y, width, height]; returns nothing. */
export function drawRows(context, [x, y, width, height], history, now) {
  const rows = history.labels.length;
  const row = height / rows;
  ground(context, x, y, width, height);
  context.font = `${Math.min(11, row - 2)}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  history.labels.forEach((name, i) => {
    const top = y + i * row;
    context.fillStyle = QUIET;
    context.fillText(labelText(name), x + 6, top + row / 2, NAMES - 10);
    const area = [x + NAMES, top + 1, width - NAMES, row - 2];
    band(context, area, history, now, () => i, colourOf(i));
    for (const mark of history.onsets) if (mark.label === name) onset(context, area, mark.t, now, colourOf(i));
  });
}

/** Draw one row with the likeliest label of each moment, and the names of what came. */
export function drawLead(context, area, history, now) {
  const [x, y, width, height] = area;
  ground(context, x, y, width, height);
  const leads = leaders(history, now);
  const used = new Set(leads.filter((i) => i >= 0));
  for (const i of used) band(context, area, history, now, (k) => (leads[k] === i ? i : -1), colourOf(i));
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "bottom";
  let free = -Infinity;
  for (const { label, t } of history.onsets) {
    const i = history.labels.indexOf(label);
    const at = onset(context, area, t, now, colourOf(i));
    if (at < Math.max(free, x)) continue;
    const text = labelText(label);
    context.fillStyle = TEXT;
    context.fillText(text, at + MARK + 2, y + height);
    free = at + MARK + 4 + context.measureText(text).width;
  }
}

function ground(context, x, y, width, height) {
  context.fillStyle = GROUND;
  context.fillRect(x, y, width, height);
}

const newestColumn = (now) => Math.floor(now / COLUMN_S);

/** Index of the likeliest label for each of the columns shown; -1 where nothing is known. */
function leaders(history, now) {
  const first = newestColumn(now) - COLUMNS + 1;
  return Array.from({ length: COLUMNS }, (_, k) => {
    let best = -1;
    let most = -1;
    for (let i = 0; i < history.labels.length; i += 1) {
      const cell = history.cell(first + k, i);
      if (cell >= 0 && history.status[cell] !== ABSENT && history.middle[cell] > most) [best, most] = [i, history.middle[cell]];
    }
    return best;
  });
}

/** Bands and line of the label that `labelAt` names per column (-1: none). */
function band(context, [x, y, width, height], history, now, labelAt, colour) {
  const first = newestColumn(now) - COLUMNS + 1;
  const step = width / COLUMNS;
  const sure = new Path2D();
  const unsure = new Path2D();
  const line = new Path2D();
  let drawing = false;
  for (let k = 0; k < COLUMNS; k += 1) {
    const i = labelAt(k);
    const cell = i < 0 ? -1 : history.cell(first + k, i);
    if (cell < 0 || history.status[cell] === ABSENT) {
      drawing = false;
      continue;
    }
    const left = x + k * step;
    const top = y + height * (1 - history.high[cell]);
    const size = Math.max(1, height * (history.high[cell] - history.low[cell]));
    if (history.status[cell] !== UNSURE) sure.rect(left, top, step + 0.3, size);
    else if (k % 2) unsure.rect(left, top, step, size);
    const middle = y + height * (1 - history.middle[cell]);
    line[drawing ? "lineTo" : "moveTo"](left + step / 2, middle);
    drawing = true;
  }
  context.fillStyle = colour;
  context.globalAlpha = 0.5;
  context.fill(sure);
  context.globalAlpha = 0.28;
  context.fill(unsure);
  context.globalAlpha = 1;
  context.strokeStyle = colour;
  context.lineWidth = 1.25;
  context.stroke(line);
}

/** A triangle where a label came; its place. */
function onset(context, [x, y, width, height], t, now, colour) {
  const at = x + width * (1 - ((newestColumn(now) + 1) * COLUMN_S - t) / HISTORY_S);
  if (at < x) return at;
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(at, y + height - MARK - 3);
  context.lineTo(at + MARK, y + height);
  context.lineTo(at - MARK, y + height);
  context.fill();
  return at;
}
