// Double descent in width and in time: the error of networks over their width, at one moment of training, and over the
// moments, at one width.
import { brief, chart, choice, h, legend, oncePerFrame, percent, slider, table } from "./base.mjs";
import { d3 } from "./d3.mjs";

const MET = 0.99; // share of the training labels from which on they count as met
const [WIDTH, HEIGHT] = [380, 270];

function descent(ui, state) {
  const { widths, moments, unit } = state;
  const lots = state.lots.map((lot) => {
    const stops = lot.error.value.map(running);
    return { ...lot, stops, best: stops.map((row, w) => row.map((t) => lot.error.value[w][t])) };
  });
  const kinds = ["attacked", "error"].filter((name) => name in lots[0]); // what has a band
  const [steps, units] = [moments, widths].map((values) => (k) => values[k].toLocaleString("en"));
  const wrong = ({ noise }) => `${brief(100 * noise)}\u00a0%`;

  // --- controls
  const noise = choice({
    label: "Wrong labels:",
    options: lots.map((lot, z) => ({ value: z, label: wrong(lot) })),
    value: 0,
    oninput: () => draw(),
  });
  const [last, oninput] = [moments.length - 1, () => draw()];
  const time = slider({ label: `Training, ${unit}:`, max: last, step: 1, value: last, say: steps, oninput });
  const middle = Math.floor(widths.length / 2);
  const size = slider({ label: "Width:", max: widths.length - 1, step: 1, value: middle, say: units, oninput });
  const words = h("p", { class: "verdict" });

  // --- two charts; their scale of errors stays while the reader moves
  const most = Math.max(...lots.flatMap((lot) => kinds.flatMap((kind) => lot[kind].high.flat())));
  const y = d3.scaleLinear([0, Math.min(1, 1.05 * most)], [HEIGHT - 44, 30]);
  const across = panel(widths, "width", "error at this moment of training");
  const along = panel(moments, `training, ${unit}`, "error at this width");
  const columns = ["width", "test error", "attacked", "training error", "at its best so far", `after ${unit}`];
  const shown = columns.filter((name) => name !== "attacked" || kinds.includes(name));
  const numbers = table("Each width at the moment of training that is chosen", shown);

  /** A chart over widths or moments. .show(curves, k) draws, with a mark at place k. */
  function panel(values, below, beside) {
    const x = d3.scaleLinear([values[0], values.at(-1)].map(Math.log10), [46, WIDTH - 14]);
    const at = (k) => x(Math.log10(values[k]));
    const plot = chart({
      width: WIDTH,
      height: HEIGHT,
      x,
      y,
      label: `${beside}; numbers are in the table below.`,
      below,
      beside,
      xTicks: (axis) => axis.tickValues(apart(values.map(Math.log10), 7)).tickFormat((e) => round(10 ** e)),
      yTicks: (axis) => axis.ticks(5).tickFormat(percent),
    });
    plot.beside.attr("x", 0).attr("y", 14);
    const part = (tag, name) => plot.marks.append(tag).attr("class", name);
    const [bottom, top] = y.range();
    const met = part("rect", "met").attr("y", top).attr("height", bottom - top);
    const bands = kinds.map((kind) => part("path", `band ${kind}`));
    const now = part("line", "now").attr("y1", bottom).attr("y2", top);
    const [best, train] = [part("path", "best"), part("path", "train")];
    const lines = kinds.map((kind) => part("path", kind));
    const note = part("text", "note").attr("y", top + 12);
    const dot = part("circle", "dot").attr("r", 5);
    const line = d3.line((_, k) => at(k), (v) => y(Math.min(v, y.domain()[1])));
    const show = (curves, k) => {
      kinds.forEach((kind, i) => {
        const { value, low, high } = curves[kind];
        bands[i].attr("d", d3.area((_, p) => at(p), (_, p) => y(low[p]), (_, p) => y(high[p]))(value));
        lines[i].attr("d", line(value));
      });
      best.attr("d", line(curves.best));
      train.attr("d", line(curves.fitted.map((share) => 1 - share)));
      now.attr("x1", at(k)).attr("x2", at(k));
      dot.attr("cx", at(k)).attr("cy", y(curves.error.value[k]));
      const first = threshold(curves.fitted);
      const from = first < 0 ? WIDTH - 14 : at(first);
      met.attr("x", from).attr("width", WIDTH - 14 - from);
      const room = WIDTH - 14 - from > 110;
      note.text(first < 0 ? "" : "labels met").attr("text-anchor", room ? "start" : "end");
      note.attr("x", from + (room ? 6 : -6));
    };
    return { node: plot.node, show };
  }

  const draw = oncePerFrame(() => {
    const [lot, w, t] = [lots[noise.value()], size.value(), time.value()];
    const cut = (pick) => {
      const ends = ({ value, low, high }) => ({ value: pick(value), low: pick(low), high: pick(high) });
      const banded = kinds.map((kind) => [kind, ends(lot[kind])]);
      return { ...Object.fromEntries(banded), fitted: pick(lot.fitted), best: pick(lot.best) };
    };
    const here = cut((rows) => rows.map((row) => row[t]));
    across.show(here, w);
    along.show(cut((rows) => rows[w]), t);
    const stop = `${steps(lot.stops[w][t])} ${unit}`;
    const setting = `${wrong(lot)} wrong labels, ${steps(t)} ${unit}, width ${units(w)}`;
    const [start, error, end] = sentence({ setting, stop, widths, w, ...here });
    words.replaceChildren(start, h("b", {}, error), end);
    ui.say(start + error + end);
    numbers.fill(
      widths.map((_, k) => [
        units(k),
        ...[...kinds].reverse().map((kind) => written(here[kind], k)),
        fine(1 - here.fitted[k]),
        fine(here.best[k]),
        steps(lot.stops[k][t]),
      ]),
    );
  });

  const names = { error: "test error", attacked: "attacked", train: "training error", best: "at its best so far" };
  const key = Object.entries(names).filter(([name]) => name !== "attacked" || kinds.includes(name));
  ui.body.append(
    h("style", {}, STYLE),
    h("div", { class: "controls" }, noise.node, time.node, size.node),
    legend(key),
    h("div", { class: "both" }, across.node, along.node),
    words,
  );
  ui.tables.append(numbers.node);
  draw();
}

// --- arithmetic ----------------------------------------------------------------------------------

/** Where the smallest value so far stands, for each place; the first of equals. */
export function running(values) {
  let best = 0;
  return values.map((value, k) => (best = value < values[best] ? k : best));
}

/** The first place at which the training labels are met, −1 if there is none. */
export function threshold(fitted) {
  return fitted.findIndex((share) => share >= MET);
}

/**
 * The largest rise and fall along a curve: where the lowest place before the peak stands, the peak, and the lowest after
 * it. Null if there is none whose interval lies above both of theirs.
 */
export function hump({ value, low, high }) {
  const lowest = (places) => places.reduce((best, k) => (value[k] < value[best] ? k : best));
  const places = value.map((_, k) => k);
  const found = places.slice(1, -1).map((peak) => {
    const [from, to] = [lowest(places.slice(0, peak)), lowest(places.slice(peak + 1))];
    return { from, peak, to, size: value[peak] - Math.max(value[from], value[to]) };
  });
  const clear = found.filter(({ from, peak, to }) => low[peak] > Math.max(high[from], high[to]));
  return clear.length ? clear.reduce((best, each) => (each.size > best.size ? each : best)) : null;
}

/** Some of rising values, at least a so-manieth of their range apart. */
export function apart(values, most) {
  const least = (values.at(-1) - values[0]) / most;
  return values.reduce((kept, v) => (kept.length && v - kept.at(-1) < least * 0.999 ? kept : [...kept, v]), []);
}

// --- words ---------------------------------------------------------------------------------------

const round = (v) => Math.round(v).toLocaleString("en");
const digits = (share) => (100 * share).toFixed(share < 0.0995 ? 1 : 0);

/** 0.345 → "35 %", 0.0345 → "3.5 %" */
function fine(share) {
  return `${digits(share)}\u00a0%`;
}

/** "38 % [35, 41]" */
function written({ value, low, high }, k) {
  return `${fine(value[k])} [${digits(low[k])}, ${digits(high[k])}]`;
}

/** What is seen at one width and moment, and over all widths at this moment, as three pieces of text. */
export function sentence({ setting, stop, widths, w, error, fitted, best }) {
  const now = `training error ${fine(1 - fitted[w])}; at its best, after ${stop}: ${fine(best[w])}`;
  const found = hump(error);
  const place = (k) => `${fine(error.value[k])} (width ${widths[k].toLocaleString("en")})`;
  const shape = found
    ? `A second descent: from ${place(found.from)} up to ${place(found.peak)}, down to ${place(found.to)}.`
    : "No second descent over the width that stands out of the intervals.";
  return [`${setting}: test error `, written(error, w), `, ${now}. ${shape}`];
}

const STYLE = `
.controls .slider { flex-basis: 200px; }
.both { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px 28px; }
td { white-space: nowrap; }
.band { fill: var(--blue); opacity: 0.18; }
.error, .attacked, .train, .best { fill: none; stroke: var(--blue); stroke-width: 2.6; stroke-linejoin: round; }
.band.error, .band.attacked { fill: var(--blue); stroke: none; }
.attacked { stroke-dasharray: 9 3; }
.train { stroke-width: 1.3; }
.best { stroke: var(--edge); stroke-width: 2; }
.met { fill: var(--edge); opacity: 0.13; }
.now { stroke: var(--quiet); }
.dot { fill: var(--blue); stroke: var(--paper); stroke-width: 1.5; }
@container (max-width: 620px) {
  .both { grid-template-columns: minmax(0, 1fr); }
}
`;
