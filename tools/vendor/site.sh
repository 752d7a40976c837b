#!/usr/bin/env bash
# Re-creates book/static/vendor from npm packages of the exact versions in tools/vendor/site/package.json.
# Needs node and npm. Run it after changing a version there, then commit what it wrote.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
out="$here/../../book/static/vendor"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

cp "$here/site/package.json" "$work/"
(cd "$work" && npm install --silent --no-audit --no-fund --no-package-lock)
from="$work/node_modules"

rm -rf "$out"
mkdir -p "$out/mathjax/output/chtml/fonts/woff-v2" "$out/widgets/@jupyter-widgets" "$out/fonts"

# MathJax: one file with every TeX package in it, so that nothing is fetched later, and its fonts.
cp "$from/mathjax/es5/tex-chtml-full.js" "$out/mathjax/"
cp "$from"/mathjax/es5/output/chtml/fonts/woff-v2/*.woff "$out/mathjax/output/chtml/fonts/woff-v2/"

# Jupyter widgets: require.js, the manager, and the icon fonts that its buttons use, where the manager looks for them.
"$work/node_modules/.bin/esbuild" "$from/requirejs/require.js" --minify --legal-comments=inline \
  --outfile="$out/widgets/require.min.js" --log-level=error
manager="$from/@jupyter-widgets/html-manager/dist"
cp "$manager/embed-amd.js" "$out/widgets/"
for font in $(grep -oE '[0-9a-f]{20}\.woff2' "$manager/embed-amd.js" | sort -u); do
  cp "$manager/$font" "$out/widgets/@jupyter-widgets/"
done

# Inter: Latin and Greek, upright and italic.
for style in normal italic; do
  for subset in latin greek; do
    cp "$from/@fontsource-variable/inter/files/inter-$subset-wght-$style.woff2" "$out/fonts/"
  done
done

# Licences, one after the other. RequireJS and the widget manager ship none as a file: the text names the SPDX licence.
{
  echo "Files in this folder come from npm packages. tools/vendor/site.sh re-creates them."
  for name in mathjax requirejs @jupyter-widgets/html-manager @fontsource-variable/inter; do
    node -p "const p = require('$from/$name/package.json');
      '\n' + '='.repeat(78) + '\n' + p.name + ' ' + p.version + ', ' + p.license + '\n' +
      (p.homepage || p.repository.url || p.repository) + '\n'"
    cat "$from/$name/LICENSE" 2>/dev/null || cat "$here/site/LICENSE.${name##*/}"
  done
  echo
  echo "The icon fonts in widgets/ are Font Awesome Free 5 (https://fontawesome.com), under the SIL Open Font License 1.1"
  echo "printed above for Inter."
} > "$out/LICENSES.txt"
du -sh "$out"
