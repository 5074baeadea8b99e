// Colours that people with any colour vision tell apart (Okabe and Ito 2008), on dark ground. They
// are never the only sign: names, marks and hatching say the same.

const PALETTE = ["#e69f00", "#56b4e9", "#ff7f4d", "#f0e442", "#2cc39a", "#e39bc6", "#8fb2ff", "#d0d0d0"];

export const colourOf = (i) => PALETTE[i % PALETTE.length];

export const GROUND = "rgb(10 14 20 / 72%)";
export const TEXT = "#fff";
export const QUIET = "#c3cad6";
export const DOUBT = "#ffd48a";
