"""``accepted.toml``: breaks that are meant, each with its reason, kept beside the snapshots.

An entry covers exact changes (rule, keys, both specs), so that a different later change is not
covered by it.
"""

from __future__ import annotations

import glob
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core.changes import Change, Policy, Severity, Verdict
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.errors import SnapshotError, UsageError
from pytest_ckpt_compat._core.rules import BY_ID, judge
from pytest_ckpt_compat._core.structure import TensorSpec

FILE = "accepted.toml"
_FAILING = (Severity.ERROR, Severity.INCOMPLETE)
_HEADER = "# Breaks that are meant. Written by ckpt-compat accept; read it in the pull request.\n"
_REDO = "restore it from git, or take the entry out and run ckpt-compat accept again"
#: What the id of a definition ends in where the earlier code is to load what today's saves.
FORWARD = "@forward"
#: Commands that a failure prints at most.
_COMMANDS = 3
#: Where in the code something was raised: the line moves when nothing else does.
_WHERE = re.compile(r" \([^()]*:\d+\)")


@dataclass(frozen=True)
class Entry:
    """One accepted break.

    Attributes:
        id: the checkpoint, or the definition.
        rule: rule id.
        key: the glob that chose the changes; for people.
        reason: why it is accepted.
        until: the last day on which it is, or None.
        changes: the exact changes, as ``fact`` writes them.
    """

    id: str
    rule: str
    key: str
    reason: str
    until: date | None = None
    changes: tuple[str, ...] = ()


def load(folder: Path) -> tuple[Entry, ...]:
    """The accepted breaks of a project; none where the file is not there.

    Raises:
        SnapshotError: the file cannot be read or meant; names the entry and its key.
    """
    path = folder / FILE
    if not path.exists() and not path.is_symlink():
        return ()
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    shown = f"{folder.name}/{FILE}"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SnapshotError(shown, f"is not TOML: {error}", _REDO) from error
    tables = data.pop("accepted", [])
    if data or not isinstance(tables, list):
        what = f"has a key {next(iter(data))!r}" if data else "has an accepted that is no list of tables"
        raise SnapshotError(shown, what, "its tables are [[accepted]]")
    return tuple(_entry(table, f"{shown} [[accepted]] number {n}") for n, table in enumerate(tables, 1))


def dumps(entries: Iterable[Entry]) -> str:
    """The file's text, in order of id and rule."""
    ordered = sorted(entries, key=lambda entry: (entry.id, entry.rule, entry.key))
    return "\n".join([_HEADER, *(_table(entry) for entry in ordered)])


def fact(change: Change) -> str:
    """``head.weight float32[4, 16] -> head.weight float32[6, 16]``: keys and specs on both sides.

    A change that has no keys is told by its words.
    """
    if not change.old and not change.new:
        return visible(_WHERE.sub("", change.detail))
    return f"{_side(change.old, change.old_specs)} -> {_side(change.new, change.new_specs)}"


def accept(
    verdict: Verdict, entries: Iterable[Entry], wanted: Entry, today: date
) -> tuple[Entry, tuple[Entry, ...]]:
    """The entry for the failing changes that a rule and a glob over keys choose; and all entries.

    An earlier entry of the same id, rule and key is replaced; what it still covers stays covered.

    Args:
        verdict: what fails, with the accepted changes in it.
        entries: the project's.
        wanted: what is to be accepted; its ``changes`` are chosen here.
        today: an entry may not end before it.

    Raises:
        UsageError: nothing is chosen, no reason is given, or the date has passed.
    """
    rule, key, reason = wanted.rule, wanted.key, wanted.reason
    if wanted.until is not None and wanted.until < today:
        raise UsageError(f"--until {wanted.until}", "has passed", "give the last day on which it is accepted")
    if not reason.strip(" ."):
        raise UsageError(
            f"accept {verdict.name}", "has no reason", 'say why: --reason "the new task has 10 classes"'
        )
    chosen = tuple(
        fact(change)
        for change in verdict.of(*_FAILING)
        if change.rule == rule and _acceptable(change) and _matches(change, key)
    )
    if not chosen:
        raise UsageError(
            f"accept {verdict.name}", f"has no failing {rule} whose keys match {key}", _failing(verdict)
        )
    same = [e for e in entries if (e.id, e.rule, e.key) == (wanted.id, rule, key)]
    covered = {fact(change) for change in verdict.of(Severity.ACCEPTED) if change.rule == rule}
    before = (text for entry in same for text in entry.changes if text in covered)
    entry = replace(wanted, reason=reason.strip(), changes=tuple(dict.fromkeys((*before, *chosen))))
    return entry, (*(each for each in entries if each not in same), entry)


def cover(verdicts: Sequence[Verdict], entries: Iterable[Entry], today: date) -> tuple[Verdict, ...]:
    """The verdicts with what entries cover accepted, and no more said."""
    standing = [entry for entry in entries if not _expired(entry, today)]
    return tuple(_accept(verdict, standing, set()) for verdict in verdicts)


def apply(
    verdicts: Sequence[Verdict], entries: Iterable[Entry], today: date, whole: Iterable[str]
) -> tuple[Verdict, ...]:
    """Accepts what entries cover; unused and expired entries become changes of their own.

    Args:
        verdicts: all those of one registered checkpoint, its own first.
        entries: the project's.
        today: the date that decides what has expired.
        whole: ids of which every verdict is among these, so that an entry for them can be unused.
    """
    names = {*whole, *(verdict.name for verdict in verdicts)}
    ours = [entry for entry in entries if entry.id in names]
    if not ours:
        return tuple(verdicts)
    standing = [entry for entry in ours if not _expired(entry, today)]
    used: set[Entry] = set()
    applied = [_accept(verdict, standing, used) for verdict in verdicts]
    found = [Change("expired-acceptance", detail=_told(e, "expired")) for e in ours if e not in standing]
    found += [
        Change("unused-acceptance", detail=_told(e, "unused"))
        for e in standing
        if e not in used and e.id in set(whole)
    ]
    first = replace(applied[0], changes=(*judge(found, Policy()), *applied[0].changes))
    return (first, *applied[1:])


def nobodys(entries: Iterable[Entry], known: Iterable[str]) -> Iterator[str]:
    """A line for each entry whose id is none of those known."""
    ids = set(known)
    for entry in entries:
        if entry.id.removesuffix(FORWARD) not in ids:
            about = f"the accepted {entry.rule} {entry.key} of {entry.id} ({entry.reason})"
            yield f"CK903 {FILE}: {about}: nothing registered goes by this id; take the entry out"


def commands(verdict: Verdict, ref: str = "") -> Iterator[str]:
    """The command lines, ready to paste, that would accept what fails.

    Args:
        verdict: what fails.
        ref: the reference that it was compared with, or "".
    """
    rules: dict[str, list[Change]] = {}
    against = f" --against {_word(ref)}" if ref else ""
    for change in verdict.of(*_FAILING):
        if _acceptable(change):
            rules.setdefault(change.rule, []).append(change)
    for rule, changes in list(rules.items())[:_COMMANDS]:
        keys = [each for change in changes for each in _keys(change)]
        chosen = f"--rule {rule}" + (f" --key {_word(_pattern(keys), True)}" if keys else "")
        yield f'ckpt-compat accept {_word(verdict.name)} {chosen} --reason "..."{against}'


def _accept(verdict: Verdict, entries: Sequence[Entry], used: set[Entry]) -> Verdict:
    changes = []
    for change in verdict.changes:
        entry = next((e for e in entries if e.id == verdict.name and _covers(e, change)), None)
        if entry is not None:
            used.add(entry)
            change = replace(change, severity=Severity.ACCEPTED, reason=entry.reason)
        changes.append(change)
    return replace(verdict, changes=tuple(changes))


def _covers(entry: Entry, change: Change) -> bool:
    return entry.rule == change.rule and fact(change) in entry.changes


def _expired(entry: Entry, today: date) -> bool:
    return entry.until is not None and entry.until < today


def _told(entry: Entry, what: str) -> str:
    about = f"{FILE}: the accepted {entry.rule} {entry.key} of {entry.id} ({entry.reason})"
    if what == "expired":
        return f"{about} expired on {entry.until}; repair the break, or accept it anew"
    return f"{about} no longer occurs; take the entry out"


def _failing(verdict: Verdict) -> str:
    told = dict.fromkeys(
        f"{change.rule} {(_keys(change) or ('*',))[0]}"
        for change in verdict.of(*_FAILING)
        if _acceptable(change)
    )
    shown = ", ".join([*list(told)[:_COMMANDS], *(["..."] if len(told) > _COMMANDS else [])])
    return f"what fails and can be accepted: {shown or 'nothing'}"


def _keys(change: Change) -> tuple[str, ...]:
    return (*change.old, *change.new)


def _acceptable(change: Change) -> bool:
    """Whether an entry can cover a change: it has keys, or says what went wrong."""
    return bool(_keys(change)) or BY_ID[change.rule].keyless


def _matches(change: Change, key: str) -> bool:
    """Whether a glob matches every key of one side, or is the one that matches all."""
    sides = (side for side in (change.old, change.new) if side)
    return key == "*" or any(all(fnmatchcase(each, key) for each in side) for side in sides)


def _pattern(keys: Sequence[str]) -> str:
    """The tightest dotted glob that matches all keys."""
    keys = [glob.escape(key) for key in keys]
    parts = [key.split(".") for key in keys]
    common = []
    for column in zip(*(each[:-1] for each in parts), strict=False):
        if len(set(column)) > 1:
            break
        common.append(column[0])
    if len(set(keys)) == 1:
        return keys[0]
    return ".".join([*common, "*"])


def _side(keys: Sequence[str], specs: Sequence[TensorSpec]) -> str:
    padded = [*map(str, specs), *[""] * len(keys)]
    said = (f"{key} {spec}".strip() for key, spec in zip(keys, padded, strict=False))
    return visible(", ".join(said)) or "(none)"


def _entry(table: Any, subject: str) -> Entry:
    if not isinstance(table, Mapping):
        raise SnapshotError(subject, "is not a table", _REDO)
    wanted = {"id": str, "rule": str, "key": str, "reason": str, "until": date, "changes": list}
    for name, value in table.items():
        if name not in wanted:
            raise SnapshotError(f"{subject}, key {name}", "is unknown", f"keys are {', '.join(wanted)}")
        if type(value) is not wanted[name]:  # a date with a time of day is none
            raise SnapshotError(f"{subject}, key {name}", f"is {value!r}", _REDO)
    for name in ("id", "rule", "reason", "changes"):
        if not table.get(name) or (name == "reason" and not table[name].strip()):
            raise SnapshotError(f"{subject}, key {name}", "is not there or empty", _REDO)
    if table["rule"] not in BY_ID:
        raise SnapshotError(f"{subject}, key rule", f"is {table['rule']!r}, which is no rule", _REDO)
    said = BY_ID[table["rule"]].keyless
    sound = (isinstance(text, str) and (" -> " in text or (said and text)) for text in table["changes"])
    if not all(sound) or "(none) -> (none)" in table["changes"]:
        raise SnapshotError(f"{subject}, key changes", "holds something that is no change", _REDO)
    return Entry(
        table["id"],
        table["rule"],
        table.get("key", "*"),
        table["reason"],
        table.get("until"),
        tuple(table["changes"]),
    )


def _table(entry: Entry) -> str:
    lines = ["[[accepted]]"]
    lines += [f"{name} = {_quote(getattr(entry, name))}" for name in ("id", "rule", "key", "reason")]
    if entry.until is not None:
        lines.append(f"until = {entry.until.isoformat()}")
    changes = "".join(f"    {_quote(text)},\n" for text in entry.changes)
    return "\n".join([*lines, f"changes = [  # {count(len(entry.changes), 'change')}\n{changes}]\n"])


def _quote(text: str) -> str:
    """As TOML reads it."""
    return json.dumps(visible(text), ensure_ascii=False)


def _word(text: str, glob: bool = False) -> str:
    """One word of a shell's; a glob in the double quotes that every shell knows, where they are safe."""
    import shlex

    safe = glob and not set(text) & set('"$`\\!')
    return f'"{text}"' if safe and text.isprintable() else shlex.quote(visible(text))
