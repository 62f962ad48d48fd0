/* The two trees as one list of nodes, parents before children, and the facts at each. */

/* What stands for a name: see data.py. */
const SAME = 1, LEVEL = 2, LAST = 3;
/* From what matters most; the first of a row's facts gives it its colour. */
const SEVERITIES = ["error", "incomplete", "warning", "existing", "accepted", "ignored", "ok"];
const DOUBTS = ["ambiguous", "likely", "certain"];

function listOf(places) {
  return Array.isArray(places) ? places : [places];
}

function modelOf(data) {
  const old = keysOf(data.old), now = keysOf(data.new, old);
  const model = {
    data, old, new: now, nodes: [],
    atOld: new Int32Array(old.length).fill(-1), atNew: new Int32Array(now.length).fill(-1),
    byOld: new Map(), byNew: new Map(),
  };
  data.facts.forEach((fact, number) => {
    for (const place of listOf(fact[1])) told(model.byOld, place, number);
    for (const place of listOf(fact[2])) told(model.byNew, place, number);
  });
  for (const row of data.rows) addNode(model, row, -1, 0);
  addUp(model);
  return model;
}

function told(facts, place, number) {
  if (facts.has(place)) facts.get(place).push(number);
  else facts.set(place, [number]);
}

function addNode(model, row, parent, depth) {
  const isModule = typeof row[3] === "boolean";
  const left = nameOf(row[0], model.old, row[2]);
  const right = row[1] === SAME ? left : nameOf(row[1], model.new, row[3]);
  const id = model.nodes.length;
  const node = {
    id, parent, depth, left, right, isModule, end: id + 1, open: row[3] === true,
    level: row[0] === LEVEL || row[1] === LEVEL, old: [], new: [], gone: null, come: null,
  };
  model.nodes.push(node);
  if (isModule) {
    for (const each of row[2]) addNode(model, each, id, depth + 1);
    node.end = model.nodes.length;
    return;
  }
  node.old = listOf(row[2]);
  node.new = listOf(row[3]);
  for (const place of node.old) model.atOld[place] = id;
  for (const place of node.new) model.atNew[place] = id;
  node.gone = tally(model, node.old, model.byOld);
  node.come = tally(model, node.new, model.byNew);
}

function nameOf(name, keys, place) {
  if (name === LAST) return keys[place].slice(keys[place].lastIndexOf(".") + 1);
  return typeof name === "string" ? name : null;
}

/** How many of some keys each kind of fact is about: a map from the number of a mark's kind. */
function tally(model, places, facts) {
  let found = null;
  for (const place of places) {
    for (const number of facts.get(place) || []) {
      found = found || new Map();
      const mark = model.data.marks[model.data.facts[number][0]];
      const kind = mark.word + "\n" + mark.severity;
      const before = found.get(kind);
      if (!before) found.set(kind, { mark, number: 1 });
      else found.set(kind, { mark: worse(before.mark, mark), number: before.number + 1 });
    }
  }
  return found;
}

/** Gives each module what its content adds up to. */
function addUp(model) {
  for (const node of model.nodes) node.tensors = [node.old.length, node.new.length];
  for (let id = model.nodes.length - 1; id >= 0; id--) {
    const node = model.nodes[id], parent = model.nodes[node.parent];
    if (!parent) continue;
    parent.tensors[0] += node.tensors[0];
    parent.tensors[1] += node.tensors[1];
    parent.gone = merged(parent.gone, node.gone);
    parent.come = merged(parent.come, node.come);
  }
}

function merged(one, other) {
  if (!other) return one;
  const found = new Map(one || []);
  for (const [kind, each] of other) {
    const before = found.get(kind);
    const mark = before ? worse(before.mark, each.mark) : each.mark;
    found.set(kind, { mark, number: each.number + (before ? before.number : 0) });
  }
  return found;
}

/** Of two marks the one that matters more: by severity, then by doubt. */
function worse(one, other) {
  return rank(other) < rank(one) ? other : one;
}

function rank(mark) {
  return 4 * SEVERITIES.indexOf(mark.severity) + DOUBTS.indexOf(mark.confidence);
}

/** What is said of a node, the worst first: how many keys each kind of fact is about. */
function saidOf(node) {
  const found = new Map(node.come || []);
  for (const [kind, each] of node.gone || []) found.set(kind, each);
  return [...found.values()].sort((a, b) => rank(a.mark) - rank(b.mark));
}

/** The path of a node on one side, with {0..11} for folded numbers: "blocks.{0..11}.attn". */
function pathOf(model, node, side) {
  const names = [];
  for (let each = node; each; each = model.nodes[each.parent]) {
    if (each[side] !== null) names.unshift(each[side]);
  }
  return node[side] === null ? "" : names.join(".");
}

/** The pairs of keys of a fact: one to one where both sides have as many, else each to each. */
function pairsOf(fact) {
  const olds = listOf(fact[1]), news = listOf(fact[2]);
  if (olds.length === news.length) return olds.map((old, place) => [old, news[place]]);
  return olds.flatMap((old) => news.map((now) => [old, now]));
}

/** The colour of a mark, one for each family of changes. */
function familyOf(mark) {
  if (["accepted", "existing", "ignored"].includes(mark.severity)) return "quiet";
  if (mark.word === "split" || mark.word === "fused") return "braid";
  if (mark.word === "missing" || mark.word === "unexpected") return "gone";
  if (mark.word === "migrated") return "migrated";
  if (mark.sign === "~") return "moved";
  return mark.sign === "!" ? "misfit" : "look";
}
