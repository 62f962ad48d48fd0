/* What is known of one row: its keys, what happened to them, and why that is believed. */

const SHOWN_KEYS = 40;
const SURE = {
  certain: "certain",
  likely: "likely: not certain, so no migration uses it unasked",
  ambiguous: "ambiguous: other keys fit as well",
};

function fill(box, model, node) {
  const parts = [heading(model, node), ...factsAt(model, node).map((found) => described(model, found))];
  if (!node.gone && !node.come) parts.push(element("p", "quiet", unchanged(node)));
  if (!node.isModule) parts.push(keyList(model, node));
  box.replaceChildren(...parts);
}

function unchanged(node) {
  return node.isModule ? `${count(node.tensors[0], "tensor")}, the same on both sides` : "the same on both sides";
}

function heading(model, node) {
  const box = element("div", "paths");
  const paths = [pathOf(model, node, "left"), pathOf(model, node, "right")];
  const specs = [specOf(model, node, "old"), specOf(model, node, "new")];
  const alike = paths[0] === paths[1] && specs[0] === specs[1];
  ["old", "new"].slice(alike ? 1 : 0).forEach((side, place) => {
    const which = alike ? 1 : place;
    if (node[which ? "right" : "left"] === null) return;
    const line = element("p", "path");
    line.append(element("span", "side", alike ? "both" : side), element("code", "", paths[which] || '""'));
    if (specs[which]) line.append(element("span", "spec", specs[which]));
    box.append(line);
  });
  return box;
}

function specOf(model, node, side) {
  const numbers = model.data[side === "old" ? "oldSpecs" : "newSpecs"];
  return node[side].length ? model.data.specs[numbers[node[side][0]]] : "";
}

/** Mark -> how many facts of it are at a node or below it, those that matter most first. */
function factsAt(model, node) {
  const numbers = new Set(), marks = new Map();
  for (let id = node.id; id < node.end; id++) {
    const each = model.nodes[id];
    for (const place of each.old) for (const fact of model.byOld.get(place) || []) numbers.add(fact);
    for (const place of each.new) for (const fact of model.byNew.get(place) || []) numbers.add(fact);
  }
  for (const number of numbers) {
    const fact = model.data.facts[number], mark = model.data.marks[fact[0]];
    const name = [mark.rule, mark.word, mark.severity, mark.confidence, mark.detail, mark.reason].join("\n");
    const found = marks.get(name) || { mark, number: 0, evidence: new Map(), candidates: new Map() };
    found.number += 1;
    for (const text of mark.evidence || []) found.evidence.set(text, (found.evidence.get(text) || 0) + 1);
    if (mark.candidates) found.candidates.set(model.old[listOf(fact[1])[0]], mark.candidates);
    marks.set(name, found);
  }
  return [...marks.values()].sort((a, b) => rank(a.mark) - rank(b.mark));
}

function described(model, { mark, number, evidence, candidates }) {
  const box = element("div", "fact " + familyOf(mark));
  const title = element("p", "title");
  title.append(element("span", "sign", mark.sign), element("strong", "", mark.word));
  if (mark.rule) title.append(ruleLink(mark));
  if (number > 1) title.append(element("span", "times", "× " + number.toLocaleString("en")));
  box.append(title);
  const lines = [mark.detail || "", severityWords(mark)];
  for (const line of lines.filter(Boolean)) box.append(element("p", "", line));
  if (evidence.size || mark.confidence !== "certain") box.append(belief(mark, number, evidence));
  for (const [key, others] of [...candidates].slice(0, 5)) {
    const rivals = others.slice(0, 5).join(", ") + (others.length > 5 ? ", …" : "");
    box.append(element("p", "", `${key} could also be ${rivals}`));
  }
  return box;
}

function ruleLink(mark) {
  const place = "rule-" + mark.rule.toLowerCase();
  if (!document.getElementById(place)) return element("span", "rule", mark.rule);
  const link = element("a", "rule", mark.rule);
  link.href = "#" + place;
  return link;
}

function severityWords(mark) {
  if (mark.severity === "ignored") return mark.reason ? "ignored: " + mark.reason : "ignored by the project's settings";
  if (mark.severity === "accepted") return "accepted: " + mark.reason;
  if (mark.severity === "existing") return "already on " + mark.reason;
  return mark.severity === "warning" ? "the load succeeds" : "";
}

function belief(mark, number, evidence) {
  const box = element("dl", "belief");
  box.append(element("dt", "", "How sure"), element("dd", "sure " + mark.confidence, SURE[mark.confidence]));
  if (evidence.size) {
    box.append(element("dt", "", "Evidence"));
    const list = element("ul");
    for (const [text, times] of evidence) {
      list.append(element("li", "", times < number ? `${text} (${times.toLocaleString("en")} of them)` : text));
    }
    const cell = element("dd");
    cell.append(list);
    box.append(cell);
  }
  return box;
}

/** The exact keys that a row stands for, and what each became. */
function keyList(model, node) {
  const box = element("details", "keys");
  const lines = keyLines(model, node);
  box.append(element("summary", "", count(lines.length, "key")));
  const list = element("ol");
  box.append(list);
  const more = element("button", "", "Show more");
  more.type = "button";
  const add = () => {
    const done = list.childElementCount;
    for (const line of lines.slice(done, done + SHOWN_KEYS)) list.append(keyLine(line));
    more.hidden = list.childElementCount >= lines.length;
  };
  more.addEventListener("click", add);
  box.append(more);
  box.addEventListener("toggle", () => box.open && !list.childElementCount && add());
  box.open = lines.length <= 12;
  return box;
}

function keyLine([old, news]) {
  const line = element("li");
  if (old !== null) line.append(element("code", "", old || '""'));
  const others = news.filter((now) => now !== old || old === null);
  if (others.length) line.append(" → ");
  others.forEach((now, place) => line.append(place ? ", " : "", element("code", "", now || '""')));
  return line;
}

function keyLines(model, node) {
  const became = (place) => [
    ...new Set((model.byOld.get(place) || []).flatMap((number) => {
      const fact = model.data.facts[number];
      return pairsOf(fact).filter(([old]) => old === place).map(([, now]) => model.new[now]);
    })),
  ];
  const lines = node.old.map((place) => [model.old[place], became(place)]);
  const known = new Set(lines.flatMap(([old, news]) => (news.length ? news : [old])));
  const rest = node.new.filter((place) => !known.has(model.new[place]));
  return [...lines, ...rest.map((place) => sourceLine(model, place))];
}

function sourceLine(model, place) {
  for (const number of model.byNew.get(place) || []) {
    const source = pairsOf(model.data.facts[number]).find(([, now]) => now === place);
    if (source) return [model.old[source[0]], [model.new[place]]];
  }
  return [null, [model.new[place]]];
}
