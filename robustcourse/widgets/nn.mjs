// A small neural network in plain JavaScript: forward pass, and gradients of the cross-entropy with respect to the
// input (for attacks) and to the weights (for training).
//
// Arrays are flat and batched: n examples one after the other. Weights arrive as the float16 numbers that
// robustcourse.widgets.encoding wrote, and are computed with in double precision, so that the page and PyTorch agree.

/** Numbers of a base64 string of little-endian float16. */
export function decode(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const halves = new DataView(bytes.buffer);
  return Float64Array.from({ length: bytes.length / 2 }, (_, i) => {
    const bits = halves.getUint16(2 * i, true);
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    return bits >> 15 ? -size : size;
  });
}

/** Rows of x (n, inputs) times matrix (inputs, outputs), plus bias (outputs): nearly all of what a network costs. */
function multiply(x, matrix, bias, n, inputs, outputs) {
  const y = new Float64Array(n * outputs);
  const active = new Int32Array(inputs);
  for (let e = 0; e < n; e++) {
    const from = e * inputs;
    const row = y.subarray(e * outputs, (e + 1) * outputs);
    if (bias) row.set(bias);
    // Behind a ReLU most numbers are zero, in both directions: skip them.
    let count = 0;
    for (let i = 0; i < inputs; i++) if (x[from + i] !== 0) active[count++] = i;
    // Four at a time, so that each output is read and written once for four products.
    let k = 0;
    for (; k + 4 <= count; k += 4) {
      const [i, j, l, m] = [active[k], active[k + 1], active[k + 2], active[k + 3]];
      const [a, b, c, d] = [x[from + i], x[from + j], x[from + l], x[from + m]];
      const [p, q, r, s] = [i * outputs, j * outputs, l * outputs, m * outputs];
      for (let o = 0; o < outputs; o++)
        row[o] += a * matrix[p + o] + b * matrix[q + o] + c * matrix[r + o] + d * matrix[s + o];
    }
    for (; k < count; k++)
      for (let o = 0; o < outputs; o++) row[o] += x[from + active[k]] * matrix[active[k] * outputs + o];
  }
  return y;
}

function transpose(matrix, rows, columns) {
  return Float64Array.from(matrix, (_, i) => matrix[(i % rows) * columns + Math.floor(i / rows)]);
}

// A layer has a shape (of one example, after it), forward(x, n) and backward(gradient, n) for the x seen last. Where it
// can be trained, learn(gradient, n, move) calls move(weights, their gradient), which changes the weights in place.
// Given the shape of its input, each function below makes one.
const layers = {
  normalize(shape, { mean, std }) {
    const [m, s] = [decode(mean), decode(std)];
    return {
      shape,
      forward: (x) => x.map((v, i) => (v - m[i % m.length]) / s[i % s.length]),
      backward: (g) => g.map((v, i) => v / s[i % s.length]),
    };
  },

  flatten(shape) {
    return { shape: [size(shape)], forward: (x) => x, backward: (g) => g };
  },

  relu(shape) {
    let seen;
    return {
      shape,
      forward: (x) => ((seen = x), x.map((v) => (v > 0 ? v : 0))),
      backward: (g) => g.map((v, i) => (seen[i] > 0 ? v : 0)),
    };
  },

  linear([inputs], { weight, bias }) {
    const [w, b] = [decode(weight), decode(bias)];
    const outputs = b.length;
    const wT = transpose(w, outputs, inputs);
    let seen;
    return {
      shape: [outputs],
      forward: (x, n) => multiply((seen = x), wT, b, n, inputs, outputs),
      backward: (g, n) => multiply(g, w, null, n, outputs, inputs),
      learn(g, n, move) {
        move(w, multiply(transpose(g, n, outputs), seen, null, outputs, n, inputs));
        move(b, multiply(new Float64Array(n).fill(1), g, null, 1, n, outputs));
        wT.set(transpose(w, outputs, inputs));
      },
    };
  },

  // A convolution is a linear layer on patches: patch[p * K + k] says which input number place p sees through weight k.
  conv2d([channels, height, width], { weight, bias, kernel, stride, padding }) {
    const [w, b] = [decode(weight), decode(bias)];
    const [h, v] = [height, width].map((side, d) => Math.floor((side + 2 * padding[d] - kernel[d]) / stride[d]) + 1);
    const [inputs, outputs, places, K] = [channels * height * width, b.length, h * v, channels * kernel[0] * kernel[1]];
    const wT = transpose(w, outputs, K);
    const patch = Int32Array.from({ length: places * K }, (_, i) => {
      const [p, k] = [Math.floor(i / K), i % K];
      const channel = Math.floor(k / (kernel[0] * kernel[1]));
      const row = Math.floor(p / v) * stride[0] - padding[0] + (Math.floor(k / kernel[1]) % kernel[0]);
      const column = (p % v) * stride[1] - padding[1] + (k % kernel[1]);
      const inside = row >= 0 && row < height && column >= 0 && column < width;
      return inside ? (channel * height + row) * width + column : -1;
    });
    // From channels last, as the product gives them, to channels first, and back.
    const swap = (x, n, rows, columns) => {
      const y = new Float64Array(x.length);
      for (let e = 0; e < n; e++)
        for (let r = 0; r < rows; r++)
          for (let c = 0; c < columns; c++) y[(e * columns + c) * rows + r] = x[(e * rows + r) * columns + c];
      return y;
    };
    return {
      shape: [outputs, h, v],
      forward(x, n) {
        const patches = new Float64Array(n * patch.length);
        for (let e = 0; e < n; e++)
          for (let i = 0; i < patch.length; i++)
            if (patch[i] >= 0) patches[e * patch.length + i] = x[e * inputs + patch[i]];
        return swap(multiply(patches, wT, b, n * places, K, outputs), n, places, outputs);
      },
      backward(g, n) {
        const patches = multiply(swap(g, n, outputs, places), w, null, n * places, outputs, K);
        const back = new Float64Array(n * inputs);
        for (let e = 0; e < n; e++)
          for (let i = 0; i < patch.length; i++)
            if (patch[i] >= 0) back[e * inputs + patch[i]] += patches[e * patch.length + i];
        return back;
      },
      learn() {
        throw new Error("the page can train Linear layers only");
      },
    };
  },
};

/** How many numbers an example of this shape has. */
export function size(shape) {
  return shape.reduce((product, side) => product * side, 1);
}

/** The network that robustcourse.widgets.encoding wrote as {shape, classes, layers}. */
export function network({ shape, classes, layers: parts }) {
  const net = { shape, classes, layers: [] };
  for (const part of parts) net.layers.push(layers[part.type](net.layers.at(-1)?.shape ?? shape, part));
  return net;
}

/** Logits (n, classes) of n examples. */
export function forward(net, x, n) {
  return net.layers.reduce((h, layer) => layer.forward(h, n), x);
}

/** Softmax of logits (n, classes), row by row. */
export function softmax(logits, classes) {
  const p = new Float64Array(logits.length);
  for (let start = 0; start < p.length; start += classes) {
    const row = logits.subarray(start, start + classes);
    const top = Math.max(...row);
    const total = row.reduce((sum, z) => sum + Math.exp(z - top), 0);
    for (let c = 0; c < classes; c++) p[start + c] = Math.exp(row[c] - top) / total;
  }
  return p;
}

/** Probabilities (n, classes) of n examples. */
export function probabilities(net, x, n) {
  return softmax(forward(net, x, n), net.classes);
}

/** The class with the largest probability, for each row of p (n, classes). */
export function reads(p, classes) {
  return Array.from({ length: p.length / classes }, (_, e) => {
    const row = p.subarray(e * classes, (e + 1) * classes);
    return row.indexOf(Math.max(...row));
  });
}

/** Cross-entropy of each example with its label, and the gradient of each with respect to its own logits. */
function atLogits(net, x, labels) {
  const p = probabilities(net, x, labels.length);
  const loss = labels.map((y, e) => -Math.log(Math.max(p[e * net.classes + y], Number.MIN_VALUE)));
  labels.forEach((y, e) => (p[e * net.classes + y] -= 1));
  return { loss, gradient: p };
}

/** Cross-entropy of each example with its label, and the gradient of each with respect to its own input. */
export function lossAndGradient(net, x, labels) {
  const { loss, gradient } = atLogits(net, x, labels);
  return { loss, gradient: net.layers.reduceRight((g, layer) => layer.backward(g, labels.length), gradient) };
}

/** One step of training on the mean cross-entropy, which is returned; `move` is an optimizer, such as adam(0.01). */
export function learn(net, x, labels, move) {
  const n = labels.length;
  const { loss, gradient } = atLogits(net, x, labels);
  net.layers.reduceRight((g, layer) => {
    const back = layer.backward(g, n); // before its weights change
    layer.learn?.(g, n, move);
    return back;
  }, gradient.map((v) => v / n));
  return loss.reduce((sum, v) => sum + v, 0) / n;
}

/** Adam (Kingma & Ba 2015, arXiv:1412.6980): a function that moves weights against their gradient, in place. */
export function adam(rate) {
  const memory = new Map(); // what it remembers of each array of weights
  return (weights, gradient) => {
    if (!memory.has(weights)) memory.set(weights, { m: gradient.map(() => 0), v: gradient.map(() => 0), step: 0 });
    const past = memory.get(weights);
    past.step++;
    gradient.forEach((g, i) => {
      past.m[i] = 0.9 * past.m[i] + 0.1 * g;
      past.v[i] = 0.999 * past.v[i] + 0.001 * g * g;
      const [mean, spread] = [past.m[i] / (1 - 0.9 ** past.step), past.v[i] / (1 - 0.999 ** past.step)];
      weights[i] -= (rate * mean) / (Math.sqrt(spread) + 1e-8);
    });
  };
}
