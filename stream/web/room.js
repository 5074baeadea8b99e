// What a room looks like, for who is not in it: the group view alone, with nothing about anybody.
// Settings are in the address, after "#" (so they are sent to no server):
//
//   room      which
//   key       a ticket for it, or the operator's token; a server that asks nobody needs none
//   lang      language, e.g. de

import { byId, setText } from "./dom.js";
import { Group } from "./group.js";
import { Reader } from "./reader.js";
import { T, useLanguage } from "./texts.js";

const wish = new URLSearchParams(location.hash.slice(1));
let group = null;

function take(record) {
  if (record.type === "group_hello") {
    group?.close();
    group = new Group(record.labels);
    setText(byId("group-counted"), T.group.counted(record.least, record.over_s));
  } else if (record.type === "group") group?.take(record);
}

function state(code) {
  setText(byId("trouble"), code === "open" ? "" : T.group[code]);
  if (code === "open") return;
  group?.close(); // what was told before holds no more
  group = null;
  for (const id of ["group-what", "group-counted"]) setText(byId(id), "");
}

useLanguage(wish.get("lang"));
if (wish.get("room")) new Reader({ room: wish.get("room"), key: wish.get("key") ?? undefined }, { record: take, state });
else setText(byId("trouble"), T.group.address);
