// Two walls of the same test images, one for each model, attacked by PGD as the reader drags ε.
import { pgd } from "./attack.mjs";
import { chart, choice, h, paint, percent, picture, plate, slider, table, wilson, worker } from "./base.mjs";
import { d3 } from "./d3.mjs";
import { decode, network, probabilities, reads, size } from "./nn.mjs";

const BLOCK = 5; // images attacked in one piece of work, a few milliseconds
const COLUMNS = 10;
const STEP = 0.01;
const MARKS = ["●", "◆"]; // the two models, where colour alone would tell them apart

function walls(ui, state) {
  const kinds = ["standard", "robust"];
  const models = state.models.map((m, k) => ({ ...m, net: network(m.network), kind: kinds[k] }));
  const { labels, steps } = state;
  const [, ...sides] = models[0].net.shape;
  const pixels = size(sides);
  const clean = decode(state.images);
  const image = (x, i) => x.subarray(i * pixels, (i + 1) * pixels);
  const budgets = Array.from({ length: Math.floor(state.epsMax / STEP + 1e-9) + 1 }, (_, k) => k * STEP);

  // Every ε that was computed once is kept: results[ε][model]. `done` images are ready, in the order of the wall.
  const n = labels.length;
  const numbersOf = (count) => new Float64Array(count);
  const results = budgets.map(() =>
    models.map(() => ({ done: 0, x: numbersOf(clean.length), read: numbersOf(n), sure: numbersOf(n) })),
  );
  const finished = (k) => results[k].every((r) => r.done === n);
  const wrong = (r) => labels.reduce((count, y, i) => count + (i < r.done && r.read[i] !== y), 0);

  let at = 0; // index of the ε shown
  let selected = 0; // index of the image shown large
  let touched = false;

  /** The unfinished ε that is wanted most: the one shown, then 0 to compare with, then the neighbours. */
  function wanted() {
    const open = budgets.map((_, k) => k).filter((k) => !finished(k));
    const distance = (k) => (k === at ? -2 : k === 0 ? -1 : Math.abs(k - at));
    // Until the slider is touched, the figure does no more than it has to.
    return open.filter((k) => touched || k === at).sort((a, b) => distance(a) - distance(b))[0];
  }

  /** Attack one block of images of one model. */
  const wake = worker(() => {
    const k = wanted();
    if (k === undefined) return false;
    const m = results[k][0].done <= results[k][1].done ? 0 : 1;
    const [result, { net }] = [results[k][m], models[m]];
    const start = result.done;
    const y = labels.slice(start, start + BLOCK);
    const x = clean.subarray(start * pixels, (start + y.length) * pixels);
    const moved = k === 0 ? x : pgd(net, x, y, { norm: "Linf", eps: budgets[k], steps });
    const p = probabilities(net, moved, y.length);
    const read = reads(p, net.classes);
    result.x.set(moved, start * pixels);
    result.read.set(read, start);
    result.sure.set(read.map((c, j) => p[j * net.classes + c]), start);
    result.done += y.length;
    if (k === at) {
      y.forEach((_, j) => show(m, start + j));
      count(m);
    }
    if (finished(k)) settle();
    return true;
  });

  // --- controls
  const eps = slider({
    label: "Every pixel may move by ε =",
    max: budgets.at(-1),
    step: STEP,
    value: 0,
    oninput(value) {
      touched = true;
      at = Math.round(value / STEP);
      refresh();
      wake();
    },
  });
  const view = choice({
    label: "Show",
    options: [
      { value: "attacked", label: "attacked pixels" },
      { value: "clean", label: "original pixels" },
    ],
    value: "attacked",
    oninput: () => refresh(),
  });

  // --- the walls: a grid that is one tab stop, in which arrow keys walk
  const tiles = models.map(() => []);
  const counts = models.map(() => h("p", { class: "count" }));
  const halves = models.map(({ name, kind }, m) => {
    const rows = [];
    labels.forEach((_, i) => {
      if (i % COLUMNS === 0) rows.push(h("div", { role: "row" }));
      const [canvas, badge] = [picture(sides), h("span", { class: "badge", "aria-hidden": "true" })];
      const tile = h("div", { role: "gridcell", tabindex: -1, class: "tile", "data-index": i }, canvas, badge);
      tiles[m].push({ tile, canvas, badge });
      rows.at(-1).append(tile);
    });
    const label = `${name} model, ${n} test images`;
    const pick = (event) => {
      const tile = event.target.closest?.(".tile");
      if (tile) select(+tile.dataset.index);
    };
    const listen = { onfocusin: pick, onmouseover: pick, onclick: pick, onkeydown: (event) => walk(event, m) };
    const grid = { role: "grid", "aria-label": label, class: "wall", ...listen };
    const head = h("div", { class: "head" }, h("p", { class: "word" }, name), counts[m]);
    return h("div", { class: kind }, head, h("div", grid, ...rows));
  });

  function walk(event, m) {
    const jump = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -COLUMNS, ArrowDown: COLUMNS };
    const ends = { Home: 0, End: n - 1 };
    const to = event.key in ends ? ends[event.key] : selected + jump[event.key];
    if (!(to >= 0 && to < n)) return;
    event.preventDefault();
    tiles[m][to].tile.focus();
  }

  function select(i) {
    models.forEach((_, m) => {
      tiles[m][selected].tile.setAttribute("tabindex", -1);
      tiles[m][selected].tile.removeAttribute("aria-selected");
      tiles[m][i].tile.setAttribute("tabindex", 0);
      tiles[m][i].tile.setAttribute("aria-selected", "true");
    });
    selected = i;
    closeUp();
  }

  /** Bring one tile up to date. Until its result for this ε is ready it is faint and says nothing: the result of
   *  another ε beside those of this one would be a wall that does not exist. */
  function show(m, i) {
    const result = results[at][m];
    const { tile, canvas, badge } = tiles[m][i];
    const ready = i < result.done;
    const read = result.read[i];
    const isWrong = ready && read !== labels[i];
    paint(canvas, image(ready && view.value() === "attacked" ? result.x : clean, i));
    tile.classList.toggle("waiting", !ready);
    tile.classList.toggle("wrong", isWrong);
    badge.textContent = isWrong ? read : "";
    const reading = ready ? `read as ${read}${isWrong ? ", wrong" : ""}` : "not yet attacked";
    tile.setAttribute("aria-label", `a ${labels[i]}, ${reading}`);
    if (i === selected) closeUp();
  }

  /** How many are wrong, once all are known: a part of them is no sample of the whole. */
  function count(m) {
    const result = results[at][m];
    const known = result.done === n;
    const interval = known ? ` [${wilson(wrong(result), n).map(percent).join(", ")}]` : "";
    const number = h("b", {}, known ? wrong(result) : "…");
    counts[m].replaceChildren("wrong: ", number, ` of ${n}`, h("span", { class: "quiet" }, interval));
  }

  // --- one image, large
  const originals = h("figcaption");
  const large = [null, ...models].map(() => picture(sides));
  const verdicts = models.map(() => h("figcaption"));
  const closeUps = h(
    "div",
    { class: "closeups" },
    plate(large[0], originals),
    ...models.map(({ kind }, m) => plate(large[m + 1], verdicts[m], { class: kind })),
  );

  function closeUp() {
    paint(large[0], image(clean, selected));
    originals.replaceChildren(h("b", {}, "original"), h("div", {}, `a ${labels[selected]}`));
    models.forEach(({ name }, m) => {
      const [before, now] = [results[0][m], results[at][m]];
      const ready = selected < now.done;
      const reading = (r) => `${r.read[selected]} (${percent(r.sure[selected])})`;
      const cross = now.read[selected] === labels[selected] ? "" : "✗ ";
      const unattacked = at > 0 && selected < before.done ? `clean: ${reading(before)}` : "";
      paint(large[m + 1], image(ready ? now.x : clean, selected));
      verdicts[m].replaceChildren(
        h("b", { class: "word" }, name),
        h("div", {}, ready ? `${cross}reads ${reading(now)}` : "…"),
        h("div", { class: "quiet" }, unattacked),
      );
    });
  }

  // --- accuracy against ε, filled in as values of ε are visited
  const [width, height] = [340, 200];
  const x = d3.scaleLinear([0, budgets.at(-1)], [42, width - 14]);
  const y = d3.scaleLinear([0, 1], [height - 44, 26]);
  const curve = chart({
    width,
    height,
    x,
    y,
    label: "Accuracy of both models against ε, for the values visited so far; numbers are in the table below.",
    below: "ε",
    beside: "right answers, attacked",
    xTicks: (axis) => axis.ticks(4),
    yTicks: (axis) => axis.tickValues([0, 0.5, 1]).tickFormat(percent),
  });
  const now = curve.marks.append("line").attr("class", "now").attr("y1", y(0)).attr("y2", y(1));
  const series = models.map(({ kind, name }, m) => {
    const group = curve.marks.append("g").attr("class", kind);
    const [band, line] = [group.append("path").attr("class", "band"), group.append("path").attr("class", "curve")];
    const legend = group.append("text").attr("class", "series").attr("x", width - 14).attr("y", 42 + 17 * m);
    legend.attr("text-anchor", "end").text(`${MARKS[m]} ${name}`);
    const mark = group.append("text").attr("class", "mark").attr("text-anchor", "middle").text(MARKS[m]);
    return { band, line, mark };
  });
  const numbers = table(`Wrong answers of ${n}, under PGD with ${steps} steps (L∞), and 95 % interval`, [
    "ε",
    ...models.flatMap(({ name }) => [`${name}: wrong`, "interval"]),
  ]);

  /** After an ε is complete: the curve, the table, and the sentence for screen readers. */
  function settle() {
    const ready = budgets.map((_, k) => k).filter(finished);
    const right = (k, m) => n - wrong(results[k][m]);
    series.forEach(({ band, line, mark }, m) => {
      const height = (k) => y(right(k, m) / n);
      const bounds = (k) => wilson(right(k, m), n).map(y);
      const where = (k) => x(budgets[k]);
      line.attr("d", d3.line(where, height)(ready));
      band.attr("d", d3.area(where, (k) => bounds(k)[0], (k) => bounds(k)[1])(ready));
      mark.attr("visibility", finished(at) ? null : "hidden").attr("x", x(budgets[at])).attr("y", height(at) + 5);
    });
    numbers.fill(
      ready.map((k) => [
        budgets[k].toFixed(2),
        ...results[k].flatMap((r) => [wrong(r), wilson(wrong(r), n).map(percent).join(" to ")]),
      ]),
    );
    if (finished(at)) {
      const facts = models.map(({ name }, m) => `${name} wrong on ${wrong(results[at][m])} of ${n}`);
      ui.say(`ε = ${budgets[at].toFixed(2)}: ${facts.join(", ")}.`);
    }
  }

  function refresh() {
    now.attr("x1", x(budgets[at])).attr("x2", x(budgets[at]));
    models.forEach((_, m) => {
      labels.forEach((_, i) => show(m, i));
      count(m);
    });
    closeUp();
    settle();
  }

  ui.body.append(
    h("style", {}, STYLE),
    h("div", { class: "controls" }, eps.node, view.node),
    h("div", { class: "walls" }, ...halves),
    h("p", { class: "quiet" }, "A framed tile is misread; its corner says as what. Point at one to see it large."),
    h("div", { class: "below" }, closeUps, curve.node),
  );
  ui.tables.append(numbers.node);
  select(0);
  refresh();
  wake();
}

const STYLE = `
.controls .slider { flex-basis: 100%; }
.walls { display: grid; grid-template-columns: 1fr 1fr; gap: 16px 28px; }
.head { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 12px; margin-bottom: 6px; }
.count b { font-size: 17px; }
.wall > div { display: grid; grid-template-columns: repeat(10, 1fr); gap: 3px; margin-bottom: 3px; }
.tile { position: relative; background: var(--ground); border-radius: 3px; cursor: default; }
.tile.wrong { background: color-mix(in srgb, var(--mark) 30%, var(--paper)); box-shadow: inset 0 0 0 2px var(--mark); }
.tile.waiting canvas { opacity: 0.45; }
.tile[aria-selected] { outline: 2px solid var(--text); outline-offset: 1px; z-index: 1; }
.tile:focus-visible { outline: 3px solid var(--accent); }
.badge {
  position: absolute; right: 0; bottom: 0; min-width: 13px; padding: 0 2px; border-radius: 3px 0 3px 0;
  font-size: 11px; line-height: 14px; font-weight: 700; text-align: center;
  color: var(--paper); background: var(--word);
}
.badge:empty { display: none; }
.below { display: grid; grid-template-columns: 1fr 300px; gap: 16px 28px; align-items: center; }
.closeups { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 12px; }
.closeups .sheet { max-width: 130px; }
.closeups figcaption { margin-top: 4px; font-size: 13px; line-height: 1.4; min-height: 4.2em; }
.closeups .quiet { font-size: inherit; }
.band { fill: var(--mark); opacity: 0.16; }
.curve { fill: none; stroke: var(--mark); stroke-width: 2.2; stroke-dasharray: 6 3; }
svg .mark { fill: var(--mark); font-size: 15px; }
.now { stroke: var(--quiet); }
svg .series { fill: var(--word); font-weight: 650; }
@container (max-width: 620px) {
  .walls, .below { grid-template-columns: minmax(0, 1fr); }
}
`;
