// Bounds running through a tiny network: boxes and lines at every neuron, and branching on those whose sign is open.
import { chart, h, oncePerFrame, slider, table } from "./base.mjs";
import { boxes, branch, corners, exact, grid, lines, relax, trace } from "./bounds.mjs";
import { d3 } from "./d3.mjs";
import { draggable, GRID, places, plane } from "./plane.mjs";

const SAMPLES = 25; // inputs a side at which the network is tried
const [CARD, INPUT, TALL, ACROSS, DOWN] = [86, 44, 74, 20, 12]; // widths of cards, their height, and gaps
const ROWS = ["boxes", "lines", "branching", "reached"];
const SUB = "₀₁₂₃₄";
const name = (k, i) => "abc"[k] + SUB[i + 1];

function flow(ui, state) {
  const { layers, low, high, label } = state;
  const hidden = layers.slice(0, -1).flatMap(({ bias }, k) => bias.map((_, i) => [k, i]));
  const at = [...state.point];
  const splits = new Set(); // of names of neurons
  let chosen = name(0, 0);
  let [openNow, cases] = [[], []];

  // --- controls
  const draw = oncePerFrame(() => update());
  const [max, three] = [state.epsMax, (v) => v.toFixed(3)];
  const eps = slider({ label: "ε =", max, step: max / 60, value: state.eps, say: three, oninput: draw });
  const side = { min: low, max: high, step: (high - low) / 200 };
  const coordinates = at.map((value, i) =>
    slider({ label: `x${SUB[i + 1]} =`, ...side, value, oninput: (v) => ((at[i] = v), draw()) }),
  );
  const say = (c) => (cases[c - 1] ? `${c} of ${cases.length}: ${signsOf(cases[c - 1])}` : "");
  const which = slider({ label: "Case, lowest first:", min: 1, max: 1, step: 1, value: 1, say, oninput: draw });
  const one = h("div", { class: "one" }, which.node);
  const button = (text, onclick) => h("button", { type: "button", onclick: () => (onclick(), draw()) }, text);
  const all = button("Split every open neuron", () => openNow.forEach((neuron) => splits.add(neuron)));
  const none = button("Undo all splits", () => splits.clear());
  const signed = ([k, i], sign) => `${name(k, i)}\u00a0${sign > 0 ? "+" : "−"}`;
  const signsOf = ({ signs }) =>
    hidden.filter(([k, i]) => signs[k][i]).map(([k, i]) => signed([k, i], signs[k][i])).join(", ");

  // --- the network: a card for each input and neuron, on a scale of its layer that stays while ε moves
  const domainsAt = (e) =>
    boxes(layers, state.point.map((v) => [v - e, v + e])).map((layer) => {
      const [least, most] = [Math.min(0, ...layer.flat()), Math.max(0, ...layer.flat())];
      return [Math.min(least, -0.2 * most), Math.max(most, -0.2 * least)];
    });
  const domains = domainsAt(0.7 * max); // what sticks out at the largest ε is cut off: common sizes get the room
  const most = Math.max(2, ...layers.map(({ bias }) => bias.length));
  const height = most * (TALL + DOWN) - DOWN;
  const spot = (k, i, count) => [
    k < 0 ? 0 : INPUT + ACROSS + k * (CARD + ACROSS),
    (height - count * (TALL + DOWN) + DOWN) / 2 + i * (TALL + DOWN),
  ];
  const svg = d3.select(document.createElementNS("http://www.w3.org/2000/svg", "svg")).attr("class", "net");
  svg.attr("viewBox", `0 0 ${INPUT + layers.length * (CARD + ACROSS)} ${height}`).attr("role", "group");
  svg.attr("aria-label", "The network. A neuron whose sign is open can be split.");
  layers.forEach(({ weight }, k) =>
    weight.forEach((row, i) =>
      row.forEach((w, j) => {
        const [[x1, y1], [x2, y2]] = [spot(k - 1, j, row.length), spot(k, i, weight.length)];
        const wire = svg.append("line").attr("class", w < 0 ? "wire minus" : "wire");
        wire.attr("x1", x1 + (k ? CARD : INPUT)).attr("y1", y1 + TALL / 2).attr("x2", x2).attr("y2", y2 + TALL / 2);
        wire.attr("stroke-width", Math.min(4, 1.6 * Math.abs(w)));
      }),
    ),
  );
  const inputs = at.map((_, i) => card(spot(-1, i, 2), INPUT, [low, high], `x${SUB[i + 1]}`));
  const cards = layers.map(({ bias }, k) =>
    bias.map((_, i) => card(spot(k, i, bias.length), CARD, domains[k], k < layers.length - 1 ? name(k, i) : "margin")),
  );
  hidden.forEach(([k, i]) => listen(cards[k][i].group, name(k, i)));

  function card([x, y], width, domain, title) {
    const group = svg.append("g").attr("transform", `translate(${x} ${y})`).attr("class", "card");
    const part = (tag, cls) => group.append(tag).attr("class", cls);
    const scale = d3.scaleLinear(domain, [5, width - 5]).clamp(true);
    part("rect", "sheet").attr("width", width).attr("height", TALL).attr("rx", 6);
    part("text", "name").attr("x", 6).attr("y", 16).text(title);
    const word = part("text", "word").attr("x", width - 6).attr("y", 16).attr("text-anchor", "end");
    const boxed = part("rect", "boxed").attr("y", 24).attr("height", 18);
    const lined = part("rect", "lined").attr("y", 28).attr("height", 10);
    const ticks = part("path", "ticks");
    part("path", "naught").attr("d", `M${scale(0)} 22v22`);
    const left = part("text", "number").attr("x", 6).attr("y", 66);
    const right = part("text", "number").attr("x", width - 6).attr("y", 66).attr("text-anchor", "end");
    const set = (outer, inner, values, says, ends = inner.map(short)) => {
      span(boxed, scale, outer);
      span(lined, scale, inner);
      ticks.attr("d", values.map((v) => `M${scale(v).toFixed(1)} 44v6`).join(""));
      word.text(says);
      left.text(ends[0]);
      right.text(ends[1]);
    };
    return { group, set };
  }

  /** A neuron is looked at when pointed at, and split by a click, Enter or Space. */
  function listen(group, neuron) {
    const node = group.attr("tabindex", 0).attr("role", "button").node();
    const choose = () => ((chosen = neuron), draw());
    const toggle = () => {
      if (!splits.delete(neuron) && openNow.includes(neuron)) splits.add(neuron);
      choose();
    };
    node.addEventListener("pointerenter", choose);
    node.addEventListener("focus", choose);
    node.addEventListener("click", toggle);
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      node.dispatchEvent(new MouseEvent("click", { bubbles: true, composed: true }));
    });
  }

  // --- the inputs, cut into the cases
  const square = plane({ label: "The box of inputs, cut into its cases, and the input that is worst.", low, high });
  const pieces = square.svg.append("g");
  const worst = square.svg.append("path").attr("class", "worst").attr("d", "M-5-5 5 5M-5 5 5-5");
  const dot = square.svg.append("circle").attr("class", "handle").attr("r", 4.5);
  const grip = square.svg.append("circle").attr("class", "grip").attr("r", 22);
  const put = (i, share) => (at[i] = low + (high - low) * Math.min(1, Math.max(0, share)));
  draggable(grip.node(), { onmove: (right, up) => (put(0, right), put(1, up), draw()) });
  const everywhere = places(GRID).map((share) => low + (high - low) * share);
  const margin = (_, k) => trace(layers, everywhere.subarray(2 * k, 2 * k + 2)).at(-1)[0];
  const field = Float64Array.from({ length: GRID * GRID }, margin);
  const strongest = Math.max(...field.map(Math.abs));
  square.show(field.map((v) => ((label ? 6 : -6) * v) / strongest));

  // --- what is known of the margin
  const along = d3.scaleLinear(domainsAt(max).at(-1), [74, 328]).clamp(true);
  const rows = d3.scaleBand([...ROWS].reverse(), [142, 18]).padding(0.4);
  const middle = (row) => rows(row) + rows.bandwidth() / 2;
  const known = chart({
    width: 340,
    height: 184,
    x: along,
    y: rows,
    label: "Lower bounds of the margin, and the margins reached; numbers are in the table below.",
    below: "margin",
    beside: "",
    xTicks: (axis) => axis.ticks(5),
    yTicks: (axis) => axis,
  });
  known.marks.append("path").attr("class", "naught").attr("d", `M${along(0)} 18V142`);
  const bounds = ROWS.slice(0, 3).map((row) => {
    const line = known.marks.append("path").attr("class", row === "boxes" ? "above dotted" : "above");
    const least = known.marks.append("circle").attr("class", "least").attr("r", 5).attr("cy", middle(row));
    return { row, line, least };
  });
  const [wrong, right] = ["ticks wrong", "ticks"].map((cls) => known.marks.append("path").attr("class", cls));

  // --- the chosen neuron: what goes in, what comes out
  const into = d3.scaleLinear([-1, 1], [34, 328]).clamp(true);
  const out = d3.scaleLinear([-0.25, 1], [150, 28]).clamp(true);
  const bend = chart({
    width: 340,
    height: 190,
    x: into,
    y: out,
    label: "The chosen neuron: its ReLU, its interval by boxes and by lines, and the two lines around the ReLU.",
    below: "in",
    beside: "",
    xTicks: (axis) => axis.ticks(5),
    yTicks: (axis) => axis.ticks(4),
  });
  const mark = (tag, cls) => bend.marks.append(tag).attr("class", cls).attr("y", 28).attr("height", 122);
  const [outer, inner] = [mark("rect", "boxed"), mark("rect", "lined faint")];
  const [relu, two, seen] = [mark("path", "relu"), mark("path", "two"), mark("path", "ticks")];
  const formula = h("p", { class: "quiet" });

  const words = h("p", { class: "verdict" });
  const numbers = table("Each neuron before its ReLU", ["neuron", "boxes", "lines", "lines, in this case", "reached"]);

  function update() {
    const box = at.map((v) => [Math.max(low, v - eps.value()), Math.min(high, v + eps.value())]);
    const [boxed, whole] = [boxes(layers, box), lines(layers, corners(box))];
    const isOpen = ([k, i]) => whole.bounds[k][i][0] < 0 && whole.bounds[k][i][1] > 0;
    openNow = hidden.filter(isOpen).map(([k, i]) => name(k, i));
    cases = branch(layers, corners(box), hidden.filter(([k, i]) => splits.has(name(k, i))));
    cases.sort((a, b) => a.margin - b.margin);
    const truth = exact(layers, corners(box));
    which.set({ max: cases.length, value: Math.min(which.value(), cases.length) });
    one.hidden = cases.length === 1;
    const shown = cases[which.value() - 1];
    const tried = [truth.at, ...grid(box, SAMPLES)].map((x) => trace(layers, x));
    const here = tried.filter((values) => hidden.every(([k, i]) => values[k][i] * shown.signs[k][i] >= 0));

    inputs.forEach(({ set }, i) => set(box[i], box[i], [], "", [short(at[i]), ""]));
    cards.forEach((column, k) =>
      column.forEach(({ group, set }, i) => {
        const [inside, neuron, last] = [shown.bounds[k][i], name(k, i), k === layers.length - 1];
        const split = !last && splits.has(neuron);
        const sign = openNow.includes(neuron) ? "open" : whole.bounds[k][i][0] >= 0 ? "on" : "off";
        const word = split ? `split ${shown.signs[k][i] > 0 ? "+" : "−"}` : sign;
        set(boxed[k][i], inside, here.map((values) => values[k][i]), last ? "" : word);
        if (last) return;
        group.attr("class", `card ${word}${neuron === chosen ? " chosen" : ""}`).attr("aria-pressed", split);
        const says = split ? "split" : { open: "its sign is open", on: "always on", off: "always off" }[word];
        group.attr("aria-label", `${neuron}, ${says}, from ${short(inside[0])} to ${short(inside[1])} by lines`);
      }),
    );

    const px = ([a, b]) => `${square.to(a).toFixed(1)},${square.upward(b).toFixed(1)}`;
    const drawn = pieces.selectAll("polygon").data(cases).join("polygon");
    drawn.attr("points", (each) => each.corners.map(px).join(" "));
    drawn.attr("class", (each) => `piece${each.margin > 0 ? " proved" : ""}`);
    drawn.classed("shown", (each) => each === shown && cases.length > 1);
    worst.attr("transform", `translate(${px(truth.at)})`);
    for (const each of [dot, grip]) each.attr("cx", square.to(at[0])).attr("cy", square.upward(at[1]));
    coordinates.forEach((coordinate, i) => coordinate.set({ value: at[i] }));

    const found = { boxes: boxed.at(-1)[0][0], lines: whole.margin, branching: cases[0].margin };
    for (const { row, line, least } of bounds) {
      line.attr("d", `M${along(found[row])} ${middle(row)}H328`);
      least.attr("cx", along(found[row]));
    }
    const tick = (v) => `M${along(v).toFixed(1)} ${rows("reached")}v${rows.bandwidth()}`;
    const margins = tried.map((values) => values.at(-1)[0]);
    wrong.attr("d", margins.filter((v) => v < 0).map(tick).join(""));
    right.attr("d", margins.filter((v) => v >= 0).map(tick).join(""));

    const [k, i] = hidden.find((neuron) => name(...neuron) === chosen);
    const [from, to] = domains[k];
    into.domain([from, to]);
    out.domain([-0.25 * to, to]);
    bend.rescale();
    bend.beside.text(`out of ${chosen}`).attr("y", 16);
    span(outer, into, boxed[k][i]);
    span(inner, into, shown.bounds[k][i]);
    relu.attr("d", `M${into(from)} ${out(0)}H${into(0)}L${into(to)} ${out(to)}`);
    const end = (z, [slope, offset]) => `${into(z)} ${out(slope * z + offset)}`;
    const straight = (line) => `M${shown.bounds[k][i].map((z) => end(z, line)).join("L")}`;
    two.attr("d", relax(shown.bounds[k][i]).map(straight).join(""));
    seen.attr("d", here.map((values) => `M${into(values[k][i]).toFixed(1)} 143v7`).join(""));
    formula.textContent = written(layers[k], k, i);

    const counts = { splits: splits.size, cases: cases.length };
    const text = sentence({ eps: eps.value(), ...found, ...counts, truth: truth.margin });
    words.replaceChildren(text[0], h("b", { class: found.branching > 0 ? "proved" : "" }, text[1]));
    ui.say(text.join(""));
    all.disabled = openNow.every((neuron) => splits.has(neuron));
    none.disabled = splits.size === 0;
    const interval = (values) => `${short(Math.min(...values))} … ${short(Math.max(...values))}`;
    const row = (layer, n) => [
      layer < layers.length - 1 ? name(layer, n) : "margin",
      ...[boxed, whole.bounds, shown.bounds].map((from) => interval(from[layer][n])),
      here.length ? interval(here.map((values) => values[layer][n])) : "nothing",
    ];
    numbers.fill(layers.flatMap(({ bias }, layer) => bias.map((_, n) => row(layer, n))));
  }

  const note = h("p", { class: "quiet" }, [
    "Green is proved: dotted by boxes, solid by lines. Grey ticks are reached. Dashed weights are negative.",
    "Point at a neuron to see it below; click it, where its sign is open, to split it.",
  ].join(" ")); // prettier-ignore
  ui.body.append(
    h("style", {}, STYLE),
    h("div", { class: "controls" }, eps.node, ...coordinates.map(({ node }) => node)),
    h("div", { class: "both" }, h("div", { class: "left" }, svg.node(), note), square.node),
    h("div", { class: "controls" }, all, none, one),
    words,
    h("div", { class: "both" }, known.node, h("div", {}, bend.node, formula)),
  );
  ui.tables.append(numbers.node);
  update();
}

function span(rect, scale, [low, high]) {
  rect.attr("x", scale(low)).attr("width", Math.max(1, scale(high) - scale(low)));
}

// --- words ---------------------------------------------------------------------------------------

/** −0.5 → "−0.50" */
function short(v) {
  return v.toFixed(2).replace(/^-(?=0\.00$)/, "").replace("-", "−");
}

/** "b₁ = 0.50 a₁ − 1.00 a₂ + 0.25, where a₁ and a₂ are behind their ReLU" */
export function written({ weight, bias }, k, i) {
  const from = (j) => (k ? `ReLU(${name(k - 1, j)})` : `x${SUB[j + 1]}`);
  const terms = weight[i].map((w, j) => [w, `\u00a0${from(j)}`]).concat([[bias[i], ""]]).filter(([w]) => w !== 0);
  const text = terms.map(([w, of], n) => `${w < 0 ? "− " : n ? "+ " : ""}${Math.abs(w).toFixed(2)}${of}`).join(" ");
  return `${name(k, i)} = ${text || "0"}`;
}

/** What is known at one ε, as two pieces of text: the verdict comes last. */
export function sentence({ eps, boxes, lines, branching, splits, cases, truth }) {
  const many = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  const split = splits ? `, branching at ${many(splits, "neuron")}, ${many(cases, "case")}: ${short(branching)}` : "";
  const both = `by boxes: ${short(boxes)}, by lines: ${short(lines)}`;
  const start = `ε = ${eps.toFixed(3)}. The margin is at least, ${both}${split}. `;
  const met = Math.abs(branching - truth) < 1e-9 ? "The bound is exact. " : `The lowest reached is ${short(truth)}. `;
  if (branching > 0) return [start + met, "Proved: every input in the box has this class."];
  if (truth <= 0) return [start + met, "No proof can come: some input in the box has the other class."];
  return [start + met, "Not proved yet, and not broken: split an open neuron."];
}

const STYLE = `
td { white-space: nowrap; }
.both { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 16px 28px; align-items: start; }
.left { display: grid; gap: 10px; }
.controls .slider { flex-basis: 190px; }
.one { flex: 1 1 100%; }
.one .slider > span { flex-wrap: wrap; flex-basis: 240px; }
.one input { min-width: 140px; }
.net { max-width: 420px; }
.wire { stroke: var(--edge); }
.wire.minus { stroke-dasharray: 4 3; }
.card .sheet { fill: var(--paper); stroke: var(--edge); }
.card[role] { cursor: pointer; }
.card.open .sheet { stroke: var(--text); stroke-width: 1.6; }
.card.split .sheet { fill: color-mix(in srgb, var(--green) 14%, var(--paper)); stroke: var(--green); stroke-width: 2; }
.card.chosen .sheet { stroke: var(--accent); stroke-width: 3; }
.card:focus-visible { outline-offset: 1px; }
svg .card text { font-size: 11.5px; }
svg .card .name { font-weight: 650; fill: var(--text); font-size: 13px; }
.boxed { fill: color-mix(in srgb, var(--green) 18%, transparent); stroke: var(--green); stroke-dasharray: 2 2; }
.lined { fill: var(--green); }
.faint { opacity: 0.3; }
.naught { stroke: var(--text); }
.ticks { stroke: var(--quiet); opacity: 0.55; }
.ticks.wrong { stroke: var(--orange); opacity: 0.8; }
.above { stroke: var(--green); stroke-width: 6; opacity: 0.4; }
.above.dotted { stroke-width: 4; stroke-dasharray: 1 7; stroke-linecap: round; opacity: 0.9; }
.least { fill: var(--green); stroke: var(--paper); stroke-width: 1.5; }
.relu { fill: none; stroke: var(--text); stroke-width: 2; }
.two { fill: none; stroke: var(--green); stroke-width: 2.5; }
.piece { fill: none; stroke: var(--text); stroke-width: 1.2; }
.piece.proved { fill: var(--green); fill-opacity: 0.35; }
.piece.shown { stroke-width: 3; }
.worst { stroke: var(--text); stroke-width: 2.5; fill: none; }
.handle { fill: var(--paper); stroke: var(--text); stroke-width: 2.5; }
.grip { fill: transparent; }
.proved { color: var(--green-word); }
button:disabled { opacity: 0.6; cursor: default; }
@container (max-width: 620px) {
  .both { grid-template-columns: minmax(0, 1fr); }
}
`;
