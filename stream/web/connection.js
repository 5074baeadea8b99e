// One session with the server: media up, records down. The data channel "events" carries the
// records; a WebSocket stands in when the channel does not open or closes early. A connection that is
// lost is made anew, for as long as the server keeps the session.

import * as problems from "./problems.js";

const GATHERING_MS = 2000;
const CHANNEL_MS = 3000;
const MEDIA_MS = 15000;
const SILENCE_MS = 3000;
const DISCONNECTED_MS = 5000; // it may come back by itself
const ANSWER_MS = 5000;
const FIRST_WAIT_MS = 1000; // between two tries; twice as long each time
const LONGEST_WAIT_MS = 8000;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Ask for exactly what was agreed to. */
export async function openMedia(consent, video) {
  const { width, height, frame_rate: rate } = video;
  const kinds = { video: consent.face, audio: consent.voice || consent.words };
  if (!navigator.mediaDevices?.getUserMedia) throw problems.insecure();
  // Nothing is played that could echo, and what browsers take for noise is part of a voice. The gain
  // is left to them: many microphones are too quiet without.
  const sound = { echoCancellation: false, noiseSuppression: false, autoGainControl: true };
  const picture = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: rate } };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: kinds.audio && sound, video: kinds.video && picture });
  } catch (error) {
    throw problems.fromMedia(error, kinds);
  }
}

/** A tab, window or screen that the browser lets the user choose, with its sound if it has any. */
export async function openShared(consent, { width, frame_rate: rate }) {
  const kinds = { video: consent.face, audio: consent.voice || consent.words };
  if (!navigator.mediaDevices?.getDisplayMedia) throw problems.insecure();
  const sound = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const picture = { width: { max: width }, frameRate: { max: rate } };
  let stream;
  try {
    stream = await navigator.mediaDevices.getDisplayMedia({ audio: kinds.audio && sound, video: picture });
  } catch (error) {
    throw problems.notShared(error);
  }
  for (const track of stream.getVideoTracks()) {
    track.contentHint = "detail"; // faces in a grid are small: rather fewer pictures than coarse ones
    if (consent.face) continue;
    stream.removeTrack(track); // a browser shares no sound alone
    track.stop();
  }
  return stream;
}

/** The ticket that this page was opened with, if any: it stays in this page until it was used. */
const ticket = new URLSearchParams(location.hash.slice(1)).get("ticket");
const bearer = (token) => (token ? { Authorization: `Bearer ${token}` } : {});

/** fetch that turns a dead server or a refusal into a Problem. */
export async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...bearer(ticket), ...options?.headers } });
  } catch {
    throw problems.unreachable();
  }
  if (!response.ok) throw await problems.fromResponse(response);
  return response.status === 204 ? null : response.json();
}

/** Let the server erase all that it keeps of a session; the receipt. */
export function erase({ session, key }) {
  return request(`/api/sessions/${encodeURIComponent(session)}/withdraw`, { method: "POST", headers: bearer(key) });
}

export class Connection {
  /**
   * @param {{record: (record: object) => void, interrupted: (now: boolean) => void,
   *   lost: (problem: problems.Problem) => void}} handlers
   */
  constructor(stream, config, handlers) {
    this.stream = stream;
    this.config = config;
    this.handlers = handlers;
    this.closed = false;
    this.heard = performance.now();
    this.#use(this.#newPeer());
    for (const track of stream.getTracks()) track.onended = () => this.#fail(this.source === "tab" ? problems.sharingEnded() : problems.deviceGone(track.kind));
  }

  /** @param {object} settings those that the server must know from the beginning */
  async open(consent, settings = {}, source = "camera") {
    this.source = source;
    try {
      await this.#negotiate(consent, settings, source);
    } catch (error) {
      if (!this.closed) throw error;
    }
  }

  /** Change settings of the running session; see "Settings of a call" in docs/serving.md. */
  async set(change) {
    if (!this.session) return;
    await request(`/api/sessions/${encodeURIComponent(this.session)}/settings`, {
      method: "PATCH",
      headers: { "Content-Type": "application/json", ...bearer(this.key) },
      body: JSON.stringify(change),
    });
  }

  /** End the session here and on the server. */
  close() {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.watch);
    for (const track of this.stream.getTracks()) track.onended = null;
    this.#closeSocket();
    this.peer.close();
    this.#delete();
  }

  /** Take consent back: nothing is shown any more, and the server erases all. The receipt. */
  async withdraw() {
    const { session, key } = this;
    this.session = null;
    this.closed = true;
    clearInterval(this.watch);
    for (const track of this.stream.getTracks()) track.onended = null;
    this.#closeSocket();
    try {
      if (!session) return { erased: [] };
      return await erase({ session, key });
    } finally {
      this.peer.close();
    }
  }

  /** Take consent for face, voice or words back: the call goes on with the rest. */
  async withdrawSome(name) {
    const { session, key, stream } = this;
    const headers = { ...bearer(key), "Content-Type": "application/json" };
    const path = `/api/sessions/${encodeURIComponent(session)}/withdraw`;
    const { consent } = await request(path, { method: "POST", headers, body: JSON.stringify({ of: [name] }) });
    const unused = [...(consent.face ? [] : stream.getVideoTracks()), ...(consent.voice || consent.words ? [] : stream.getAudioTracks())];
    for (const track of unused) {
      track.onended = null;
      track.stop();
    }
  }

  #newPeer() {
    const peer = new RTCPeerConnection({ iceServers: this.config.ice_servers });
    const channel = peer.createDataChannel("events", { ordered: true });
    channel.onmessage = (event) => this.#take(event.data);
    channel.onopen = () => channel === this.channel && this.#closeSocket();
    channel.onclose = () => channel === this.channel && this.#openSocket();
    peer.onconnectionstatechange = () => peer === this.peer && this.#peerChanged();
    for (const track of this.stream.getTracks()) peer.addTrack(track, this.stream);
    return { peer, channel };
  }

  #use({ peer, channel }) {
    this.peer?.close();
    Object.assign(this, { peer, channel });
  }

  /** Offer `peer` to the server, with `more` in the request; its answer. */
  async #exchange(peer, path, more, options) {
    await peer.setLocalDescription();
    await gathered(peer);
    const { type, sdp } = peer.localDescription;
    const headers = { "Content-Type": "application/json", ...options?.headers };
    return request(path, { ...options, method: "POST", headers, body: JSON.stringify({ type, sdp, ...more }) });
  }

  async #negotiate(consent, settings, source) {
    const { peer, channel } = this;
    const answer = await this.#exchange(peer, "/api/offer", { purpose: this.config.purpose, consent, settings, source });
    this.session = answer.session;
    this.key = answer.key;
    this.events = answer.events;
    if (ticket) history.replaceState(null, "", location.pathname);
    if (this.closed) return this.#delete();
    await peer.setRemoteDescription({ type: answer.type, sdp: answer.sdp });
    setTimeout(() => channel === this.channel && channel.readyState !== "open" && this.#openSocket(), CHANNEL_MS);
    setTimeout(() => !this.stood && this.#fail(problems.noMediaPath()), MEDIA_MS);
    this.watch = setInterval(() => this.#checkSilence(), 1000);
  }

  /** The connection is lost: try to get it back. `problem` is told when that is given up. */
  async #lose(problem) {
    if (this.closed || this.trying) return;
    const within = (this.config.reconnect_within ?? 0) * 1000;
    if (!this.stood || !within) return this.#fail(problem);
    this.trying = true;
    this.handlers.interrupted(true);
    const end = performance.now() + within;
    let [wait, last] = [FIRST_WAIT_MS, problem];
    while (!this.closed) {
      try {
        if (await this.#resume()) break;
      } catch (error) {
        if ([401, 404].includes(error.status)) return this.#fail(problems.ended(null));
        last = error;
      }
      if (performance.now() + wait > end) return this.#fail(last);
      await sleep(wait * (0.75 + 0.5 * Math.random()));
      wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    }
    this.trying = false;
    if (!this.closed) this.handlers.interrupted(false);
  }

  /** Offer another connection for the same session; whether it stands. */
  async #resume() {
    const fresh = this.#newPeer();
    try {
      const path = `/api/sessions/${encodeURIComponent(this.session)}/offer`;
      const options = { headers: bearer(this.key), signal: AbortSignal.timeout(ANSWER_MS) };
      const answer = await this.#exchange(fresh.peer, path, {}, options);
      if (this.closed) return false;
      this.#use(fresh);
      await fresh.peer.setRemoteDescription(answer);
      return await stands(fresh.peer);
    } finally {
      if (this.closed || this.peer !== fresh.peer) fresh.peer.close();
    }
  }

  #delete() {
    if (!this.session) return;
    fetch(`/api/sessions/${encodeURIComponent(this.session)}`, { method: "DELETE", keepalive: true, headers: bearer(this.key) }).catch(() => {});
    this.session = null;
  }

  #take(text) {
    if (this.closed) return;
    this.heard = performance.now();
    this.handlers.record(JSON.parse(text));
  }

  #fail(problem) {
    if (this.closed) return;
    this.close();
    this.handlers.lost(problem);
  }

  #peerChanged() {
    if (this.closed) return;
    const { peer } = this;
    const state = peer.connectionState;
    if (state === "connected") this.stood = true;
    if (state === "failed") this.#lose(problems.noMediaPath());
    if (this.trying) return;
    if (state === "disconnected" || state === "connected") this.handlers.interrupted(state === "disconnected");
    if (state === "disconnected") setTimeout(() => peer === this.peer && peer.connectionState === state && this.#lose(problems.noMediaPath()), DISCONNECTED_MS);
  }

  #openSocket() {
    if (this.closed || this.socket || !this.events) return;
    const url = new URL(this.events, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.socket = new WebSocket(url, ["lddu.records", this.key]);
    this.socket.onmessage = (event) => this.#take(event.data);
    this.socket.onclose = () => { this.socket = null; };
  }

  #closeSocket() {
    this.socket?.close();
    this.socket = null;
  }

  /** A server that died says nothing: ask it, as ICE notices only after many seconds. */
  async #checkSilence() {
    if (this.trying || performance.now() - this.heard < SILENCE_MS) return;
    if (this.channel.readyState !== "open") this.#openSocket();
    try {
      await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(2000) });
    } catch {
      this.#lose(problems.unreachable());
    }
  }
}

function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    setTimeout(resolve, GATHERING_MS);
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && resolve();
  });
}

/** Whether the connection of `peer` comes to stand in time. */
function stands(peer) {
  if (peer.connectionState === "connected") return Promise.resolve(true);
  return new Promise((resolve) => {
    setTimeout(() => resolve(false), MEDIA_MS);
    peer.addEventListener("connectionstatechange", () => {
      if (peer.connectionState === "connected") resolve(true);
      if (["failed", "closed"].includes(peer.connectionState)) resolve(false);
    });
  });
}
