// Labels on the picture: the box of each face, and what that person looks like at this picture.

import { countUpTo, stateAt } from "./data.js";
import { prepare } from "./paint.js";
import { percent, reasonTexts } from "./words.js";

const LONGEST = 0.6; // seconds for which a place of a face holds

/** [x0, y0, x1, y1] at `t`, between the two pictures around it, or null. */
function boxAt(face, t) {
  if (!face) return null;
  const i = countUpTo(face.t, t) - 1;
  const next = i + 1 < face.t.length && face.t[i + 1] - t <= LONGEST ? i + 1 : -1;
  if (i < 0 || t - face.t[i] > LONGEST) return next === 0 && face.t[0] - t < 0.2 ? [...face.box.subarray(0, 4)].map((v) => v / 65535) : null;
  const share = next > 0 ? Math.min(1, (t - face.t[i]) / (face.t[next] - face.t[i])) : 0;
  return [0, 1, 2, 3].map((k) => {
    const here = face.box[4 * i + k];
    const there = next > 0 ? face.box[4 * next + k] : here;
    return (here + share * (there - here)) / 65535;
  });
}

function linesOf(person, kind, t, about) {
  const track = person.tracks[kind] ?? person.tracks.live;
  const i = track ? stateAt(track, t, about.longest) : -1;
  if (i < 0) return [];
  const lines = about.labels
    .map((name, c) => ({ name, c, p: track.p[c][i], status: track.status[c][i] }))
    .filter((label) => label.status === 1)
    .sort((a, b) => b.p - a.p)
    .map(({ name, c, p }) => ({ text: `${name} ${percent(p)} (${percent(track.lo[c][i])} to ${percent(track.hi[c][i])})`, c }));
  if (lines.length) return lines;
  const unsure = about.labels.some((_, c) => track.status[c][i] >= 2);
  if (!unsure) return [];
  const [why] = reasonTexts(track.reasons[i], about.reasons, 1);
  return [{ text: why ? `not sure: ${why}` : "not sure", c: -1 }];
}

export function paintOverlay(canvas, video, about, kind, t, theme, shown) {
  const { context, width, height } = prepare(canvas);
  if (!shown || !video.videoWidth) return;
  const scale = Math.min(width / video.videoWidth, height / video.videoHeight);
  const w = video.videoWidth * scale;
  const h = video.videoHeight * scale;
  const left = (width - w) / 2;
  const top = (height - h) / 2;
  let corner = top + 6;
  context.font = "600 13px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (const person of about.people) {
    const box = boxAt(person.face, t);
    const lines = linesOf(person, kind, t, about);
    if (!box && (person.face || !lines.length)) continue;
    let x = left + 6;
    let y = corner;
    if (box) {
      const [x0, y0, x1, y1] = [left + box[0] * w, top + box[1] * h, left + box[2] * w, top + box[3] * h];
      context.lineWidth = 2;
      context.strokeStyle = "#fff";
      context.setLineDash(lines[0]?.c >= 0 ? [] : [5, 4]);
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
      context.setLineDash([]);
      x = x0;
      y = y1 + 4 + 20 * (lines.length + 1) < top + h ? y1 + 4 : Math.max(top, y0 - 4 - 20 * (lines.length + 1));
    }
    for (const { text, c } of [{ text: person.id, c: -2 }, ...lines]) {
      const wide = context.measureText(text).width + 18;
      const at = Math.max(left, Math.min(x, left + w - wide));
      context.fillStyle = "rgb(12 14 20 / .82)";
      context.fillRect(at, y, wide, 19);
      context.fillStyle = c >= 0 ? theme.labels[c] : "#fff";
      if (c >= 0) context.fillRect(at, y, 5, 19);
      context.fillStyle = c === -1 ? "#ffd48a" : "#fff";
      context.fillText(text, at + 10, y + 10);
      y += 20;
    }
    if (!box) corner = y + 6;
  }
}
