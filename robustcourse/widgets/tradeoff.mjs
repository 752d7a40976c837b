// The price of robustness: robust minus standard accuracy on clean inputs. In Gaussian clouds it is computed here, for
// any ε, number of images and number of silent pixels; of digits the page shows what was measured.
import { chart, choice, h, menu, slider, table } from "./base.mjs";
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
  const x = d3.scaleLinear([0, loud, loud + silent], [42, 170, WIDTH - 12]);
  const y = d3.scaleLinear([-top, top], [HEIGHT - 44, 30]);
  const heard = chart({
    width: WIDTH,
    height: HEIGHT,
    x,
    y,
    label: "What each pixel says about the class: the truth, what the learner has heard, and what robust training keeps.",
    below: "pixels",
    beside: "evidence of each pixel",
    xTicks: (axis) => axis.tickValues([loud / 2, loud + silent / 2]).tickFormat((_, k) => ["loud", "silent"][k]),
    yTicks: (axis) => axis.ticks(5),
  });
  const part = (tag, name) => heard.marks.append(tag).attr("class", name);
  const erased = part("rect", "erased").attr("x", x(0)).attr("width", WIDTH - 12 - x(0));
  const truth = part("path", "truth");
  const [dots, kept] = [part("path", "mark standard"), part("path", "mark robust")];

  // --- right: the gain over ε
  const plot = gainChart(epsMax, [-12, 8]);
  const band = plot.marks.append("path").attr("class", "band");
  const line = plot.marks.append("path").attr("class", "gain");
  const dot = plot.marks.append("circle").attr("class", "dot").attr("r", 5);
  const words = h("p", { class: "verdict" });
  const numbers = table("Exact accuracies, means over draws of the images", [
    "ε", "standard, clean", "robust, clean", "gain", "standard, attacked", "robust, attacked",
  ]); // prettier-ignore

  const grid = d3.range(31).map((k) => (k * epsMax) / 30);

  function update() {
    const [eps, n, d] = [budget.value(), COUNTS[images.value()], loud + blank.value()];
    const mu = Float64Array.from({ length: d }, (_, i) => strengths[i] ?? 0);
    const row = (r) => all.subarray(r * (loud + silent), r * (loud + silent) + d);
    const seen = d3.range(draws).map((r) => learned(mu, row(r), sigma, n));

    erased.attr("y", y(eps)).attr("height", y(-eps) - y(eps));
    truth.attr("d", d3.line((_, i) => x(i + 0.5), y).curve(d3.curveStep)(mu));
    const scatter = (values, r) => {
      let path = "";
      values.forEach((v, i) => {
        if (r > 0) path += `M${x(i + 0.5).toFixed(1)} ${(y(clip(v, top)) - r).toFixed(1)}v${2 * r}`;
      });
      return path;
    };
    const shrunk = shrink(seen[0], eps);
    dots.attr("d", scatter(seen[0], 1.2));
    kept.attr("d", scatter(shrunk.map((v) => v || NaN), 2).replace(/M\S+ NaNv\d+/g, ""));

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
    const share = (v) => `${(100 * v).toFixed(1)} %`;
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
