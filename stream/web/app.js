// The page in order: what will happen and consent, then camera and microphone, then the session.

import { Connection, erase, openMedia, openShared, request } from "./connection.js";
import { byId } from "./dom.js";
import { Floating } from "./floating.js";
import { showLimits } from "./limits.js";
import { inPage, otherSchema, Problem } from "./problems.js";
import { SCHEMA, Session } from "./session.js";
import { Settings } from "./settings.js";
import { SettingsPanel } from "./settings_panel.js";
import { Surface } from "./surface.js";
import { LANGUAGES, T, labelText, useLanguage } from "./texts.js";
import { View } from "./view.js";
import { purposeText, receiptText, recordText, storedText, whereText } from "./words.js";

const form = byId("consent");
const CONSENTS = ["face", "voice", "words", "record", "media", "group", "room"];
const settings = new Settings();

let config = null;
let session = null;
let view = null;
let connection = null;
let floating = null;
let panel = null;
let recorded = null; // session and key of the last one, if it was recorded

Object.defineProperty(window, "ldduStats", { get: () => session?.stats.snapshot() ?? null });

/** Show one of the three parts and bring the keyboard to its heading. */
function show(part) {
  for (const id of ["problem", "start", "live"]) byId(id).hidden = id !== part;
  byId("stop").hidden = byId("withdraw").hidden = byId("tools").hidden = part !== "live";
  if (part !== "start") byId("receipt").hidden = true;
  byId("recorded").hidden = part !== "start" || !recorded;
  byId("notice").textContent = part === "live" ? T.page.notice : "";
  scrollTo(0, 0);
  byId(part).querySelector("h2").focus({ preventScroll: true });
}

function end() {
  recorded = session?.recorded && connection ? { session: connection.session, key: connection.key } : recorded;
  floating?.close();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  connection?.close();
  session?.close();
  view?.close();
  session = view = connection = null;
  for (const track of byId("video").srcObject?.getTracks() ?? []) track.stop();
  byId("video").srcObject = null;
}

function fail(error) {
  end();
  const problem = error instanceof Problem ? error : inPage(error);
  byId("problem-title").textContent = problem.title;
  byId("problem-what").textContent = problem.what;
  byId("problem-hint").textContent = problem.hint;
  show("problem");
}

async function introduce() {
  try {
    config = await request("/api/config", { cache: "no-store" });
    if (config.schema !== SCHEMA) throw otherSchema(config.schema);
  } catch (error) {
    fail(error);
    return;
  }
  panel ??= new SettingsPanel(byId("settings"), settings, config);
  tellStart();
  byId("recording").hidden = !config.record;
  byId("media-choice").hidden = !config.record?.media;
  byId("grouping").hidden = !config.group;
  for (const name of ["face", "voice", "words"]) form.elements[name].closest("label").hidden = !config.modalities.includes(name);
  byId("showing").hidden = config.room_view !== "everybody";
  byId("share").hidden = byId("share-what").hidden = !navigator.mediaDevices?.getDisplayMedia;
  byId("begin").disabled = false;
  show("start");
  performance.mark("ready");
}

/** The texts of the first part that depend on the server. */
function tellStart() {
  byId("start-what").textContent = T.start.what(config.labels.map(labelText));
  byId("start-purpose").textContent = purposeText(config.purpose);
  byId("start-where").textContent = whereText(location.hostname);
  byId("start-stored").textContent = storedText(config.record);
  byId("record-what").textContent = config.record ? recordText(config.record) : "";
  byId("media-what").textContent = config.record ? T.start.mediaWhat(config.record.media) : "";
}

async function begin(consent, source) {
  const own = source === "camera";
  const stream = own ? await openMedia(consent, config.video) : await openShared(consent, config.tab);
  byId("video").srcObject = stream;
  show("live");
  view = new View(config, consent, { own, heard: stream.getAudioTracks().length > 0 });
  session = new Session(config, { view, video: byId("video"), copies: byId("picture"), mirrored: own }, fail);
  session.surfaces.add(new Surface(byId("outline"), { video: byId("video"), show: painted }));
  for (const name of ["lock", "view"]) apply(name);
  tellPause();
  const current = session;
  connection = new Connection(stream, config, {
    record: (record) => {
      current.take(record);
      if (record.type === "settings" && current === session) tellPause();
    },
    interrupted: (now) => { current.interrupted = now; },
    lost: fail,
  });
  await connection.open(consent, settings.forServer(config), source);
}

/** What is painted on pictures. */
function painted() {
  return { outline: settings.get("outline"), labels: settings.get("labels"), captions: settings.get("subtitles"), timeline: false, notice: false };
}

// --- while it runs ---

/** Nothing leaves the camera and microphone any more, and the server drops what is on its way. */
async function pause() {
  const on = !session.paused;
  session.paused = on;
  for (const track of byId("video").srcObject.getTracks()) track.enabled = !on;
  tellPause();
  session.wake();
  await connection.set({ paused: on }).catch(fail);
}

function tellPause() {
  byId("pause").textContent = session.paused ? T.page.resume : T.page.pause;
  view.tellNotice(session.paused);
  floating?.tell(session.paused);
}

async function float() {
  if (floating) {
    floating.close();
    return;
  }
  floating = new Floating(session, {
    pause,
    notice: () => byId("notice").textContent,
    show: () => ({ labels: true, captions: settings.get("subtitles"), timeline: settings.get("timeline") }),
    closed: () => {
      floating = null;
      byId("float").ariaPressed = "false";
    },
  });
  byId("float").ariaPressed = "true";
  byId("float-problem").textContent = "";
  try {
    await floating.open();
  } catch (error) {
    floating?.close();
    byId("float-problem").textContent = error.message; // the call itself goes on
  }
}

/** Let a setting have its effect on this page, and on the server. */
function apply(name) {
  if (name === "language") useSettingsLanguage();
  if (name === "theme") document.documentElement.dataset.theme = settings.get("theme");
  if (["table", "captions", "timeline", "events"].includes(name)) byId(`part-${name}`).hidden = !settings.get(name);
  if (name === "view") byId("part-group").hidden = settings.get("view") !== "group";
  if (name === "view") byId("live").dataset.view = settings.get("view");
  if (name === "lock") session?.frames.lock(settings.get("lock"));
  if (["smoothing", "sensitivity"].includes(name)) connection?.set(settings.forServer(config)).catch(fail);
  session?.wake();
}

function useSettingsLanguage() {
  useLanguage(settings.get("language"));
  byId("language").value = T.code;
  if (config) tellStart();
  if (!session) return;
  session.retell();
  tellPause();
  if (byId("settings").open) panel.draw();
}

function linkForOthers() {
  if (!connection?.session) return "";
  return new URL(`/obs#session=${encodeURIComponent(connection.session)}&key=${encodeURIComponent(connection.key)}`, location.href).href;
}

async function showReceipt(receipt) {
  try {
    const given = await receipt;
    recorded = null;
    byId("receipt").firstElementChild.textContent = receiptText(given);
    byId("receipt").lastElementChild.href = `data:application/json,${encodeURIComponent(JSON.stringify(given))}`;
    show("start");
    byId("receipt").hidden = false;
  } catch (error) {
    fail(error);
  }
}

function stop() {
  end();
  form.reset();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const agreed = Object.fromEntries(CONSENTS.map((name) => [name, form.elements[name].checked]));
  const none = !(agreed.face || agreed.voice || agreed.words);
  byId("consent-error").textContent = none ? T.start.nothing : "";
  if (none) return;
  const buttons = [byId("begin"), byId("share")];
  for (const button of buttons) button.disabled = true;
  const source = event.submitter === byId("share") ? "tab" : "camera";
  await begin({ version: config.consent_version, ...agreed }, source).catch(fail);
  for (const button of buttons) button.disabled = false;
});
byId("stop").addEventListener("click", () => {
  stop();
  show("start");
});
byId("withdraw").addEventListener("click", () => {
  const receipt = connection.withdraw();
  stop();
  showReceipt(receipt);
});
byId("less").addEventListener("click", async ({ target }) => {
  if (!target.dataset.part) return;
  target.disabled = true;
  await connection.withdrawSome(target.dataset.part).catch(fail);
});
byId("erase").addEventListener("click", () => showReceipt(erase(recorded)));
byId("retry").addEventListener("click", introduce);
byId("pause").addEventListener("click", pause);
byId("float").addEventListener("click", float);
byId("show-limits").addEventListener("click", showLimits);
byId("limits-close").addEventListener("click", () => byId("limits").close());
byId("show-settings").addEventListener("click", () => panel.open(linkForOthers()));
addEventListener("pagehide", end);

for (const { code, language } of Object.values(LANGUAGES)) byId("language").add(new Option(language, code));
byId("language").addEventListener("change", () => settings.set("language", byId("language").value));
settings.addEventListener("change", (event) => apply(event.detail));
for (const name of ["language", "theme", "table", "captions", "timeline", "events"]) apply(name);

introduce();
