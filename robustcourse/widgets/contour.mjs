// Where a field of numbers on a grid is zero.

/** Pieces [from, to] of the line on which a field is zero: in each cell, straight from side to side. */
export function contour(values, grid) {
  const pieces = [];
  const corner = [[0, 0], [1, 0], [1, 1], [0, 1]]; // prettier-ignore
  for (let row = 0; row + 1 < grid; row++)
    for (let column = 0; column + 1 < grid; column++) {
      const corners = corner.map(([right, up]) => [column + right, row + up]);
      const level = corners.map(([i, j]) => values[j * grid + i]);
      const crossings = [];
      corners.forEach((from, k) => {
        const [next, a, b] = [corners[(k + 1) % 4], level[k], level[(k + 1) % 4]];
        if (a > 0 !== b > 0)
          crossings.push(from.map((place, axis) => (place + (a / (a - b)) * (next[axis] - place)) / (grid - 1)));
      });
      for (let k = 0; k < crossings.length; k += 2) pieces.push([crossings[k], crossings[k + 1]]);
    }
  return pieces;
}
