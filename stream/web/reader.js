// Reads the records of a call that runs elsewhere, or the group view of a room, by WebSocket, and again
// after it broke off.

const LONGEST_MS = 10000;

export class Reader {
  /**
   * @param {{session?: string, room?: string, key?: string, token?: string}} access a session with its
   *   key, a room with a ticket (or none), or the token of published calls (then the newest of these)
   * @param {{record: (record: object) => void, state: (code: "connecting" | "nothing" | "refused" | "open") => void}} handlers
   */
  constructor(access, handlers) {
    this.access = access;
    this.handlers = handlers;
    this.wait = 500;
    this.#open();
  }

  async #open() {
    this.handlers.state("connecting");
    const path = this.access.room ? `rooms/${encodeURIComponent(this.access.room)}/group` : await this.#session();
    if (!path) return this.#again();
    const url = new URL(`/api/${path}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = this.#socket(url);
    if (!socket) return this.handlers.state("refused"); // trying again would change nothing
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.wait = 500;
      this.handlers.state("open");
    };
    socket.onmessage = (event) => this.handlers.record(JSON.parse(event.data));
    socket.onclose = () => {
      if (!opened) this.handlers.state("refused");
      this.#again();
    };
    return socket;
  }

  /** null: the key holds what no key can hold. */
  #socket(url) {
    try {
      const key = this.access.key ?? this.access.token;
      return new WebSocket(url, key ? ["lddu.records", key] : ["lddu.records"]);
    } catch {
      return null;
    }
  }

  /** Where the records of the session are, or null. */
  async #session() {
    const session = this.access.session ?? (await this.#newest());
    return session && `sessions/${encodeURIComponent(session)}/events`;
  }

  /** Id of the newest published call, or null. */
  async #newest() {
    try {
      const response = await fetch("/api/sessions", { headers: { Authorization: `Bearer ${this.access.token}` } });
      const calls = response.ok ? (await response.json()).sessions : null;
      this.handlers.state(calls ? "nothing" : "refused");
      return calls?.at(-1)?.session ?? null;
    } catch {
      return null;
    }
  }

  #again() {
    setTimeout(() => this.#open(), this.wait);
    this.wait = Math.min(LONGEST_MS, 2 * this.wait);
  }
}
