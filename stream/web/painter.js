// One canvas with all that is drawn over a picture, in a floating window or on a transparent page:
// outlines of faces, chips, captions and timelines.

import { drawChip, fit, rounded, SLIM, SMALL, TINY, WIDE, write } from "./chip.js";
import { colourOf, GROUND, QUIET, TEXT } from "./colours.js";
import { COLUMN_S } from "./history.js";
import { Places } from "./places.js";
import { drawLead } from "./strip.js";
import { T } from "./texts.js";
import { verdict } from "./words.js";

const GAP = 8;
const STRIP = 26;
const CAPTION_LINE = 22;
const CAPTION_LINES = 2;
const CAPTION_FONT = "15px system-ui, sans-serif";
const NOTICE_FONT = "600 12px system-ui, sans-serif";
const NOTICE = 22;
const SOME = 6;
const NARROW = 420;
const LOW = 600; // under a picture's faces in two rows there is less room than a tiny chip needs
const FEW = 4; // with more people in a picture there is no room on it for captions

export class Painter {
  /** @param {{still: boolean}} options still: chips jump to their places (reduced motion) */
  constructor(canvas, { still }) {
    this.canvas = canvas;
    this.still = still;
    this.context = canvas.getContext("2d");
    this.places = new Places();
    this.strips = new Map(); // person -> {canvas, key}
  }

  /** Fit the canvas to the place that it has; true if that changed it. */
  resize(width, height, pixel) {
    const [w, h] = [Math.round(width * pixel), Math.round(height * pixel)];
    this.pixel = pixel;
    if (this.canvas.width === w && this.canvas.height === h) return false;
    [this.canvas.width, this.canvas.height] = [w, h];
    return true;
  }

  /**
   * Draw a scene.
   * @param {{people: object[], names: (id: string) => string, config: object, reason: string | null,
   *   t: number, now: number, wall: number, captions: object[], picture: number[] | null,
   *   mirrored: boolean,
   *   show: {outline, labels, captions, timeline, notice: boolean}}} scene
   *   t: stream time of the picture that is shown, now: newest stream time, picture: [x, y, w, h]
   */
  paint(scene) {
    const { context, canvas, pixel } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(pixel, 0, 0, pixel, 0, 0);
    this.width = canvas.width / pixel;
    this.height = canvas.height / pixel;
    if (scene.show.outline && scene.picture) this.#outlines(scene);
    const bottom = scene.show.captions && !(scene.picture && scene.people.length > FEW) ? this.#captions(scene) : this.height - GAP;
    const top = scene.show.notice ? this.#notice() : 0;
    if (scene.show.labels || scene.show.timeline) this.#chips(scene, top, bottom);
  }

  #outlines({ people, picture: [x, y, width, height], mirrored, t, wall }) {
    const { context } = this;
    const across = mirrored ? (u) => x + (1 - u) * width : (u) => x + u * width;
    context.lineJoin = "round";
    for (const person of people) {
      const face = person.motion.at(t, wall);
      if (!face) continue;
      const path = new Path2D();
      for (const line of face.outlines) {
        line.forEach(([u, v], i) => path[i ? "lineTo" : "moveTo"](across(u), y + v * height));
        path.closePath();
      }
      const own = people.length > 1 ? colourOf(person.number) : TEXT;
      for (const [colour, size] of [["rgb(0 0 0 / 55%)", 3.5], [own, 1.5]]) {
        context.strokeStyle = colour;
        context.lineWidth = size;
        context.stroke(path);
      }
    }
  }

  #chips(scene, top, bottom) {
    const { kind, columns, ...size } = this.#layout(scene, bottom - top);
    const wanted = scene.people.map((person, i) => ({
      id: person.id,
      face: scene.picture && !this.still ? this.#faceOf(scene, person) : null,
      listed: [GAP + (i % columns) * (size.width + GAP), top + GAP + Math.floor(i / columns) * (size.height + GAP)],
    }));
    const area = { x: GAP, y: top + GAP, right: this.width - GAP, bottom };
    this.places.find(wanted, size, area, scene.wall).forEach((at, i) => {
      const person = scene.people[i];
      if (scene.show.labels) drawChip(this.context, at, this.#chip(scene, person, kind));
      if (size.strip) this.#strip(scene, person, [at[0], at[1] + size.height - STRIP, size.width, STRIP]);
    });
  }

  /** How much is said of everybody: over a picture by their number, in a list what there is room for. */
  #layout({ people, picture, show }, height) {
    const sized = (kind, strip) => ({
      kind,
      strip,
      width: kind.width,
      height: (show.labels ? kind.height : 0) + (strip ? STRIP + 2 : 0),
      columns: Math.max(1, Math.floor((this.width - GAP) / (kind.width + GAP))),
    });
    if (picture) return sized(people.length > SOME ? (picture[3] < LOW ? SLIM : TINY) : people.length > 2 || this.width < NARROW ? SMALL : WIDE, show.timeline);
    const choices = [WIDE, SMALL, TINY].map((kind) => sized(kind, show.timeline));
    const fits = (choice) => Math.ceil(people.length / choice.columns) * (choice.height + GAP) <= height - GAP;
    return choices.find(fits) ?? sized(TINY, !show.labels);
  }

  #chip(scene, person, kind) {
    const shown = scene.reason ? { labels: {}, reason: scene.reason } : person.state ?? { labels: {}, reason: "warming_up" };
    return {
      kind,
      person,
      name: scene.names(person.id),
      said: verdict(shown, scene.config),
      labels: shown.labels,
      age: person.heard === null ? 0 : scene.wall - person.heard,
      colour: colourOf(person.number),
    };
  }

  /** Where the face of a person is on the canvas, or null. */
  #faceOf({ picture: [x, y, width, height], mirrored, t, wall }, person) {
    const face = person.motion.at(t, wall);
    if (!face) return null;
    const [u0, v0, u1, v1] = face.box;
    const [left, right] = mirrored ? [1 - u1, 1 - u0] : [u0, u1];
    return { x: x + left * width, y: y + v0 * height, right: x + right * width, bottom: y + v1 * height };
  }

  #strip(scene, person, [x, y, width, height]) {
    const key = `${Math.floor(scene.now / COLUMN_S)} ${person.history.onsets.length} ${this.pixel} ${width} ${T.code}`;
    let strip = this.strips.get(person.id);
    if (strip?.key !== key) {
      const canvas = strip?.canvas ?? document.createElement("canvas");
      canvas.width = width * this.pixel;
      canvas.height = height * this.pixel;
      const context = canvas.getContext("2d");
      context.scale(this.pixel, this.pixel);
      drawLead(context, [0, 0, width, height], person.history, scene.now);
      strip = { canvas, key };
      this.strips.set(person.id, strip);
    }
    this.context.drawImage(strip.canvas, x, y, width, height);
  }

  #captions({ captions }) {
    const { context } = this;
    const top = this.height - GAP - CAPTION_LINES * CAPTION_LINE;
    const shown = captions.slice(-CAPTION_LINES);
    context.textBaseline = "middle";
    shown.forEach((text, i) => {
      const line = fit(context, CAPTION_FONT, text, this.width - 4 * GAP);
      context.font = CAPTION_FONT;
      const width = context.measureText(line).width;
      const [x, y] = [(this.width - width) / 2, top + (CAPTION_LINES - shown.length + i) * CAPTION_LINE];
      context.fillStyle = GROUND;
      rounded(context, x - GAP, y, width + 2 * GAP, CAPTION_LINE);
      write(context, CAPTION_FONT, TEXT, line, x, y + CAPTION_LINE / 2);
    });
    return top - GAP;
  }

  #notice() {
    const { context } = this;
    const line = fit(context, NOTICE_FONT, `● ${T.page.notice}`, this.width - 4 * GAP);
    context.font = NOTICE_FONT;
    context.fillStyle = GROUND;
    rounded(context, GAP, GAP, context.measureText(line).width + 2 * GAP, NOTICE);
    context.textBaseline = "middle";
    write(context, NOTICE_FONT, QUIET, line, 2 * GAP, GAP + NOTICE / 2);
    return GAP + NOTICE;
  }
}
