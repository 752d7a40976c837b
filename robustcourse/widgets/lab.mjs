// The attack lab: one image, one model, one attack, everything that happens in between.
import { fgsm, norms, pgd } from "./attack.mjs";
import { chart, choice, h, menu, oncePerFrame, percent, slider, table } from "./base.mjs";
import { paint, paintColours, picture, plate } from "./base.mjs";
import { d3 } from "./d3.mjs";
import { decode, lossAndGradient, network, probabilities, reads, size } from "./nn.mjs";

const RANGES = { Linf: { max: 0.3, step: 0.01 }, L2: { max: 3, step: 0.1 } };
const SIGNS = { Linf: "‖δ‖∞", L2: "‖δ‖₂" };
const MORE = [208, 64, 165]; // ink added; readable on white and on black
const LESS = [0, 150, 143]; // ink taken away

function lab(ui, state) {
  const kinds = ["standard", "robust"];
  const models = state.models.map((m, k) => ({ ...m, net: network(m.network), kind: kinds[k] }));
  const { labels, steps } = state;
  const [, ...sides] = models[0].net.shape;
  const classes = Array.from({ length: models[0].net.classes }, (_, c) => c);
  const pixels = size(sides);
  const images = decode(state.images);
  const image = (i) => images.subarray(i * pixels, (i + 1) * pixels);

  // --- controls
  const draw = oncePerFrame(() => update());
  const thumbs = labels.map((y, i) => {
    const canvas = picture(sides);
    paint(canvas, image(i));
    return { value: i, label: canvas, speak: `image ${i + 1}, a ${y}` };
  });
  const goals = () => {
    const truth = labels[digit.value()];
    const others = classes.filter((c) => c !== truth).map((c) => ({ value: c, label: `a ${c}` }));
    return [{ value: "any", label: `anything but ${truth}` }, ...others];
  };
  const digit = choice({
    label: "Pick an image",
    options: thumbs,
    value: 0,
    className: "strip",
    oninput: () => (goal.fill(goals()), draw()),
  });
  const model = choice({
    label: "Model",
    options: models.map(({ name, kind }, m) => ({ value: m, label: name, className: kind })),
    value: 0,
    oninput: draw,
  });
  const norm = choice({
    label: "Norm",
    options: [
      { value: "Linf", label: "L∞" },
      { value: "L2", label: "L2" },
    ],
    value: "Linf",
    // The two radii are no match for each other: the slider keeps its place, and so what it can show.
    oninput: (chosen) => (eps.set({ ...RANGES[chosen], value: eps.share() * RANGES[chosen].max }), draw()),
  });
  const method = choice({
    label: "Attack",
    options: [
      { value: "FGSM", label: "FGSM" },
      { value: "PGD", label: `PGD, ${steps} steps` },
    ],
    value: "PGD",
    oninput: draw,
  });
  const goal = menu({ label: "Make it read", options: goals(), oninput: draw });
  const eps = slider({ label: "ε =", ...RANGES.Linf, value: 0.1, oninput: draw });

  // --- image + change = attacked image
  const canvases = [0, 1, 2].map(() => picture(sides));
  const captions = canvases.map(() => h("figcaption"));
  const panels = canvases.map((canvas, k) => plate(canvas, captions[k]));
  const sum = h("div", { class: "sum" }, panels[0], sign("+"), panels[1], sign("="), panels[2]);
  const words = h("p", { class: "verdict" });

  // --- the probabilities, before and after
  const [width, height] = [340, 220];
  const across = d3.scaleBand(classes, [42, width - 6]).padding(0.22);
  const up = d3.scaleLinear([0, 1], [height - 42, 28]);
  const bars = chart({
    width,
    height,
    x: across,
    y: up,
    label: "Probability of each class before and after the attack; numbers are in the table below.",
    below: "class",
    beside: "probability: filled before, dashed after",
    xTicks: (axis) => axis.tickSize(0),
    yTicks: (axis) => axis.tickValues([0, 0.5, 1]).tickFormat(percent),
  });
  const bar = (name, shift) => {
    const half = across.bandwidth() / 2;
    const rects = bars.marks.selectAll(`.${name}`).data(classes).join("rect").attr("class", name);
    return rects.attr("x", (c) => across(c) + shift * half).attr("width", half);
  };
  const [before, after] = [bar("before", 0), bar("after", 1)];
  const setBars = (rects, p) => rects.data(p).attr("y", up).attr("height", (v) => (v < 0.002 ? 0 : up(0) - up(v)));

  // --- the loss along the steps
  const along = d3.scaleLinear([0, steps], [42, width - 10]);
  const loss = d3.scaleLinear([0, 1], [height - 42, 28]);
  const walk = chart({
    width,
    height,
    x: along,
    y: loss,
    label: "Loss after each step of the attack; numbers are in the table below.",
    below: "step",
    beside: "loss",
    xTicks: (axis) => axis.ticks(5),
    yTicks: (axis) => axis.ticks(4),
  });
  const path = walk.marks.append("path").attr("class", "curve");
  const ends = walk.marks.append("g");

  const chances = table("Probability of each class", ["class", "before", "after"]);
  const losses = table("Loss along the attack", ["step", "loss"]);

  function update() {
    const { name, net, kind } = models[model.value()];
    const [x, truth] = [image(digit.value()), labels[digit.value()]];
    const targeted = goal.value() !== "any";
    const label = targeted ? +goal.value() : truth;
    const trace = [];
    const attack = method.value() === "PGD" ? pgd : fgsm;
    const onStep = (_, [value]) => trace.push(value);
    const moved = attack(net, x, [label], { norm: norm.value(), eps: eps.value(), steps, targeted, onStep });
    trace.push(lossAndGradient(net, moved, [label]).loss[0]);

    const delta = moved.map((v, j) => v - x[j]);
    const [p, q] = [probabilities(net, x, 1), probabilities(net, moved, 1)];
    const [[was], [is]] = [reads(p, net.classes), reads(q, net.classes)];

    // The change is shown relative to its largest pixel, and the caption says how much that is.
    const top = norms.Linf.measure(delta);
    paint(canvases[0], x);
    paintColours(canvases[1], delta, (v) => [...(v > 0 ? MORE : LESS), top > 0 ? (255 * Math.abs(v)) / top : 0]);
    paint(canvases[2], moved);
    const key = (name, text) => h("span", { class: name }, text);
    const caption = (k, name, ...text) => captions[k].replaceChildren(h("b", {}, name), h("div", {}, ...text));
    caption(0, `a ${truth}`, `read as ${was} (${percent(p[was])})`);
    const [more, less] = [key("more", `ink +${top.toFixed(2)}`), key("less", `−${top.toFixed(2)}`)];
    caption(1, "the change δ, magnified", more, " to ", less);
    caption(2, "attacked", `read as ${is} (${percent(q[is])})`);

    const lengths = Object.entries(norms).map(([name, { measure }]) => `${SIGNS[name]} = ${measure(delta).toFixed(2)}`);
    const sentence = `reads ${is} (${percent(q[is])}), ${lengths.join(", ")}`;
    const ending = outcome({ truth, was, is, target: targeted ? label : null });
    words.className = `verdict ${kind}`;
    words.replaceChildren(h("span", { class: "word" }, name), ` ${sentence}: `, h("b", {}, ending), ".");
    ui.say(`${name} ${sentence}: ${ending}.`);

    bars.node.setAttribute("class", kind);
    setBars(before, p);
    setBars(after, q);
    bars.svg.selectAll(".axis:not(.grid) text").classed("truth", (c) => c === truth);

    walk.node.setAttribute("class", kind);
    walk.beside.text(`loss of class ${label}: the attack walks ${targeted ? "down" : "up"}`);
    along.domain([0, trace.length - 1]);
    loss.domain([0, Math.max(...trace, 0.5)]).nice();
    walk.rescale();
    path.attr("d", d3.line((_, step) => along(step), loss)(trace));
    const dots = ends.selectAll("circle").data([0, trace.length - 1]).join("circle").attr("r", 4);
    dots.attr("cx", along).attr("cy", (step) => loss(trace[step]));

    const share = (v) => `${(100 * v).toFixed(1)} %`;
    chances.fill(classes.map((c) => [`${c}${c === truth ? " (true)" : ""}`, share(p[c]), share(q[c])]));
    losses.fill(trace.map((value, step) => [String(step), value.toFixed(3)]));
  }

  ui.body.append(
    h("style", {}, STYLE),
    digit.node,
    h("div", { class: "controls" }, model.node, norm.node, method.node, goal.node, eps.node),
    sum,
    words,
    h("div", { class: "charts" }, bars.node, walk.node),
  );
  ui.tables.append(chances.node, losses.node);
  update();
}

/** What became of the attack, in words. */
function outcome({ truth, was, is, target }) {
  if (target !== null) return is === target ? "the target is reached" : "the target is not reached";
  if (was !== truth) return "misread even without an attack";
  return is === truth ? "not fooled" : "fooled";
}

const sign = (text) => h("span", { class: "sign", "aria-hidden": "true" }, text);

const STYLE = `
.strip > span { display: block; margin-bottom: 6px; }
.strip .options { display: grid; grid-template-columns: repeat(auto-fill, minmax(30px, 1fr)); gap: 5px; }
.strip label { position: relative; border-radius: 5px; background: var(--ground); padding: 2px; }
.strip label:has(:checked) { box-shadow: 0 0 0 2.5px var(--accent); }
.strip label:has(:focus-visible) { outline: 3px solid var(--accent); outline-offset: 4px; }
.sum { display: grid; grid-template-columns: 1fr auto 1fr auto 1fr; gap: 8px 12px; align-items: start; }
.sum figcaption { font-size: 13.5px; margin-top: 5px; min-height: 2.9em; }
.sign { font-size: 26px; color: var(--quiet); align-self: center; padding-bottom: 2.9rem; }
.more { color: var(--more); font-weight: 650; }
.less { color: var(--less); font-weight: 650; }
.charts { display: grid; grid-template-columns: 1fr 1fr; gap: 16px 28px; }
.before { fill: var(--mark); }
.after { fill: var(--paper); stroke: var(--mark); stroke-width: 1.6; stroke-dasharray: 3 2; }
.curve { fill: none; stroke: var(--mark); stroke-width: 2.2; stroke-dasharray: 6 3; }
circle { fill: var(--mark); }
svg .truth { font-weight: 750; fill: var(--text); }
@container (max-width: 620px) {
  .charts { grid-template-columns: minmax(0, 1fr); }
  .strip .options { grid-template-columns: repeat(10, 1fr); }
  .sum { gap: 6px; }
  .sum figcaption { min-height: 5.9em; }
  .sign { font-size: 20px; padding-bottom: 5.6rem; }
}
`;
