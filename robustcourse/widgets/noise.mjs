// A proof made of coin flips: the noise around a point, its votes, and the radius that they certify.
import { chart, h, oncePerFrame, percent, slider, table, worker } from "./base.mjs";
import { leastShare, normals, quantile } from "./chance.mjs";
import { d3 } from "./d3.mjs";
import { forward, network } from "./nn.mjs";
import { draggable, field, GRID, plane } from "./plane.mjs";

const NAMES = ["round", "square"]; // of the classes, as their marks are
const COUNTS = [10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000]; // votes, n
const FIRST = 100; // votes that choose the class; they take no part in the bound
const SHOWN = 400; // looks that are drawn
const SLICE = 2000; // looks between two chances to draw

function noise(ui, state) {
  const { alpha } = state;
  const net = network(state.network);
  const at = Float64Array.from(state.point);
  let seed = 0;
  let looks = throwOf(seed);

  // --- controls
  const side = { min: 0, max: 1, step: 0.005 };
  const across = slider({ label: "Point, across", ...side, value: at[0], oninput: (v) => place(0, v) });
  const up = slider({ label: "up", ...side, value: at[1], oninput: (v) => place(1, v) });
  const spread = slider({ label: "σ =", min: 0.01, max: 0.4, step: 0.01, value: state.sigma, oninput: () => ask() });
  const many = slider({
    label: "Votes, n =",
    max: COUNTS.length - 1,
    step: 1,
    value: COUNTS.indexOf(state.n),
    say: (k) => COUNTS[k].toLocaleString("en"),
    oninput: () => ask(),
  });
  const again = h("button", { type: "button", onclick: () => ((looks = throwOf(++seed)), ask()) }, "Throw again");
  const words = h("p", { class: "verdict" });
  const place = (axis, v) => ((at[axis] = Math.min(1, Math.max(0, v))), ask());

  // --- the plane
  const label = "The point, the noise around it, the certified circle, and the border between the classes.";
  const { node: square, svg, to, upward, show } = plane({ label });
  const part = (tag, name) => svg.append(tag).attr("class", name);
  const [limit, circle] = [part("circle", "limit"), part("circle", "certified")];
  const cloud = NAMES.map((_, c) => part("path", `look ${c ? "square" : "round"}`));
  const [handle, grip] = [part("circle", "handle").attr("r", 4.5), part("circle", "grip").attr("r", 20)];
  draggable(grip.node(), { onmove: (right, high) => (place(0, right), place(1, high)) });

  // --- votes, as bars
  const bars = NAMES.map((name, c) => {
    const [count, bar] = [h("b"), h("span", { class: "bar", "aria-hidden": "true" })];
    const row = h("div", { class: c ? "square" : "round" }, h("span", {}, `${c ? "■" : "●"} ${name}`), count, bar);
    return { row, count, bar };
  });
  const key = h("p", { class: "quiet" }, "Grey mark: half of the votes. Green mark: a share that is surely reached.");
  const votes = h("div", { class: "votes" }, ...bars.map(({ row }) => row), key);

  // --- the radius over n
  const [width, height] = [340, 220];
  const x = d3.scaleLinear([1, 5], [42, width - 26]); // of log₁₀ n
  const y = d3.scaleLinear([0, 1], [height - 44, 30]);
  const plot = chart({
    width,
    height,
    x,
    y,
    label: "Certified radius over the number of votes, and n's limit; numbers are in the table below.",
    below: "votes, n",
    beside: "certified radius; grey: n's limit",
    xTicks: (axis) => axis.tickValues([1, 2, 3, 4, 5]).tickFormat((e) => (10 ** e).toLocaleString("en")),
    yTicks: (axis) => axis.ticks(4),
  });
  plot.beside.attr("y", 14);
  const ceiling = plot.marks.append("path").attr("class", "limit");
  const line = plot.marks.append("path").attr("class", "certified");
  const dot = plot.marks.append("circle").attr("class", "dot").attr("r", 5);
  const columns = ["n", "most voted", "votes", "share at least", "radius", "limit"];
  const numbers = table("Votes and what they certify", columns);
  const ends = COUNTS.map((n) => quantile(alpha ** (1 / n))); // limits, in units of σ

  // --- counting: in slices, and to its end before the next one begins, so that dragging never starves it
  let counted, wanted;
  const wake = worker(() => {
    if (!counted || counted.done) {
      if (!wanted) return false;
      wanted = false;
      counted = count(at, spread.value(), COUNTS[many.value()]);
    }
    counted.go(SLICE);
    if (counted.done) draw();
    return wanted || !counted.done;
  });
  const ask = () => ((wanted = true), wake(), move());

  /** Votes of looks at a point: the first ones choose a class, the others are counted at every n on the way. */
  function count(point, sigma, n) {
    const [from, total] = [Float64Array.from(point), FIRST + n];
    const named = (k, size) => vote(net, from, sigma, looks.subarray(2 * k, 2 * (k + size)));
    const first = named(0, FIRST);
    const top = 2 * first.reduce((sum, c) => sum + c, 0) > FIRST ? 1 : 0;
    const [sums, rows] = [[0, 0], []];
    let seen = FIRST;
    const mine = { sigma, top, rows, done: false, go };
    function go(size) {
      const next = named(seen, Math.min(size, total - seen));
      next.forEach((c) => {
        sums[c]++;
        if (++seen - FIRST !== COUNTS[rows.length]) return;
        rows.push({ n: seen - FIRST, votes: [...sums], ...certified(sums[top], seen - FIRST, sigma, alpha) });
      });
      mine.done = seen === total;
    }
    return mine;
  }

  // --- drawing: what moves with the hand at once, what was counted when it is
  const move = oncePerFrame(() => {
    const sigma = spread.value();
    const named = vote(net, at, sigma, looks.subarray(2 * FIRST, 2 * (FIRST + SHOWN)));
    const spot = (k, axis) => at[axis] + sigma * looks[2 * (FIRST + k) + axis];
    const mark = (c) => (c ? "h3.6v3.6h-3.6z" : "a1.9 1.9 0 1 0 .01 0z");
    const shown = Math.min(SHOWN, COUNTS[many.value()]);
    cloud.forEach((path, c) => {
      const mine = Array.from(named.subarray(0, shown), (own, k) =>
        own === c ? `M${to(spot(k, 0)).toFixed(1)} ${upward(spot(k, 1)).toFixed(1)}${mark(c)}` : "",
      );
      path.attr("d", mine.join(""));
    });
    for (const each of [limit, circle, handle, grip]) each.attr("cx", to(at[0])).attr("cy", upward(at[1]));
    limit.attr("r", to(sigma * ends[many.value()]));
    across.set({ value: at[0] });
    up.set({ value: at[1] });
  });

  const draw = oncePerFrame(() => {
    const { sigma, top, rows } = counted;
    if (!counted.done) return;
    const { n, votes: sums, low, radius } = rows.at(-1);
    circle.attr("r", to(radius));
    bars.forEach(({ row, count, bar }, c) => {
      count.textContent = `${sums[c].toLocaleString("en")} (${percent(sums[c] / n)})`;
      row.classList.toggle("top", c === top);
      bar.style.setProperty("--share", `${(100 * sums[c]) / n}%`);
      bar.style.setProperty("--least", `${100 * low}%`);
    });
    y.domain([0, 1.05 * sigma * ends.at(-1)]);
    plot.rescale();
    const where = ({ n: each }) => x(Math.log10(each));
    ceiling.attr("d", d3.line((_, k) => x(Math.log10(COUNTS[k])), (end) => y(sigma * end))(ends));
    line.attr("d", d3.line(where, (row) => y(row.radius))(rows));
    dot.attr("cx", where(rows.at(-1))).attr("cy", y(radius));
    const text = sentence({ top, n, hits: sums[top], low, radius, sigma, limit: sigma * ends[rows.length - 1] });
    words.replaceChildren(...text.map((piece, k) => (k % 2 ? h("b", { class: "proved" }, piece) : piece)));
    ui.say(text.join(""));
    const short = (v) => v.toFixed(3);
    numbers.fill(
      rows.map((row, k) => [
        row.n.toLocaleString("en"),
        NAMES[top],
        row.votes[top].toLocaleString("en"),
        short(row.low),
        row.radius > 0 ? short(row.radius) : "abstains",
        short(sigma * ends[k]),
      ]),
    );
  });

  ui.body.append(
    h("style", {}, STYLE),
    h("div", { class: "controls" }, across.node, up.node, spread.node, many.node, again),
    h("div", { class: "both" }, square, h("div", { class: "right" }, votes, words, plot.node)),
  );
  ui.tables.append(numbers.node);
  show(field(net, GRID));
  ask();
}

/** Noise for all votes, the same for the same seed. */
function throwOf(seed) {
  return normals(2 * (FIRST + COUNTS.at(-1)), seed);
}

// --- arithmetic ----------------------------------------------------------------------------------

/** The class that a network names at a point moved by σ times each of the looks, across and up in turn. */
export function vote(net, point, sigma, looks) {
  const logits = forward(net, looks.map((z, i) => point[i % 2] + sigma * z), looks.length / 2);
  return Uint8Array.from({ length: looks.length / 2 }, (_, k) => (logits[2 * k + 1] > logits[2 * k] ? 1 : 0));
}

/** What so many hits of n certify: the class has at least this share, and keeps its majority within this radius. */
export function certified(hits, n, sigma, alpha) {
  const low = leastShare(hits, n, alpha);
  return { low, radius: low > 0.5 ? sigma * quantile(low) : 0 };
}

// --- words ---------------------------------------------------------------------------------------

/** What the votes say, as pieces of text; every second one is to be emphasized. */
export function sentence({ top, n, hits, low, radius, sigma, limit }) {
  const said = `${hits.toLocaleString("en")} of ${n.toLocaleString("en")} votes for ${NAMES[top]}`;
  const start = `σ = ${sigma.toFixed(2)}, ${said}: its share is at least ${(100 * low).toFixed(1)}\u00a0%. `;
  if (radius === 0) return [start, "Abstain", ": that is not surely more than half."];
  const most = hits === n ? "all that n can show" : `n could show ${limit.toFixed(3)} at most`;
  return [start, `Certified radius ${radius.toFixed(3)}`, `; ${most}.`];
}

const STYLE = `
.both { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 16px 28px; align-items: start; }
.right { display: grid; gap: 12px; }
.controls .slider { flex-basis: 240px; }
.look { fill: var(--class); }
.limit { fill: none; stroke: var(--quiet); stroke-width: 1.2; }
.certified { fill: none; stroke: var(--green); stroke-width: 3; stroke-dasharray: 1 5; stroke-linecap: round; }
circle.certified { fill: var(--green); fill-opacity: 0.15; }
.dot { fill: var(--green); stroke: var(--paper); stroke-width: 1.5; }
.handle { fill: var(--paper); stroke: var(--text); stroke-width: 2.5; }
.grip { fill: transparent; }
.votes { display: grid; gap: 8px; }
.votes > div { display: grid; grid-template-columns: 1fr auto; gap: 2px 10px; }
.votes b { font-weight: 400; }
.votes .top b { font-weight: 650; }
.votes .bar {
  grid-column: 1 / -1; position: relative; height: 14px; border-radius: 3px;
  background: linear-gradient(to right, var(--class) var(--share), var(--line) var(--share));
}
.bar::before, .top .bar::after {
  content: ""; position: absolute; top: -3px; bottom: -3px; width: 2px; margin-left: -1px;
}
.bar::before, .top .bar::after { content: ""; }
.bar::before { left: 50%; background: var(--quiet); }
.top .bar::after {
  left: var(--least); width: 4px; margin-left: -2px; background: var(--green); box-shadow: 0 0 0 1.5px var(--paper);
}
.proved { color: var(--green-word); }
@container (max-width: 620px) {
  .both { grid-template-columns: minmax(0, 1fr); }
}
`;
