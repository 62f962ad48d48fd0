"""``ckpt-compat migrate``: prints the code that makes an old checkpoint load."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_ckpt_compat._cli.progress import asked, can_ask, say
from pytest_ckpt_compat._core.display import count, typed, visible
from pytest_ckpt_compat._core.errors import UsageError

if TYPE_CHECKING:
    from pytest_ckpt_compat._check.context import Subject
    from pytest_ckpt_compat._check.migration import Migration
    from pytest_ckpt_compat._check.migration_writer import Sides
    from pytest_ckpt_compat._core.changes import Change
    from pytest_ckpt_compat._migrate.steps import Plan, Step
    from pytest_ckpt_compat._pytest_plugin.collection import Project

STYLES = ("function", "hook", "transformers", "timm", "lightning", "rules")
#: Most answers that a question offers.
_OFFERED = 9
#: What is said of a checkpoint from which training is to resume.
_RESUMES = "only the model's tensors were looked at: whether training resumes, ckpt-compat check says"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "migrate",
        help="print the code that makes an old checkpoint load, proven before it is printed",
        description="Prints the code that makes OLD load into NEW. Only what is certain is written as code; "
        "what is likely is written as a comment, and what is ambiguous is asked. The code is run on tensors "
        "without numbers and loaded before it is printed; what is not proven is marked, and the exit code is "
        "1. No weights are read.",
    )
    parser.add_argument(
        "old", metavar="OLD", help="a checkpoint or a snapshot; without NEW, the id of a registered one"
    )
    parser.add_argument(
        "new",
        metavar="NEW",
        nargs="?",
        help="package.module:attr; or a checkpoint or a snapshot: then keys and shapes alone are compared; "
        "if it is left out, the definition that OLD is registered with",
    )
    parser.add_argument(
        "--style",
        choices=STYLES,
        default="function",
        help="the form of the code: a function on a state_dict (the default), a hook of a module, the tables "
        "of transformers, timm's checkpoint_filter_fn, Lightning's on_load_checkpoint, or a file of rules",
    )
    parser.add_argument("--key", metavar="KEY", help="with NEW: dotted path of the state_dict in OLD")
    parser.add_argument(
        "--choose",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="say which key, module or row of the report became which; OLD=NEW.T transposes a matrix, and "
        "OLD= drops it (repeatable)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the code on standard output, all else on standard error; returns the exit code."""
    from pytest_ckpt_compat._definition.surroundings import search_path
    from pytest_ckpt_compat._pytest_plugin.collection import in_project

    if arguments.new is None:
        if arguments.key is not None:
            raise UsageError("--key", "was given without NEW", "give NEW, or key= where OLD is registered")
        sides, found = in_project(
            lambda project: made(registered(project, arguments.old), arguments), asks=True
        )
    else:
        with search_path(str(Path.cwd())):
            sides, found = made(_compared(arguments.old, arguments.new, arguments.key), arguments)
    print(found.code, end="")
    for line in (*summary(sides, found), *choices(sides, found.plan, arguments)):
        say(line)
    return 0 if found.complete else 1


def made(sides: Sides, arguments: argparse.Namespace) -> tuple[Sides, Migration]:
    """The migration, after the user was asked what is ambiguous."""
    from pytest_ckpt_compat._check import migration
    from pytest_ckpt_compat._migrate.rules import RulesError

    plan = migration.planned(sides, arguments.choose)
    if can_ask():
        plan = _asked(sides, plan, arguments.choose)
    try:
        found = migration.migration(sides, plan, arguments.style)
    except RulesError as error:
        raise UsageError(
            arguments.old, f"cannot be migrated by rules: {error}", "write a function"
        ) from error
    return _beside_the_outputs(sides, found)


def _beside_the_outputs(sides: Sides, found: Migration) -> tuple[Sides, Migration]:
    """Says of a choice that the outputs prove something else; what they prove is then not what is printed."""
    from dataclasses import replace

    from pytest_ckpt_compat._check.proven import EVIDENCE
    from pytest_ckpt_compat._core.changes import moves

    proven = [move for each in sides.verdict.changes if EVIDENCE in each.evidence for move in moves(each)]
    made = {(step.old, step.new) for step in found.plan.live}
    against = [(old, new) for old, new in proven if ((old,), (new,)) not in made]
    if not against:
        return sides, found
    more = f", and {len(against) - 1} more" if len(against) > 1 else ""
    old, new = against[0]
    problem = f"the outputs prove {visible(old)} -> {visible(new)}{more}: what was chosen is not that"
    sides = replace(sides, verdict=replace(sides.verdict, notes=()))
    return sides, replace(found, problems=(*found.problems, problem))


def registered(project: Project, identifier: str) -> Sides:
    """The sides of a registered checkpoint."""
    from dataclasses import replace

    from pytest_ckpt_compat._check import definition_snapshot, migration, snapshots
    from pytest_ckpt_compat._check.context import Subject
    from pytest_ckpt_compat._definition.find import find_registered
    from pytest_ckpt_compat._pytest_plugin.collection import registration_of

    registration = registration_of(project, identifier, "or give OLD and NEW")
    stored = snapshots.stored_of(registration, project.context.folder)
    definition = find_registered(registration, config=stored.config)
    structure, _ = snapshots.of_checkpoint(registration, definition, project.context, stored)
    folder, name = project.context.folder, definition_snapshot.definition_name(registration, definition)
    subject = Subject(registration, definition, folder, name, structure)
    sides = migration.compared(
        structure,
        definition,
        registration.strip_prefix,
        lambda: definition_snapshot.recorded_definitions(subject, None),
        replace(registration.policy, accepted=()),
    )
    prefix = registration.strip_prefix or ""
    stripped = prefix if prefix and any(key.startswith(prefix) for key in structure.tensors) else ""
    sides = replace(sides, resumes=registration.level.loads_optimizer, stripped=stripped)
    return sides if registration.inputs is None else _settled(sides, subject, project)


def _settled(sides: Sides, subject: Subject, project: Project) -> Sides:
    """The sides, with renames in doubt settled by what the definition computes."""
    from dataclasses import replace

    from pytest_ckpt_compat._check import definition_snapshot
    from pytest_ckpt_compat._check.proven import with_proven
    from pytest_ckpt_compat._core.changes import Policy

    if sides.definition is None:
        return sides
    subject = replace(subject, definition=sides.definition)
    found = definition_snapshot.of_definition(subject, sides.verdict, project.context)
    verdict = replace(sides.verdict, notes=found.notes if found.proven else ())
    return replace(sides, verdict=with_proven(verdict, found.proven, Policy()))


def _compared(old: str, new: str, key: str | None) -> Sides:
    from pytest_ckpt_compat._check import migration
    from pytest_ckpt_compat._cli.sides import compared_with_definition, definition_named, read

    if not definition_named(new):
        return migration.compared(read(old, key), read(new))
    sides, notes = compared_with_definition(old, new, key)
    for note in notes:
        say(note)
    return sides


def summary(sides: Sides, found: Migration) -> list[str]:
    """What was proven, and what was not."""
    from pytest_ckpt_compat._check.migration import by_reason, dropped
    from pytest_ckpt_compat._check.proven import EVIDENCE
    from pytest_ckpt_compat._check.refused import overwritten

    plan = found.plan
    meaning = [_meaning(change) for change in sides.verdict.changes if change.kind == "settings-changed"]
    if not found.code:
        resumed = [_RESUMES] if sides.resumes else []
        lost = [f"in doubt: {each}" for each in by_reason(overwritten(sides.verdict))]
        return ["it loads as it is: nothing to migrate", *resumed, *lost, *meaning]
    how = found.load if sides.definition else "compared by key and shape, not loaded"
    before = sides.definition.remap if sides.definition else None
    likely = sum(step.confidence == "likely" for step in plan.doubtful)
    undecided = len(plan.decisions) + len(plan.doubtful) - likely
    proven = f"{found.proven} of {count(len(plan.live), 'step')} proven, {how}{_left_out(likely, undecided)}"
    lines = [proven] if plan.live else []
    lines += [f"it comes after {before.name}"] if before else []
    unproven = [f"not proven: {each}" for each in by_reason(found.unproven)]
    lines += unproven[:_OFFERED]
    lines += [f"... and {len(unproven) - _OFFERED} more"] if len(unproven) > _OFFERED else []
    lines += dropped(plan)
    lines += [f"in doubt: {each}" for each in by_reason(found.cautions)]
    lines += found.problems
    if likely:
        lines.append(f"{count(likely, 'step')} likely, written as comments: accept them with --choose")
    lines += _to_decide(sides, found) if undecided else []
    outputs = [note for note in sides.verdict.notes if EVIDENCE in note]
    return [*lines, *outputs, *meaning]


def choices(sides: Sides, plan: Plan, arguments: argparse.Namespace) -> list[str]:
    """One command with a choice for each thing that is open, for a person to pick from."""
    from pytest_ckpt_compat._migrate.choose import offered

    if plan.complete:
        return []
    options = offered(plan, sides.old, sides.new)
    if not options:
        return []
    words = [
        "ckpt-compat",
        "migrate",
        typed(arguments.old),
        *([typed(arguments.new)] if arguments.new else []),
    ]
    words += ["--key", typed(arguments.key)] if arguments.key else []
    words += ["--style", arguments.style] if arguments.style != "function" else []
    words += [word for each in (*map(typed, arguments.choose), *options) for word in ("--choose", each)]
    return [f"for code, run it with the choices that are right: {shlex.join(map(visible, words))}"]


def _left_out(likely: int, undecided: int) -> str:
    """What the code that was proven does not do yet, so that it need not load all of the checkpoint."""
    parts = [f"{likely} likely"] if likely else []
    parts += [f"{undecided} to decide"] if undecided else []
    return f"; left open: {', '.join(parts)}" if parts else ""


def _to_decide(sides: Sides, found: Migration) -> list[str]:
    """What is to be done about the lines that are left to the user."""
    from pytest_ckpt_compat._core.changes import Severity
    from pytest_ckpt_compat._core.rules import judge

    if found.plan.live or found.plan.doubtful:
        return ["some of it is yours to decide: see the lines that begin with # decide"]
    judged = judge(sides.verdict.changes, sides.policy)
    loads = not sides.policy.strict and all(each.severity != Severity.ERROR for each in judged)
    so = (
        ["it loads as it is registered, with strict=False, and without what these lines name"]
        if loads
        else []
    )
    return ["no code is written: nothing is certain; all of it is in the lines that begin with # decide", *so]


def _meaning(change: Change) -> str:
    modules = change.new or change.old
    named = change.group or (modules[0] if modules else "") or "the model itself"
    return f"no renaming mends this: {named}: {change.detail}"


def _asked(sides: Sides, plan: Plan, choices: list[str]) -> Plan:
    """The plan, with the user's answers to what is ambiguous; one answer for a module, in all its blocks."""
    from pytest_ckpt_compat._check import migration
    from pytest_ckpt_compat._migrate.questions import first_question

    answers = list(choices)
    left = list(plan.doubtful)
    taken = {key for step in plan.live for key in step.new}
    while (question := first_question(left, taken)) is not None:
        found: dict[Step, str] = {}
        offered = question.offered[:_OFFERED]
        if offered:
            number, first = count(len(question.steps), "tensor"), question.steps[0].old[0]
            print(
                f"{visible(question.about)} ({number}): what did {visible(first)} become?",
                file=sys.__stderr__,
            )
            for place, key in enumerate(offered, 1):
                print(f"  {place}  {visible(key)}", file=sys.__stderr__)
            answer = asked("number, or nothing to leave it open: ").strip()
            if answer.isdigit() and 1 <= int(answer) <= len(offered):
                found = question.answered(offered[int(answer) - 1])
        decided = found or dict.fromkeys(question.steps)
        left = [step for step in left if step not in decided]
        taken |= set(found.values())
        answers += [f"{step.old[0]}={key}" for step, key in found.items()]
    return migration.planned(sides, answers)
