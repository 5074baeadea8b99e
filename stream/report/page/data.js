// The data of the report: what the builder packed (stream/report/payload.py), unpacked.

const KINDS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float32: Float32Array };

export const ACTIVE = 1;
export const UNSURE = 2;

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function unpack(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function rows(values, count) {
  const n = values.length / count;
  return Array.from({ length: count }, (_, c) => values.subarray(c * n, (c + 1) * n));
}

/** What the page is told, with `people[].tracks[kind]`, `.face` and `.speech` as typed arrays. */
export async function load() {
  const about = JSON.parse(document.getElementById("about").textContent);
  const place = document.getElementById("data");
  const buffer = await unpack(place.textContent);
  place.remove();
  const take = (name) => {
    const [kind, offset, length] = about.layout[name];
    return new KINDS[kind](buffer, offset, length);
  };
  const count = about.labels.length;
  about.people = about.people.map(({ id, tracks, face, turns }, k) => ({
    id,
    turns,
    tracks: Object.fromEntries(
      tracks.map((kind) => {
        const part = (name) => take(`${k}.${kind}.${name}`);
        const labels = (name) => rows(part(name), count);
        return [kind, { t: part("t"), p: labels("p"), lo: labels("lo"), hi: labels("hi"), status: labels("status"), reasons: part("reasons") }];
      }),
    ),
    face: face ? { t: take(`${k}.face.t`), box: take(`${k}.face.box`) } : null,
    speech: take(`${k}.speech`),
  }));
  return about;
}

/** Number of values of sorted `times` that are <= t. */
export function countUpTo(times, t) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= t) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Index of the state that holds at `t`, or -1. */
export function stateAt(track, t, longest) {
  const i = countUpTo(track.t, t + 1e-3) - 1;
  return i >= 0 && t - track.t[i] <= longest ? i : -1;
}
