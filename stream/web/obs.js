// The transparent page for browser sources (OBS and the like): the records of a call over whatever is
// under it. Settings are in the address, after "#" (so they are sent to no server):
//
//   session, key    whose records; or token: the newest published call
//   show            of labels, captions, timeline, outline; default labels,captions,timeline
//   place           list (default), or faces: where they are in a picture as large as this page
//   scale           size of everything, 0.5 to 4
//   mirror          1: the picture under this page is mirrored
//   lang            language, e.g. de

import { byId, setText } from "./dom.js";
import { Reader } from "./reader.js";
import { Session } from "./session.js";
import { Surface } from "./surface.js";
import { T, useLanguage } from "./texts.js";
import { verdict } from "./words.js";

const ANNOUNCE_MS = 4000;
const wish = new URLSearchParams(location.hash.slice(1));
const shown = (wish.get("show") ?? "labels,captions,timeline").split(",");
const show = { notice: true, ...Object.fromEntries(["labels", "captions", "timeline", "outline"].map((name) => [name, shown.includes(name)])) };
const scale = Math.min(4, Math.max(0.5, Number(wish.get("scale")) || 1));

let session = null;

/** Stands where the page of a call has its table: here only screen readers are told. */
class Teller {
  announced = -Infinity;

  estimates(people, reason) {
    const said = (person) => verdict(reason ? { labels: {}, reason } : person.state, session.config).text;
    const told = people.list(session.newest).filter((person) => person.state);
    this.pending = told.map((person) => T.people.strip(people.name(person.id), said(person))).join(". ");
  }

  announce(now) {
    if (!this.pending || now - this.announced < ANNOUNCE_MS) return;
    this.announced = now;
    setText(byId("announce"), this.pending);
  }

  begin() {}
  recording() {}
  load() {}
  group() {}
  event() {}
  caption() {}
  timelines() {}
  latency() {}
  retell() {}
}

function begin(hello) {
  session?.close();
  session = new Session({ labels: hello.labels, window_s: hello.window_s }, { view: new Teller(), mirrored: wish.get("mirror") === "1" }, end);
  session.surfaces.add(new Surface(byId("overlay"), { show: () => show, scale, whole: wish.get("place") === "faces" }));
  session.take(hello);
}

function end() {
  session?.close();
  session = null;
}

function trouble(text) {
  byId("trouble").hidden = !text;
  setText(byId("trouble"), text);
}

Object.defineProperty(window, "ldduStats", { get: () => session?.stats.snapshot() ?? null });
useLanguage(wish.get("lang"));
const access = { session: wish.get("session") ?? undefined, key: wish.get("key") ?? undefined, token: wish.get("token") ?? undefined };
if ((access.session && access.key) || access.token) {
  new Reader(access, {
    record: (record) => (record.type === "hello" ? begin(record) : session?.take(record)),
    state: (code) => {
      trouble(code === "open" ? "" : T.obs[code]);
      if (code === "open") return;
      end();
    },
  });
} else trouble(T.obs.address);
