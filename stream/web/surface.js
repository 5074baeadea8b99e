// A canvas on a page or in a window of its own, and what of the scene is painted on it.

import { Painter } from "./painter.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class Surface {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{video?: HTMLVideoElement, show: () => object, host?: Window, size?: number[], scale?: number, whole?: boolean}} options
   *   video: the picture under the canvas; show: what is painted (see Painter); size: instead of the
   *   size that the canvas has on its page; scale: of everything; whole: the picture under the canvas
   *   is not on this page, and as large as it
   */
  constructor(canvas, { video = null, show, host = window, size = null, scale = 1, whole = false }) {
    this.canvas = canvas;
    this.video = video;
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
    this.painter.resize(width, height, this.scale * (this.size ? 1 : this.host.devicePixelRatio));
    this.painter.paint({ ...scene, show: this.show(), picture: place });
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
