// The game of adversarial training: points in the plane walk to their worst place, and a small network learns from it.
import { pgd } from "./attack.mjs";
import { chart, choice, h, oncePerFrame, slider, table } from "./base.mjs";
import { d3 } from "./d3.mjs";
import { adam, decode, learn, lossAndGradient, network, probabilities, reads } from "./nn.mjs";
import { draggable, field, GRID, plane } from "./plane.mjs";

const LAST = 1000; // rounds after which training pauses by itself
const JUDGE = 20; // steps of the walk that measures; the one that trains may be shorter

function moons(ui, state) {
  const { labels, rate } = state;
  const n = labels.length;
  const start = decode(state.points);
  let net, move, x, moved, walked, rounds, history, running, dragged;

  // --- controls
  const draw = oncePerFrame(() => update());
  const kind = choice({
    label: "The network learns from",
    options: [
      { value: "standard", label: "the points", className: "standard" },
      { value: "robust", label: "their worst places", className: "robust" },
    ],
    value: "robust",
    oninput: draw,
  });
  const again = () => (walk(walked), remeasure(), draw());
  const eps = slider({ label: "ε =", max: 0.2, step: 0.01, value: state.eps, oninput: again });
  const steps = slider({
    label: "Inner steps",
    min: 1,
    max: 10,
    step: 1,
    value: 5,
    say: String,
    oninput: () => (walk(Math.min(walked, steps.value())), draw()),
  });
  const button = (label, onclick) => h("button", { type: "button", onclick }, label);
  const go = button("Train", () => (running ? pause() : run()));
  const buttons = [
    button("Adversary: one step", () => (pause(), walk(walked + 1), draw())),
    button("Network: one step", () => (pause(), descend(), walk(0), draw())),
    go,
    button("Reset", () => (pause(), reset(), draw())),
  ];
  const words = h("p", { class: "verdict" });

  // --- a point moves: with the mouse in the picture, or with sliders
  const point = slider({ label: "Point", min: 1, max: n, step: 1, value: 1, say: String, oninput: draw });
  const side = { min: 0, max: 1, step: 0.01, value: 0 };
  const across = slider({ label: "across", ...side, oninput: (v) => place(point.value() - 1, 0, v) });
  const up = slider({ label: "up", ...side, oninput: (v) => place(point.value() - 1, 1, v) });
  const place = (i, axis, v) => ((x[2 * i + axis] = Math.min(1, Math.max(0, v))), again());
  const poke = h("details", { class: "poke", ontoggle: draw }, h("summary", {}, "Move a point with the keyboard"));
  poke.append(h("div", { class: "controls" }, point.node, across.node, up.node));

  // --- the plane
  const label = "The points, the places they walk to, and the border between the classes.";
  const { node: square, svg, to, upward, show } = plane({ label });
  const boxes = svg.append("g").selectAll("rect").data(labels).join("rect").attr("class", "box");
  const ways = svg.append("g").selectAll("line").data(labels).join("line").attr("class", tint("way"));
  const ends = svg.append("g").selectAll("path").data(labels).join("path");
  const dots = svg.append("g").selectAll("path").data(labels).join("path").attr("class", tint("point"));
  dots.attr("d", (y) => (y ? "M-4.5-4.5h9v9h-9z" : "M0-5a5 5 0 1 0 .01 0z"));
  dots.each(function (_, i) {
    const ongrab = () => ((dragged = true), point.set({ value: i + 1 }), draw());
    draggable(this, { ongrab, onmove: (right, high) => (place(i, 0, right), place(i, 1, high)) });
  });

  // --- the loss, round after round
  const [width, height] = [340, 230];
  const time = d3.scaleLinear([0, 50], [42, width - 12]);
  const level = d3.scaleLinear([0, 1], [height - 42, 30]);
  const plot = chart({
    width,
    height,
    x: time,
    y: level,
    label: "Loss over the rounds, on the points and at their worst places; numbers are in the table below.",
    below: "round",
    beside: "loss: solid on the points, dashed at their worst",
    xTicks: (axis) => axis.ticks(5).tickFormat(String),
    yTicks: (axis) => axis.ticks(4),
  });
  const clean = plot.marks.append("path").attr("class", "curve");
  const worst = plot.marks.append("path").attr("class", "curve attacked");
  const numbers = table("The game in numbers", ["round", "loss", `right of ${n}`, "worst loss", "right at the worst"]);

  // --- the game
  const attack = (count, length) =>
    pgd(net, x, labels, { norm: "Linf", eps: eps.value(), steps: count, stepSize: (2.5 * eps.value()) / length });
  const walk = (count) => (moved = attack((walked = count), steps.value()));

  function descend() {
    learn(net, kind.value() === "standard" ? x : moved, labels, move);
    rounds++;
    history.push(measure());
  }

  /** How the network does now, on the points and against a careful adversary, however careless the one in training. */
  function measure() {
    const hardest = attack(JUDGE, JUDGE);
    return [rounds, ...score(net, x, labels), ...score(net, hardest, labels)];
  }

  const remeasure = () => (history[history.length - 1] = measure());

  function reset() {
    net = network(state.network);
    move = adam(rate);
    x = Float64Array.from(start);
    rounds = 0;
    walk(0);
    history = [measure()];
  }

  function run() {
    const mine = (running = {}); // a loop that was paused must not wake up with the next one
    go.textContent = "Pause";
    const round = () => {
      if (running !== mine) return;
      walk(steps.value());
      descend();
      if (rounds % LAST === 0) pause();
      draw();
      requestAnimationFrame(round);
    };
    requestAnimationFrame(round);
  }

  function pause() {
    running = null;
    go.textContent = "Train";
  }

  // --- drawing
  function update() {
    show(field(net, GRID));
    const at = (from, i) => [to(from[2 * i]), upward(from[2 * i + 1])];
    const reach = to(eps.value());
    const read = reads(probabilities(net, moved, n), 2);
    boxes.attr("x", (_, i) => at(x, i)[0] - reach).attr("y", (_, i) => at(x, i)[1] - reach);
    boxes.attr("width", 2 * reach).attr("height", 2 * reach);
    ways.attr("x1", (_, i) => at(x, i)[0]).attr("y1", (_, i) => at(x, i)[1]);
    ways.attr("x2", (_, i) => at(moved, i)[0]).attr("y2", (_, i) => at(moved, i)[1]);
    ends.attr("class", (y, i) => `end ${y ? "square" : "round"}${read[i] === y ? "" : " misread"}`);
    ends.attr("d", (y, i) => (read[i] === y ? "M0-3a3 3 0 1 0 .01 0z" : "M-5-5 5 5M-5 5 5-5"));
    ends.attr("transform", (_, i) => `translate(${at(moved, i)})`);
    dots.attr("transform", (_, i) => `translate(${at(x, i)})`);
    const chosen = point.value() - 1;
    dots.classed("chosen", (_, i) => i === chosen && (dragged || poke.open));
    across.set({ value: x[2 * chosen] });
    up.set({ value: x[2 * chosen + 1] });

    time.domain([0, Math.max(50, rounds)]);
    level.domain([0, Math.max(...history.map((row) => Math.max(row[1], row[3])))]).nice();
    plot.rescale();
    const line = (k) => d3.line(([round]) => time(round), (row) => level(row[k]))(history);
    clean.attr("d", line(1));
    worst.attr("d", line(3));
    plot.node.setAttribute("class", kind.value());
    svg.attr("class", `plane ${kind.value()}`);

    const [, , right, , stand] = history.at(-1);
    const sentence =
      `After ${rounds} ${rounds === 1 ? "round" : "rounds"}: ${right} of ${n} points are read right, ` +
      `${stand} of ${n} at their worst within ε\u00a0=\u00a0${eps.value().toFixed(2)}.`;
    words.textContent = sentence;
    if (running) return; // a hundred changes a second are for nobody's ears, nor for a table
    ui.say(sentence);
    const every = Math.ceil(history.length / 40);
    const rows = history.filter((_, k) => k % every === 0 || k === history.length - 1);
    numbers.fill(rows.map((row) => row.map((v, k) => (k === 1 || k === 3 ? v.toFixed(3) : String(v)))));
  }

  ui.body.append(
    h("style", {}, STYLE),
    h("div", { class: "controls" }, kind.node, eps.node, steps.node),
    h("div", { class: "controls" }, ...buttons),
    h("div", { class: "both" }, square, h("div", {}, plot.node, words)),
    poke,
  );
  ui.tables.append(numbers.node);
  reset();
  update();
}

const tint = (name) => (y) => `${name} ${y ? "square" : "round"}`;

// --- arithmetic ----------------------------------------------------------------------------------

/** Mean loss of the points, and how many of them are read right. */
export function score(net, x, labels) {
  const { loss } = lossAndGradient(net, x, labels);
  const read = reads(probabilities(net, x, labels.length), net.classes);
  return [loss.reduce((sum, v) => sum + v, 0) / labels.length, labels.filter((y, i) => read[i] === y).length];
}

const STYLE = `
.both { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 16px 28px; align-items: start; }
.verdict { margin-top: 12px; }
.box { fill: none; stroke: var(--edge); stroke-width: 0.8; opacity: 0.45; }
.way { stroke: var(--class); stroke-width: 1.3; stroke-dasharray: 3 2; }
.end { fill: var(--paper); stroke: var(--class); stroke-width: 1.5; }
.end.misread { stroke: var(--text); stroke-width: 2; }
.point { fill: var(--class); stroke: var(--paper); stroke-width: 1; }
.point.chosen { stroke: var(--text); stroke-width: 2; }
.curve { fill: none; stroke: var(--mark); stroke-width: 2.4; }
.curve.attacked { stroke-dasharray: 7 4; }
.poke { margin: 0; }
.poke .controls { margin-top: 8px; }
@container (max-width: 620px) {
  .both { grid-template-columns: minmax(0, 1fr); }
}
`;
