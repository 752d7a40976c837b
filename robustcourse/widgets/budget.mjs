// A budget and several routes to a robust model: which one wins for that much compute?
import { chart, h, interval, list, percent, sample, SHAPES, slider, table } from "./base.mjs";
import { d3 } from "./d3.mjs";

const STEPS = 120; // of the slider, from the cheapest model to the dearest

function budget(ui, state) {
  const { routes, unit, halves } = state;
  const short = (cost) => (cost >= 10 ? Math.round(cost) : +cost.toPrecision(2)).toLocaleString("en");
  const every = routes.flatMap((route) => [...costs(route, false), ...costs(route, true)]).filter((cost) => cost > 0);
  const [low, high] = [Math.min(...every) / 1.6, Math.max(...every)];
  const money = (step) => (step >= STEPS ? high : low * (high / low) ** (step / STEPS));

  // --- controls
  const have = slider({
    label: "Budget:",
    max: STEPS,
    step: 1,
    value: Math.round(0.6 * STEPS),
    say: (step) => `${short(money(step))} ${unit}`,
    oninput: () => update(),
  });
  const given = h("input", { type: "checkbox", oninput: () => update() });
  const gift = h("label", { class: "gift" }, given, h("span", {}, "A pretrained model is there for free"));
  gift.hidden = routes.every(({ start }) => start === 0);
  const words = h("p", { class: "verdict" });

  // --- the curves; what costs nothing stands at the left end
  const [width, height] = [360, 270];
  const x = d3.scaleLinear([Math.log10(low), Math.log10(high)], [42, width - 14]);
  const where = (cost) => x(Math.log10(Math.max(low, cost)));
  const ends = routes.flatMap((route) => [...route.low, ...route.high]);
  const y = d3.scaleLinear([Math.min(...ends), Math.max(...ends)], [height - 44, 30]).nice();
  const powers = d3.scaleLinear(x.domain(), [0, 1]).ticks(6).filter(Number.isInteger);
  const between = [1, 2, 5].flatMap((digit) => powers.flatMap((e) => [e - 1, e].map((p) => p + Math.log10(digit))));
  const inside = [...new Set(between)].filter((v) => v > x.domain()[0] + 0.1 && v <= x.domain()[1]);
  const free = routes.some(({ passes }) => passes[0] === 0) ? [x.domain()[0]] : [];
  const marks = [...free, ...(powers.length > 3 ? powers : inside)];
  const tick = (v) => (free.includes(v) ? "0" : short(10 ** v));
  const plot = chart({
    width,
    height,
    x,
    y,
    label: "Right answers under attack over compute, for each route; numbers are in the table below.",
    below: unit,
    beside: "right answers under attack",
    xTicks: (axis) => axis.tickValues(marks).tickFormat(tick),
    yTicks: (axis) => axis.ticks(5).tickFormat(percent),
  });
  plot.beside.attr("y", 14);
  const lines = routes.map((route, r) => {
    const part = (tag) => plot.marks.append("g").append(tag);
    const [band, line] = [part("path").attr("class", "band"), part("path").attr("class", "single")];
    const shapes = route.value.map(() => plot.marks.append("path").attr("class", "shape").attr("d", SHAPES[r]));
    return { band, line, shapes };
  });
  const now = plot.marks.append("line").attr("class", "now").attr("y1", y.range()[0]).attr("y2", y.range()[1]);

  // --- the best of each route within the budget
  const [from, to] = y.domain();
  const share = (v) => `${(100 * (v - from)) / (to - from)}%`;
  const rows = routes.map(({ name }, r) => {
    const [value, bar] = [h("b"), h("span", { class: "track", "aria-hidden": "true" })];
    return { node: h("div", {}, sample(SHAPES[r]), h("span", {}, name), value, bar), value, bar };
  });
  const best = h("div", { class: "best" }, ...rows.map(({ node }) => node));
  const numbers = table("Each route, each model", ["route", unit, "right under attack", "interval"]);

  function update() {
    const [most, free] = [money(have.value()), given.checked];
    const picks = routes.map((route) => pick(route, most, free));
    const { order, rivals, lead } = ranking(routes, picks, halves);
    const leading = (r) => r === order[0] || rivals.includes(r);

    now.attr("x1", where(most)).attr("x2", where(most));
    routes.forEach((route, r) => {
      const { band, line, shapes } = lines[r];
      const cost = costs(route, free);
      const models = cost.map((_, p) => p);
      const left = (p) => where(cost[p]);
      band.attr("d", d3.area(left, (p) => y(route.low[p]), (p) => y(route.high[p]))(models));
      line.attr("d", d3.line(left, (p) => y(route.value[p]))(models));
      shapes.forEach((shape, p) => {
        shape.attr("transform", `translate(${left(p)} ${y(route.value[p])})${p === picks[r] ? " scale(1.6)" : ""}`);
        shape.classed("lead", leading(r)).classed("picked", p === picks[r]);
      });
      for (const each of [band, line]) each.classed("lead", leading(r));

      const { node, value, bar } = rows[r];
      const p = picks[r];
      node.className = p < 0 ? "missing" : leading(r) ? "lead" : "";
      value.textContent = p < 0 ? `from ${short(Math.min(...cost))}` : written(route, p);
      if (p < 0) return;
      bar.style.setProperty("--low", share(route.low[p]));
      bar.style.setProperty("--high", share(route.high[p]));
      bar.style.setProperty("--value", share(route.value[p]));
    });

    const [start, verdict] = sentence({ routes, picks, order, rivals, lead, budget: `${short(most)} ${unit}` });
    words.replaceChildren(start, h("b", {}, verdict));
    ui.say(start + verdict);
    numbers.fill(
      routes.flatMap((route) =>
        costs(route, free).map((cost, p) => [route.name, short(cost), percent(route.value[p]), range(route, p)]),
      ),
    );
  }

  ui.body.append(
    h("style", {}, STYLE),
    h("div", { class: "controls" }, have.node, gift),
    h("div", { class: "both" }, plot.node, best),
    words,
  );
  ui.tables.append(numbers.node);
  update();
}

// --- arithmetic ----------------------------------------------------------------------------------

/** What each model of a route costs; what it starts from costs too, unless it is there for free. */
export function costs({ passes, start }, free) {
  return passes.map((cost) => cost + (free ? 0 : start));
}

/** Which model of a route is the best within a budget, the first of equals; −1 if there is none. */
export function pick(route, budget, free) {
  const values = route.value.filter((_, p) => costs(route, free)[p] <= budget * (1 + 1e-9));
  return values.indexOf(Math.max(...values));
}

/**
 * The routes that have a model, the best first; the routes from which the first cannot be told; and how far it leads the
 * second, with an interval. halves[a][b − a − 1][i][j] is half the interval of model i of route a less model j of b.
 */
export function ranking(routes, picks, halves) {
  const value = (r) => routes[r].value[picks[r]];
  const order = picks.flatMap((p, r) => (p < 0 ? [] : [r])).sort((a, b) => value(b) - value(a));
  const difference = (r) => {
    const [a, b] = [Math.min(order[0], r), Math.max(order[0], r)];
    const half = halves[a][b - a - 1][picks[a]][picks[b]];
    const ahead = value(order[0]) - value(r);
    return { value: ahead, low: ahead - half, high: ahead + half };
  };
  const others = order.slice(1);
  return {
    order,
    rivals: others.filter((r) => difference(r).low <= 0),
    lead: others.length ? difference(others[0]) : null,
  };
}

// --- words ---------------------------------------------------------------------------------------

function range({ low, high }, p) {
  return `[${Math.round(100 * low[p])}, ${Math.round(100 * high[p])}]`;
}

/** "43 % [40, 46]" */
function written(route, p) {
  return `${percent(route.value[p])} ${range(route, p)}`;
}

/** What a budget buys, as two pieces of text: the verdict comes last. */
export function sentence({ routes, picks, order, rivals, lead, budget }) {
  if (order.length === 0) return [`Within ${budget} `, "no route has a model."];
  const [first, second] = order.map((r) => `${routes[r].name} (${written(routes[r], picks[r])})`);
  if (order.length === 1) return [`Within ${budget} `, `only ${first} has a model.`];
  const start = `Within ${budget} the best is ${first}, then ${second}: ${interval(lead)} points. `;
  const names = [order[0], ...rivals].map((r) => routes[r].name);
  return [start, rivals.length ? `Not decided between ${list(names)}.` : `${names[0]} wins.`];
}

// All routes lead to a robust model: orange is whatever leads, grey the others, told apart by shape.
const STYLE = `
.gift { display: flex; align-items: center; gap: 8px; min-height: 28px; cursor: pointer; }
.gift[hidden] { display: none; }
.gift input { flex: none; width: 18px; height: 18px; margin: 0; accent-color: var(--accent); cursor: pointer; }
.slider > span { flex-wrap: wrap; }
.slider output { white-space: nowrap; }
td { white-space: nowrap; }
.both { display: grid; grid-template-columns: minmax(0, 1.35fr) minmax(0, 1fr); gap: 16px 28px; align-items: center; }
.band { fill: var(--edge); opacity: 0.1; }
.band.lead { fill: var(--orange); opacity: 0.18; }
.single.lead { stroke: var(--orange); stroke-width: 2.6; stroke-dasharray: 7 4; }
.shape.lead { stroke: var(--orange); }
.shape.picked { fill: var(--quiet); }
.shape.lead.picked { fill: var(--orange); }
.now { stroke: var(--text); stroke-width: 1.4; }
.best { display: grid; gap: 12px; }
.best > div { display: grid; grid-template-columns: 32px 1fr auto; gap: 3px 8px; align-items: center; }
.best b { font-weight: 400; white-space: nowrap; }
.best .lead b { font-weight: 650; color: var(--orange-word); }
.best .lead path { stroke: var(--orange); }
.best .missing { color: var(--quiet); }
.track { position: relative; grid-column: 2 / -1; height: 12px; border-radius: 6px; background: var(--ground); }
.track::before, .track::after { content: ""; position: absolute; background: var(--quiet); }
.track::before { left: var(--low); width: calc(var(--high) - var(--low)); top: 4px; height: 4px; border-radius: 2px; }
.track::after { left: var(--value); top: 0; width: 12px; height: 12px; margin-left: -6px; border-radius: 50%; }
.lead .track::before, .lead .track::after { background: var(--orange); }
.missing .track { visibility: hidden; }
@container (max-width: 620px) {
  .both { grid-template-columns: minmax(0, 1fr); }
}
`;
