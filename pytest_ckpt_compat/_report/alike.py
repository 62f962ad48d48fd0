"""Checkpoints of which the same is to be said: it is said once, with all their ids."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._report.summary import Entry

#: Ids that a line names where another has them all, or nothing is to be done about them.
_NAMED = 8
#: Checkpoints of one line each, which are read faster than the names of so few.
_FEW = 8
#: How a headline begins, up to the id.
_BEFORE_ID = r"\A(?:OK|CK\d{3}|skipped|not checked) "
#: The commands that take several ids, up to the first.
_TAKES_SEVERAL = "  accept: ckpt-compat accept "
#: Where in a file something is, or how long that is: many that were cut off are cut off anywhere.
_BYTES = re.compile(r"(?<=\bbyte )[\d,]*\d|[\d,]*\d(?= bytes\b)|(?<=the file has )[\d,]*\d")


def blocks(entries: Iterable[Entry], full: bool = False) -> list[str]:
    """The text reports of entries, one for those that differ in nothing but their names.

    Args:
        entries: in the order in which they are reported.
        full: whether each has a text of its own.
    """
    if full:
        return [each.text for each in entries]
    return [block(group) for group in groups(entries)]


def lines(entries: Iterable[Entry]) -> list[str]:
    """The headlines of entries with their hints and notes, one for many that differ in nothing but names."""
    found = []
    for group in groups(entries):
        shown = group if len(group) <= _FEW else group[:1]
        for each in shown:
            others = group[1:] if shown is not group else ()
            found.append(headline((each, *others)))
            found += [f"  {hint}" for hint in each.hints]
            found += [f"  note: {visible(note)}" for note in each.notes]
            found += [_same(others, False)] if others else []
    return found


def groups(entries: Iterable[Entry]) -> list[tuple[Entry, ...]]:
    """The entries, those together of which all is the same but for their names, in order of the first."""
    found: dict[object, list[Entry]] = {}
    for place, each in enumerate(entries):
        found.setdefault(_told(each) if each.data else place, []).append(each)
    return [tuple(each) for each in found.values()]


def title(group: Sequence[Entry]) -> str:
    """``run-3``, or ``run-3 and 39 more``."""
    return group[0].id + (f" and {len(group) - 1:,} more" if len(group) > 1 else "")


def block(group: Sequence[Entry]) -> str:
    """The text report of entries of which the same is to be said."""
    first, *others = group
    if not others:
        return first.text
    _, *rest = first.text.split("\n")
    ids = [shlex.quote(visible(each.id)) for each in group]
    start = _TAKES_SEVERAL + ids[0] + " "
    accepted = [
        _TAKES_SEVERAL + " ".join(ids) + line[len(start) - 1 :] for line in rest if line.startswith(start)
    ]
    commands = iter(accepted)
    told = [next(commands) if line.startswith(start) else line for line in rest]
    return "\n".join([headline(group), *told, _same(others, not accepted)])


def headline(group: Sequence[Entry]) -> str:
    """The headline of the first, which counts the others of which the same is to be said."""
    entry, others = group[0], len(group) - 1
    if not others:
        return entry.headline
    name = re.escape(visible(entry.id))
    return re.sub(rf"({_BEFORE_ID}{name})(?=: )", rf"\1 and {others:,} more", entry.headline, count=1)


def _same(others: Sequence[Entry], every: bool) -> str:
    """``same:   run-2, run-3``: the ids of the others, all of them or some."""
    shown = others if every or len(others) <= _NAMED else others[:_NAMED]
    more = len(others) - len(shown)
    return f"  same:   {', '.join(visible(each.id) for each in shown)}" + (
        f", and {more:,} more" if more else ""
    )


def _told(entry: Entry) -> tuple[str, ...]:
    """All that a report says of an entry, without its names; keys, shapes and dtypes as they are.

    The order of the changes is that of the file, and safetensors sorts its keys: it says nothing.
    """
    changes = [_change(each, entry) for each in entry.data.get("changes", ())]
    said = (entry.text, *entry.hints, *entry.notes)
    facts = sorted(json.dumps(each, sort_keys=True) for each in changes)
    return (entry.state, *facts, *(_nameless(each, entry) for each in said))


def _change(change: dict[str, object], entry: Entry) -> dict[str, object]:
    if change["old"] or change["new"]:
        return change
    return {
        key: _nameless(value, entry) if isinstance(value, str) else value for key, value in change.items()
    }


def _nameless(text: str, entry: Entry) -> str:
    """A text without the id and the path, where a report names them; elsewhere they are other words.

    An expression of its own for each of a thousand names costs more than to look whether it is needed.
    """
    name, source = visible(entry.id), visible(_source(entry))
    begun = re.match(_BEFORE_ID, text)
    if begun and text.startswith(f"{name}: ", begun.end()):
        text = f"{text[: begun.end()]}*{text[begun.end() + len(name) :]}"
    if "ckpt-compat " in text:
        text = re.sub(rf"(ckpt-compat [a-z]+ ){re.escape(shlex.quote(name))}(?=\s|\Z)", r"\1*", text)
    if f"/{name}.json" in text:
        text = re.sub(rf"(/){re.escape(name)}(?=\.json\b)", r"\1*", text)
    if source and source in text:
        text = re.sub(rf"(?<![\w./-]){re.escape(source)}(?![\w/-])", "*", text)
    return _BYTES.sub("*", text) if _unread(entry) else text


def _source(entry: Entry) -> str:
    """The path of the checkpoint; of one that could not be read, what the error begins with."""
    told = str((entry.data.get("old") or {}).get("source") or "")
    return told or _unread(entry).partition(": ")[0]


def _unread(entry: Entry) -> str:
    """Why a checkpoint could not be read; "" if it could."""
    found = (each["detail"] for each in entry.data.get("changes", ()) if each.get("kind") == "unreadable")
    return str(next(found, ""))
