// Chances: the normal distribution, a lower bound of a share, and noise that is the same every time.

/** Φ: the share of a standard normal number that lies below z (Marsaglia 2004, a series that is exact to rounding). */
export function below(z) {
  if (Math.abs(z) > 8) return z > 0 ? 1 : 0;
  let [sum, term] = [z, z];
  for (let k = 3; sum !== sum + term; k += 2) sum += term *= (z * z) / k;
  return 0.5 + sum * Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
}

/** Φ⁻¹: the number below which a standard normal one lies with probability p in [1e-9, 1 - 1e-9]. */
export function quantile(p) {
  return root((z) => below(z) - p, -8, 8);
}

/** The least share at which k of n hits are not rarer than alpha, 0 … 1 (Clopper & Pearson 1934). */
export function leastShare(k, n, alpha) {
  return k === 0 ? 0 : root((p) => beta(p, k, n - k + 1) - alpha, 0, 1);
}

/** Where a rising function is zero between low and high: halves until numbers have no middle left. */
function root(rising, low, high) {
  for (;;) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) return middle;
    if (rising(middle) < 0) low = middle;
    else high = middle;
  }
}

/** The regularized incomplete beta function I_x(a, b), by a continued fraction (DLMF 8.17.22, by Lentz's method). */
export function beta(x, a, b) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  // On this side of the mean the fraction converges fast.
  if (x > (a + 1) / (a + b + 2)) return 1 - beta(1 - x, b, a);
  let [c, d] = [1, 1 / (1 - ((a + b) * x) / (a + 1))];
  let value = d;
  const turn = (numerator) => {
    d = 1 / (1 + numerator * d);
    c = 1 + numerator / c;
    value *= c * d;
  };
  for (let m = 1; m < 10_000 && (m === 1 || Math.abs(c * d - 1) > 1e-15); m++) {
    turn((m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)));
    turn((-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)));
  }
  const scale = logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x);
  return (Math.exp(scale) * value) / a;
}

/** log Γ(x), x > 0: Stirling's series, which is exact to rounding from 10 on. */
function logGamma(x) {
  if (x < 10) return logGamma(x + 1) - Math.log(x);
  const series = (1 / 12 - (1 / 360 - 1 / (1260 * x * x)) / (x * x)) / x;
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series;
}

/** n standard normal numbers, the same for the same seed (mulberry32, and Box & Muller 1958). */
export function normals(n, seed) {
  let state = Math.imul(seed + 1, 0x9e3779b9);
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const drawn = new Float64Array(n);
  for (let i = 0; i < n; i += 2) {
    const [radius, angle] = [Math.sqrt(-2 * Math.log(1 - uniform())), 2 * Math.PI * uniform()];
    drawn[i] = radius * Math.cos(angle);
    if (i + 1 < n) drawn[i + 1] = radius * Math.sin(angle);
  }
  return drawn;
}
