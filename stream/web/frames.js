// The frames of a video with the moments in which they were captured. An analysed frame comes back as
// an outline some time later; to lock both, the picture is shown as much later, from copies of its
// frames. Where a browser cannot do that in a worker the picture is live.

import { make } from "./dom.js";
import { wallClock } from "./stats.js";

const KEPT = 8; // fewer than the worker has
const MOST_DELAY_S = 0.25;
const UP = 0.3; // steps towards a longer and a shorter delay: about six of seven outlines come in time
const DOWN = 0.05;

export class Frames {
  /**
   * @param {HTMLVideoElement} video
   * @param {HTMLElement} holder lies over the video, and shows a copy in its place
   * @param {() => void} arrived called with every frame
   */
  constructor(video, holder, arrived) {
    this.video = video;
    this.holder = holder;
    this.arrived = arrived;
    this.kept = []; // times of capture of the copies that there are, oldest first
    this.shown = null;
    this.delay = 0;
    this.locked = false;
    this.live = null; // when the frame that the video shows was captured
    holder.hidden = true;
    this.#ask();
  }

  /** Show pictures as late as their outlines are, or live. */
  lock(wanted) {
    const able = "requestVideoFrameCallback" in this.video && "VideoFrame" in window && "transferControlToOffscreen" in HTMLCanvasElement.prototype;
    this.locked = wanted && able;
    if (!this.locked) this.kept = [];
    if (!this.locked || this.worker) return;
    const canvas = make("canvas", "", this.holder).transferControlToOffscreen();
    this.worker = new Worker("/static/copier.js");
    this.worker.postMessage({ canvas }, [canvas]);
  }

  /** An outline came `seconds` after its picture was captured. */
  late(seconds) {
    const goal = Math.min(MOST_DELAY_S, Math.max(0, seconds));
    this.delay += (goal > this.delay ? UP : DOWN) * (goal - this.delay);
    this.timed = true;
  }

  /** Show the frame that is due; the wall clock of its capture, and whether it is a copy. */
  show() {
    const due = wallClock() - this.delay;
    const captured = this.kept.findLast((each) => each <= due) ?? null;
    if (captured !== this.shown) {
      if (captured !== null) this.worker.postMessage({ show: captured });
      this.holder.hidden = captured === null;
      this.shown = captured;
    }
    return { captured: captured ?? this.live ?? wallClock(), copy: captured !== null };
  }

  close() {
    this.closed = true;
    if (this.handle !== undefined) this.video.cancelVideoFrameCallback(this.handle);
    this.worker?.terminate();
    this.holder.replaceChildren();
    this.holder.hidden = true;
  }

  #ask() {
    if (!("requestVideoFrameCallback" in this.video)) return;
    this.handle = this.video.requestVideoFrameCallback((now, metadata) => {
      if (this.closed) return;
      this.#ask();
      this.live = (performance.timeOrigin + (metadata.captureTime ?? now)) / 1000;
      if (this.locked && this.timed) this.#copy(this.live);
      this.arrived();
    });
  }

  /** Let what the video shows be copied, no larger than it is seen. */
  #copy(captured) {
    const { videoWidth, videoHeight, clientWidth } = this.video;
    const share = Math.min(1, (clientWidth * devicePixelRatio) / videoWidth);
    const [width, height] = [Math.round(videoWidth * share), Math.round(videoHeight * share)];
    if (!width || !height) return;
    try {
      const frame = new VideoFrame(this.video, { timestamp: Math.round(captured * 1e6) });
      this.worker.postMessage({ frame, captured, width, height }, [frame]);
    } catch (error) {
      if (error.name !== "InvalidStateError") throw error;
      return; // the camera has just stopped
    }
    this.kept = [...this.kept.slice(1 - KEPT), captured];
  }
}
