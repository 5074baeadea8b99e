// The page in order: what will happen and consent, then camera and microphone, then the session.

import { Connection, erase, openMedia, request } from "./connection.js";
import { inPage, otherSchema, Problem } from "./problems.js";
import { SCHEMA, Session } from "./session.js";
import { LANGUAGES, T, labelText, useLanguage } from "./texts.js";
import { purposeText, receiptText, recordText, storedText, whereText } from "./words.js";

const byId = (id) => document.getElementById(id);
const form = byId("consent");

let config = null;
let session = null;
let connection = null;
let recorded = null; // session and key of the last one, if it was recorded

Object.defineProperty(window, "ldduStats", { get: () => session?.stats.snapshot() ?? null });

/** Show one of the three parts and bring the keyboard to its heading. */
function show(part) {
  for (const id of ["problem", "start", "live"]) byId(id).hidden = id !== part;
  byId("stop").hidden = byId("withdraw").hidden = part !== "live";
  if (part !== "start") byId("receipt").hidden = true;
  byId("recorded").hidden = part !== "start" || !recorded;
  byId("notice").textContent = part === "live" ? T.page.notice : "";
  scrollTo(0, 0);
  byId(part).querySelector("h2").focus({ preventScroll: true });
}

function end() {
  recorded = session?.recorded && connection ? { session: connection.session, key: connection.key } : recorded;
  connection?.close();
  session?.close();
  connection = null;
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
  tellStart();
  byId("recording").hidden = !config.record;
  for (const name of ["face", "voice", "words"]) form.elements[name].closest("label").hidden = !config.modalities.includes(name);
  byId("begin").disabled = false;
  show("start");
}

/** The texts of the first part that depend on the server. */
function tellStart() {
  byId("start-what").textContent = T.start.what(config.labels.map(labelText));
  byId("start-purpose").textContent = purposeText(config.purpose);
  byId("start-where").textContent = whereText(location.hostname);
  byId("start-stored").textContent = storedText(config.record);
  byId("record-what").textContent = config.record ? recordText(config.record) : "";
}

function speak(code) {
  useLanguage(code);
  if (config) tellStart();
  session?.retell();
}

async function begin(consent) {
  const stream = await openMedia(consent, config.video);
  byId("video").srcObject = stream;
  show("live");
  const elements = { canvas: byId("outline"), video: byId("video") };
  session = new Session(config, consent, elements, fail);
  const current = session;
  connection = new Connection(stream, config, {
    record: (record) => current.take(record),
    interrupted: (now) => { current.interrupted = now; },
    lost: fail,
  });
  await connection.open(consent);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const agreed = (name) => form.elements[name].checked;
  const consent = { version: config.consent_version, face: agreed("face"), voice: agreed("voice"), words: agreed("words"), record: agreed("record") };
  const none = !(consent.face || consent.voice || consent.words);
  byId("consent-error").textContent = none ? T.start.nothing : "";
  if (none) return;
  byId("begin").disabled = true;
  await begin(consent).catch(fail);
  byId("begin").disabled = false;
});

byId("stop").addEventListener("click", () => {
  end();
  form.reset();
  show("start");
});
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

byId("withdraw").addEventListener("click", () => {
  const receipt = connection.withdraw();
  end();
  form.reset();
  showReceipt(receipt);
});
byId("erase").addEventListener("click", () => showReceipt(erase(recorded)));
byId("retry").addEventListener("click", introduce);
addEventListener("pagehide", end);

for (const { code, language } of Object.values(LANGUAGES)) byId("language").add(new Option(language, code));
byId("language").addEventListener("change", () => speak(byId("language").value));
speak();
byId("language").value = T.code;

introduce();
