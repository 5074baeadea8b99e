// Everybody whom the records of a session speak of, with what is known of each.

import { History } from "./history.js";
import { Motion } from "./motion.js";
import { T } from "./texts.js";

const GONE_S = 30;

// A stale state has the index of the last window, and a time that goes on.
const newer = (state, shown) =>
  !shown || state.index > shown.index || (state.index === shown.index && (state.revision > shown.revision || state.t > shown.t));

export class Person {
  constructor(id, number, labels) {
    this.id = id;
    this.number = number;
    this.history = new History(labels);
    this.motion = new Motion();
    this.state = null;
    this.present = true;
    this.heard = null; // wall clock in seconds of the newest state
    this.order = []; // labels as they are listed on the picture
  }

  /** Take a state record; true if it is what holds now. */
  take(state, heard) {
    this.history.put(state);
    if (!newer(state, this.state)) return false;
    this.state = state;
    this.heard = heard;
    return true;
  }
}

export class People {
  /** @param {string[]} labels */
  constructor(labels) {
    this.labels = labels;
    this.own = null;
    this.many = false;
    this.persons = new Map();
  }

  /** Take the hello of a session: whose it is, and whether others may be in the picture. */
  begin({ person, many }) {
    if (this.own !== person || this.many !== Boolean(many)) this.persons.clear();
    this.own = person;
    this.many = Boolean(many);
    if (!many) this.get(person);
  }

  /** The person of that name, new or known; null for whom this session does not speak of. */
  get(id) {
    if (typeof id !== "string" || !this.#belongs(id)) return null;
    if (!this.persons.has(id)) {
      const number = Number(id.split(".")[1]) || this.persons.size + 1;
      this.persons.set(id, new Person(id, number, this.labels));
    }
    return this.persons.get(id);
  }

  /** Those who are there, or were a moment ago, in the order of their numbers. */
  list(now) {
    const there = (person) => person.present || !person.state || now - person.state.t < GONE_S;
    return [...this.persons.values()].filter(there).sort((a, b) => a.number - b.number);
  }

  /** What a person is called on the page; null: whoever it was. */
  name(id) {
    if (id === null || id === undefined) return T.people.unknown;
    const person = this.get(id);
    if (!person) return T.people.unknown;
    return this.many ? T.people.person(person.number) : T.people.you;
  }

  #belongs(id) {
    if (this.own === null) return true;
    return this.many ? id.startsWith(`${this.own}.`) : id === this.own;
  }
}
