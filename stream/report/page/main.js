// The report: everything that can be clicked or typed.

import { load } from "./data.js";
import { Lanes } from "./lanes.js";
import { paintOverlay } from "./overlay.js";
import { Player } from "./player.js";
import { Transcript } from "./transcript.js";

const byId = (id) => document.getElementById(id);

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", String(dark));
}

function keys(player, lanes, moments) {
  const near = (way) => {
    const { t } = player;
    const found = way > 0 ? moments.find((each) => each > t + 0.05) : moments.findLast((each) => each < t - 0.05);
    if (found !== undefined) player.seek(found);
  };
  byId("next").addEventListener("click", () => near(1));
  byId("previous").addEventListener("click", () => near(-1));
  const step = (event) => (event.shiftKey ? 10 : 1);
  const actions = {
    " ": () => player.toggle(),
    ArrowLeft: (event) => player.seek(player.t - step(event)),
    ArrowRight: (event) => player.seek(player.t + step(event)),
    ",": () => player.seek(player.t - 0.1),
    ".": () => player.seek(player.t + 0.1),
    n: () => near(1),
    p: () => near(-1),
    "+": () => lanes.zoom(0.5),
    "=": () => lanes.zoom(0.5),
    "-": () => lanes.zoom(2),
    0: () => lanes.show(0, lanes.about.duration),
    Home: () => player.seek(0),
    End: () => player.seek(lanes.about.duration),
    t: () => byId("theme").click(),
    "?": () => byId("keys").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    const tag = event.target.closest?.("input, button, a, video, dialog, summary");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (tag && [" ", "Home", "End", "ArrowLeft", "ArrowRight"].includes(event.key)) return;
    if (event.target === byId("transcript") && ["Home", "End", " "].includes(event.key)) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
  byId("help").addEventListener("click", () => byId("keys").showModal());
}

async function start() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches);
  const about = await load();
  let lanes = null;
  let transcript = null;
  const overlay = () => lanes && paintOverlay(byId("overlay"), byId("video"), about, lanes.kind, lanes.t, lanes.theme, byId("drawn").checked);
  const player = new Player(about.duration, about.people.some((person) => person.face), (t) => {
    lanes?.at(t);
    transcript?.at(t);
    overlay();
  });
  lanes = new Lanes(about, player);
  transcript = new Transcript(player);
  keys(player, lanes, about.moments);
  byId("overview").setAttribute("aria-valuemax", about.duration.toFixed(1));
  const both = about.people.some((person) => person.tracks.smoothed && person.tracks.live);
  byId("kind-choice").hidden = !both;
  byId("kind").addEventListener("change", () => {
    lanes.choose(byId("kind").checked ? "smoothed" : "live");
    overlay();
  });
  byId("drawn").addEventListener("change", overlay);
  new ResizeObserver(overlay).observe(byId("stage"));
  const paint = (isDark) => {
    setTheme(isDark);
    lanes.recolour();
    overlay();
  };
  byId("theme").addEventListener("click", () => paint(document.documentElement.dataset.theme !== "dark"));
  dark.addEventListener("change", () => paint(dark.matches));
  let onScreen = false; // whether it is dark there; paper is light
  window.addEventListener("beforeprint", () => {
    onScreen = document.documentElement.dataset.theme === "dark";
    setTheme(false);
    lanes.drawAll();
  });
  window.addEventListener("afterprint", () => paint(onScreen));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.jump");
    if (!link) return;
    event.preventDefault();
    player.seek(Number(link.dataset.t));
  });
  const linked = /^#t=([\d.]+)$/.exec(location.hash);
  lanes.at(0);
  transcript.at(0);
  if (linked) {
    const go = () => player.seek(Number(linked[1]));
    byId("video").addEventListener("loadedmetadata", go, { once: true });
    go();
  }
  requestAnimationFrame(() => requestAnimationFrame(() => {
    document.documentElement.dataset.ready = performance.now().toFixed(0);
  }));
}

start();
