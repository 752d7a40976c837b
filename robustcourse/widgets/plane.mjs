// A square of the plane as a picture: what a network with two classes says everywhere, its border, and marks to drag.
import { h, paintColours, picture } from "./base.mjs";
import { contour } from "./contour.mjs";
import { d3 } from "./d3.mjs";
import { forward } from "./nn.mjs";

export const SIDE = 360; // of a plane's drawing, in its own units
export const GRID = 49; // places a side at which a network is asked for the picture
// Two classes that are no family of models: neither blue nor orange. A shape goes with each colour.
const TINTS = [
  [208, 64, 165],
  [0, 150, 143],
];

/** An empty plane from `low` to `high` on both axes. Its scales are `to` and `upward`; .show(values) paints a field. */
export function plane({ label, low = 0, high = 1 }) {
  const to = d3.scaleLinear([low, high], [0, SIDE]);
  const upward = d3.scaleLinear([low, high], [SIDE, 0]);
  const shade = picture([GRID, GRID]);
  const svg = d3.select(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
  svg.attr("viewBox", `0 0 ${SIDE} ${SIDE}`).attr("role", "img").attr("aria-label", label).attr("class", "plane");
  const border = svg.append("path").attr("class", "border");
  const spot = ([across, up]) => `${SIDE * across} ${SIDE * (1 - up)}`;
  const show = (values) => {
    // Rows of a picture go down, those of the plane go up.
    const ink = values.map((_, k) => values[(GRID - 1 - Math.floor(k / GRID)) * GRID + (k % GRID)]);
    paintColours(shade, ink, (z) => [...TINTS[z > 0 ? 1 : 0], 16 + 44 * Math.abs(Math.tanh(z / 2))]);
    border.attr("d", contour(values, GRID).map(([from, end]) => `M${spot(from)}L${spot(end)}`).join(""));
  };
  return { node: h("div", { class: "stack" }, h("style", {}, LOOK), shade, svg.node()), svg, to, upward, show };
}

/** Let a mark be dragged: onmove(across, up) hears where it is, as shares of its plane, 0 … 1 inside. */
export function draggable(mark, { onmove, ongrab }) {
  const moved = (event) => {
    const { left, bottom, width, height } = mark.ownerSVGElement.getBoundingClientRect();
    onmove((event.clientX - left) / width, (bottom - event.clientY) / height);
  };
  mark.classList.add("draggable");
  mark.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    mark.setPointerCapture(event.pointerId);
    ongrab?.();
  });
  mark.addEventListener("pointermove", (event) => mark.hasPointerCapture(event.pointerId) && moved(event));
}

// --- arithmetic ----------------------------------------------------------------------------------

/** grid × grid places of the unit square, row after row from below: across and up of each. */
export function places(grid) {
  return Float64Array.from({ length: 2 * grid * grid }, (_, k) => {
    const place = Math.floor(k / 2);
    return (k % 2 ? Math.floor(place / grid) : place % grid) / (grid - 1);
  });
}

/** Logit of class 1 less that of class 0 at these places. */
export function field(net, grid) {
  const logits = forward(net, places(grid), grid * grid);
  return Float64Array.from({ length: grid * grid }, (_, k) => logits[2 * k + 1] - logits[2 * k]);
}

const LOOK = `
.stack { display: grid; border: 1px solid var(--line); border-radius: 6px; overflow: clip; }
.stack > * { grid-area: 1 / 1; aspect-ratio: 1; width: 100%; height: auto; }
.stack canvas { image-rendering: auto; }
.plane { overflow: hidden; }
.border { fill: none; stroke: var(--mark, var(--quiet)); stroke-width: 3.5; stroke-linecap: round; }
.draggable { cursor: grab; touch-action: none; }
.round { --class: var(--more); }
.square { --class: var(--less); }
`;
