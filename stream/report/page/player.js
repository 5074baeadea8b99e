// The recording and its time. Without a recording the time still moves: the timelines stay usable.

import { clockText } from "./words.js";

const byId = (id) => document.getElementById(id);

export class Player {
  /**
   * `moved(t)` is called whenever the time has changed, at most once per frame; `pictured`: faces
   * were seen, so the recording has a picture.
   */
  constructor(duration, pictured, moved) {
    this.video = byId("video");
    this.duration = duration;
    this.pictured = pictured;
    this.moved = moved;
    this.free = null; // the clock without a recording: {t, since} or null
    this.alone = 0;
    this.wanted = null;
    this.told = -1;
    this.listen();
  }

  get usable() {
    return this.video.readyState >= 1 && !this.video.error;
  }

  get t() {
    if (this.wanted !== null) return this.wanted;
    if (this.usable) return this.shown ?? this.video.currentTime;
    const gone = this.free ? (performance.now() - this.free.since) / 1000 : 0;
    return Math.min(this.duration, (this.free?.t ?? this.alone) + gone);
  }

  get playing() {
    return this.usable ? !this.video.paused : this.free !== null;
  }

  seek(t) {
    const to = Math.max(0, Math.min(this.duration, t));
    this.shown = null;
    if (this.usable) {
      this.wanted = to;
      if (!this.video.seeking) this.video.currentTime = to;
    } else {
      this.alone = to;
      if (this.free) this.free = { t: to, since: performance.now() };
    }
    this.tell();
  }

  toggle() {
    if (this.usable) {
      if (this.video.paused) this.video.play().catch(() => {});
      else this.video.pause();
    } else if (this.free) {
      this.alone = this.t;
      this.free = null;
    } else {
      this.free = { t: this.alone >= this.duration ? 0 : this.alone, since: performance.now() };
    }
    this.tell();
  }

  listen() {
    const { video } = this;
    video.addEventListener("seeked", () => {
      // While somebody drags, only the last place that was asked for matters.
      if (this.wanted !== null && Math.abs(video.currentTime - this.wanted) > 0.02) video.currentTime = this.wanted;
      else this.wanted = null;
      this.tell();
    });
    for (const name of ["play", "pause", "timeupdate", "loadedmetadata"]) video.addEventListener(name, () => this.tell());
    video.addEventListener("play", () => { this.wanted = null; });
    video.addEventListener("error", () => this.missing(), true);
    if (video.error || video.networkState === 3 || !video.getAttribute("src")) this.missing();
    video.addEventListener("loadedmetadata", () => this.opened());
    if (video.readyState >= 1) this.opened();
    byId("choose").addEventListener("change", (event) => {
      const [file] = event.target.files;
      if (file) video.src = URL.createObjectURL(file);
    });
    byId("play").addEventListener("click", () => this.toggle());
    const onPicture = (_, { mediaTime }) => {
      this.shown = this.wanted === null ? mediaTime : null;
      this.tell();
      video.requestVideoFrameCallback(onPicture);
    };
    video.requestVideoFrameCallback?.(onPicture);
    const frame = () => {
      if (this.playing) this.tell();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** Some browsers play the sound alone of what they can decode in part, and say nothing. */
  opened() {
    const blind = this.pictured && !this.video.videoWidth;
    byId("missing-text").textContent = `This browser plays only the sound of ${this.name || "it"}: the picture cannot be decoded. The timelines work without it.`;
    byId("missing").hidden = !blind;
    byId("stage").classList.toggle("sound", !blind && !this.video.videoWidth);
  }

  get name() {
    return decodeURIComponent((this.video.dataset.name ?? "").toString());
  }

  missing() {
    const { name } = this;
    byId("missing-text").textContent = name
      ? `This browser could not open ${name}. The timelines work without it.`
      : "This report was made without its recording. The timelines work without it.";
    byId("missing").hidden = false;
    byId("stage").classList.remove("sound");
  }

  tell() {
    const { t } = this;
    if (this.free && t >= this.duration) {
      this.free = null;
      this.alone = this.duration;
    }
    byId("play").textContent = this.playing ? "Pause" : "Play";
    if (t === this.told) return;
    this.told = t;
    byId("clock").textContent = clockText(t, true);
    this.moved(t);
  }
}
