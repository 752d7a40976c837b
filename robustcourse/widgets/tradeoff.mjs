// The price of robustness: robust minus standard accuracy on clean inputs. In Gaussian clouds it is computed here, for
// any ε, number of images and number of silent pixels; of digits the page shows what was measured.
import { chart, choice, h, interval, menu, percent, signed, slider, table } from "./base.mjs";
import { below } from "./chance.mjs";
import { d3 } from "./d3.mjs";
import { decode } from "./nn.mjs";

const [WIDTH, HEIGHT] = [340, 250];
const COUNTS = [10, 20, 50, 100, 200, 500, 1000, 10000]; // of images to learn from

function tradeoff(ui, state) {
  const views = { clouds: clouds(ui, state), digits: digits(ui, state) };
  const show = (name) => {
    for (const [each, { node, tables }] of Object.entries(views)) node.hidden = tables.hidden = each !== name;
    views[name].update();
  };
  const world = choice({
    label: "Look at",
    options: [
      { value: "clouds", label: "clouds, computed" },
      { value: "digits", label: "digits, measured" },
    ],
    value: "clouds",
    oninput: show,
  });
  ui.body.append(h("style", {}, STYLE), world.node, views.clouds.node, views.digits.node);
  ui.tables.append(views.clouds.tables, views.digits.tables);
  show("clouds");
}

/** A view: its controls, two charts side by side, a sentence. */
function view(controls, left, right, words, numbers) {
  const both = h("div", { class: "both" }, left, right);
  const inner = h("div", { class: "view" }, h("div", { class: "controls" }, ...controls), both, words);
  return { node: h("div", {}, inner), tables: h("div", {}, numbers.node) };
}

/** The chart of both views: the gain in points over ε, zero marked, and the chosen ε. */
function gainChart(max, [low, high]) {
  const x = d3.scaleLinear([0, max], [42, WIDTH - 12]);
  const y = d3.scaleLinear([low, high], [HEIGHT - 44, 30]);
  const plot = chart({
    width: WIDTH,
    height: HEIGHT,
    x,
    y,
    label: "Gain of robust training on clean images over ε; numbers are in the table below.",
    below: "ε",
    beside: "robust − standard, clean (points)",
    xTicks: (axis) => axis.ticks(4),
    yTicks: (axis) => axis.ticks(6).tickFormat(signed),
  });
  plot.marks.append("line").attr("class", "zero").attr("x1", x(0)).attr("x2", x(max)).attr("y1", y(0)).attr("y2", y(0));
  const now = plot.marks.append("line").attr("class", "now").attr("y1", y(low)).attr("y2", y(high));
  return { ...plot, x, y, choose: (eps) => now.attr("x1", x(eps)).attr("x2", x(eps)) };
}

// --- clouds: everything is computed ----------------------------------------------------------------

function clouds(ui, { strengths, silent, sigma, draws, t, noise, epsMax }) {
  const loud = strengths.length;
  const all = decode(noise); // draws × (loud + silent) standard normal numbers
  const budget = slider({
    label: "ε =",
    max: epsMax,
    step: epsMax / 30,
    value: epsMax / 2,
    say: (v) => v.toFixed(3),
    oninput: () => update(),
  });
  const images = slider({
    label: "Images to learn from:",
    max: COUNTS.length - 1,
    step: 1,
    value: 1,
    say: (k) => COUNTS[k].toLocaleString("en"),
    oninput: () => update(),
  });
  const blank = slider({
    label: "Silent pixels:",
    max: silent,
    step: silent / 20,
    value: silent,
    say: String,
    oninput: () => update(),
  });

  // --- left: what the learner has heard in each pixel, and what ε erases
  const top = 2 * Math.max(...strengths.map(Math.abs));
  const x = d3.scaleLinear([0, loud, loud + silent], [42, 150, WIDTH - 12]); // the few loud ones get room
  const y = d3.scaleLinear([-top, top], [HEIGHT - 44, 30]);
  const middles = [x(loud / 2), x(loud + silent / 2)];
  const heard = chart({
    width: WIDTH,
    height: HEIGHT,
    x: d3.scaleLinear([42, WIDTH - 12], [42, WIDTH - 12]),
    y,
    label: "What the learner has heard in each pixel, and the truth. What lies within ε of zero is erased.",
    below: "a dot is a pixel",
    beside: "evidence heard; grey: erased by ε",
    xTicks: (axis) => axis.tickValues(middles).tickFormat((_, k) => ["loud", "silent"][k]),
    yTicks: (axis) => axis.ticks(5),
  });
  const part = (tag, name) => heard.marks.append(tag).attr("class", name);
  const erased = part("rect", "erased").attr("x", x(0)).attr("width", WIDTH - 12 - x(0));
  const truth = part("path", "truth");
  const [dots, kept] = [part("path", "mark quieted"), part("path", "mark robust")];

  // --- right: the gain over ε
  const plot = gainChart(epsMax, [-12, 8]);
  const band = plot.marks.append("path").attr("class", "band");
  const line = plot.marks.append("path").attr("class", "gain");
  const dot = plot.marks.append("circle").attr("class", "dot").attr("r", 5);
  const words = h("p", { class: "verdict" });
  const numbers = table("Exact accuracies, means over draws of the images", [
    "ε", "standard, clean", "robust, clean", "gain", "standard, attacked", "robust, attacked",
  ]);

  const grid = counting(31).map((k) => (k * epsMax) / 30);

  /** A short stroke for each pixel that is wanted. */
  function ticks(values, wanted) {
    const stroke = (v, i) => `M${(x(i + 0.5) - 1.5).toFixed(1)} ${y(clip(v, top)).toFixed(1)}h3`;
    return Array.from(values, (v, i) => (wanted(v) ? stroke(v, i) : "")).join("");
  }

  function update() {
    const [eps, n, d] = [budget.value(), COUNTS[images.value()], loud + blank.value()];
    const mu = Float64Array.from({ length: d }, (_, i) => strengths[i] ?? 0);
    const row = (r) => all.subarray(r * (loud + silent), r * (loud + silent) + d);
    const seen = counting(draws).map((r) => learned(mu, row(r), sigma, n));

    erased.attr("y", y(eps)).attr("height", y(-eps) - y(eps));
    truth.attr("d", Array.from(mu, (m, i) => `M${x(i)} ${y(m)}H${x(i + 1)}`).join(""));
    dots.attr("d", ticks(seen[0], (v) => Math.abs(v) <= eps));
    kept.attr("d", ticks(seen[0], (v) => Math.abs(v) > eps));

    const at = (each) => summary(seen, mu, sigma, each, t);
    const gains = grid.map((each) => at(each).gain);
    const px = (_, k) => plot.x(grid[k]);
    band.attr("d", d3.area(px, (g) => plot.y(clip(100 * g.low, 12)), (g) => plot.y(clip(100 * g.high, 12)))(gains));
    line.attr("d", d3.line(px, (g) => plot.y(clip(100 * g.value, 12)))(gains));
    plot.choose(eps);
    const now = at(eps);
    dot.attr("cx", plot.x(eps)).attr("cy", plot.y(clip(100 * now.gain.value, 12)));

    const text = sentence(eps, n, blank.value(), now);
    words.textContent = text;
    ui.say(text);
    const share = (v) => `${(100 * v).toFixed(1)}\u00a0%`;
    numbers.fill(
      grid.filter((_, k) => k % 3 === 0).map((each) => {
        const { standard, robust, gain } = at(each);
        const [a, b] = [standard, robust];
        return [each.toFixed(3), share(a.clean), share(b.clean), interval(gain), share(a.attacked), share(b.attacked)];
      }),
    );
  }

  return { ...view([budget.node, images.node, blank.node], heard.node, plot.node, words, numbers), update };
}

// --- digits: what was measured ----------------------------------------------------------------------

function digits(ui, { lots, reach }) {
  const sizes = lots[0].gains.map((gain) => gain.eps);
  const pick = menu({
    label: "Learned from",
    options: lots.map(({ name }, value) => ({ value, label: name })),
    oninput: () => update(),
  });
  const budget = slider({
    label: "ε =",
    max: sizes.length - 1,
    step: 1,
    value: 0,
    say: (k) => sizes[k].toFixed(2),
    oninput: () => update(),
  });

  // --- left: how many training digits have another digit within reach
  const max = Math.max(reach.at(-1), sizes.at(-1));
  const x = d3.scaleLinear([0, max], [42, WIDTH - 12]);
  const y = d3.scaleLinear([0, 1], [HEIGHT - 44, 30]);
  const near = chart({
    width: WIDTH,
    height: HEIGHT,
    x,
    y,
    label: "Share of training digits that can meet another digit, over ε; the smallest such ε is marked.",
    below: "ε",
    beside: "digits that can meet another one",
    xTicks: (axis) => axis.ticks(4),
    yTicks: (axis) => axis.tickValues([0, 0.25, 0.5, 0.75, 1]).tickFormat(percent),
  });
  const upright = ({ marks }, name, where) =>
    marks.append("line").attr("class", name).attr("y1", y(0)).attr("y2", y(1)).attr("x1", where).attr("x2", where);
  const stairs = reach.map((r, i) => `H${x(r)}V${y((i + 1) / reach.length)}`).join("");
  near.marks.append("path").attr("class", "near").attr("d", `M${x(0)} ${y(0)}${stairs}`);
  upright(near, "smallest", x(reach[0]));
  near.marks.append("text").attr("text-anchor", "end").attr("x", x(reach[0]) - 6).attr("y", y(0.9)).text("smallest");
  const now = upright(near, "now", x(0));

  // --- right: the gain at each measured ε
  const ends = lots.flatMap(({ gains }) => gains.flatMap(({ low, high }) => [100 * low, 100 * high]));
  const plot = gainChart(sizes.at(-1) * 1.1, [Math.min(...ends, 0) - 1, Math.max(...ends, 0) + 1]);
  upright(plot, "smallest", plot.x(reach[0]));
  const others = plot.marks.append("g");
  const mine = plot.marks.append("g");
  const words = h("p", { class: "verdict" });
  const numbers = table("Robust − standard on clean digits, measured", ["learned from", ...sizes.map((e) => `ε = ${e}`)]);
  numbers.fill(lots.map(({ name, gains }) => [name, ...gains.map(interval)]));

  function update() {
    const lot = lots[pick.value()];
    const k = budget.value();
    const path = (gains) => d3.line(({ eps }) => plot.x(eps), ({ value }) => plot.y(100 * value))(gains);
    others.selectAll("*").remove();
    for (const each of lots) if (each !== lot) others.append("path").attr("class", "other").attr("d", path(each.gains));
    mine.selectAll("*").remove();
    mine.append("path").attr("class", "gain").attr("d", path(lot.gains));
    lot.gains.forEach(({ eps, value, low, high }, i) => {
      const [cx, y1, y2] = [plot.x(eps), plot.y(100 * low), plot.y(100 * high)];
      mine.append("line").attr("class", "bar").attr("x1", cx).attr("x2", cx).attr("y1", y1).attr("y2", y2);
      const dot = mine.append("circle").attr("class", "dot").attr("cx", cx).attr("cy", plot.y(100 * value));
      dot.attr("r", i === k ? 6 : 3.5);
    });
    plot.choose(sizes[k]);
    now.attr("x1", x(sizes[k])).attr("x2", x(sizes[k]));
    const text = finding(lot.name, lot.gains[k], reach);
    words.textContent = text;
    ui.say(text);
  }

  return { ...view([pick.node, budget.node], near.node, plot.node, words, numbers), update };
}

// --- arithmetic ------------------------------------------------------------------------------------

/** What n images say of each pixel: the truth, and noise of spread σ / √n. */
export function learned(mu, noise, sigma, n) {
  return mu.map((m, i) => m + (sigma / Math.sqrt(n)) * noise[i]);
}

/** Every number moved by ε towards zero, or onto it. */
export function shrink(w, eps) {
  return w.map((v) => Math.sign(v) * Math.max(Math.abs(v) - eps, 0));
}

/** Exact accuracy of the line w through the middle of the clouds, when each pixel may be moved by ε. */
export function accuracy(w, mu, sigma, eps) {
  let [along, length, size] = [0, 0, 0];
  w.forEach((v, i) => ((along += v * mu[i]), (length += Math.abs(v)), (size += v * v)));
  // Whoever has heard nothing guesses.
  return size === 0 ? 0.5 : below((along - eps * length) / (sigma * Math.sqrt(size)));
}

/** Mean of a few numbers and Student's interval; t is the quantile for that many of them. */
export function estimate(values, t) {
  const value = mean(values);
  const variance = values.reduce((sum, v) => sum + (v - value) ** 2, 0) / (values.length - 1);
  const half = t * Math.sqrt(variance / values.length);
  return { value, low: value - half, high: value + half };
}

const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
const counting = (n) => Array.from({ length: n }, (_, k) => k);

/** The standard and the robust learner at ε, over all draws of the images. */
export function summary(seen, mu, sigma, eps, t) {
  const results = [seen, seen.map((w) => shrink(w, eps))].map((lines) => ({
    clean: lines.map((w) => accuracy(w, mu, sigma, 0)),
    attacked: lines.map((w) => accuracy(w, mu, sigma, eps)),
  }));
  const means = results.map(({ clean, attacked }) => ({ clean: mean(clean), attacked: mean(attacked) }));
  const [before, after] = results.map(({ clean }) => clean);
  const gain = estimate(after.map((a, k) => a - before[k]), t);
  return { standard: means[0], robust: means[1], gain };
}

// --- words -----------------------------------------------------------------------------------------

const clip = (v, most) => Math.max(-most, Math.min(most, v));

/** What a gain amounts to: an interval that holds zero decides nothing. */
function brings({ low, high }) {
  return low > 0 ? "Robust training helps" : high < 0 ? "Robust training costs" : "Too close to call";
}

export function sentence(eps, n, silent, { standard, robust, gain }) {
  const share = (v) => `${(100 * v).toFixed(1)}\u00a0%`;
  const setting = `${n.toLocaleString("en")} images, ${silent} silent pixels, ε = ${eps.toFixed(3)}`;
  const clean = `clean ${share(standard.clean)} standard, ${share(robust.clean)} robust`;
  const attacked = `under attack ${share(standard.attacked)} and ${share(robust.attacked)}`;
  return `${setting}: ${clean}; ${attacked}. ${brings(gain)}: ${interval(gain)} points.`;
}

export function finding(name, gain, reach) {
  const meet = reach.filter((r) => r <= gain.eps).length;
  const most = `${meet} of ${reach.length} training digits can meet another one`;
  return `Learned from ${name}, ε = ${gain.eps.toFixed(2)}: ${interval(gain)} points. ${brings(gain)}. ${most}.`;
}

const STYLE = `
.view { display: grid; grid-template-columns: minmax(0, 1fr); gap: 16px; }
.both { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 16px 28px; }
.menu { flex-wrap: wrap; max-width: 100%; }
select { max-width: 100%; }
td { white-space: nowrap; }
.erased { fill: var(--edge); opacity: 0.22; }
.truth { fill: none; stroke: var(--text); stroke-width: 1.2; }
.mark { fill: none; stroke: var(--mark); stroke-width: 3; }
.quieted { stroke: var(--edge); }
.zero { stroke: var(--text); }
.now { stroke: var(--quiet); stroke-dasharray: 2 3; }
.band { fill: var(--orange); opacity: 0.2; }
.gain { fill: none; stroke: var(--orange); stroke-width: 2.6; }
.other { fill: none; stroke: var(--edge); stroke-width: 1.2; stroke-dasharray: 4 3; }
.bar { stroke: var(--orange); stroke-width: 4; opacity: 0.5; }
.dot { fill: var(--orange); stroke: var(--paper); stroke-width: 1.5; }
.near { fill: none; stroke: var(--quiet); stroke-width: 2; }
.smallest { stroke: var(--less); stroke-width: 2; }
@container (max-width: 620px) {
  .both { grid-template-columns: minmax(0, 1fr); }
}
`;
