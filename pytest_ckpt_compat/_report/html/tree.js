/* The two trees side by side: only the rows that are seen are elements. */

const ROW = 28, BEYOND = 8;

function explorer(box, model) {
  const view = viewOf(model), parts = frame(box, model);
  const tree = { ...parts, view, elements: new Map(), byRow: new Map(), active: 0, lit: -1, drawing: 0 };
  refresh(tree);
  control(tree);
  listen(tree);
  box.dataset.ready = "";
}

/** The elements that stay: tools, legend, the grid with its head, and the panel with details. */
function frame(box, model) {
  const make = document.getElementById("explorer").content.cloneNode(true);
  const find = (name) => make.querySelector(`[data-part="${name}"]`);
  const names = ["search", "changes", "openall", "closeall", "status", "grid", "sizer", "lines", "gutter", "details"];
  const parts = Object.fromEntries(names.map((name) => [name, find(name)]));
  parts.details.id = box.id + "-details";
  parts.grid.setAttribute("aria-label", "Modules of the old and the new side: " + visible(box.dataset.name));
  box.append(make);
  const families = new Set(model.data.marks.map(familyOf));
  const doubts = new Set(model.data.marks.map((mark) => mark.confidence));
  for (const item of box.querySelectorAll("[data-legend]")) {
    item.hidden = !families.has(item.dataset.legend) && !doubts.has(item.dataset.legend);
  }
  return parts;
}

/** Lists the rows anew, after something was opened, closed or filtered. */
function refresh(tree) {
  const { view } = tree, kept = view.rows[tree.active];
  const focused = tree.sizer.contains(document.activeElement);
  arrange(view);
  tree.byRow = curvesOf(view);
  tree.active = kept === undefined ? 0 : Math.max(view.rowOf[kept], 0);
  tree.lit = -1;
  for (const made of tree.elements.values()) made.remove();
  tree.elements.clear();
  tree.sizer.style.height = view.rows.length * ROW + "px";
  tree.grid.setAttribute("aria-rowcount", String(view.rows.length + 1));
  tree.status.textContent = view.kept ? count(view.found, "tensor") + (view.found === 1 ? " fits" : " fit") : "";
  render(tree);
  tell(tree, tree.active);
  if (focused && view.rows.length) focusRow(tree, tree.active);
}

/** Makes the elements of the rows in sight, and of the active one, and drops the others. */
function render(tree) {
  const { grid, view, elements } = tree, total = view.rows.length;
  const first = Math.max(Math.floor(grid.scrollTop / ROW) - BEYOND, 0);
  const last = Math.min(Math.ceil((grid.scrollTop + grid.clientHeight) / ROW) + BEYOND, total);
  const wanted = (row) => (row >= first && row < last) || row === tree.active;
  for (const [row, made] of elements) {
    if (wanted(row)) continue;
    made.remove();
    elements.delete(row);
  }
  for (let row = first; row < last; row++) if (!elements.has(row)) place(tree, row);
  if (tree.active < total && !elements.has(tree.active)) place(tree, tree.active);
  tree.lines.style.top = first * ROW + "px";
  tree.lines.style.height = Math.max(last - first, 0) * ROW + "px";
  tree.lines.style.left = tree.gutter.offsetLeft + "px";
  tree.lines.style.width = tree.gutter.offsetWidth + "px";
  draw(tree.lines, view, tree.byRow, first, last, ROW, tree.lit);
}

function later(tree) {
  if (!tree.drawing) tree.drawing = requestAnimationFrame(() => { tree.drawing = 0; render(tree); });
}

function place(tree, row) {
  const made = rowElement(tree, row);
  made.style.top = row * ROW + "px";
  let next = Infinity; // a screen reader meets the rows in their order
  for (const other of tree.elements.keys()) if (other > row && other < next) next = other;
  tree.sizer.insertBefore(made, tree.elements.get(next) || null);
  tree.elements.set(row, made);
}

function rowElement(tree, row) {
  const { view } = tree, node = view.model.nodes[view.rows[row]];
  const made = element("div", "row" + (node.isModule ? " module" : "") + (node.gone || node.come ? "" : " plain"));
  made.setAttribute("role", "row");
  made.setAttribute("aria-level", String(node.depth + 1));
  made.setAttribute("aria-rowindex", String(row + 2));
  if (row === tree.active) made.setAttribute("aria-describedby", tree.details.id);
  if (node.isModule) made.setAttribute("aria-expanded", String(isOpen(view, node)));
  made.tabIndex = row === tree.active ? 0 : -1;
  made.dataset.row = row;
  const sides = ["left", "right"].map((side) => sideCell(view, node, side));
  const gutter = element("div", "gutter");
  gutter.setAttribute("aria-hidden", "true");
  made.append(sides[0], gutter, sides[1], saidCell(node, node.isModule && isOpen(view, node)));
  return made;
}

function sideCell(view, node, side) {
  const cell = element("div", "cell " + side);
  cell.setAttribute("role", "gridcell");
  cell.style.setProperty("--depth", node.depth);
  if (node[side] === null) {
    const other = side === "left" ? "level added" : "level dropped";
    cell.append(element("span", node.level ? "absent" : "unseen", node.level ? other : "nothing here"));
    return cell;
  }
  const number = node.tensors[side === "left" ? 0 : 1];
  const twist = element("span", "twist");
  twist.setAttribute("aria-hidden", "true");
  cell.append(twist, element("span", "name", node[side] || '""'));
  const closed = node.isModule && !isOpen(view, node);
  if (closed) cell.append(element("span", "spec", count(number, "tensor")));
  if (!node.isModule) {
    cell.append(element("span", "spec", specOf(view.model, node, side === "left" ? "old" : "new")));
    if (number > 1) cell.append(element("span", "times", "×" + number.toLocaleString("en")));
  }
  return cell;
}

/** What happened, in words: the two kinds that matter most, and how many more. What is open says it below. */
function saidCell(node, opened) {
  const cell = element("div", "cell said"), said = saidOf(node);
  cell.setAttribute("role", "gridcell");
  if (opened && said.length) {
    const words = said.map(({ mark, number }) => `${mark.word} × ${number}`);
    cell.append(element("span", "unseen", words.join(", ")));
    return cell;
  }
  if (!said.length) cell.append(element("span", "unseen", "the same"));
  for (const { mark, number } of said.slice(0, 2)) {
    const part = element("span", "what " + familyOf(mark));
    part.append(element("span", "sign", mark.sign), element("span", "", mark.word));
    if (node.isModule && number > 1) part.append(element("span", "times", "×" + number.toLocaleString("en")));
    if (mark.confidence !== "certain") part.append(element("span", "sure " + mark.confidence, mark.confidence));
    cell.append(part);
  }
  if (said.length > 2) cell.append(element("span", "quiet", `+ ${said.length - 2} more`));
  return cell;
}

/** Shows the details of a row. */
function tell(tree, row) {
  const id = tree.view.rows[row];
  if (id === undefined) tree.details.replaceChildren(element("p", "quiet", "No key fits."));
  else fill(tree.details, tree.view.model, tree.view.model.nodes[id]);
}

function light(tree, row) {
  if (tree.lit === row) return;
  tree.lit = row;
  later(tree);
  tell(tree, row < 0 ? tree.active : row);
}

function focusRow(tree, row) {
  const { grid, view } = tree;
  const before = tree.elements.get(tree.active);
  if (before) {
    before.tabIndex = -1;
    before.removeAttribute("aria-describedby");
  }
  tree.active = Math.min(Math.max(row, 0), view.rows.length - 1);
  const top = tree.active * ROW, head = tree.sizer.offsetTop;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + ROW + head > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + ROW + head - grid.clientHeight;
  tree.lit = tree.active;
  render(tree);
  tell(tree, tree.active);
  const made = tree.elements.get(tree.active);
  made.tabIndex = 0;
  made.setAttribute("aria-describedby", tree.details.id);
  made.focus({ preventScroll: true });
}
