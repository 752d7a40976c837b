// Bounds of a tiny network with two inputs: intervals, lines, and branching until lines are exact.
//
// A layer is {weight, bias}, as rows of numbers; the last one has a single row, the margin, and no ReLU behind it. A
// piece of the inputs is a convex polygon, given by its corners. [a, b, c] is the function a x₁ + b x₂ + c of the input.

/** What each neuron gets before its ReLU, layer by layer, for one input. */
export function trace(layers, x) {
  const values = [];
  for (const { weight, bias } of layers) {
    const from = values.length ? values.at(-1).map((v) => Math.max(0, v)) : x;
    values.push(weight.map((row, i) => row.reduce((sum, w, j) => sum + w * from[j], bias[i])));
  }
  return values;
}

/** The interval of each neuron before its ReLU, for inputs in a box: IBP (Gowal et al. 2018, arXiv:1810.12715). */
export function boxes(layers, box) {
  const bounds = [];
  for (const layer of layers) bounds.push(through(layer, bounds.length ? rectified(bounds.at(-1)) : box));
  return bounds;
}

const rectified = (intervals) => intervals.map((ends) => ends.map((v) => Math.max(0, v)));

function through({ weight, bias }, intervals) {
  const add = ([low, high], w, [a, b]) => (w > 0 ? [low + w * a, high + w * b] : [low + w * b, high + w * a]);
  return weight.map((row, i) => row.reduce((sum, w, j) => add(sum, w, intervals[j]), [bias[i], bias[i]]));
}

/**
 * The interval of each neuron for the inputs in a piece, by lines: CROWN (Zhang et al. 2018, arXiv:1811.00866). Where
 * signs[k][i] is 1 or −1, neuron i of layer k is split: of the piece stays what can have that sign. Null where nothing
 * stays; else what stays, the bounds, the lowest margin, and the input at which the line below it is lowest.
 */
export function lines(layers, piece, signs = layers.map(({ bias }) => bias.map(() => 0))) {
  const [bounds, around] = [[], []];
  let below;
  for (const [k, layer] of layers.entries()) {
    below = layer.weight.map((row, i) => pull(layers, around, row, layer.bias[i], -1));
    const above = layer.weight.map((row, i) => pull(layers, around, row, layer.bias[i], 1));
    signs[k].forEach((sign, i) => {
      if (sign) piece = cut(piece, sign > 0 ? above[i] : opposite(below[i]));
    });
    if (piece.length === 0) return null;
    const boxed = through(layer, k ? rectified(bounds[k - 1]) : hull(piece));
    bounds[k] = boxed.map(([low, high], i) => [
      Math.max(low, lowest(piece, below[i]).value, signs[k][i] > 0 ? 0 : -Infinity),
      Math.min(high, -lowest(piece, opposite(above[i])).value, signs[k][i] < 0 ? 0 : Infinity),
    ]);
    if (bounds[k].some(([low, high]) => low > high + 1e-9)) return null;
    around[k] = bounds[k].map(relax);
  }
  return { corners: piece, signs, bounds, margin: bounds.at(-1)[0][0], at: lowest(piece, below[0]).at };
}

/** The lines below and above a ReLU, as [slope, offset]: the one below of least area, the one above the chord. */
export function relax([low, high]) {
  if (low >= 0 || high <= 0) return Array(2).fill([low >= 0 ? 1 : 0, 0]);
  const slope = high / (high - low);
  return [[high > -low ? 1 : 0, 0], [slope, -slope * low]]; // prettier-ignore
}

/** A function of what comes out of the layers that have lines around them, as one of the input, below it or above. */
function pull(layers, around, row, constant, side) {
  let weights = row;
  for (let k = around.length - 1; k >= 0; k--) {
    const { weight, bias } = layers[k];
    const next = weight[0].map(() => 0);
    weights.forEach((w, i) => {
      const [slope, offset] = around[k][i][w * side > 0 ? 1 : 0];
      constant += w * (slope * bias[i] + offset);
      weight[i].forEach((v, j) => (next[j] += w * slope * v));
    });
    weights = next;
  }
  return [...weights, constant];
}

/** The cases of some neurons, [k, i] each: what `lines` says where they are on, and where they are off. */
export function branch(layers, piece, splits, signs, floor = -Infinity) {
  const found = lines(layers, piece, signs);
  if (!found) return [];
  const margin = Math.max(floor, found.margin); // a part is no lower than the whole
  if (splits.length === 0) return [{ ...found, margin }];
  const [first, ...others] = splits;
  const side = (sign) => branch(layers, found.corners, others, marked(found.signs, first, sign), margin);
  return [...side(1), ...side(-1)];
}

/** The lowest margin of all, and where: with no neuron left open, lines are exact. */
export function exact(layers, piece, signs) {
  const found = lines(layers, piece, signs);
  if (!found) return { margin: Infinity };
  const isOpen = ([k, i]) => !found.signs[k][i] && found.bounds[k][i][0] < 0 && found.bounds[k][i][1] > 0;
  const next = layers.slice(0, -1).flatMap(({ bias }, k) => bias.map((_, i) => [k, i])).find(isOpen);
  if (!next) return found;
  const parts = [1, -1].map((sign) => exact(layers, found.corners, marked(found.signs, next, sign)));
  return parts[0].margin < parts[1].margin ? parts[0] : parts[1];
}

const marked = (signs, [k, i], sign) => signs.map((row, a) => row.map((old, b) => (a === k && b === i ? sign : old)));

// --- geometry of the plane

export function corners([[a, b], [c, d]]) {
  return [[a, c], [b, c], [b, d], [a, d]]; // prettier-ignore
}

const at = (p, [a, b, c]) => a * p[0] + b * p[1] + c;
const opposite = (line) => line.map((v) => -v);
const hull = (piece) => [0, 1].map((axis) => piece.map((p) => p[axis])).map((v) => [Math.min(...v), Math.max(...v)]);

function lowest(piece, line) {
  const values = piece.map((p) => at(p, line));
  const value = Math.min(...values);
  return { value, at: piece[values.indexOf(value)] };
}

/** What of a convex polygon lies where a function is ≥ 0 (Sutherland & Hodgman 1974). */
export function cut(piece, line) {
  return piece.flatMap((p, k) => {
    const q = piece[(k + 1) % piece.length];
    const [here, there] = [at(p, line), at(q, line)];
    const crossing = p.map((v, axis) => v + (here / (here - there)) * (q[axis] - v));
    return [...(here >= 0 ? [p] : []), ...(here * there < 0 ? [crossing] : [])];
  });
}

/** side × side inputs of a box. */
export function grid([[a, b], [c, d]], side) {
  const share = (k) => k / (side - 1);
  return Array.from({ length: side * side }, (_, k) => [
    a + share(k % side) * (b - a),
    c + share(Math.floor(k / side)) * (d - c),
  ]);
}
