// One session with the server: media up, records down. The data channel "events" carries the
// records; a WebSocket stands in when the channel does not open or closes early.

import * as problems from "./problems.js";

const GATHERING_MS = 2000;
const CHANNEL_MS = 3000;
const MEDIA_MS = 15000;
const SILENCE_MS = 3000;

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
    this.peer = new RTCPeerConnection({ iceServers: config.ice_servers });
    this.channel = this.peer.createDataChannel("events", { ordered: true });
    this.channel.onmessage = (event) => this.#take(event.data);
    this.channel.onopen = () => this.#closeSocket();
    this.channel.onclose = () => this.#openSocket();
    this.peer.onconnectionstatechange = () => this.#peerChanged();
    for (const track of stream.getTracks()) {
      this.peer.addTrack(track, stream);
      track.onended = () => this.#fail(problems.deviceGone(track.kind));
    }
  }

  /** @param {object} settings those that the server must know from the beginning */
  async open(consent, settings = {}) {
    try {
      await this.#negotiate(consent, settings);
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

  async #negotiate(consent, settings) {
    await this.peer.setLocalDescription();
    await this.#gathered();
    const { type, sdp } = this.peer.localDescription;
    const answer = await request("/api/offer", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ type, sdp, purpose: this.config.purpose, consent, settings }),
    });
    this.session = answer.session;
    this.key = answer.key;
    this.events = answer.events;
    if (ticket) history.replaceState(null, "", location.pathname);
    if (this.closed) return this.#delete();
    await this.peer.setRemoteDescription({ type: answer.type, sdp: answer.sdp });
    setTimeout(() => this.channel.readyState !== "open" && this.#openSocket(), CHANNEL_MS);
    setTimeout(() => this.peer.connectionState !== "connected" && this.#fail(problems.noMediaPath()), MEDIA_MS);
    this.watch = setInterval(() => this.#checkSilence(), 1000);
  }

  #delete() {
    if (!this.session) return;
    fetch(`/api/sessions/${encodeURIComponent(this.session)}`, { method: "DELETE", keepalive: true, headers: bearer(this.key) }).catch(() => {});
    this.session = null;
  }

  #gathered() {
    if (this.peer.iceGatheringState === "complete") return Promise.resolve();
    return new Promise((resolve) => {
      setTimeout(resolve, GATHERING_MS);
      this.peer.onicegatheringstatechange = () => this.peer.iceGatheringState === "complete" && resolve();
    });
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
    const state = this.peer.connectionState;
    if (state === "failed") this.#fail(problems.noMediaPath());
    if (state === "disconnected" || state === "connected") this.handlers.interrupted(state === "disconnected");
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
    if (performance.now() - this.heard < SILENCE_MS) return;
    if (this.channel.readyState !== "open") this.#openSocket();
    try {
      await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(2000) });
    } catch {
      this.#fail(problems.unreachable());
    }
  }
}
