/* The lines between the trees: one for all links between the same two rows. */

const SVG = "http://www.w3.org/2000/svg";
const MOST_CURVES = 300;

/** Row -> the curves that begin or end there. */
function curvesOf(view) {
  const { model, rowOf } = view, found = new Map(), byRow = new Map();
  for (const fact of model.data.facts) {
    for (const [old, now] of pairsOf(fact)) {
      const from = rowOf[model.atOld[old]], to = rowOf[model.atNew[now]];
      if (from < 0 || to < 0) continue;
      const name = from * 2 ** 26 + to, mark = model.data.marks[fact[0]];
      const before = found.get(name);
      if (before) {
        before.number += 1;
        before.mark = worse(before.mark, mark);
      } else found.set(name, { from, to, number: 1, mark });
    }
  }
  for (const curve of found.values()) {
    told(byRow, curve.from, curve);
    if (curve.to !== curve.from) told(byRow, curve.to, curve);
  }
  return byRow;
}

/** Draws what is seen of the lines from row `first` to before row `last`; `lit` is the row under the pointer. */
function draw(svg, view, byRow, first, last, height, lit) {
  const width = svg.clientWidth || 112, drawn = new Set();
  const paths = document.createDocumentFragment();
  for (let row = first; row < last; row++) {
    const curves = byRow.get(row) || [];
    if (!curves.length && isPlain(view, row)) paths.append(path(width, row, row, first, height, "same"));
    for (const curve of curves) {
      if (drawn.has(curve) || drawn.size >= MOST_CURVES) continue;
      drawn.add(curve);
      const open = curve.from === curve.to && isOpened(view, row);
      const on = curve.from === lit || curve.to === lit ? " on" : "";
      const style = `${familyOf(curve.mark)} ${curve.mark.confidence}${open ? " open" : ""}${on}`;
      paths.append(path(width, curve.from, curve.to, first, height, style));
    }
  }
  svg.replaceChildren(paths);
}

function isOpened(view, row) {
  const node = view.model.nodes[view.rows[row]];
  return node.isModule && isOpen(view, node);
}

/** Whether a row is the same on both sides, and closed. */
function isPlain(view, row) {
  const node = view.model.nodes[view.rows[row]];
  return node.left !== null && node.right !== null && !isOpened(view, row);
}

function path(width, from, to, first, height, style) {
  const y = (row) => (row - first + 0.5) * height;
  const made = document.createElementNS(SVG, "path");
  const bend = width / 2;
  const middle = from === to ? `L ${width} ${y(to)}` : `C ${bend} ${y(from)} ${bend} ${y(to)} ${width} ${y(to)}`;
  made.setAttribute("d", `M 0 ${y(from)} ${middle}`);
  made.setAttribute("class", style);
  return made;
}
