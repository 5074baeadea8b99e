// Drawing one person's lanes: a row per label, a strip of reasons, a strip of speech.

import { countUpTo } from "./data.js";
import { levelFor } from "./levels.js";

export const ROW = 34;
export const GAP = 4;
export const STRIP = 18;
export const SPEECH = 8;
const POINTS_PER_PIXEL = 1.5;

export function laneHeight(labels) {
  return labels * (ROW + GAP) + STRIP + GAP + SPEECH;
}

/** Colours of the theme, read once per change. */
export function colours(count) {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(name).trim();
  const hatch = new OffscreenCanvas(8, 8);
  const brush = hatch.getContext("2d");
  brush.strokeStyle = get("--hatch");
  brush.lineWidth = 1.2;
  for (const shift of [-8, 0, 8]) {
    brush.moveTo(shift, 8);
    brush.lineTo(shift + 8, 0);
  }
  brush.stroke();
  return {
    labels: Array.from({ length: count }, (_, c) => get(`--c${c % 8}`)),
    track: get("--track"), text: get("--text"), quiet: get("--quiet"), line: get("--line"), card: get("--card"),
    unsure: get("--unsure"), unsureBack: get("--unsure-back"), cursor: get("--cursor"), hatch,
  };
}

/** Fit a canvas to its box and give a context in CSS pixels. */
export function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** Stretches [from, to) of `level` in which `test(i)` holds. */
function* runs(level, from, to, test) {
  let start = -1;
  for (let i = from; i <= to; i += 1) {
    const broken = i < to && i > from && level.t[i] - level.t[i - 1] > 2.5 * level.step;
    const holds = i < to && test(i);
    if (start >= 0 && (!holds || broken)) {
      yield [start, i];
      start = -1;
    }
    if (holds && start < 0) start = i;
  }
}

function row(context, level, c, box, x, colour, theme) {
  const { from, to, top } = box;
  const y = (value) => top + ROW - 4 - (value / 255) * (ROW - 6);
  const end = (i) => x(level.t[i - 1] + level.step);
  context.fillStyle = theme.track;
  context.fillRect(0, top, box.width, ROW);
  for (const [a, b] of runs(level, from, to, () => true)) {
    context.beginPath();
    for (let i = a; i < b; i += 1) context.lineTo(x(level.t[i]), y(level.hi[c][i]));
    context.lineTo(end(b), y(level.hi[c][b - 1]));
    context.lineTo(end(b), y(level.lo[c][b - 1]));
    for (let i = b - 1; i >= a; i -= 1) context.lineTo(x(level.t[i]), y(level.lo[c][i]));
    context.globalAlpha = 0.33;
    context.fillStyle = colour;
    context.fill();
    context.globalAlpha = 1;
    context.beginPath();
    for (let i = a; i < b; i += 1) context.lineTo(x(level.t[i]), y(level.p[c][i]));
    context.lineTo(end(b), y(level.p[c][b - 1]));
    context.strokeStyle = colour;
    context.lineWidth = 1.6;
    context.stroke();
  }
  context.fillStyle = context.createPattern(theme.hatch, "repeat");
  for (const [a, b] of runs(level, from, to, (i) => level.unsure[c][i] > 127)) {
    context.fillRect(x(level.t[a]), top, Math.max(1, end(b) - x(level.t[a])), ROW);
  }
  context.fillStyle = colour;
  for (const [a, b] of runs(level, from, to, (i) => level.active[c][i] > 0)) {
    context.fillRect(x(level.t[a]), top + ROW - 4, Math.max(2, end(b) - x(level.t[a])), 4);
  }
}

function reasonStrip(context, level, box, x, reasons, theme) {
  const lowest = (bits) => 31 - Math.clz32(bits & -bits);
  let i = box.from;
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  while (i < box.to) {
    const bits = level.reasons[i];
    let end = i + 1;
    while (end < box.to && lowest(level.reasons[end]) === lowest(bits) && level.t[end] - level.t[end - 1] <= 2.5 * level.step) end += 1;
    if (bits) {
      const left = Math.max(0, x(level.t[i]));
      const width = Math.min(box.width, x(level.t[end - 1] + level.step)) - left;
      context.fillStyle = theme.unsureBack;
      context.fillRect(left, box.top, Math.max(1, width - 0.5), STRIP);
      const text = reasons[lowest(bits)]?.[1] ?? "";
      context.fillStyle = theme.unsure;
      if (width > 12 && context.measureText(text).width < width - 6) context.fillText(text, left + 3, box.top + STRIP / 2);
      else context.fillRect(left, box.top + STRIP - 3, Math.max(1, width - 0.5), 3);
    }
    i = end;
  }
}

/** Lines where episodes begin and where something turned. */
function marks(context, list, view, x, height, theme) {
  context.strokeStyle = theme.quiet;
  context.setLineDash([2, 3]);
  context.lineWidth = 1;
  context.beginPath();
  for (const { t } of list) {
    if (t < view.t0 || t > view.t1) continue;
    context.moveTo(x(t), 0);
    context.lineTo(x(t), height);
  }
  context.stroke();
  context.setLineDash([]);
}

export function paintPerson(canvas, person, kind, view, about, theme) {
  const { context, width, height } = prepare(canvas);
  const scale = width / (view.t1 - view.t0);
  const x = (t) => (t - view.t0) * scale;
  const count = about.labels.length;
  const bottom = count * (ROW + GAP);
  const track = person.tracks[kind] ?? person.tracks.live;
  if (track) {
    const level = levelFor(track, POINTS_PER_PIXEL * scale, about.hop);
    const from = Math.max(0, countUpTo(level.t, view.t0) - 1);
    const to = Math.min(level.t.length, countUpTo(level.t, view.t1) + 1);
    for (let c = 0; c < count; c += 1) row(context, level, c, { from, to, top: c * (ROW + GAP), width }, x, theme.labels[c], theme);
    reasonStrip(context, level, { from, to, top: bottom, width }, x, about.reasons, theme);
  }
  context.fillStyle = theme.text;
  for (let i = 0; i < person.speech.length; i += 2) {
    if (person.speech[i + 1] < view.t0 || person.speech[i] > view.t1) continue;
    context.fillRect(x(person.speech[i]), bottom + STRIP + GAP, Math.max(1, (person.speech[i + 1] - person.speech[i]) * scale), SPEECH - 3);
  }
  marks(context, person.turns, view, x, bottom, theme);
}

/** All people over the whole recording, in a few pixels each. */
export function paintOverview(canvas, about, kind, theme) {
  const { context, width, height } = prepare(canvas);
  const scale = width / about.duration;
  const each = height / Math.max(1, about.people.length);
  about.people.forEach((person, k) => {
    const track = person.tracks[kind] ?? person.tracks.live;
    if (!track) return;
    const level = levelFor(track, scale, about.hop);
    const n = level.t.length;
    const w = Math.max(1, level.step * scale + 0.5);
    for (let i = 0; i < n; i += 1) {
      let best = -1;
      for (let c = 0; c < about.labels.length; c += 1) if (level.active[c][i] > 0 && (best < 0 || level.p[c][i] > level.p[best][i])) best = c;
      const doubt = about.labels.every((_, c) => level.unsure[c][i] > 127);
      if (best < 0 && !doubt) continue;
      context.fillStyle = best >= 0 ? theme.labels[best] : theme.line;
      context.fillRect(Math.floor(level.t[i] * scale), k * each + 1, Math.ceil(w), Math.max(1, each - 2));
    }
    context.fillStyle = theme.text;
    for (const { t } of person.turns) context.fillRect(t * scale - 0.75, k * each, 1.5, each);
  });
}

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

export function paintRuler(canvas, view, theme, clockText) {
  const { context, width, height } = prepare(canvas);
  const scale = width / (view.t1 - view.t0);
  const step = STEPS.find((each) => each * scale >= 70) ?? 7200;
  context.fillStyle = theme.quiet;
  context.strokeStyle = theme.line;
  context.font = "12px system-ui, sans-serif";
  context.beginPath();
  for (let k = Math.ceil(view.t0 / step); k * step <= view.t1; k += 1) {
    const at = (k * step - view.t0) * scale;
    context.moveTo(at, height - 6);
    context.lineTo(at, height);
    const text = clockText(k * step, step < 1);
    const wide = context.measureText(text).width;
    context.fillText(text, Math.min(width - wide, Math.max(0, at - wide / 2)), height - 10);
  }
  context.stroke();
}
