// Where chips go: beside their faces, on none of them and not on each other as far as there is room. A
// chip keeps its side while it fits there, follows calmly, and stays where it was when the face is lost.

const GAP = 8;
const EASE_S = 0.25;
const STILL = 0.03; // of the area's width: smaller movements are not followed
const SIDES = ["right", "left", "below", "above"];
const MANY_SIDES = ["below", "above", "right", "left", "foot"];
const OWN = 0.5; // covering the own face counts less than covering another

const spot = (side, face, size, area) => {
  const middle = clamp((face.x + face.right) / 2 - size.width / 2, area.x, area.right - size.width);
  const level = clamp((face.y + face.bottom) / 2 - size.height / 2, area.y, area.bottom - size.height);
  return {
    right: { x: face.right + GAP, y: level },
    left: { x: face.x - size.width - GAP, y: level },
    below: { x: middle, y: face.bottom + GAP },
    above: { x: middle, y: face.y - size.height - GAP },
    foot: { x: middle, y: Math.min(face.bottom, area.bottom) - size.height },
  }[side];
};

const clamp = (value, low, high) => Math.max(low, Math.min(value, Math.max(low, high)));

const box = ({ x, y }, { width, height }) => ({ x, y, right: x + width, bottom: y + height });

const inside = (a, b) => a.x >= b.x && a.y >= b.y && a.right <= b.right && a.bottom <= b.bottom;

const common = (a, b) => Math.max(0, Math.min(a.right, b.right) - Math.max(a.x, b.x)) * Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.y, b.y));

export class Places {
  constructor() {
    this.past = new Map(); // person -> {x, y, side, wall, moving}
  }

  /**
   * Corners of the chips.
   * @param {{id: string, face: object | null, listed: number[]}[]} wanted faces as {x, y, right, bottom};
   *   listed: where a chip goes that never had a face
   * @param {{width: number, height: number}} size of every chip
   * @param {object} area that chips must not leave
   */
  find(wanted, size, area, wall) {
    const faces = wanted.map(({ face }) => face).filter(Boolean);
    const taken = [];
    return wanted.map(({ id, face, listed }) => {
      const past = this.past.get(id);
      if (!face) return past ? [past.x, past.y] : listed;
      const chosen = this.#choose(face, faces, taken, size, area, past?.side, wanted.length > 2 ? MANY_SIDES : SIDES);
      const now = past ? follow(past, chosen, wall, STILL * (area.right - area.x)) : { ...chosen, moving: false };
      this.past.set(id, { ...now, side: chosen.side, wall });
      taken.push(box(now, size));
      return [now.x, now.y];
    });
  }

  #choose(face, faces, taken, size, area, before, sides) {
    let best = null;
    for (const side of before ? [before, ...sides] : sides) {
      const at = spot(side, face, size, area);
      const here = box(at, size);
      const covers = (chip) => [...faces, ...taken].reduce((sum, other) => sum + (other === face ? OWN : 1) * common(chip, other), 0);
      if (inside(here, area) && covers(here) === 0) return { ...at, side };
      const moved = { x: clamp(at.x, area.x, area.right - size.width), y: clamp(at.y, area.y, area.bottom - size.height), side };
      const cost = covers(box(moved, size));
      if (!best || cost < best.cost) best = { ...moved, cost };
    }
    return best;
  }
}

/** A step from where a chip is towards `goal`; small distances are no reason to set out. */
function follow(past, goal, wall, still) {
  const far = Math.hypot(goal.x - past.x, goal.y - past.y);
  const moving = far > (past.moving ? 1 : still);
  if (!moving) return { x: past.x, y: past.y, moving };
  const share = 1 - Math.exp(-Math.min(wall - past.wall, 0.2) / EASE_S);
  return { x: past.x + share * (goal.x - past.x), y: past.y + share * (goal.y - past.y), moving };
}
