// A curve through noisy points: waves of random frequency, added up so that the points are met with the smallest
// weights. The reader drags the number of waves past the number of points.
import { brief, chart, h, legend, oncePerFrame, slider, table } from "./base.mjs";
import { d3 } from "./d3.mjs";

const GRID = 241; // places at which a curve is drawn and judged
const RIDGES = [0, ...Array.from({ length: 13 }, (_, k) => 10 ** (k / 2 - 5))];
const NOISE = 0.6; // the most there is
const CIRCLE = "a4 4 0 1 0 .01 0z";
const LEAST = 0.01; // of the test error that is drawn

function fit(ui, state) {
  const n = state.x.length;
  const places = Float64Array.from({ length: GRID }, (_, k) => k / (GRID - 1));
  const goal = places.map(truth);
  const sizes = widths(n, state.frequency.length);
  const [seen, everywhere] = [state.x, places].map((at) => features(state, at));
  const solvers = sizes.map((p) => solver(first(seen, p), first(everywhere, p)));
  let thrown = 0;
  let heard, found; // what the points say, and the fit of each width

  // --- controls
  const waves = slider({
    label: "Features, p =",
    max: sizes.length - 1,
    step: 1,
    value: sizes.indexOf(Math.round((2 * n) / 3)),
    say: (k) => String(sizes[k]),
    oninput: () => draw(),
  });
  const spread = slider({
    label: "Noise, σ =",
    max: NOISE,
    step: 0.05,
    value: state.sigma,
    oninput: () => update(),
  });
  const ridge = slider({
    label: "Ridge, λ =",
    max: RIDGES.length - 1,
    step: 1,
    value: 0,
    say: (k) => brief(RIDGES[k]),
    oninput: () => update(),
  });
  const next = () => ((thrown = (thrown + 1) % state.noise.length), update());
  const again = h("button", { type: "button", onclick: next }, "Other noise");
  const words = h("p", { class: "verdict" });

  // --- the curve
  const [width, height] = [380, 350];
  const x = d3.scaleLinear([0, 1], [30, width - 10]);
  const y = d3.scaleLinear([-2.4, 2.4], [height - 40, 26]);
  const label = "The noisy points, the true curve and the fit; a sentence below says how far they are apart.";
  const xTicks = (axis) => axis.ticks(5);
  const picture = chart({ width, height, x, y, label, below: "x", beside: "", xTicks, yTicks: (axis) => axis.ticks(5) });
  const room = picture.svg.append("clipPath").attr("id", "room").append("rect"); // a fit may whip out of the picture
  room.attr("x", x(0)).attr("y", y(2.4)).attr("width", x(1) - x(0)).attr("height", y(-2.4) - y(2.4));
  const marks = picture.marks.attr("clip-path", "url(#room)");
  const line = d3.line((_, k) => x(places[k]), (v) => y(v));
  marks.append("path").attr("class", "truth").attr("d", line(goal));
  const curve = marks.append("path").attr("class", "fit");
  const dots = marks.append("path").attr("class", "points");
  const key = legend([["points", "points", `M0-4${CIRCLE}`], ["truth", "the truth"], ["fit", "the fit"]]);

  // --- over all widths: the error and the norm
  const log = d3.scaleLinear([0, Math.log10(sizes.at(-1))], [46, width - 14]);
  const over = (p) => log(Math.log10(p));
  const worst = solve(NOISE, 0);
  const errors = panel("test error (mean square)", around([LEAST, ...worst.map(({ test }) => test)]));
  const norms = panel("size of the weights, ‖w‖", around(worst.map(({ norm }) => norm)));
  const columns = ["features", "test error", "training error", "size of the weights"];
  const numbers = table("The fit of each width", columns);

  /** A chart over the widths, both axes logarithmic, with the threshold and the present width. */
  function panel(beside, [low, high]) {
    const [tall, bottom] = [196, 40];
    const level = d3.scaleLinear([Math.log10(low), Math.log10(high)], [tall - bottom, 26]);
    const decades = level.ticks(20).filter(Number.isInteger);
    const plot = chart({
      width,
      height: tall,
      x: log,
      y: level,
      label: `${beside} over the number of features; numbers are in the table below.`,
      below: "features, p",
      beside,
      xTicks: (axis) => axis.tickValues([1, 3, 10, 30, 100, 300].map(Math.log10)).tickFormat((e) => Math.round(10 ** e)),
      yTicks: (axis) => axis.tickValues(decades).tickFormat((e) => brief(10 ** e)),
    });
    plot.beside.attr("x", 0).attr("y", 12);
    const part = (tag, name) => plot.marks.append(tag).attr("class", name);
    const upright = (name) => part("line", name).attr("y1", level.range()[0]).attr("y2", level.range()[1]);
    upright("threshold").attr("x1", over(n)).attr("x2", over(n));
    part("text", "note").attr("x", over(n) + 5).attr("y", level.range()[1] + 9).text("p = n");
    const now = upright("now");
    const path = part("path", "line");
    const dot = part("circle", "dot").attr("r", 5);
    const at = (v) => level(Math.log10(Math.min(high, Math.max(low, v))));
    return {
      node: plot.node,
      fill: (values) => path.attr("d", d3.line((_, k) => over(sizes[k]), at)(values)),
      mark: (k, v) => {
        now.attr("x1", over(sizes[k])).attr("x2", over(sizes[k]));
        dot.attr("cx", over(sizes[k])).attr("cy", at(v));
      },
    };
  }

  /** The fit of each width, with its distance from the truth. */
  function solve(sigma, penalty) {
    heard = Float64Array.from(state.x, (place, i) => truth(place) + sigma * state.noise[thrown][i]);
    return solvers.map((each) => {
      const solution = each.fit(heard, penalty);
      return { ...solution, test: distance(each.curve(solution.weights), goal) };
    });
  }

  const draw = oncePerFrame(() => {
    const k = waves.value();
    const { weights, test, train, norm } = found[k];
    curve.attr("d", line(solvers[k].curve(weights).map((v) => Math.max(-99, Math.min(99, v)))));
    errors.mark(k, test);
    norms.mark(k, norm);
    const [start, error, end] = sentence({ p: sizes[k], n, ridge: RIDGES[ridge.value()], test, train, norm });
    words.replaceChildren(start, h("b", {}, error), end);
    ui.say(start + error + end);
  });

  function update() {
    found = solve(spread.value(), RIDGES[ridge.value()]);
    dots.attr("d", Array.from(heard, (v, i) => `M${x(state.x[i])} ${y(v) - 4}${CIRCLE}`).join(""));
    errors.fill(found.map(({ test }) => test));
    norms.fill(found.map(({ norm }) => norm));
    numbers.fill(found.map(({ test, train, norm }, k) => [sizes[k], ...[test, train, norm].map(brief)]));
    draw();
  }

  ui.body.append(
    h("style", {}, STYLE),
    h("div", { class: "controls" }, waves.node, spread.node, ridge.node, again),
    h("div", { class: "both" }, h("div", {}, key, picture.node), h("div", {}, errors.node, norms.node)),
    words,
  );
  ui.tables.append(numbers.node);
  update();
}

// --- arithmetic ----------------------------------------------------------------------------------

/** What the points are drawn from: one wave. */
export function truth(x) {
  return Math.sin(2 * Math.PI * x);
}

/** The widths that are shown: all around the threshold p = n, then ever fewer. */
export function widths(n, most) {
  const sizes = Array.from({ length: n + 4 }, (_, k) => k + 1);
  for (let p = n + 6; p < most; p = Math.max(p + 2, Math.round(1.12 * p))) sizes.push(p);
  return [...sizes, most];
}

/** The waves √2 cos(frequency · x + phase) at every place: a row for each place, a column for each wave. */
export function features({ frequency, phase }, places) {
  const waves = Float64Array.from(frequency);
  return Array.from(places, (x) => waves.map((each, j) => Math.SQRT2 * Math.cos(each * x + phase[j])));
}

/** The first p columns. */
export function first(rows, p) {
  return rows.map((row) => row.subarray(0, p));
}

/**
 * The singular values of a matrix, given as rows, with their vectors: rows = Σ value · left ⊗ right. Rows, or columns
 * if there are fewer, are turned in pairs until all stand at right angles (Hestenes 1958), which finds even the smallest
 * values to nearly all digits. Those that are zero but for rounding are left out.
 */
export function singular(rows) {
  const wide = rows[0].length >= rows.length;
  const lanes = wide ? rows.map((row) => row.slice()) : transpose(rows);
  const turns = lanes.map((_, i) => Float64Array.from(lanes, (_, j) => +(i === j))); // what was done to the lanes
  for (let turned = true; turned; ) {
    turned = false;
    for (let i = 0; i < lanes.length; i++)
      for (let j = i + 1; j < lanes.length; j++) {
        const [a, b, c] = [dot(lanes[i], lanes[i]), dot(lanes[j], lanes[j]), dot(lanes[i], lanes[j])];
        if (Math.abs(c) <= 1e-14 * Math.sqrt(a * b)) continue;
        turned = true;
        const zeta = (b - a) / (2 * c);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.hypot(1, tangent);
        for (const each of [lanes, turns]) turn(each[i], each[j], cosine, cosine * tangent);
      }
  }
  const values = lanes.map((lane) => Math.sqrt(dot(lane, lane)));
  const least = Math.max(...values) * Math.max(rows.length, rows[0].length) * Number.EPSILON;
  return values.flatMap((value, i) => {
    if (value <= least) return [];
    const unit = lanes[i].map((v) => v / value);
    return [{ value, left: wide ? turns[i] : unit, right: wide ? unit : turns[i] }];
  });
}

/** (u, v) → (cosine u − sine v, sine u + cosine v) */
function turn(u, v, cosine, sine) {
  for (let k = 0; k < u.length; k++) {
    const [a, b] = [u[k], v[k]];
    u[k] = cosine * a - sine * b;
    v[k] = sine * a + cosine * b;
  }
}

function dot(u, v) {
  let sum = 0;
  for (let k = 0; k < u.length; k++) sum += u[k] * v[k];
  return sum;
}

function transpose(rows) {
  return Array.from(rows[0], (_, j) => Float64Array.from(rows, (row) => row[j]));
}

/**
 * All that the waves in these columns can do, made ready once from their rows at the points and at the places where the
 * curve is drawn: .fit(y, ridge) gives the weights w that make |Φw − y|² + ridge |w|² smallest
 * (the smallest such w, if there is no ridge), as shares of the singular directions; .curve(weights) what they draw.
 */
export function solver(rows, shown) {
  const parts = singular(rows);
  const curves = parts.map(({ right }) => Float64Array.from(shown, (row) => dot(row, right)));
  const fit = (y, ridge) => {
    const along = parts.map(({ left }) => dot(left, y));
    const weights = parts.map(({ value }, i) => (value / (value * value + ridge)) * along[i]);
    // What is left of y: what no direction reaches, and what the ridge holds back.
    const reached = y.map((_, k) => parts.reduce((sum, { value, left }, i) => sum + value * weights[i] * left[k], 0));
    return { weights, norm: Math.sqrt(dot(weights, weights)), train: distance(reached, y) };
  };
  const curve = (weights) => {
    const drawn = new Float64Array(shown.length);
    curves.forEach((each, i) => each.forEach((v, k) => (drawn[k] += weights[i] * v)));
    return drawn;
  };
  return { fit, curve };
}

/** The mean square of the differences. */
export function distance(u, v) {
  return u.reduce((sum, each, k) => sum + (each - v[k]) ** 2, 0) / u.length;
}

/** Powers of ten around positive numbers. */
function around(values) {
  return [Math.min, Math.max].map((end, k) => 10 ** [Math.floor, Math.ceil][k](Math.log10(end(...values))));
}

// --- words ---------------------------------------------------------------------------------------

/** What a fit does, as three pieces of text: its test error stands in the middle. */
export function sentence({ p, n, ridge, test, train, norm }) {
  const meets = train < 1e-9 ? "meets every point" : `misses the points by ${brief(train)}`;
  const held = ridge > 0 ? `, held back by λ = ${brief(ridge)}` : "";
  const start = `${count(p, "feature")} for ${count(n, "point")}: the fit ${meets}${held}. Test error: `;
  return [start, brief(test), `. Size of the weights: ${brief(norm)}.`];
}

const count = (k, what) => `${k} ${what}${k === 1 ? "" : "s"}`;

const STYLE = `
.controls .slider { flex-basis: 180px; }
.both { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px 28px; }
.truth { fill: none; stroke: var(--edge); stroke-width: 2; }
.fit { fill: none; stroke: var(--blue); stroke-width: 2.6; stroke-linejoin: round; }
.points { fill: var(--paper); stroke: var(--text); stroke-width: 1.6; }
.line { fill: none; stroke: var(--blue); stroke-width: 2.2; stroke-linejoin: round; }
.threshold { stroke: var(--edge); stroke-dasharray: 4 3; }
.now { stroke: var(--quiet); }
.dot { fill: var(--blue); stroke: var(--paper); stroke-width: 1.5; }
@container (max-width: 620px) {
  .both { grid-template-columns: minmax(0, 1fr); }
}
`;
