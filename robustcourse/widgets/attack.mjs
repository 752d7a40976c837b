// FGSM and PGD (Goodfellow et al. 2015, arXiv:1412.6572; Madry et al. 2018, arXiv:1706.06083) as in
// robustcourse.attacks, with one difference: the walk starts at the clean image, not at a random point of the ball, so
// that what a figure shows depends on its sliders only.
import { lossAndGradient } from "./nn.mjs";

export const norms = {
  Linf: {
    measure: (d) => d.reduce((top, v) => Math.max(top, Math.abs(v)), 0),
    steepest: (g) => g.map(Math.sign),
    project: (d, eps) => d.map((v) => Math.min(eps, Math.max(-eps, v))),
  },
  L2: {
    measure: (d) => Math.hypot(...d),
    steepest(g) {
      const length = Math.hypot(...g);
      return length > 0 ? g.map((v) => v / length) : g;
    },
    project(d, eps) {
      const length = Math.hypot(...d);
      return length > eps ? d.map((v) => (v * eps) / length) : d;
    },
  },
};

/**
 * Images x (n examples, flat), moved within eps of where they were and within [0, 1] so that the loss of their labels
 * grows; with targeted, so that it shrinks. onStep(step, loss) hears the loss of each example before every step.
 */
export function pgd(net, x, labels, { norm, eps, steps, stepSize = (2.5 * eps) / steps, targeted = false, onStep }) {
  const { steepest, project } = norms[norm];
  const inputs = x.length / labels.length;
  const sign = targeted ? -1 : 1;
  let moved = Float64Array.from(x);
  for (let step = 0; step < steps; step++) {
    const { loss, gradient } = lossAndGradient(net, moved, labels);
    onStep?.(step, loss);
    const next = new Float64Array(x.length);
    for (let start = 0; start < x.length; start += inputs) {
      // A pixel that is black or white cannot move on, and takes no part of the step.
      const stuck = (v, i) => (sign * v < 0 && moved[start + i] <= 0) || (sign * v > 0 && moved[start + i] >= 1);
      const way = steepest(gradient.subarray(start, start + inputs).map((v, i) => (stuck(v, i) ? 0 : v)));
      const delta = project(way.map((v, i) => moved[start + i] + sign * stepSize * v - x[start + i]), eps);
      // Back into the box last: towards the clean image, which is inside, so it never leaves the ball.
      delta.forEach((v, i) => (next[start + i] = Math.min(1, Math.max(0, x[start + i] + v))));
    }
    moved = next;
  }
  return moved;
}

/** One step of full size: what a linear model would call the worst change. */
export function fgsm(net, x, labels, options) {
  return pgd(net, x, labels, { ...options, steps: 1, stepSize: options.eps });
}
