"""``ckpt-compat review``: every open break one after the other, with what can be done about it."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_ckpt_compat._cli.accept import day
from pytest_ckpt_compat._cli.progress import asked, can_ask, show
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.errors import CkptCompatError, UsageError

if TYPE_CHECKING:
    from datetime import date

    from pytest_ckpt_compat._check.recording import Loaded, Recording
    from pytest_ckpt_compat._cli.check import Checked
    from pytest_ckpt_compat._core.verdict import Verdict
    from pytest_ckpt_compat._pytest_plugin.collection import Project

_WORDS = {
    "a": "[a]ccept",
    "t": "re[t]ire",
    "r": "[r]ecord",
    "m": "[m]igrate",
    "f": "show in [f]ull",
    "s": "[s]kip",
    "q": "[q]uit",
}
#: Changes that recording a snapshot mends.
_RECORDABLE = frozenset({"no-baseline", "stale-snapshot", "definition-changed"})


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "review",
        help="go through what fails, and accept, record or migrate it, on a terminal",
        description="Checks every registered checkpoint once, and asks about what fails, one after the "
        "other: accept it with a reason, record the snapshot, print the code that migrates the checkpoint, "
        "show it in full, skip it. Each answer is written before the next question.",
    )
    parser.add_argument(
        "--against", metavar="REF", help="ask about what this branch breaks since it left REF"
    )
    parser.add_argument(
        "--until", type=day, metavar="DATE", help="last day on which what you accept is accepted (2026-12-31)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Asks about each break; returns 0 if none is left open.

    Raises:
        UsageError: standard input or standard error is no terminal.
        CkptCompatError: the project cannot be checked.
    """
    from pytest_ckpt_compat._pytest_plugin.collection import in_project

    if not can_ask():
        advice = 'run ckpt-compat check, then ckpt-compat accept ID --all --reason "..."'
        raise UsageError("review", "asks questions, and this is no terminal", advice)
    show("checking every registered checkpoint ...")
    return in_project(lambda project: _review(project, arguments.against, arguments.until), asks=True)


def _review(project: Project, ref: str | None, until: date | None = None) -> int:
    from pytest_ckpt_compat._cli.check import check

    checked = check(project, ref)
    opened = _opened(checked)
    for line in checked.remarks:
        show(visible(line))
    loaded = {each.verdicts[0].name: each.loaded for each in checked.results if each.loaded is not None}
    owners = _definitions(project, opened)
    asking = _Asking(project, ref, len(opened), owners, _retirable(checked), loaded, until)
    try:
        for number, verdict in enumerate(opened, 1):
            if not asking.about(verdict, number):
                break
    except KeyboardInterrupt:
        show("\ninterrupted: every answer before this question is written")
    left = [verdict for verdict in opened if verdict.name not in asking.done]
    done = f"{count(len(opened), 'break')}: {len(asking.done)} settled, {len(left)} open"
    show(
        f"{done}; run {_check_again(ref)} to see how it stands"
        if opened
        else "nothing to review: no break is open"
    )
    codes = {verdict.exit_code for verdict in left}
    if codes:
        return min(codes)
    return 0 if opened else checked.outcome.exit_code


def _check_again(ref: str | None) -> str:
    return f"ckpt-compat check --against {shlex.quote(ref)}" if ref else "ckpt-compat check"


def _opened(checked: Checked) -> list[Verdict]:
    """What fails, an id once; where several verdicts go by one, one with the changes of all."""
    from pytest_ckpt_compat._cli.accept import joined

    known: dict[str, list[Verdict]] = {}
    for verdict in (
        *(each for result in checked.results for each in result.verdicts),
        *checked.outcome.missing,
    ):
        if not verdict.compatible:
            known.setdefault(verdict.name, []).append(verdict)
    return [joined(verdicts) for verdicts in known.values()]


def _retirable(checked: Checked) -> frozenset[str]:
    """Ids of the checkpoints that are not registered any more, and can be retired."""
    return frozenset(each.name for each in checked.outcome.missing if "retire" in dict(each.repairs))


def _definitions(project: Project, opened: Sequence[Verdict]) -> Mapping[str, str]:
    """Id of a definition, or of a checkpoint -> the checkpoint whose check records its snapshot."""
    from pytest_ckpt_compat._check.checkpoint import used_names
    from pytest_ckpt_compat._snapshots import store

    found: dict[str, str] = {}
    wanted = {verdict.name for verdict in opened}
    for registration in project.registrations if wanted else ():
        try:
            names = used_names(registration)
        except CkptCompatError:  # the break itself says why
            continue
        for name in names:
            if store.identifier(name) in wanted:
                found.setdefault(store.identifier(name), registration.id)
    return found


@dataclass
class _Asking:
    """The questions of one review.

    Attributes:
        project: what was collected.
        ref: what it is compared with, or None.
        number: how many breaks are open.
        owners: id of a verdict -> the registration that records its snapshot.
        retirable: ids of checkpoints that can be retired.
        loaded: id of a checkpoint -> what its check knows of it.
        until: last day of what is accepted, or None.
        done: ids of what was settled.
        reason: the last reason with which something was written.
    """

    project: Project
    ref: str | None
    number: int
    owners: Mapping[str, str]
    retirable: frozenset[str]
    loaded: Mapping[str, Loaded]
    until: date | None = None
    done: list[str] = field(default_factory=list)
    reason: str = ""

    def about(self, verdict: Verdict, number: int) -> bool:
        """Asks about one break until it is settled or skipped; returns whether the review goes on."""
        from pytest_ckpt_compat._report.text import render

        if self._went_along(verdict):
            self.done.append(verdict.name)
            return True
        show(f"\n({number} of {self.number}) {render(verdict)}\n")
        while verdict.name not in self.done:
            offered = self._offered(verdict)
            answer = asked(f"{', '.join(_WORDS[each] for each in offered)}: ")
            choice = answer.strip().lower()[:1] if answer else "q"
            if choice in ("s", "q"):
                return choice == "s"
            if choice == "f":
                show(f"\n{render(verdict, full=True)}\n")
            elif choice and choice in offered:
                verdict = self._after(choice, verdict)
        return True

    def _went_along(self, verdict: Verdict) -> bool:
        """Whether a definition was retired with its checkpoint."""
        from pytest_ckpt_compat._check import acceptance
        from pytest_ckpt_compat._snapshots import accepted

        context = self.project.context
        retired = self.retirable.intersection(self.done)
        return bool(retired) and not acceptance.not_retired(
            [verdict], accepted.load(context.folder), context.today
        )

    def _offered(self, verdict: Verdict) -> str:
        from pytest_ckpt_compat._check import acceptance

        registered = {each.id for each in self.project.registrations}
        kinds = {change.kind for change in verdict.changes}
        definition = verdict.name not in registered and verdict.name in self.owners
        retires = verdict.name in self.retirable
        offered = {
            "a": not retires and any(acceptance.commands(verdict)),
            "t": retires,
            "r": verdict.name in self.owners
            and (definition or verdict.compatible or not kinds.isdisjoint(_RECORDABLE)),
            "m": any("ckpt-compat migrate" in command for _, command in verdict.repairs),
        }
        return "".join([key for key, possible in offered.items() if possible] + ["f", "s", "q"])

    def _after(self, choice: str, verdict: Verdict) -> Verdict:
        """Does what was chosen, and writes it; returns the verdict with what is accepted."""
        from pytest_ckpt_compat._check import acceptance
        from pytest_ckpt_compat._snapshots import accepted

        work = {"a": self._accept, "t": self._retire, "r": self._record, "m": self._migrate}[choice]
        unrecorded = False
        try:
            lines = work(verdict)
            show("\n".join(lines) if lines else "nothing was written")
            context = self.project.context
            if choice == "a":
                (verdict,) = acceptance.cover([verdict], accepted.load(context.folder), context.today)
                unrecorded = bool(lines) and verdict.compatible and self._is_unrecorded(verdict)
        except CkptCompatError as error:
            show(f"ckpt-compat: {visible(str(error))}")
            return verdict
        if unrecorded:
            show("its definition is still to be recorded")
        elif lines and (choice in "tr" or verdict.compatible):
            self.done.append(verdict.name)
        return verdict

    def _is_unrecorded(self, verdict: Verdict) -> bool:
        """Whether a comparison fails, once the breaks are accepted, until the definition is recorded."""
        from pytest_ckpt_compat._snapshots import fingerprint, store

        if self.ref is None or verdict.name not in self.owners:
            return False
        folder = self.project.context.folder
        for name, text in self._recording(verdict).writes.items():
            stored = store.load(folder, name) if store.is_definition(name) else None
            if stored and fingerprint.digest(stored) != fingerprint.digest(fingerprint.loads(text, name)):
                return True
        return False

    def _asked_reason(self) -> str:
        """The reason; that of the break before for an empty line, "" if there is none or the input ended."""
        before = f" (nothing for: {visible(self.reason)})" if self.reason else ""
        answer = asked(f"why{before}? ")
        return (answer.strip() or self.reason) if answer else ""

    def _asked_rules(self, rules: Sequence[str]) -> Sequence[str]:
        """The rules that are to be accepted, of several that fail; none if the input ended."""
        if len(rules) < 2:
            return rules
        answer = asked(f"which of {', '.join(rules)} (nothing for all)? ")
        if not answer:
            return ()
        wanted = {word.upper() for word in answer.replace(",", " ").split()}
        chosen = [rule for rule in rules if rule in wanted]
        if wanted and not chosen:
            show(f"that is none of {', '.join(rules)}")
        return chosen if wanted else rules

    def _accept(self, verdict: Verdict) -> list[str]:
        from pytest_ckpt_compat._check import acceptance
        from pytest_ckpt_compat._cli.accept import written
        from pytest_ckpt_compat._snapshots import accepted

        chosen_rules = self._asked_rules(acceptance.rules_of(verdict))
        reason = self._asked_reason() if chosen_rules else ""
        if not reason:
            return []
        context = self.project.context
        chosen_changes = [each for each in verdict.changes if each.rule in chosen_rules]
        verdict = replace(verdict, changes=tuple(chosen_changes))
        entries = accepted.load(context.folder)
        wanted = accepted.Entry(verdict.name, "", "*", reason, self.until)
        chosen = acceptance.accept_all(verdict, entries, wanted, context.today)
        self.reason = reason
        return written(context.folder, chosen)

    def _retire(self, verdict: Verdict) -> list[str]:
        from pytest_ckpt_compat._cli.retire import retire

        reason = self._asked_reason()
        lines = retire(self.project, verdict.name, reason) if reason else []
        self.reason = reason or self.reason
        return lines

    def _record(self, verdict: Verdict) -> list[str]:
        """Records the snapshots that the break is about."""
        from pytest_ckpt_compat._check import update
        from pytest_ckpt_compat._snapshots import store

        found, folder = self._recording(verdict), self.project.context.folder
        writes = found.writes
        if self.owners[verdict.name] != verdict.name:  # a definition: the checkpoint was not asked about
            writes = {name: text for name, text in writes.items() if store.is_definition(name)}
        return [
            line
            for name, text in writes.items()
            for line in update.write(folder, name, text, over=found.over.get(name, update.Over()))
        ]

    def _recording(self, verdict: Verdict) -> Recording:
        """What an update would write, of what the one check found."""
        from pytest_ckpt_compat._check.checkpoint import check_registered
        from pytest_ckpt_compat._check.recording import Recording, recording

        owner = self.owners[verdict.name]
        (registration,) = [each for each in self.project.registrations if each.id == owner][:1]
        stale = any(change.kind == "stale-snapshot" for change in verdict.changes)
        rewrite = frozenset({owner} if stale and owner == verdict.name else ())
        context = replace(self.project.context, update=True, rewrite=rewrite)
        loaded = self.loaded.get(owner)
        found = recording(loaded, context) if loaded else None
        if found is None:
            checked = check_registered(registration, context)
            return Recording(checked.writes, checked.over)
        return found

    def _migrate(self, verdict: Verdict) -> list[str]:
        """The code, as ``ckpt-compat migrate`` prints it."""
        from pytest_ckpt_compat._cli import migrate

        arguments = argparse.Namespace(old=verdict.name, choose=[], style="function")
        sides, found = migrate.made(migrate.registered(self.project, verdict.name), arguments)
        more = f"ckpt-compat migrate {shlex.quote(visible(verdict.name))} --style STYLE --choose OLD=NEW"
        told = [*migrate.summary(sides, found), f"in another style, or with your choices: {more}"]
        return ["", found.code.rstrip("\n"), *map(visible, told), ""]
