"""Accepted breaks and verdicts: what an entry covers, what a new one covers, how to accept what fails."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date

from pytest_ckpt_compat._check.breaks import told
from pytest_ckpt_compat._check.nothing_accepted import nothing_chosen
from pytest_ckpt_compat._core.changes import Change, Policy, Severity
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.globs import matches, narrowest
from pytest_ckpt_compat._core.rules import BY_ID, BY_KIND, judge
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._registry.names import UPDATE
from pytest_ckpt_compat._snapshots.accepted import FORWARD, Entry, facts

_FAILING = (Severity.ERROR, Severity.INCOMPLETE)
_ARROW = " -> "
#: Between two tensors of one side; a comma inside of a shape is none.
_BETWEEN_TENSORS = re.compile(r", (?![^\[\]]*\])")
#: Commands that a failure prints at most.
_COMMANDS = 3


def accept(verdict: Verdict, entries: Iterable[Entry], wanted: Entry, today: date) -> Entry:
    """The entry for the failing changes that a rule and a glob over keys choose.

    It also covers what earlier entries of the same id, rule and key still cover.

    Args:
        verdict: what fails, with the accepted changes in it.
        entries: the project's.
        wanted: what is to be accepted; its ``changes`` are chosen here.
        today: an entry may not end before it.

    Raises:
        UsageError: nothing is chosen, no reason is given, or the date has passed.
    """
    rule, key = wanted.rule, wanted.key
    if wanted.until is not None and wanted.until < today:
        raise UsageError(f"--until {wanted.until}", "has passed", "give the last day on which it is accepted")
    if not wanted.reason.strip(" ."):
        raise UsageError(
            f"accept {verdict.name}", "has no reason", 'say why: --reason "the new task has 10 classes"'
        )

    def choose(*severities: Severity) -> tuple[str, ...]:
        found = (change for change in verdict.of(*severities) if change.rule == rule)
        matching = (change for change in found if _acceptable(change) and _matches(change, key))
        return tuple(fact for change in matching for fact in facts(change))

    chosen = choose(*_FAILING)
    if not chosen and rule in BY_ID and BY_ID[rule].about == "load":
        chosen = choose(Severity.WARNING)  # it need not fail to be told on every run
    if not chosen and choose(Severity.ACCEPTED):
        file = next((each.file for each in entries if each.identity == wanted.identity), "")
        advice = "to change its reason or date, edit its entry" + (f" in {file}" if file else "")
        raise UsageError(f"accept {verdict.name}", f"{rule} {key} is already accepted", advice)
    if not chosen:
        raise nothing_chosen(verdict, _by_rule(verdict), rule, key)
    same = [entry for entry in entries if entry.identity == wanted.identity]
    known = [_Known(entry) for entry in same]
    covered = {
        fact: None
        for change in verdict.of(Severity.ACCEPTED)
        if change.rule == rule and any(each.covers(change) for each in known)
        for fact in facts(change)
    }
    before = (text for entry in same for text in entry.changes if text in covered)
    texts = dict.fromkeys((*before, *covered, *chosen))
    reasons = (entry.reason.strip() for entry in same if any(text in texts for text in entry.changes))
    reason = "; ".join(dict.fromkeys((*reasons, wanted.reason.strip())))
    return replace(wanted, reason=reason, changes=tuple(texts))


def accept_all(verdict: Verdict, entries: Sequence[Entry], wanted: Entry, today: date) -> tuple[Entry, ...]:
    """The entries for everything in a verdict that fails and can be accepted, one for each rule.

    Args:
        verdict: what fails, with the accepted changes in it.
        entries: the project's.
        wanted: what the entries have in common; their rules, keys and changes are chosen here.
        today: an entry may not end before it.

    Raises:
        UsageError: nothing fails that can be accepted, no reason is given, or the date has passed.
    """
    found = _by_rule(verdict)
    if not found:
        raise UsageError(
            f"accept {verdict.name}", "has nothing that fails and can be accepted", "leave it out"
        )
    keys = {rule: _chosen(changes, verdict) or "*" for rule, changes in found.items()}
    each = (replace(wanted, rule=rule, key=key) for rule, key in keys.items())
    return tuple(accept(verdict, entries, one, today) for one in each)


def rules_of(verdict: Verdict) -> tuple[str, ...]:
    """The rules that fail and can be accepted."""
    return tuple(_by_rule(verdict))


def cover(verdicts: Sequence[Verdict], entries: Iterable[Entry], today: date) -> tuple[Verdict, ...]:
    """The verdicts with what entries cover accepted; unused and expired entries are passed over."""
    standing = [entry for entry in entries if not _expired(entry, today)]
    return tuple(_accept(verdict, standing, set()) for verdict in verdicts)


def apply(
    verdicts: Sequence[Verdict], entries: Iterable[Entry], today: date, whole: Iterable[str], ref: str = ""
) -> tuple[Verdict, ...]:
    """Accepts what entries cover; unused and expired entries become changes of their own.

    Args:
        verdicts: all those of one registered checkpoint, its own first.
        entries: the project's.
        today: the date that decides what has expired.
        whole: ids whose verdicts are all given, the checkpoint's own first; only their entries can be unused.
        ref: the reference that they were compared with, or "".
    """
    whole, first = {*map(visible, whole)}, visible(verdicts[0].name)
    names = {*whole, *(visible(verdict.name) for verdict in verdicts)}
    own = [entry for entry in entries if entry.id in names]
    if not own:
        return tuple(verdicts)
    standing = [entry for entry in own if not _expired(entry, today)]
    used: set[Entry] = set()
    applied = [_accept(verdict, standing, used) for verdict in verdicts]
    # What breaks in the same way is told with the checkpoint; another checkpoint may need the entry.
    alike = replace(verdicts[0], name=verdicts[0].alike)
    _accept(alike, standing, used)
    lapsed = _lapsed([*applied, alike], [entry for entry in own if entry not in standing])
    found = [
        Change(
            "expired-acceptance",
            detail=f"{_about(entry)} expired on {entry.until}; repair the break, or accept it anew",
        )
        for entry in own
        if entry in lapsed
    ]
    # A comparison alone tells of the file that stood here at the reference, and of an earlier definition.
    compared = {
        entry
        for entry in own
        if entry.id != first
        or _is_of_earlier_settings(entry, verdicts)
        or _is_of_another_file(entry, verdicts[0])
    }
    found += [
        Change("unused-acceptance", detail=no_longer_occurs(entry, ref if entry in compared else ""))
        for entry in own
        if entry not in used | lapsed
        if entry.id in whole and (ref or entry.id != first or entry not in compared)
    ]
    return (replace(applied[0], changes=(*judge(found, Policy()), *applied[0].changes)), *applied[1:])


def _lapsed(verdicts: Iterable[Verdict], expired: Sequence[Entry]) -> set[Entry]:
    """The expired entries whose breaks are still there, and are not accepted by another entry."""
    lapsed: set[Entry] = set()
    for verdict in verdicts if expired else ():
        left = (change for change in verdict.changes if change.severity is not Severity.ACCEPTED)
        _accept(replace(verdict, changes=tuple(left)), expired, lapsed)
    return lapsed


def _is_of_earlier_settings(entry: Entry, verdicts: Sequence[Verdict]) -> bool:
    """Whether an entry is on settings, and what is recorded of them is what they are today."""
    told = (change.kind for verdict in verdicts for change in verdict.changes)
    return entry.rule == BY_KIND["settings-changed"].id and "settings-changed" not in told


def _is_of_another_file(entry: Entry, verdict: Verdict) -> bool:
    """Whether an entry is on tensors of which the checkpoint has none: those of the file before this one."""
    if verdict.old is None or not entry.rule.startswith(("CK1", "CK2")):
        return False
    lefts = [_BETWEEN_TENSORS.split(fact.partition(_ARROW)[0]) for fact in entry.changes]
    named = {each for left in lefts for each in left if each != "(none)"}
    return bool(named) and named.isdisjoint(
        visible(f"{key} {spec}") for key, spec in verdict.old.tensors.items()
    )


def not_retired(verdicts: Iterable[Verdict], entries: Iterable[Entry], today: date) -> list[Verdict]:
    """The verdicts about what is gone, without definitions that went with a checkpoint, in its entry."""
    gone = [entry for entry in entries if entry.rule == "CK901" and not _expired(entry, today)]
    along = {fact for entry in gone for fact in entry.changes if not fact.startswith(f"{entry.id} -> ")}
    return [
        verdict for verdict in verdicts if not along.issuperset(f for c in verdict.changes for f in facts(c))
    ]


def no_longer_occurs(entry: Entry, ref: str = "") -> str:
    """What is said of an entry that covers nothing.

    Args:
        entry: the entry.
        ref: the reference that it takes to see that; "" where a plain run sees it.
    """
    return f"{_about(entry)} no longer occurs ({taken_out_by(ref)} takes it out)"


def unregistered(entries: Iterable[Entry], known: Iterable[str]) -> list[Entry]:
    """The entries with an unknown id."""
    ids = {*map(visible, known)}
    return [entry for entry in entries if entry.id.removesuffix(FORWARD) not in ids]


def unknown_id(entry: Entry, ref: str = "") -> str:
    """The line about an entry with an unknown id; that of a removed checkpoint takes a comparison to see."""
    how = taken_out_by(ref if entry.rule == "CK901" else "")
    return f"CK903 {_about(entry)}: no registered checkpoint has this id ({how} takes it out)"


def taken_out_by(ref: str) -> str:
    """The command that takes an entry out which covers nothing."""
    return f"{UPDATE} --against {_word(ref)}" if ref else UPDATE


def recorded_by(verdict: Verdict, ref: str) -> str:
    """The command that records what a check found, and takes out all that it said no longer occurs."""
    command = taken_out_by(ref)
    unused = (change.detail for change in verdict.changes if change.kind == "unused-acceptance")
    return command if any(f"({command} takes it out)" in detail for detail in unused) else UPDATE


def taken_out(entry: Entry) -> str:
    """The line about an entry that was taken out."""
    return f"removed   {_about(entry)}: it covers nothing any more"


def commands(verdict: Verdict, ref: str = "") -> Iterator[str]:
    """The command lines, ready to paste, that would accept what fails.

    Args:
        verdict: what fails.
        ref: the reference that it was compared with, or "".
    """
    against = f" --against {_word(ref)}" if ref else ""
    rules = _by_rule(verdict)
    if len(rules) > _COMMANDS:
        yield f'ckpt-compat accept {_word(verdict.name)} --all --reason "..."{against}'
        return
    for rule, changes in rules.items():
        keys = _chosen(changes, verdict)
        chosen = f"--rule {rule}" + (f" --key {_word(keys, True)}" if keys else "")
        yield f'ckpt-compat accept {_word(verdict.name)} {chosen} --reason "..."{against}'


def _by_rule(verdict: Verdict) -> dict[str, list[Change]]:
    """What fails and can be accepted."""
    rules: dict[str, list[Change]] = {}
    for change in verdict.of(*_FAILING):
        if _acceptable(change):
            rules.setdefault(change.rule, []).append(change)
    return rules


def _chosen(changes: Sequence[Change], verdict: Verdict) -> str:
    """A glob that chooses changes, and no other tensor of the same sides; "" where they have no keys."""
    keys = [each for change in changes for each in (change.new or change.old)]
    if not keys:
        return ""
    sides = {True: verdict.new, False: verdict.old}
    named = (sides[has_new] for has_new in {bool(change.new) for change in changes})
    return narrowest(keys, [key for side in named if side is not None for key in side.tensors])


def _accept(verdict: Verdict, entries: Sequence[Entry], used: set[Entry]) -> Verdict:
    """Marks as accepted what the entries cover; adds those entries to ``used``.

    A migration may rename since what was accepted under the name that the file has.
    """
    name, changes = visible(verdict.name), []
    own = [(entry, _Known(entry)) for entry in entries if entry.id == name]
    for change in verdict.changes:
        ways = told(verdict, change)
        found = [e for e, known in own if e.rule == change.rule and any(map(known.covers, ways))]
        if found:
            used.update(found)  # two branches may have accepted the same break
            change = replace(change, severity=Severity.ACCEPTED, reason=found[0].reason)
        changes.append(change)
    return replace(verdict, changes=tuple(changes))


class _Known:
    """What an entry covers: its facts, and the same keys in other pairs.

    Which of the accepted keys became which depends on what is known of the modules when it is explained.
    """

    def __init__(self, entry: Entry) -> None:
        self._facts = frozenset(entry.changes)
        pairs = [fact.partition(_ARROW) for fact in self._facts]
        self._sides = {old for old, _, new in pairs if new}, {new for _, _, new in pairs if new}

    def covers(self, change: Change) -> bool:
        return all(fact in self._facts or self._has_sides(fact) for fact in facts(change))

    def _has_sides(self, fact: str) -> bool:
        old, _, new = fact.partition(_ARROW)
        return old in self._sides[0] and new in self._sides[1]


def _expired(entry: Entry, today: date) -> bool:
    return entry.until is not None and entry.until < today


def _about(entry: Entry) -> str:
    reason = " ".join(entry.reason.split())
    return f"{entry.file}: the accepted {entry.rule} {entry.key} of {entry.id} ({reason})"


def _keys(change: Change) -> tuple[str, ...]:
    return (*change.old, *change.new)


def _acceptable(change: Change) -> bool:
    """Whether an entry can cover a change: it has keys, or its detail says what went wrong."""
    return bool(_keys(change)) or BY_ID[change.rule].keyless


def _matches(change: Change, key: str) -> bool:
    """Whether a glob matches every key of one side; ``*`` matches a change without keys, too."""
    sides = (side for side in (change.old, change.new) if side)
    return key == "*" or any(all(matches(each, key) for each in side) for side in sides)


def _word(text: str, glob: bool = False) -> str:
    """Quotes a text for the shell; a glob gets double quotes where they are safe."""
    import shlex

    safe = glob and not set(text) & set('"$`\\!')
    return f'"{text}"' if safe and text.isprintable() else shlex.quote(visible(text))
