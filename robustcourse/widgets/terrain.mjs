// Loss landscapes to turn: surfaces over the same square, side by side, in one scale and seen from one side. A level
// cuts through all of them: what lies below it is coloured.
import { brief, choice, h, oncePerFrame, percent, slider, table } from "./base.mjs";
import { contour } from "./contour.mjs";
import { d3 } from "./d3.mjs";

const LINES = 10; // contour lines, from the lowest place to the highest
const HEIGHT = 1.1; // of the highest place, where half a side of the square is 1
const STEPS = 100; // of the level
const CORNERS = [[-1, -1], [1, -1], [1, 1], [-1, 1]]; // prettier-ignore

function terrain(ui, state) {
  const { at, axes } = state;
  const [size, middle] = [at.length, at.indexOf(0)];
  const lands = state.lands.map(({ name, losses }) => {
    const label = `The landscape of the loss, ${name}; numbers are in the table below.`;
    const [canvas, share] = [h("canvas", { role: "img", "aria-label": label }), h("b")];
    const caption = h("figcaption", {}, h("span", { class: "word" }, name), share);
    const family = /robust|adversarial/i.test(name) ? "robust" : "standard";
    return { name, losses: losses.flat(), canvas, share, node: h("figure", { class: family }, caption, canvas) };
  });
  const all = lands.flatMap(({ losses }) => losses);
  let scale = scaleOf(all, state.log);

  // --- controls
  const degrees = { step: 1, say: (v) => `${brief(v)}°`, oninput: () => draw() };
  const turned = slider({ label: "Turn:", min: -180, max: 180, value: -35, ...degrees });
  const raised = slider({ label: "Tilt:", min: 10, max: 90, value: 40, ...degrees });
  const level = slider({
    label: "Level:",
    max: STEPS,
    step: 1,
    value: 0.3 * STEPS,
    say: (v) => brief(scale.loss(v / STEPS)),
    oninput: () => flood(),
  });
  const kind = choice({
    label: "Height:",
    options: [
      { value: false, label: "loss" },
      { value: true, label: "log loss" },
    ],
    value: state.log,
    oninput: (log) => {
      const kept = scale.loss(level.value() / STEPS);
      scale = scaleOf(all, log);
      level.set({ value: Math.round(STEPS * scale.height(kept)) });
      raise();
    },
  });
  const words = h("p", { class: "verdict" });
  const whole = table("The whole square", ["landscape", "lowest", "in the middle", "highest", "below the level"]);
  const names = lands.flatMap(({ name }) => axes.map((axis) => `${name}, along ${axis}`));
  const slices = table("Losses on two lines through the middle", ["place", ...names]);
  const crossing = (k) => lands.flatMap(({ losses }) => [losses[k * size + middle], losses[middle * size + k]]);
  slices.fill(at.map((place, k) => [brief(place), ...crossing(k).map(brief)]));

  // --- dragging turns all landscapes; on a touch screen up and down scrolls the page
  let grabbed; // where the pointer and the landscapes were
  for (const { canvas } of lands) {
    canvas.addEventListener("pointerdown", ({ pointerId, clientX, clientY }) => {
      canvas.setPointerCapture(pointerId);
      grabbed = { x: clientX, y: clientY, turned: turned.value(), raised: raised.value() };
    });
    canvas.addEventListener("pointermove", ({ pointerId, clientX, clientY }) => {
      if (!canvas.hasPointerCapture(pointerId)) return;
      const around = grabbed.turned + (clientX - grabbed.x) / 2;
      turned.set({ value: around - 360 * Math.round(around / 360) });
      raised.set({ value: grabbed.raised + (clientY - grabbed.y) / 2 });
      draw();
    });
  }

  /** Another scale gives every place another height. */
  function raise() {
    for (const land of lands) land.heights = land.losses.map(scale.height);
    flood();
  }

  /** Another level lies above other places. */
  function flood() {
    const cut = level.value() / STEPS;
    const loss = scale.loss(cut);
    for (const land of lands) {
      land.pieces = pieces(land.heights, size, cut);
      land.below = below(land.losses, loss);
      land.share.textContent = `${percent(land.below)} below`;
    }
    const text = sentence(loss, lands);
    words.textContent = text;
    ui.say(text);
    whole.fill(
      lands.map(({ name, losses, below: share }) => {
        const ends = [Math.min(...losses), losses[middle * size + middle], Math.max(...losses)];
        return [name, ...ends.map(brief), percent(share)];
      }),
    );
    draw();
  }

  const draw = oncePerFrame(() => {
    for (const { canvas, heights, pieces: lines } of lands) {
      const [wide, tall] = [canvas.clientWidth, canvas.clientHeight];
      const see = view({ turned: turned.value(), raised: raised.value(), wide, tall });
      const pen = penOf(canvas);
      paintFloor(pen, see, scale);
      paintSurface(pen, see, { heights, lines, size, cut: level.value() / STEPS });
      pen.disc(see.at([0, 0, heights[middle * size + middle]])); // the model itself
      paintAxes(pen, see, axes, [at[0], at.at(-1)]);
    }
  });

  ui.body.append(
    h("style", {}, STYLE),
    h("div", { class: "controls" }, turned.node, raised.node, level.node, kind.node),
    h("div", { class: "lands" }, ...lands.map(({ node }) => node)),
    words,
  );
  ui.tables.append(whole.node, slices.node);
  // A canvas is painted anew when its size or the theme changes.
  const watch = new ResizeObserver(() => draw());
  for (const { canvas } of lands) watch.observe(canvas);
  new MutationObserver(() => draw()).observe(ui.body.getRootNode().host, { attributeFilter: ["class"] });
  raise();
}

// --- painting ------------------------------------------------------------------------------------

/** A pen for a canvas, in the colours of the theme. */
function penOf(canvas) {
  const ratio = devicePixelRatio;
  [canvas.width, canvas.height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.lineJoin = "round";
  pen.font = "12.5px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  pen.textBaseline = "middle";
  const style = getComputedStyle(canvas);
  const ink = (name) => style.getPropertyValue(`--${name}`).trim();
  const fill = (spots, colour) => {
    pen.beginPath();
    for (const [across, down] of spots) pen.lineTo(across, down);
    pen.closePath();
    [pen.fillStyle, pen.strokeStyle, pen.lineWidth] = [colour, colour, 0.8];
    pen.fill();
    pen.stroke(); // else the ground shines through between two pieces
  };
  /** Many lines, of two spots or more each. */
  const lines = (many, colour, width) => {
    pen.beginPath();
    for (const spots of many) spots.forEach(([across, down], k) => pen[k ? "lineTo" : "moveTo"](across, down));
    [pen.strokeStyle, pen.lineWidth] = [colour, width];
    pen.stroke();
  };
  const write = (text, [across, down], align = "center") => {
    [pen.fillStyle, pen.textAlign] = [ink("quiet"), align];
    pen.fillText(text, across, down);
  };
  const disc = ([across, down]) => {
    pen.beginPath();
    pen.arc(across, down, 4.5, 0, 2 * Math.PI);
    [pen.fillStyle, pen.strokeStyle, pen.lineWidth] = [ink("paper"), ink("text"), 2];
    pen.fill();
    pen.stroke();
  };
  return { ink, fill, lines, write, disc };
}

/** The square below, and the scale of heights at its left corner. */
function paintFloor(pen, see, scale) {
  const floor = CORNERS.map((corner) => see.at([...corner, 0]));
  pen.fill(floor, pen.ink("ground"));
  pen.lines([[...floor, floor[0]]], pen.ink("edge"), 1);
  if (see.up < 0.2) return; // seen from above there are no heights
  const sides = floor.map(([across]) => across);
  const left = CORNERS[sides.indexOf(Math.min(...sides))];
  pen.lines([[0, 1].map((height) => see.at([...left, height]))], pen.ink("edge"), 1);
  for (const loss of scale.ticks) {
    const [across, down] = see.at([...left, scale.height(loss)]);
    pen.write(`${brief(loss)} –`, [across, down], "right");
  }
}

/** The surface from behind: what is nearer covers what is farther. */
function paintSurface(pen, see, { heights, lines, size, cut }) {
  const place = (k) => (2 * k) / (size - 1) - 1;
  const spots = heights.map((z, k) => [...see.at([place(Math.floor(k / size)), place(k % size), z]), z]);
  const from = (behind) => Array.from({ length: size - 1 }, (_, k) => (behind ? size - 2 - k : k));
  const mark = rgb(pen.ink("mark"));
  const pale = mix(rgb(pen.ink("paper")), mark, 0.4);
  const drawLines = (i) => {
    const row = lines.slice(i * size, (i + 1) * size).flat();
    const ends = (wanted) => row.filter(({ chosen }) => chosen === wanted).map((piece) => piece.ends.map(see.at));
    pen.lines(ends(false), "rgb(0 0 0 / 0.25)", 0.8);
    pen.lines(ends(true), pen.ink("text"), 2.2);
  };
  let last;
  for (const i of from(see.sin > 0)) {
    for (const j of from(see.cos > 0)) {
      const first = i * size + j;
      const corners = [first, first + size, first + size + 1, first + 1].map((k) => spots[k]);
      const z = corners.map((corner) => corner[2]);
      const slope = [z[1] + z[2] - z[0] - z[3], z[2] + z[3] - z[0] - z[1]].map((dz) => (HEIGHT * dz * (size - 1)) / 4);
      const bright = see.brightness(slope);
      if (Math.max(...z) > cut) pen.fill(corners, lit(pale, bright));
      if (Math.min(...z) <= cut) pen.fill(lowerPart(corners, cut), lit(mark, bright));
    }
    if (last !== undefined) drawLines(last); // one row late, or the next row would cover half of each line
    last = i;
  }
  drawLines(last);
}

/** The names of the axes and their ends, along the two sides that are near. */
function paintAxes(pen, see, names, ends) {
  const near = [see.cos > 0 ? -1 : 1, see.sin > 0 ? -1 : 1].map((side) => 1.13 * side);
  const [middle] = see.at([0, 0, 0]);
  names.forEach((name, axis) => {
    const write = (text, place) => {
      const spot = see.at(axis === 0 ? [place, near[0], 0] : [near[1], place, 0]);
      const [side] = see.at(axis === 0 ? [0, near[0], 0] : [near[1], 0, 0]);
      pen.write(text, spot, Math.abs(side - middle) < 20 ? "center" : side < middle ? "right" : "left");
    };
    write(name, 0);
    ends.forEach((end, k) => write(brief(end), k ? 0.9 : -0.9));
  });
}

function rgb(hex) {
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

function mix(one, other, share) {
  return one.map((v, k) => v + share * (other[k] - v));
}

/** A colour in the light: half of it is the colour itself, less is darker, more is paler. */
function lit(colour, bright) {
  const [dark, pale] = [mix([0, 0, 0], colour, 0.35 + 1.3 * bright), mix(colour, [255, 255, 255], 0.8 * bright - 0.4)];
  const seen = bright < 0.5 ? dark : pale;
  return `rgb(${seen.map(Math.round).join(" ")})`;
}

// --- arithmetic ----------------------------------------------------------------------------------

/**
 * Heights 0 … 1 of losses: from nothing to the largest, or from the smallest logarithm to the largest. Of logarithms what
 * is below a millionth of the largest loss lies on the floor.
 */
export function scaleOf(losses, log) {
  const most = Math.max(...losses) || 1;
  const least = log ? Math.max(Math.min(...losses), most / 1e6) : 0;
  if (!log || least === most)
    return {
      height: (loss) => loss / most,
      loss: (height) => height * most,
      ticks: d3.scaleLinear([0, most], [0, 1]).ticks(4),
    };
  const [low, high] = [Math.log10(least), Math.log10(most)];
  const steps = high - low > 2.5 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 3, 5];
  const decades = Array.from({ length: Math.floor(high) - Math.floor(low) + 1 }, (_, k) => Math.floor(low) + k);
  return {
    height: (loss) => (Math.log10(Math.max(loss, least)) - low) / (high - low),
    loss: (height) => 10 ** (low + height * (high - low)),
    ticks: decades.flatMap((e) => steps.map((s) => s * 10 ** e)).filter((v) => v >= least && v <= most),
  };
}

/**
 * A landscape seen from afar, turned and raised by so many degrees: .at([x, y, height]) is a place of the picture, for x
 * and y in −1 … 1, and .brightness(slope) how bright a place is in light from the left, behind the reader.
 */
export function view({ turned, raised, wide, tall }) {
  const [sin, cos] = [Math.sin((turned * Math.PI) / 180), Math.cos((turned * Math.PI) / 180)];
  const [steep, up] = [Math.sin((raised * Math.PI) / 180), Math.cos((raised * Math.PI) / 180)];
  // So large that the box has room from every side.
  const unit = Math.min((wide - 88) / Math.hypot(2, 2), (tall - 44) / Math.hypot(2, 2, HEIGHT));
  const turn = (x, y) => [x * cos - y * sin, x * sin + y * cos]; // to the right, and away from the reader
  const at = ([x, y, height]) => {
    const [right, away] = turn(x, y);
    return [wide / 2 + unit * right, tall / 2 - unit * (away * steep + (height - 0.5) * HEIGHT * up)];
  };
  const brightness = ([dx, dy]) => {
    const length = Math.hypot(dx, dy, 1);
    const [right, away] = turn(-dx / length, -dy / length);
    const light = -0.45 * right - 0.3 * away + 0.84 / length;
    const seen = up * -away + steep / length; // below zero is the underside
    return Math.max(0, light) * (seen < 0 ? 0.5 : 1);
  };
  return { at, brightness, sin, cos, up };
}

/** For each cell of the grid, the pieces of contour lines and of the chosen one: [x, y, height] at both ends. */
export function pieces(heights, size, chosen) {
  const cells = heights.map(() => []);
  const add = (level, own) => {
    for (const ends of contour(heights.map((z) => z - level), size)) {
      const [column, row] = [0, 1].map((axis) => Math.floor(((ends[0][axis] + ends[1][axis]) / 2) * (size - 1)));
      cells[row * size + column].push({
        ends: ends.map(([right, high]) => [2 * high - 1, 2 * right - 1, level]),
        chosen: own,
      });
    }
  };
  for (let k = 1; k < LINES; k++) add(k / LINES, false);
  add(chosen, true);
  return cells;
}

/** The part of a polygon that is not above a level: corners, and where sides cross the level. Heights come third. */
export function lowerPart(corners, level) {
  return corners.flatMap((corner, k) => {
    const next = corners[(k + 1) % corners.length];
    const [a, b] = [corner[2] - level, next[2] - level];
    const kept = a > 0 ? [] : [corner];
    return a > 0 === b > 0 ? kept : [...kept, mix(corner, next, a / (a - b))];
  });
}

/** The share of places whose loss is not above a level. */
export function below(losses, level) {
  return losses.filter((loss) => loss <= level).length / losses.length;
}

// --- words ---------------------------------------------------------------------------------------

export function sentence(level, lands) {
  const shares = lands.map(({ name, below: share }) => `${name} ${percent(share)}`);
  return `Share of the square with a loss of at most ${brief(level)}: ${shares.join(", ")}.`;
}

const STYLE = `
.controls .slider { flex-basis: 200px; }
.lands { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 12px 32px; }
.lands canvas { aspect-ratio: 1.18; max-height: 480px; image-rendering: auto; touch-action: pan-y; cursor: grab; }
.lands canvas:active { cursor: grabbing; }
figcaption { display: flex; justify-content: space-between; gap: 12px; }
figcaption b { font-weight: 400; color: var(--quiet); }
`;
