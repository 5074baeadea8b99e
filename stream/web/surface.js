// A canvas on a page or in a window of its own, and what of the scene is painted on it; below it, where
// the picture is locked to its outlines, another one with a frame of the picture.

import { Painter } from "./painter.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Surface {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{video?: HTMLVideoElement, picture?: HTMLCanvasElement, show: () => object,
   *   host?: Window, size?: number[], scale?: number, whole?: boolean}} options
   *   video: the picture under the canvas; picture: shows frames in its place; show: what is painted (see Painter); size: instead of the
   *   size that the canvas has on its page; scale: of everything; whole: the picture under the canvas
   *   is not on this page, and as large as it
   */
  constructor(canvas, { video = null, picture = null, show, host = window, size = null, scale = 1, whole = false }) {
    this.canvas = canvas;
    this.video = video;
    this.picture = picture;
    this.drawn = null; // the frame that the picture shows
    this.show = show;
    this.host = host;
    this.size = size;
    this.scale = scale;
    this.whole = whole;
    this.painter = new Painter(canvas, { still: calm.matches });
    this.observer = size ? null : new host.ResizeObserver(() => { this.box = null; });
    this.observer?.observe(canvas);
  }

  close() {
    this.observer?.disconnect();
    this.canvas.getContext("2d").reset();
  }

  paint(scene) {
    this.box ??= this.size ?? [this.canvas.clientWidth / this.scale, this.canvas.clientHeight / this.scale];
    const [width, height] = this.box;
    if (!width || !height) {
      this.box = null;
      return;
    }
    const place = this.#place(width, height);
    if (this.painter.resize(width, height, this.scale * (this.size ? 1 : this.host.devicePixelRatio))) this.drawn = null;
    this.painter.paint({ ...scene, show: this.show(), picture: place });
    if (this.picture) this.#show(scene, place);
  }

  /** The frame that belongs to what is painted; drawing costs far more than all the rest. */
  #show({ frame, mirrored }, [x, y, width, height]) {
    const { canvas, picture } = this;
    if (picture.hidden !== !frame) picture.hidden = !frame;
    if (!frame || frame === this.drawn) return;
    if (picture.width !== canvas.width) picture.width = canvas.width;
    if (picture.height !== canvas.height) picture.height = canvas.height;
    const context = picture.getContext("2d", { alpha: false });
    const pixel = this.painter.pixel;
    context.setTransform(mirrored ? -pixel : pixel, 0, 0, pixel, mirrored ? pixel * (2 * x + width) : 0, 0);
    context.drawImage(frame, x, y, width, height);
    this.drawn = frame;
  }

  /** Where the picture lies inside the canvas: all of it is shown, centred (object-fit: contain). */
  #place(width, height) {
    if (!this.video) return this.whole ? [0, 0, width, height] : null;
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth) return [0, 0, width, height];
    const scale = Math.min(width / videoWidth, height / videoHeight);
    const [w, h] = [videoWidth * scale, videoHeight * scale];
    return [(width - w) / 2, (height - h) / 2, w, h];
  }
}
