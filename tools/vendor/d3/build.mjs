// Writes robustcourse/widgets/d3.mjs:  npm ci && npm run build
//
// The bundle is one object named d3, so that it works both as a module (import { d3 } from "./d3.mjs") and pasted
// in front of a figure inside one inline script, where two modules' short names would otherwise collide.
import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";

const out = new URL("../../../robustcourse/widgets/d3.mjs", import.meta.url);
const entry = `
  export { axisBottom, axisLeft } from "d3-axis";
  export { scaleBand, scaleLinear } from "d3-scale";
  export { select } from "d3-selection";
  export { area, line } from "d3-shape";
`;

const { metafile, outputFiles } = await build({
  stdin: { contents: entry, resolveDir: "." },
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  format: "iife",
  globalName: "d3",
  target: "es2020",
});

// Every package that got into the bundle keeps its licence, equal texts once.
const [output] = Object.values(metafile.outputs);
const used = Object.entries(output.inputs).filter(([, part]) => part.bytesInOutput > 0);
const names = [...new Set(used.map(([path]) => path.match(/node_modules\/([^/]+)\//)?.[1]).filter(Boolean))].sort();
const licences = new Map();
for (const name of names) {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`));
  const text = readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim();
  licences.set(text, [...(licences.get(text) ?? []), `${name} ${version}`]);
}
const banner = [...licences].map(([text, packages]) => `${packages.join(", ")}\n\n${text}`).join("\n\n");

writeFileSync(out, `/*!\nBuilt by tools/vendor/d3/build.mjs from:\n\n${banner}\n*/\n${outputFiles[0].text.trim()}\nexport { d3 };\n`);
console.log(`${names.join(", ")}: ${readFileSync(out).length} bytes`);
