// The worst case: accuracy of a defence over ε, under all the attacks together that the reader has switched on.
import { chart, h, list, menu, percent, sample, SHAPES, slider, switches, table, wilson } from "./base.mjs";
import { d3 } from "./d3.mjs";

const NOTE = 110; // length of the longest note, "worst case 100 %", in units of the chart

function worst(ui, state) {
  const { eps, threat } = state;
  const at = (bits, e, n) => bits.subarray(e * n, (e + 1) * n);
  // attack.rows[e][i]: does image i survive at eps[e]? At ε = 0 all attacks of a defence leave the same images.
  const defences = state.defences.map(({ name, images: n, attacks }) => {
    const made = attacks.map((attack, k) => {
      const bits = unpack(attack.survives, eps.length * n);
      return { name: attack.name, shape: SHAPES[k], rows: eps.map((_, e) => at(bits, e, n)) };
    });
    return { name, n, attacks: made, clean: made[0].rows[0] };
  });
  const written = (e) => short(eps[e]);

  // --- controls
  const pick = menu({
    label: "Defence",
    options: defences.map(({ name }, d) => ({ value: d, label: name })),
    oninput: () => (refill(), update()),
  });
  // One step is one measured ε, whatever the distance to the next.
  const budget = slider({
    label: `${threat} =`,
    max: eps.length - 1,
    step: 1,
    value: Math.floor(eps.length / 2),
    say: written,
    oninput: () => update(),
  });
  const tried = switches({ oninput: () => update() });
  const unattacked = h("p", { class: "quiet" });
  const words = h("p", { class: "verdict" });

  // --- the chart
  const [width, height] = [340, 264];
  const x = d3.scaleLinear([0, eps.at(-1)], [42, width - 12]);
  const y = d3.scaleLinear([0, 1], [height - 44, 44]);
  const plot = chart({
    width,
    height,
    x,
    y,
    label: "Accuracy against ε, under each attack alone and in the worst case; numbers are in the table below.",
    below: threat,
    beside: "right answers",
    xTicks: (axis) => axis.ticks(5),
    yTicks: (axis) => axis.tickValues([0, 0.25, 0.5, 0.75, 1]).tickFormat(percent),
  });
  const part = (tag, name) => plot.marks.append(tag).attr("class", name);
  const band = part("path", "band");
  const now = part("line", "now").attr("y1", y(0)).attr("y2", y(1));
  const singles = part("g", "singles");
  const line = part("path", "worst");
  const dot = part("circle", "dot").attr("r", 5);
  const note = part("text", "note").attr("text-anchor", "middle").attr("y", y(1) - 8);
  plot.beside.attr("y", 14);

  // --- one defence: its attacks as switches, its table
  let defence, credits, numbers;
  const tables = h("div");

  function refill() {
    defence = defences[pick.value()];
    const { attacks, n } = defence;
    credits = attacks.map(() => ({ count: h("span"), bar: h("span", { class: "bar", "aria-hidden": "true" }) }));
    const options = attacks.map(({ name, shape }, k) => {
      const { count, bar } = credits[k];
      return { value: k, label: h("span", { class: "attack" }, sample(shape), name), beside: count, below: bar };
    });
    tried.fill(options, [0]);
    const wrong = n - total(defence.clean);
    unattacked.textContent = `${wrong} of ${n} are misread without an attack: no attack is credited with them.`;
    numbers = table(`Right answers of ${n}: in the worst case, and under each attack alone`, [
      "ε",
      "worst case",
      "interval",
      ...attacks.map(({ name }) => name),
    ]);
    tables.replaceChildren(numbers.node);
  }

  function update() {
    const { name, n, attacks, clean } = defence;
    const e = budget.value();
    const on = tried.values().map((k) => attacks[k]);
    const right = eps.map((_, i) => total(standing(clean, rowsAt(on, i)))); // in the worst case, at each ε

    // --- the lines
    const all = eps.map((_, i) => i);
    const where = (i) => x(eps[i]);
    const bounds = (i) => wilson(right[i], n).map(y);
    band.attr("d", d3.area(where, (i) => bounds(i)[0], (i) => bounds(i)[1])(all));
    line.attr("d", d3.line(where, (i) => y(right[i] / n))(all)).classed("clean", on.length === 0);
    singles.selectAll("*").remove();
    const turns = Math.min(on.length, eps.length - 1);
    on.forEach(({ rows, shape }, k) => {
      const level = (i) => y(total(rows[i]) / n);
      singles.append("path").attr("class", "single").attr("d", d3.line(where, level)(all));
      // The shapes of lines that run together take turns, so that each can be seen.
      for (const i of all.slice(1).filter((i) => (i - 1 - k) % turns === 0)) {
        const mark = singles.append("path").attr("class", "shape").attr("d", shape);
        mark.attr("transform", `translate(${where(i)} ${level(i)})`);
      }
    });

    // --- the chosen ε
    const share = right[e] / n;
    now.attr("x1", where(e)).attr("x2", where(e));
    dot.attr("cx", where(e)).attr("cy", y(share));
    // Its name stands at the top of the marked line, where no curve ever runs.
    note.text(`${on.length ? "worst case" : "clean"} ${percent(share)}`);
    note.attr("x", Math.min(x.range()[1] - NOTE / 2, Math.max(x(0) + NOTE / 2, where(e))));

    tried.name(`Attacks, and how many of ${n} images each breaks by itself at ε\u00a0=\u00a0${written(e)}`);
    const only = alone(clean, rowsAt(on, e));
    attacks.forEach((attack, k) => {
      const breaks = total(clean) - total(attack.rows[e]);
      const mine = on.length > 1 && on.includes(attack) ? only[on.indexOf(attack)] : 0;
      credits[k].count.textContent = mine ? `${breaks} (only it: ${mine})` : breaks;
      credits[k].bar.style.setProperty("--breaks", `${(100 * breaks) / n}%`);
      credits[k].bar.style.setProperty("--mine", `${(100 * mine) / n}%`);
    });

    const names = on.map((attack) => attack.name);
    const [start, number, end] = sentence({ eps: written(e), right: right[e], n, names, of: attacks.length, only });
    words.replaceChildren(start, h("b", {}, number), end);
    ui.say(`${name}. ${start}${number}${end}`);
    const interval = (k) => wilson(k, n).map(percent).join(" to ");
    numbers.fill(all.map((i) => [written(i), right[i], interval(right[i]), ...attacks.map((a) => total(a.rows[i]))]));
  }

  ui.body.append(
    h("style", {}, STYLE),
    h("div", { class: "controls" }, pick.node, budget.node),
    h("div", { class: "both" }, plot.node, h("div", {}, tried.node, unattacked)),
    words,
  );
  ui.tables.append(tables);
  refill();
  update();
}

const rowsAt = (attacks, e) => attacks.map(({ rows }) => rows[e]);

// --- arithmetic: an image is 1 where it is read right, 0 where it is not --------------------------

/** The first n bits of a base64 string, one number each; the first of a byte is its highest. */
export function unpack(text, n) {
  const bytes = atob(text);
  return Uint8Array.from({ length: n }, (_, i) => (bytes.charCodeAt(i >> 3) >> (7 - (i & 7))) & 1);
}

export function total(bits) {
  return bits.reduce((sum, bit) => sum + bit, 0);
}

/** The images that survive every attack; each attack gives a row. Without attacks, those that are read right clean. */
export function standing(clean, rows) {
  return clean.map((bit, i) => bit & rows.every((row) => row[i]));
}

/** How many images each attack breaks that no other of them breaks. */
export function alone(clean, rows) {
  const others = (k) => rows.filter((_, other) => other !== k);
  return rows.map((_, k) => total(standing(clean, others(k))) - total(standing(clean, rows)));
}

// --- words ---------------------------------------------------------------------------------------

/** A number in [0, 1] to three digits, with two decimals at least: 0.1 → "0.10", 0.025 → "0.025", 8/255 → "0.0314". */
export function short(v) {
  const digits = String(+v.toPrecision(3));
  return v.toFixed(Math.max(2, digits.length - 2));
}

/** What the chart says at one ε, as three pieces of text: the number stands in the middle. */
export function sentence({ eps, right, n, names, of, only }) {
  const [low, high] = wilson(right, n).map((share) => Math.round(100 * share));
  const number = `${percent(right / n)} [${low}, ${high}]`;
  if (names.length === 0) return ["Without an attack this defence reads ", number, ". None is switched on."];
  const start = `At ε\u00a0=\u00a0${eps} this defence reads `;
  if (names.length === 1) return [start, number, ` against ${names[0]}. Switched on: 1 of ${of} attacks.`];
  const switched = `Switched on: ${list(names)}.`;
  return [start, number, ` against the worst of ${names.length} attacks. ${switched} ${leader(names, only)}`];
}

/** Which attack breaks the most images that no other breaks. */
function leader(names, only) {
  const most = Math.max(...only);
  if (most === 0) return "No image falls to one of them only.";
  const first = names.filter((_, k) => only[k] === most);
  const images = `${most} ${most === 1 ? "image" : "images"}`;
  if (first.length > 1) return `${list(first)} break the most that no other breaks: ${images} each.`;
  return `${first[0]} breaks the most that no other breaks: ${images}.`;
}

// The worst case has the one colour that stands for no kind of model; single attacks are grey, told apart by shape.
const STYLE = `
.menu { flex-wrap: wrap; max-width: 100%; }
select { max-width: 100%; }
td { white-space: nowrap; }
.both { display: grid; grid-template-columns: minmax(0, 1.35fr) minmax(0, 1fr); gap: 16px 28px; align-items: start; }
.switches { margin-bottom: 10px; }
.attack { display: flex; align-items: center; gap: 8px; }
.bar {
  width: 100%; height: 5px; border-radius: 2px;
  background: linear-gradient(
    to right, var(--more) var(--mine), var(--edge) var(--mine) var(--breaks), var(--line) var(--breaks)
  );
}
.band { fill: var(--more); opacity: 0.16; }
.worst { fill: none; stroke: var(--more); stroke-width: 3.2; stroke-dasharray: 10 3; }
.worst.clean { stroke-dasharray: none; }
.now { stroke: var(--quiet); }
.dot { fill: var(--more); stroke: var(--paper); stroke-width: 1.5; }
svg .note { font-weight: 650; fill: var(--more); }
@container (max-width: 620px) {
  .both { grid-template-columns: minmax(0, 1fr); }
}
`;
