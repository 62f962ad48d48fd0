/* What the keyboard, the pointer and the tools above a tree do. */

function control(tree) {
  const { view } = tree;
  const changed = () => {
    filter(view, tree.search.value, tree.changes.checked);
    tree.grid.scrollTop = 0;
    refresh(tree);
  };
  let waiting = 0;
  tree.search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(changed, 120);
  });
  tree.changes.addEventListener("change", changed);
  const all = (open) => () => {
    view.closed.clear();
    for (const node of view.model.nodes) {
      node.open = open;
      if (!open && view.text.trim() && node.isModule) view.closed.add(node.id);
    }
    refresh(tree);
  };
  tree.openall.addEventListener("click", all(true));
  tree.closeall.addEventListener("click", all(false));
}

function listen(tree) {
  const rowOf = (event) => {
    const made = event.target.closest("[data-row]");
    return made ? Number(made.dataset.row) : -1;
  };
  tree.grid.addEventListener("scroll", () => later(tree), { passive: true });
  new ResizeObserver(() => later(tree)).observe(tree.grid);
  tree.sizer.addEventListener("pointerover", (event) => rowOf(event) >= 0 && light(tree, rowOf(event)));
  tree.sizer.addEventListener("pointerleave", () => light(tree, -1));
  tree.sizer.addEventListener("focusin", (event) => rowOf(event) >= 0 && light(tree, rowOf(event)));
  tree.sizer.addEventListener("click", (event) => {
    const row = rowOf(event);
    if (row < 0) return;
    focusRow(tree, row);
    const node = nodeAt(tree, row);
    if (node.isModule) turn(tree, node);
  });
  tree.grid.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || rowOf(event) < 0) return;
    if (press(tree, event.key)) event.preventDefault();
  });
  tree.details.addEventListener("keydown", (event) => {
    if (event.key === "Escape") focusRow(tree, tree.active);
  });
}

function nodeAt(tree, row) {
  return tree.view.model.nodes[tree.view.rows[row]];
}

function turn(tree, node) {
  toggle(tree.view, node);
  refresh(tree);
}

/** Does what a key stands for in a tree; whether it stands for anything. */
function press(tree, key) {
  const { active, view, grid } = tree, node = nodeAt(tree, active);
  const page = Math.max(Math.floor(grid.clientHeight / ROW) - 2, 1);
  const to = {
    ArrowDown: active + 1, ArrowUp: active - 1, Home: 0, End: view.rows.length - 1,
    PageDown: active + page, PageUp: active - page,
  }[key];
  if (to !== undefined) focusRow(tree, to);
  else if (key === "ArrowRight" && node.isModule) isOpen(view, node) ? focusRow(tree, active + 1) : turn(tree, node);
  else if (key === "ArrowLeft" && node.isModule && isOpen(view, node)) turn(tree, node);
  else if (key === "ArrowLeft" && node.parent >= 0) focusRow(tree, view.rowOf[node.parent]);
  else if ((key === "Enter" || key === " ") && node.isModule) turn(tree, node);
  else if (key === "Enter" || key === " ") tree.details.focus();
  else return ["ArrowRight", "ArrowLeft"].includes(key);
  return true;
}
