// The outline of the face, drawn over the self view. Video and canvas are mirrored together by CSS.

const SHOWN_MS = 1000;

export class Outline {
  constructor(canvas, video) {
    this.canvas = canvas;
    this.video = video;
    this.context = canvas.getContext("2d");
    this.faces = [];
    this.until = 0;
    this.dirty = true;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.dirty = true; });
  }

  show(faces) {
    this.faces = faces;
    this.until = performance.now() + SHOWN_MS;
    this.dirty = true;
  }

  clear() {
    this.show([]);
  }

  draw() {
    if (this.faces.length && performance.now() > this.until) this.clear();
    if (!this.dirty) return;
    this.dirty = false;
    const { context, canvas } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.faces.length) return;
    const [x, y, width, height] = this.#picture();
    const path = new Path2D();
    for (const line of this.faces.flatMap((face) => face.outlines)) {
      line.forEach(([u, v], i) => path[i ? "lineTo" : "moveTo"](x + u * width, y + v * height));
      path.closePath();
    }
    const pixel = devicePixelRatio;
    context.lineJoin = "round";
    for (const [colour, size] of [["rgb(0 0 0 / 55%)", 3.5], ["#fff", 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = size * pixel;
      context.stroke(path);
    }
  }

  /** Where the picture lies inside the canvas: all of it is shown, centred (object-fit: contain). */
  #picture() {
    const { width, height } = this.canvas;
    const { videoWidth, videoHeight } = this.video;
    if (!videoWidth) return [0, 0, width, height];
    const scale = Math.min(width / videoWidth, height / videoHeight);
    const [w, h] = [videoWidth * scale, videoHeight * scale];
    return [(width - w) / 2, (height - h) / 2, w, h];
  }

  #resize() {
    this.canvas.width = this.canvas.clientWidth * devicePixelRatio;
    this.canvas.height = this.canvas.clientHeight * devicePixelRatio;
    this.dirty = true;
  }
}
