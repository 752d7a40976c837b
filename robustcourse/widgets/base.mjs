// What all live figures share: mounting, light and dark, labelled controls, pictures of pixels, axes, a data table,
// a spoken summary, and work in slices. A figure is one function figure(ui, state) that fills ui.body.
import { d3 } from "./d3.mjs";

/** Put a figure into every place of the page that waits for it. The same figure may stand on a page several times. */
export function live(key, figure, state) {
  for (const host of document.querySelectorAll(`[data-live="${key}"]:not([data-mounted])`)) {
    host.dataset.mounted = "";
    followTheme(host);
    // In a shadow root the page's styles stay out, ours stay in, and ids need to be unique in this figure only.
    const root = host.attachShadow({ mode: "open" });
    const body = h("div", { class: "body" });
    const spoken = h("p", { class: "unseen", role: "status" });
    const tables = h("details", {}, h("summary", {}, "The numbers behind this figure"));
    const name = h("p", { class: "title", id: "title" }, state.title);
    const alt = h("p", { class: "unseen", id: "alt" }, state.alt);
    const frame = { role: "group", "aria-labelledby": "title", "aria-describedby": "alt", class: "frame" };
    root.append(h("style", {}, CSS), h("div", frame, name, alt, body, spoken, tables));
    // Silent until the figure is used: a page with several of them is not read out when it opens.
    let used = false;
    for (const event of ["input", "click"]) root.addEventListener(event, () => (used = true), { capture: true });
    figure({ body, tables, say: calmly((text) => (spoken.textContent = used ? text : "")) }, state);
  }
}

/** An element. Attributes that are functions become listeners: h("button", { onclick }, "Go"). */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// --- light and dark ------------------------------------------------------------------------------

/** Dark where the site, JupyterLab or Colab is dark; elsewhere where the reader's system is. */
function isDark() {
  const site = document.documentElement.dataset.theme ?? document.documentElement.getAttribute("theme");
  const lab = document.body.dataset.jpThemeLight;
  if (site === "dark" || site === "light") return site === "dark";
  if (lab) return lab === "false";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function followTheme(host) {
  const update = () => host.classList.toggle("dark", isDark());
  const observer = new MutationObserver(update);
  for (const node of [document.documentElement, document.body])
    observer.observe(node, { attributes: true, attributeFilter: ["data-theme", "theme", "data-jp-theme-light"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
  update();
}

// --- controls: native inputs with labels ---------------------------------------------------------

let names = 0;
const unique = (word) => `${word}-${++names}`;

/** A slider that says its value. .set({ max, step, value }) changes its range, .share() is its place in it, 0 … 1. */
export function slider({ label, min = 0, max, step, value, say = (v) => v.toFixed(2), oninput }) {
  const id = unique("slider");
  const input = h("input", { type: "range", id, min, max, step, value, oninput: () => update(oninput) });
  const output = h("output", { for: id, "aria-hidden": "true" }); // the slider itself speaks its value
  const share = () => (input.value - input.min) / (input.max - input.min);
  const update = (then) => {
    output.textContent = say(+input.value);
    input.setAttribute("aria-valuetext", say(+input.value));
    input.style.setProperty("--filled", `${100 * share()}%`);
    then?.(+input.value);
  };
  update();
  const node = h("div", { class: "slider" }, h("label", { for: id }, label), h("span", {}, input, output));
  return { node, value: () => +input.value, share, set: (range) => (Object.assign(input, range), update()) };
}

/** One of a few: radio buttons side by side. options: [{ value, label }], where a label is text or an element. */
export function choice({ label, options, value, oninput, className = "choice" }) {
  const [id, name] = [unique("choice"), unique("radio")];
  let current = value;
  const buttons = options.map((option) => {
    const listen = () => oninput((current = option.value));
    const input = h("input", { type: "radio", name, "aria-label": option.speak, oninput: listen });
    input.checked = option.value === value;
    return h("label", { class: option.className ?? "" }, input, h("span", {}, option.label));
  });
  const group = h("div", { class: "options" }, ...buttons);
  const attributes = { class: className, role: "radiogroup", "aria-labelledby": id };
  const node = h("div", attributes, h("span", { id }, label), group);
  return { node, value: () => current };
}

/** One of many. options: [{ value, label }]. */
export function menu({ label, options, oninput }) {
  const id = unique("menu");
  const input = h("select", { id, oninput: () => oninput(input.value) });
  const fill = (list) => input.replaceChildren(...list.map((o) => h("option", { value: o.value }, o.label)));
  fill(options);
  const node = h("div", { class: "menu" }, h("label", { for: id }, label), input);
  return { node, value: () => input.value, fill };
}

/** Any of a few: checkboxes, one above the other. .fill(options, on) sets [{ value, label, beside, below }], where the
 *  last two are elements about the option that change with the figure, and the values that are switched on. */
export function switches({ oninput }) {
  const id = unique("switches");
  const label = h("span", { id });
  const list = h("div", { class: "options" });
  let inputs = new Map();
  const fill = (options, on) => {
    inputs = new Map(options.map(({ value }) => [value, h("input", { type: "checkbox", oninput: () => oninput() })]));
    const rows = options.map(({ value, label, beside, below }) => {
      const input = inputs.get(value);
      input.checked = on.includes(value);
      beside.id = unique("beside");
      input.setAttribute("aria-describedby", beside.id);
      return h("div", {}, h("label", {}, input, label), beside, below);
    });
    list.replaceChildren(...rows);
  };
  const node = h("div", { class: "switches", role: "group", "aria-labelledby": id }, label, list);
  const values = () => [...inputs].filter(([, input]) => input.checked).map(([value]) => value);
  return { node, fill, values, name: (text) => (label.textContent = text) };
}

// --- pictures ------------------------------------------------------------------------------------

/** A canvas with one pixel for each number. The style scales it up, and turns its ink white where the theme is dark. */
export function picture([height, width]) {
  return h("canvas", { width, height, "aria-hidden": "true" });
}

/** A picture on its sheet of paper, with a caption below. */
export function plate(canvas, caption, attributes) {
  return h("figure", attributes, h("div", { class: "sheet" }, canvas), caption);
}

/** Paint numbers in [0, 1] as ink: the number is how much of the paper it covers. */
export function paint(canvas, x) {
  paintColours(canvas, x, (v) => [0, 0, 0, 255 * v]);
  canvas.classList.add("ink");
}

/** Paint numbers in the colours [r, g, b, a], each 0 … 255, that colour(number) gives. */
export function paintColours(canvas, x, colour) {
  const image = new ImageData(canvas.width, canvas.height);
  x.forEach((v, i) => image.data.set(colour(v), 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** An empty chart with axes, width × height in its own units. Scales are d3 scales from data to those units. */
export function chart({ width, height, x, y, label, below, beside, xTicks, yTicks }) {
  const svg = d3.select(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
  svg.attr("viewBox", `0 0 ${width} ${height}`).attr("role", "img").attr("aria-label", label);
  const [left, right] = x.range();
  const [bottom, top] = y.range();
  const horizontal = xTicks(d3.axisBottom(x).tickSizeOuter(0).tickPadding(6));
  const vertical = yTicks(d3.axisLeft(y).tickSizeOuter(0).tickSizeInner(left - right).tickPadding(6));
  const xAxis = svg.append("g").attr("class", "axis").attr("transform", `translate(0 ${bottom})`).call(horizontal);
  const yAxis = svg.append("g").attr("class", "axis grid").attr("transform", `translate(${left} 0)`).call(vertical);
  svg.append("text").attr("x", right).attr("y", height - 4).attr("text-anchor", "end").text(below);
  const title = svg.append("text").attr("x", 2).attr("y", top - 10).text(beside);
  const rescale = () => (xAxis.call(horizontal), yAxis.call(vertical));
  return { svg, node: svg.node(), marks: svg.append("g"), beside: title, rescale };
}

// Lines that cross would be mixed up without a shape of their own, in the chart and beside their name.
export const SHAPES = [
  "M0-4a4 4 0 1 0 .01 0z",
  "M-3.5-3.5h7v7h-7z",
  "M0-4.8 4.6 3.4h-9.2z",
  "M0-5 5 0 0 5-5 0z",
  "M0 4.8 4.6-3.4h-9.2z",
  "M-3.6-3.6 3.6 3.6M-3.6 3.6 3.6-3.6",
  "M0-4.6V4.6M-4.6 0H4.6",
];

/** A piece of a line with its shape, to stand beside its name. */
export function sample(shape) {
  const svg = d3.select(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
  svg.attr("viewBox", "-16 -7 32 14").attr("class", "sample").attr("aria-hidden", "true");
  svg.append("path").attr("class", "single").attr("d", "M-16 0H16");
  svg.append("path").attr("class", "shape").attr("d", shape);
  return svg.node();
}

/** What marks mean: a piece of each beside its name. marks: [class, name] of lines, or [class, name, path]. */
export function legend(marks) {
  const entries = marks.map(([mark, name, path = "M-14 0H14"]) => {
    const svg = d3.select(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
    svg.attr("viewBox", "-14 -7 28 14").attr("aria-hidden", "true").append("path").attr("class", mark).attr("d", path);
    return h("span", {}, svg.node(), name);
  });
  return h("p", { class: "legend quiet" }, ...entries);
}

// --- numbers and words ---------------------------------------------------------------------------

/** A table for readers who want the numbers, or cannot see the picture. Call .fill(rows) with lists of text. */
export function table(caption, columns) {
  const body = h("tbody");
  const head = h("thead", {}, h("tr", {}, ...columns.map((name) => h("th", { scope: "col" }, name))));
  const node = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption });
  node.append(h("table", {}, h("caption", {}, caption), head, body));
  const cells = (texts) => texts.map((text) => h("td", {}, text));
  const row = ([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), ...cells(rest));
  return { node, fill: (rows) => body.replaceChildren(...rows.map(row)) };
}

/** Wilson's 95 % interval for k of n, as shares (Wilson 1927). */
export function wilson(k, n) {
  const z = 1.959963984540054; // the normal distribution leaves 2.5 % beyond it on each side
  const middle = (k + (z * z) / 2) / (n + z * z);
  const half = (z / (n + z * z)) * Math.sqrt((k * (n - k)) / n + (z * z) / 4);
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

/** 0.934 → "93 %", which no line break parts */
export function percent(share) {
  return `${Math.round(100 * share)}\u00a0%`;
}

/** 0.01234 → "0.0123", −1234.5 → "−1,230", 1e-9 → "0" */
export function brief(v) {
  if (Math.abs(v) < 5e-7) return "0";
  return (+v.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 8 }).replace("-", "−");
}

/** 3.04 → "+3", −2.5 → "−2.5" */
export function signed(v) {
  const text = String(+Math.abs(v).toFixed(1));
  return text === "0" ? "0" : `${v > 0 ? "+" : "−"}${text}`;
}

/** A gain in points with its interval: "+3.6 [+1.8, +5.3]". */
export function interval({ value, low, high }) {
  const [v, a, b] = [value, low, high].map((share) => signed(100 * share));
  return `${v} [${a}, ${b}]`;
}

/** ["a", "b", "c"] → "a, b and c" */
export function list(names) {
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0];
}

// --- time ----------------------------------------------------------------------------------------

/** Call say(text) with the latest text only, once nothing has changed for a moment: a screen reader is not flooded. */
function calmly(say) {
  let timer, last;
  return (text) => {
    if (text === last) return;
    last = text;
    clearTimeout(timer);
    timer = setTimeout(say, 700, text);
  };
}

/** Call draw() once in the next frame, however often it was asked for. */
export function oncePerFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => ((asked = false), draw()));
  };
}

/**
 * Work in slices of a few milliseconds, so that dragging stays smooth. step() does a little of whatever is most wanted
 * now, and returns whether there is more to do. Call the result to wake the worker up.
 */
export function worker(step) {
  let awake = false;
  const slice = () => {
    const end = performance.now() + 12;
    do awake = step();
    while (awake && performance.now() < end);
    if (awake) setTimeout(slice);
  };
  return () => {
    if (awake) return;
    awake = true;
    setTimeout(slice);
  };
}

// --- style ---------------------------------------------------------------------------------------

// The colour language of the course: standard blue, robust orange, certified green; clean solid, attacked dashed,
// certified dotted. --mark is for lines and fills, --word for text, which has a contrast of 4.5 or more in both themes.
const CSS = `
:host {
  display: block; margin: 1rem 0; color-scheme: light;
  --paper: #ffffff; --ground: #f6f7f9; --line: #d5d9df; --edge: #7b8490; --text: #1d2430; --quiet: #566070;
  --blue: #0072b2; --blue-word: #00659e; --orange: #d55e00; --orange-word: #a84a00;
  --green: #128a66; --green-word: #0c7656; --more: #a3217f; --less: #0b7a75; --accent: #3a4a63;
}
:host(.dark) {
  color-scheme: dark;
  --paper: #14181d; --ground: #1d2229; --line: #39414c; --edge: #8993a1; --text: #e8ebef; --quiet: #a8b1bd;
  --blue: #56b4e9; --blue-word: #6cbdec; --orange: #e98a3c; --orange-word: #f2a05c;
  --green: #2fb98d; --green-word: #4fcfa5; --more: #ee7fcb; --less: #4cc9c0; --accent: #b8c4d6;
}
*, *::before, *::after { box-sizing: border-box; }
.standard { --mark: var(--blue); --word: var(--blue-word); }
.robust { --mark: var(--orange); --word: var(--orange-word); }
.frame {
  container-type: inline-size; font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; color: var(--text); background: var(--paper);
  border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px;
}
p { margin: 0; }
.title { font-weight: 650; font-size: 17px; line-height: 1.3; margin-bottom: 10px; }
.unseen { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); }
.body { display: grid; grid-template-columns: minmax(0, 1fr); gap: 16px; }
.controls { display: flex; flex-wrap: wrap; gap: 10px 22px; align-items: center; }
.quiet { color: var(--quiet); font-size: 13.5px; }
.word { color: var(--word); font-weight: 650; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 4px; }

.slider { display: flex; flex-wrap: wrap; flex: 1 1 260px; align-items: center; gap: 0 10px; }
.slider > span { display: flex; flex: 1 1 200px; align-items: center; gap: 10px; }
.slider output { min-width: 2.6em; font-weight: 650; }
input[type="range"] {
  appearance: none; flex: 1; min-width: 0; height: 28px; margin: 0; background: none; cursor: pointer;
}
input[type="range"]::-webkit-slider-runnable-track {
  height: 6px; border-radius: 3px;
  background: linear-gradient(to right, var(--accent) var(--filled), var(--line) var(--filled));
}
input[type="range"]::-moz-range-track { height: 6px; border-radius: 3px; background: var(--line); }
input[type="range"]::-moz-range-progress { height: 6px; border-radius: 3px; background: var(--accent); }
input[type="range"]::-webkit-slider-thumb {
  appearance: none; width: 24px; height: 24px; margin-top: -9px; border-radius: 50%;
  background: var(--paper); border: 3px solid var(--accent);
}
input[type="range"]::-moz-range-thumb {
  width: 18px; height: 18px; border-radius: 50%; background: var(--paper); border: 3px solid var(--accent);
}
input[type="range"]:focus-visible { outline: none; }
input[type="range"]:focus-visible::-webkit-slider-thumb { box-shadow: 0 0 0 3px var(--paper), 0 0 0 6px var(--accent); }
input[type="range"]:focus-visible::-moz-range-thumb { box-shadow: 0 0 0 3px var(--paper), 0 0 0 6px var(--accent); }

.choice { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 8px; }
.choice .options { display: inline-flex; border: 1px solid var(--edge); border-radius: 7px; overflow: clip; }
.choice label { position: relative; display: block; }
.choice label + label { border-left: 1px solid var(--edge); }
.choice input, .strip input {
  position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: pointer;
}
.choice label > span { display: block; padding: 3px 11px; min-height: 28px; }
.choice input:checked + span { background: var(--accent); color: var(--paper); }
.choice .standard input:checked + span, .choice .robust input:checked + span { background: var(--word); }
.choice input:focus-visible + span { outline: 3px solid var(--accent); outline-offset: -3px; }
.choice input:focus-visible:checked + span { outline-color: var(--paper); outline-offset: -5px; outline-width: 2px; }
button {
  font: inherit; color: inherit; background: var(--ground); min-height: 32px; padding: 3px 12px; cursor: pointer;
  border: 1px solid var(--edge); border-radius: 7px;
}
button:hover { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
.menu { display: flex; align-items: center; gap: 8px; }
select {
  font: inherit; color: inherit; background: var(--paper); min-height: 30px; padding: 2px 6px;
  border: 1px solid var(--edge); border-radius: 7px;
}
.switches .options { display: grid; gap: 6px; margin-top: 6px; }
.switches .options > div { display: flex; flex-wrap: wrap; align-items: center; gap: 0 10px; }
.switches label {
  display: flex; flex: 1 1 auto; max-width: 100%; align-items: center; gap: 8px; min-height: 28px; cursor: pointer;
}
.switches label + * { margin-left: auto; }
.switches input { flex: none; width: 18px; height: 18px; margin: 0; accent-color: var(--accent); cursor: pointer; }

canvas { display: block; width: 100%; image-rendering: pixelated; }
figure { margin: 0; }
.sheet { background: var(--ground); border-radius: 6px; overflow: clip; }
:host(.dark) canvas.ink { filter: invert(1); }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 12.5px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--quiet); }
.sample { flex: none; width: 32px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; }
.legend span { display: inline-flex; align-items: center; gap: 6px; }
.legend svg { flex: none; width: 28px; }
.single { fill: none; stroke: var(--edge); stroke-width: 1.4; stroke-dasharray: 4 3; }
.shape { fill: var(--paper); stroke: var(--quiet); stroke-width: 1.5; }
.axis path { stroke: none; }
.axis line { stroke: var(--edge); }
.axis.grid line { stroke: var(--line); }

details { margin-top: 12px; font-size: 13.5px; }
summary { cursor: pointer; color: var(--quiet); padding: 3px 0; width: fit-content; }
.scroll { max-height: 260px; overflow: auto; margin-top: 8px; }
table { border-collapse: collapse; }
caption { text-align: left; color: var(--quiet); padding-bottom: 4px; }
th, td { text-align: right; padding: 2px 14px 2px 0; border-bottom: 1px solid var(--line); font-weight: 400; }
thead th { font-weight: 650; vertical-align: bottom; }
th:first-child { text-align: left; }
`;
