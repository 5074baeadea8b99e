// The frames of a video with the moments in which they were captured. An analysed frame comes back as
// an outline some time later; to lock both, the picture is shown as much later, from the frames kept
// here. Without VideoFrame (or when not wanted) the picture is live and only its time is told.

import { wallClock } from "./stats.js";

const MOST = 8; // a camera has only so many buffers
const MOST_DELAY_S = 0.25;
const SLOWLY = 0.05;

export class Frames {
  /** @param {() => void} arrived called with every frame */
  constructor(video, arrived) {
    this.video = video;
    this.arrived = arrived;
    this.kept = []; // {captured, frame}, oldest first
    this.delay = 0;
    this.locked = false;
    this.live = null; // when the frame that the video shows was captured
    this.able = "VideoFrame" in window && "requestVideoFrameCallback" in HTMLVideoElement.prototype;
    this.#ask();
  }

  /** Show pictures as late as their outlines are, or live. */
  lock(wanted) {
    this.locked = wanted && this.able;
    if (!this.locked) this.#forget(0);
  }

  /** An outline came `seconds` after its picture was captured. */
  late(seconds) {
    const goal = Math.min(MOST_DELAY_S, Math.max(0, seconds));
    // up at once (an outline must not come too late), down slowly (the picture must not jump)
    this.delay = goal > this.delay ? goal : this.delay + SLOWLY * (goal - this.delay);
  }

  /**
   * The frame to be shown now, and the wall clock of its capture; frame null: the live picture.
   * @param {boolean} timed whether it is known when outlines were captured
   */
  current(timed) {
    if (!this.locked || !timed || !this.kept.length) return { frame: null, captured: this.live ?? wallClock() };
    const due = wallClock() - this.delay;
    let chosen = 0;
    while (chosen + 1 < this.kept.length && this.kept[chosen + 1].captured <= due) chosen += 1;
    for (const { frame } of this.kept.splice(0, chosen)) frame.close();
    return this.kept[0];
  }

  close() {
    if (this.handle !== undefined) this.video.cancelVideoFrameCallback(this.handle);
    this.#forget(0);
    this.closed = true;
  }

  #ask() {
    if (!("requestVideoFrameCallback" in this.video)) return;
    this.handle = this.video.requestVideoFrameCallback((now, metadata) => {
      if (this.closed) return;
      this.#ask();
      this.live = (performance.timeOrigin + (metadata.captureTime ?? now)) / 1000;
      if (this.locked) this.#keep();
      this.arrived();
    });
  }

  #keep() {
    try {
      this.kept.push({ captured: this.live, frame: new VideoFrame(this.video, { timestamp: Math.round(this.live * 1e6) }) });
    } catch (error) {
      if (error.name !== "InvalidStateError") throw error; // the camera has just stopped
    }
    this.#forget(MOST);
  }

  #forget(most) {
    while (this.kept.length > most) this.kept.shift().frame.close();
  }
}
