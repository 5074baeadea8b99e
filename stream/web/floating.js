// The estimates in a small window over whatever else is on the screen: a picture-in-picture window of
// the document where the browser has that, a picture-in-picture video of a canvas, or a popup.

import { make, setText } from "./dom.js";
import { Surface } from "./surface.js";
import { T } from "./texts.js";

const SIZE = [420, 300];
const FRAMES = 15;

export class Floating {
  /** @param {{pause: () => void, closed: () => void, notice: () => string, show: () => object}} page */
  constructor(session, page) {
    this.session = session;
    this.page = page;
  }

  /** Open the best kind of window that there is; its kind. Needs a click just before. */
  async open() {
    if ("documentPictureInPicture" in window) {
      const [width, height] = SIZE;
      this.#dress(await documentPictureInPicture.requestWindow({ width, height }));
      return "document";
    }
    if (document.pictureInPictureEnabled) {
      await this.#openVideo();
      return "video";
    }
    const popup = window.open("", "lddu-live", `popup,width=${SIZE[0]},height=${SIZE[1]}`);
    if (!popup) throw new DOMException(T.problems.popup, "NotAllowedError");
    this.#dress(popup);
    return "popup";
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    this.session.surfaces.delete(this.surface);
    this.surface?.close();
    this.session.host = null;
    this.window?.close();
    if (this.video && document.pictureInPictureElement === this.video) document.exitPictureInPicture();
    this.video?.srcObject.getTracks().forEach((track) => track.stop());
    this.page.closed();
  }

  /** Its own short notice, and the button, are up to date. */
  tell(paused) {
    if (!this.notice) return;
    setText(this.notice, this.page.notice());
    setText(this.button, paused ? T.page.resume : T.page.pause);
  }

  #dress(other) {
    const { document: page } = other;
    this.window = other;
    page.title = T.page.title;
    page.documentElement.lang = T.code;
    page.documentElement.dataset.theme = document.documentElement.dataset.theme ?? "";
    const style = make("link", "", page.head);
    style.rel = "stylesheet";
    style.href = new URL("/static/style.css", location.href).href;
    page.body.className = "floating";
    const bar = make("header", "floating-bar", page.body);
    this.notice = make("p", "notice", bar);
    this.button = make("button", "", bar);
    this.button.type = "button";
    this.button.addEventListener("click", () => this.page.pause());
    const canvas = make("canvas", "floating-canvas", page.body);
    canvas.role = "img";
    canvas.ariaLabel = T.page.floating;
    other.addEventListener("pagehide", () => this.close());
    this.session.host = other;
    this.#add(new Surface(canvas, { host: other, show: () => ({ ...this.page.show(), outline: false, notice: false }) }));
    this.tell(this.session.paused);
  }

  async #openVideo() {
    const canvas = document.createElement("canvas");
    const show = () => ({ ...this.page.show(), outline: false, notice: true });
    this.#add(new Surface(canvas, { size: SIZE, show }));
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.srcObject = canvas.captureStream(FRAMES);
    this.session.wake();
    await this.video.play();
    this.video.addEventListener("leavepictureinpicture", () => this.close());
    await this.video.requestPictureInPicture();
  }

  #add(surface) {
    this.surface = surface;
    this.session.surfaces.add(surface);
    this.session.wake();
  }
}
