/* Which nodes are shown, in which rows: what is open, what the filter keeps. */

function viewOf(model) {
  return { model, text: "", changes: false, kept: null, closed: new Set(), rows: [], rowOf: null, found: 0 };
}

/** Sets the filter: every word has to occur in a key; with `changes`, unchanged tensors are left out. */
function filter(view, text, changes) {
  view.text = text;
  view.changes = changes;
  view.closed.clear();
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  view.kept = words.length || changes ? keptBy(view, words) : null;
}

function keptBy(view, words) {
  const { model } = view, kept = new Uint8Array(model.nodes.length);
  view.found = 0;
  for (const node of model.nodes) {
    if (node.isModule || (view.changes && !node.gone && !node.come)) continue;
    const matches = words.length === 0 ? Math.max(node.old.length, node.new.length) : matching(model, node, words);
    if (matches === 0) continue;
    view.found += matches;
    for (let id = node.id; id >= 0 && !kept[id]; id = model.nodes[id].parent) kept[id] = 1;
  }
  return kept;
}

function matching(model, node, words) {
  const fits = (keys) => (place) => words.every((word) => keys[place].toLowerCase().includes(word));
  return Math.max(node.old.filter(fits(model.old)).length, node.new.filter(fits(model.new)).length);
}

function isOpen(view, node) {
  return view.text.trim() ? !view.closed.has(node.id) : node.open;
}

function toggle(view, node) {
  if (!view.text.trim()) node.open = !node.open;
  else if (!view.closed.delete(node.id)) view.closed.add(node.id);
}

/** Lists the shown nodes; `rowOf` has for every node the row of itself, or of the closed module it is in. */
function arrange(view) {
  const { nodes } = view.model;
  view.rows = [];
  view.rowOf = new Int32Array(nodes.length).fill(-1);
  for (let id = 0; id < nodes.length; ) {
    const node = nodes[id];
    if (view.kept && !view.kept[id]) {
      id = node.end;
      continue;
    }
    const opened = node.isModule && isOpen(view, node);
    view.rowOf.fill(view.rows.length, id, opened ? id + 1 : node.end);
    view.rows.push(id);
    id = opened ? id + 1 : node.end;
  }
}
