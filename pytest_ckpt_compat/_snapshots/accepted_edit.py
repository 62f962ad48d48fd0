"""Edits the text of a file with accepted breaks; what people wrote in it stays.

An entry is edited inside its own lines, so that every other line stays byte for byte. The result is read
back before it counts: where an edit that keeps the layout gives something else, a plainer one follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import date
from typing import Any

from pytest_ckpt_compat._core import toml
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._snapshots.accepted import FILE, Entry, loads

_HEADER = "# Accepted breaks. ckpt-compat accept adds them; review them in the pull request.\n"
#: A line that can begin an entry; inside of a string it does not.
_FIRST_LINE = re.compile(r"^[ \t]*\[\[.*$", re.MULTILINE)
#: The number of changes that the writer notes beside them.
_COUNT = re.compile(r"\A\[(\s*)# [\d,]+ changes?(?=\s)")
#: Comments, strings and line ends; whatever is between them does not matter.
_TOKEN = re.compile(
    r"""\#[^\n]* | \"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\])*" | '[^'\n]*' | \n""",
    re.VERBOSE | re.DOTALL,
)


def alone(entry: Entry) -> str:
    """The text of a file with this entry alone.

    Raises:
        SnapshotError: the entry cannot be written.
    """
    entry = _as_written(entry)
    text = _attempt(lambda: _block(entry), [entry])
    if text is None:
        what = f"the accepted {entry.rule} of {entry.id}"
        raise SnapshotError(what, "cannot be written", "check its reason")
    return text


def is_bare(text: str) -> bool:
    """Whether a text has nothing that a person wrote."""
    return text.strip() in ("", _HEADER.strip())


def without(text: str, gone: Collection[Entry], shown: str = FILE) -> str:
    """The text of a file without some entries; all other lines stay as they are.

    Args:
        text: the file's text.
        gone: the entries, as ``loads`` gives them.
        shown: the file's path, for messages.

    Raises:
        SnapshotError: the text cannot be used.
    """
    entries = loads(text, shown)
    wanted = [entry for entry in entries if entry not in gone]
    if len(wanted) == len(entries):
        return text
    numbers = [number for number, entry in enumerate(entries) if entry in gone]
    for edit in (lambda: _cut(text, numbers), lambda: _plain_list(text, wanted)):
        result = _attempt(edit, wanted)
        if result is not None:
            return result
    ids = ", ".join(sorted({entry.id for entry in gone}))
    raise SnapshotError(shown, "cannot be edited", f"take the entries of {ids} out by hand")


def put(text: str, entry: Entry, shown: str = FILE) -> str:
    """The text of a file with an entry added, or with the entry of the same id, rule and key updated.

    All other lines stay as they are: comments, order, layout, line ends. Of several entries with that id,
    rule and key, the first is updated.

    Args:
        text: the file's text, or "".
        entry: what to add.
        shown: the file's path, for messages.

    Raises:
        SnapshotError: the text cannot be used.
    """
    entries = loads(text, shown)
    entry = _as_written(entry)
    identities = [each.identity for each in entries]
    index = identities.index(entry.identity) if entry.identity in identities else None
    wanted = (*entries, entry) if index is None else (*entries[:index], entry, *entries[index + 1 :])
    if _equal(entries, wanted):
        return text
    for edit in _edits(text, index, entry, wanted):
        result = _attempt(edit, wanted)
        if result is not None:
            return result
    raise SnapshotError(shown, f"cannot be edited for {entry.id}", "write the entry by hand")


def _attempt(edit: Callable[[], str], wanted: Sequence[Entry]) -> str | None:
    """The text that an edit gives; None where the editing library fails or the text means something else."""
    try:
        result = edit()
        return result if _equal(loads(result, FILE), wanted) else None
    except Exception:
        return None


def _as_written(entry: Entry) -> Entry:
    texts = {name: visible(getattr(entry, name)) for name in ("id", "rule", "key", "reason")}
    return Entry(
        texts["id"],
        texts["rule"],
        texts["key"],
        texts["reason"],
        entry.until,
        tuple(dict.fromkeys(map(visible, entry.changes))),
    )


def _equal(found: Sequence[Entry], wanted: Sequence[Entry]) -> bool:
    """Whether two lists of entries mean the same; the order of an entry's changes does not matter."""

    def meaning(entry: Entry) -> tuple[Any, ...]:
        return (entry.identity, visible(entry.reason), entry.until, set(map(visible, entry.changes)))

    return [*map(meaning, found)] == [*map(meaning, wanted)]


def _edits(
    text: str, index: int | None, entry: Entry, wanted: Sequence[Entry]
) -> Iterator[Callable[[], str]]:
    """Ways to write an entry, the one that keeps most of the layout first."""
    bodies = _bodies(text)
    if not bodies and "accepted" in toml.parse(text):
        yield lambda: _edited_list(text, index, entry)
        yield lambda: _plain_list(text, wanted)
    elif index is None:
        yield lambda: _appended(text, entry)
    else:
        start, end = bodies[index]

        def spliced(edit: Callable[[str, Entry], str]) -> str:
            body = text[start:end]
            line_end = _line_end(body if "\n" in body else text)
            new = edit(body.replace("\r\n", "\n"), entry).rstrip("\n")
            return text[:start] + new.replace("\n", line_end) + text[end:]

        yield lambda: spliced(_edited_body)
        yield lambda: spliced(_edited_body_plain_array)
        yield lambda: spliced(_plain_body)


def _bodies(text: str) -> list[tuple[int, int]]:
    """Where the lines of each ``[[accepted]]`` begin and end, without the header and the last line end.

    Comments below the last key belong to what follows.
    """
    # A line inside of a string or an array begins no entry: what precedes it is not complete.
    starts: list[re.Match[str]] = []
    for line in _FIRST_LINE.finditer(text):
        before = text[starts[-1].start() if starts else 0 : line.start()]
        if _parses(before):
            starts.append(line)
    ends = [*(line.start() for line in starts), len(text)][1:]
    return [_without_tail(text, line.end() + 1, end) for line, end in zip(starts, ends, strict=True)]


def _cut(text: str, numbers: Sequence[int]) -> str:
    """The text without the entries with these numbers, and without the empty line above each."""
    bodies = _bodies(text)
    for number in reversed(numbers):
        start, end = bodies[number]
        header = text.rindex("[[", 0, start)
        before = text[: text.rfind("\n", 0, header) + 1]
        rest = text[end:].lstrip("\r").removeprefix("\n")
        text = re.sub(r"(?<=\n)\r?\n\Z", "", before) + rest
    return text


def _without_tail(text: str, start: int, end: int) -> tuple[int, int]:
    lines = text[start:end].splitlines(keepends=True)
    size = len(lines)
    while size > 1 and (not lines[size - 1].strip() or lines[size - 1].lstrip().startswith("#")):
        size -= 1
    while size < len(lines) and not _parses("".join(lines[:size])):
        size += 1
    return start, start + len("".join(lines[:size]).rstrip("\r\n"))


def _parses(text: str) -> bool:
    try:
        toml.parse(text)
    except ValueError:
        return False
    return True


def _line_end(text: str) -> str:
    """The line end that most lines have."""
    return "\r\n" if 2 * text.count("\r\n") > text.count("\n") else "\n"


def _appended(text: str, entry: Entry) -> str:
    line_end = _line_end(text)
    before = text or _HEADER
    before += "" if before.endswith("\n") else line_end
    return before + ("\n" + _block(entry)).replace("\n", line_end)


def _block(entry: Entry) -> str:
    return f"[[accepted]]\n{_plain_body('', entry)}\n"


def _plain_body(body: str, entry: Entry) -> str:
    """The lines of an entry as the writer lays them out, below the comments that were among them."""
    lines = [token for token in _TOKEN.findall(body) if token.startswith("#")]
    lines += [f"{name} = {_quote(getattr(entry, name))}" for name in ("id", "rule", "key", "reason")]
    if entry.until is not None:
        lines.append(f"until = {entry.until.isoformat()}")
    changes = "".join(f"    {_quote(text)},\n" for text in entry.changes)
    return "\n".join([*lines, f"changes = [  # {count(len(entry.changes), 'change')}\n{changes}]"])


def _quote(text: str) -> str:
    """A TOML string of one line."""
    return json.dumps(visible(text), ensure_ascii=False)


def _edited_body(body: str, entry: Entry) -> str:
    return _updated(body, entry, _edited_array)


def _edited_body_plain_array(body: str, entry: Entry) -> str:
    return _updated(body, entry, _plain_array)


def _updated(body: str, entry: Entry, array: Callable[[Any, Entry], str]) -> str:
    import tomlkit

    table = tomlkit.parse(body)
    _update(table, entry, array)
    return tomlkit.dumps(table)


def _update(table: Any, entry: Entry, array: Callable[[Any, Entry], str]) -> None:
    """Changes reason, date and changes of a table of ``tomlkit``; what stays the same is not touched."""
    import tomlkit

    if visible(table["reason"]) != entry.reason:
        table["reason"] = entry.reason
    if entry.until is None:
        table.pop("until", None)
    elif "until" in table:
        table["until"] = entry.until
    else:
        _insert_until(table, entry.until)
    if set(map(visible, table["changes"])) != set(entry.changes):
        table["changes"] = tomlkit.value(array(table["changes"], entry))


def _insert_until(table: Any, until: date) -> None:
    from tomlkit.items import InlineTable

    if isinstance(table, InlineTable):
        table["until"] = until
        return
    # A new key would come last; a line end can hold a line.
    reason = table["reason"].trivia
    line_end = reason.trail or "\n"
    reason.trail = f"{line_end}{reason.indent}until = {until.isoformat()}{line_end}"


def _edited_array(array: Any, entry: Entry) -> str:
    """The text of a list of changes, edited in its own layout."""
    for number in reversed(range(len(array))):
        if visible(array[number]) not in entry.changes:
            del array[number]
    known = set(map(visible, array))
    for text in entry.changes:
        if text not in known:
            array.append(text)
    return _COUNT.sub(rf"[\1# {count(len(array), 'change')}", array.as_string())


def _plain_array(array: Any, entry: Entry) -> str:
    """The text of a list of changes, one a line, with the comments that were among them."""
    lines, known, fresh = ["["], set(), False
    for part in _TOKEN.findall(array.as_string()):
        if part == "\n":
            fresh = True
        elif part.startswith("#"):
            lines[-1:] = [lines[-1], f"    {part}"] if fresh else [f"{lines[-1]}  {part}"]
            fresh = True
        else:
            text = visible(toml.parse(f"x = {part}")["x"])
            fresh = text not in entry.changes or text in known
            lines += [] if fresh else [f"    {part},"]
            known.add(text)
    lines += [f"    {_quote(text)}," for text in entry.changes if text not in known]
    return _COUNT.sub(rf"[\1# {count(len(entry.changes), 'change')}", "\n".join([*lines, "]"]))


def _edited_list(text: str, index: int | None, entry: Entry) -> str:
    """Adds or updates an entry in ``accepted = [{...}]``."""
    import tomlkit

    document = tomlkit.parse(text)
    tables: Any = document["accepted"]
    if index is None:
        tables.append(_inline(entry))
    else:
        _update(tables[index], entry, _edited_array)
    return tomlkit.dumps(document)


def _plain_list(text: str, wanted: Sequence[Entry]) -> str:
    """Every entry of ``accepted = [{...}]`` as a table of its own, below all comments."""
    comments = [token for token in _TOKEN.findall(text.replace("\r\n", "\n")) if token.startswith("#")]
    blocks = (_block(_as_written(each)) for each in wanted)
    return "\n".join(["".join(f"{each}\n" for each in comments), *blocks]).replace("\n", _line_end(text))


def _inline(entry: Entry) -> Any:
    import tomlkit

    table = tomlkit.inline_table()
    table.update({name: getattr(entry, name) for name in ("id", "rule", "key", "reason")})
    if entry.until is not None:
        table["until"] = entry.until
    table["changes"] = list(entry.changes)
    return table
