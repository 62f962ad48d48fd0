/* Keys: from their short form, and as text that can be seen. */

/** A text in which nothing is hidden and nothing acts: control signs become \x1b, \u202e and the like. */
function visible(text) {
  return text.replace(/[\p{C}\p{Z}]/gu, (sign) => {
    if (sign === " ") return sign;
    const code = sign.codePointAt(0);
    const hex = (digits) => code.toString(16).padStart(digits, "0");
    if (code <= 0xff) return "\\x" + hex(2);
    return code <= 0xffff ? "\\u" + hex(4) : "\\U" + hex(8);
  });
}

/** The keys: "2 bias" shares two segments with the key before it; [3, 5] are five keys of `known`. */
function keysOf(entries, known) {
  const keys = [];
  let before = [];
  for (const entry of entries) {
    if (Array.isArray(entry)) {
      for (let place = entry[0]; place < entry[0] + entry[1]; place++) keys.push(known[place]);
      before = [];
      continue;
    }
    const space = entry.indexOf(" ");
    const own = entry.slice(space + 1).split(".");
    before = before.slice(0, Number(entry.slice(0, space))).concat(own);
    keys.push(before.join("."));
  }
  return keys;
}

/** A counted noun: "1 tensor", "1,024 tensors". */
function count(number, noun) {
  return number.toLocaleString("en") + " " + noun + (number === 1 ? "" : "s");
}

/** An element with a class and a text; what is shown of a file passes through `visible`. */
function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = visible(text);
  return made;
}
