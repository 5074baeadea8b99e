// A worker that keeps copies of a video's last frames and shows one of them: drawing a frame costs more
// than all the rest of the page, which must not wait for it.
//
// Messages: {canvas} where copies are shown; {frame, captured, width, height} a frame to be copied;
// {show} the time of capture of the copy to be shown. Messages are handled in order.

const COPIES = 10;

const copies = []; // {captured, canvas} in turn
let turn = 0;
let target = null;

function copy({ frame, captured, width, height }) {
  const kept = (copies[turn] ??= { canvas: new OffscreenCanvas(width, height) });
  turn = (turn + 1) % COPIES;
  const { canvas } = kept;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d", { alpha: false }).drawImage(frame, 0, 0, width, height);
  kept.captured = captured;
  frame.close(); // at once: a camera has few buffers, and whoever keeps them makes it slow
}

function show(captured) {
  const found = copies.find((each) => each.captured === captured);
  if (!found) return;
  const { canvas } = found;
  const { width, height } = canvas;
  if (target.width !== width || target.height !== height) [target.width, target.height] = [width, height];
  target.getContext("2d", { alpha: false }).drawImage(canvas, 0, 0);
}

onmessage = ({ data }) => {
  if (data.canvas) target = data.canvas;
  else if (data.frame) copy(data);
  else show(data.show);
};
