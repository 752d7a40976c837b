// Training seen again, epoch by epoch: what its log said, and what another judge says of the same network.
import { chart, h, menu, percent, SHAPES, slider, table } from "./base.mjs";
import { d3 } from "./d3.mjs";

// The log's curves are told apart by shape; the judge's curve comes last and has none.
const MARKS = SHAPES.slice(1);

function epochs(ui, state) {
  const runs = state.runs;
  let run, judge, plot, place, now, dots, values, numbers; // of the run that is shown
  const pick = menu({
    label: "Training",
    options: runs.map(({ name }, r) => ({ value: r, label: name })),
    oninput: () => (refill(), update()),
  });
  // One step of the slider is one measurement, however many epochs lie between two.
  const moment = slider({
    label: "Stop after epoch",
    max: 1,
    step: 1,
    value: 0,
    say: (e) => (run ? run.epochs[e] : ""),
    oninput: () => update(),
  });
  const readings = h("div", { class: "readings" });
  const words = h("p", { class: "verdict" });
  const [width, height] = [360, 250];
  const y = d3.scaleLinear([0, 1], [height - 44, 30]);

  // --- one run: its axes, its curves, its table
  const drawing = h("div");
  const tables = h("div");

  function refill() {
    run = runs[pick.value()];
    judge = run.curves.at(-1);
    const { epochs, curves } = run;
    const x = d3.scaleLinear([0, epochs.at(-1)], [42, width - 16]);
    place = (e) => x(epochs[e]);
    plot = chart({
      width,
      height,
      x,
      y,
      label: `${run.name}: accuracy against epochs of training; numbers are in the table below.`,
      below: "epochs of training",
      beside: "right answers",
      xTicks: (axis) => axis.ticks(6),
      yTicks: (axis) => axis.tickValues([0, 0.25, 0.5, 0.75, 1]).tickFormat(percent),
    });
    plot.beside.attr("y", 14);
    now = plot.marks.append("line").attr("class", "now").attr("y1", y(0)).attr("y2", y(1));
    const all = epochs.map((_, e) => e);
    const band = d3.area(place, (e) => y(judge.low[e]), (e) => y(judge.high[e]));
    plot.marks.append("path").attr("class", "band").attr("d", band(all));
    curves.forEach((curve, k) => {
      const line = d3.line(place, (e) => y(curve.value[e]));
      plot.marks.append("path").attr("class", `curve ${kind(curves, k)}`).attr("d", line(all));
    });
    const [top, end] = [best(judge.value), epochs.length - 1];
    for (const [name, e] of top === end ? [["best, last", end]] : [["best", top], ["last", end]]) {
      const [left, level] = [place(e), y(judge.value[e])];
      const mark = plot.marks.append("path").attr("class", "mark").attr("d", "M-5 0 0-5 5 0 0 5z");
      mark.attr("transform", `translate(${left} ${level})`);
      const text = plot.marks.append("text").attr("class", "note").attr("x", left + 6).attr("y", level - 10);
      text.attr("text-anchor", left > width / 2 ? "end" : "start").text(name);
    }
    dots = curves.map((curve, k) => {
      const shape = plot.marks.append("path").attr("d", MARKS[k] && curve !== judge ? MARKS[k] : "M0-5a5 5 0 1 0 .01 0z");
      return shape.attr("class", `dot ${kind(curves, k)}`);
    });
    drawing.replaceChildren(plot.node);

    values = curves.map(() => h("b"));
    const rows = curves.map(({ name }, k) => h("p", {}, key(curves, k), h("span", {}, name), values[k]));
    readings.replaceChildren(...rows);
    numbers = table(`${run.name}: right answers after each epoch that was measured`, [
      "epoch",
      ...curves.map(({ name }) => name),
    ]);
    numbers.fill(all.map((e) => [epochs[e], ...curves.map((curve) => written(curve, e))]));
    tables.replaceChildren(numbers.node);
    moment.set({ max: epochs.length - 1, value: epochs.length - 1 });
  }

  function update() {
    const e = moment.value();
    now.attr("x1", place(e)).attr("x2", place(e));
    dots.forEach((dot, k) => dot.attr("transform", `translate(${place(e)} ${y(run.curves[k].value[e])})`));
    values.forEach((node, k) => (node.textContent = written(run.curves[k], e)));
    const [start, number, end] = sentence({ epochs: run.epochs, e, name: judge.name, value: judge.value });
    words.replaceChildren(start, h("b", {}, number), end);
    ui.say(`${run.name}. ${start}${number}${end}`);
  }

  ui.body.append(
    h("style", {}, STYLE),
    h("div", { class: "controls" }, pick.node, moment.node),
    h("div", { class: "both" }, drawing, readings),
    words,
  );
  ui.tables.append(tables);
  refill();
  update();
}

/** The look of a curve: the judge's, clean accuracy, or the log's. */
function kind(curves, k) {
  if (k === curves.length - 1) return "judge";
  return curves[k].name.startsWith("clean") ? "clean" : "log";
}

/** A piece of a curve with its dot, to stand beside its name. */
function key(curves, k) {
  const svg = d3.select(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
  svg.attr("viewBox", "-16 -7 32 14").attr("class", "key").attr("aria-hidden", "true");
  svg.append("path").attr("class", `curve ${kind(curves, k)}`).attr("d", "M-16 0H16");
  const last = k === curves.length - 1;
  svg.append("path").attr("class", `dot ${kind(curves, k)}`).attr("d", last ? "M0-5a5 5 0 1 0 .01 0z" : MARKS[k]);
  return svg.node();
}

// --- arithmetic ----------------------------------------------------------------------------------

/** Where the largest value stands; the first of equals. */
export function best(values) {
  return values.indexOf(Math.max(...values));
}

/** The largest fall from one measurement to the next: its size, 0 if nothing falls, and where it ends. */
export function largestFall(values) {
  const falls = values.slice(1).map((value, e) => values[e] - value);
  const size = Math.max(0, ...falls);
  return { size, at: size > 0 ? falls.indexOf(size) + 1 : 0 };
}

// --- words ---------------------------------------------------------------------------------------

/** "39 % [32, 46]" */
function written({ value, low, high }, e) {
  return `${percent(value[e])} [${Math.round(100 * low[e])}, ${Math.round(100 * high[e])}]`;
}

/** What the judge says after measurement e, as three pieces of text: the number stands in the middle. */
export function sentence({ epochs, e, name, value }) {
  const [top, last] = [best(value), value.length - 1];
  const points = (difference) => `${Math.round(100 * difference)}\u00a0points`;
  const start = `After epoch ${epochs[e]}, ${name}: `;
  const missing = value[top] - value[e];
  const here = missing > 0 ? `, ${points(missing)} below the best (epoch ${epochs[top]}).` : ", the best of all epochs.";
  const lost = value[top] - value[last];
  const end = lost > 0 ? ` From the best to the last, ${points(lost)} are lost.` : " The last epoch is the best one.";
  const fall = largestFall(value);
  const sharp = fall.size > 0 ? ` Sharpest fall: ${points(fall.size)}, to epoch ${epochs[fall.at]}.` : "";
  return [start, percent(value[e]), here + end + sharp];
}

// All models here are trained for robustness, so the judge and clean accuracy are orange; what the log says is grey.
const STYLE = `
.menu { flex-wrap: wrap; max-width: 100%; }
select { max-width: 100%; }
td { white-space: nowrap; }
.both { display: grid; grid-template-columns: minmax(0, 1.6fr) minmax(0, 1fr); gap: 16px 28px; align-items: center; }
.readings { display: grid; gap: 8px; }
.readings p { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 8px; }
.readings b { margin-left: auto; white-space: nowrap; }
.key { flex: none; width: 32px; }
.band { fill: var(--orange); opacity: 0.16; }
.curve { fill: none; stroke: var(--edge); stroke-width: 1.6; stroke-dasharray: 4 3; }
.curve.clean { stroke: var(--orange); stroke-dasharray: none; }
.curve.judge { stroke: var(--orange); stroke-width: 3; stroke-dasharray: 9 3; }
.dot { fill: var(--paper); stroke: var(--quiet); stroke-width: 1.6; }
.dot.clean { stroke: var(--orange); }
.dot.judge { fill: var(--orange); stroke: var(--paper); }
.mark { fill: var(--paper); stroke: var(--orange); stroke-width: 2; }
.now { stroke: var(--quiet); }
svg .note { font-weight: 650; fill: var(--orange-word); }
@container (max-width: 620px) {
  .both { grid-template-columns: minmax(0, 1fr); }
}
`;
