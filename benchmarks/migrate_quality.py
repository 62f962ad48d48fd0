"""How good the code of migrations is, on cases with known truth: diff, migrate, run on tagged tensors, load.

    python -m benchmarks.migrate_quality [FILE_OR_FOLDER ...] [--style STYLE] [--accept-likely] [--worst N]

Without sources: the corpus of the project. A folder holds ``cases/``, ``mixed/`` and ``negatives/``. The code
is run on tensors without numbers that know where they come from; what arrives under each key of the new side
is compared with the truth of the case, down to the rows of what was divided and joined.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.rename_corpus import collect, corpus
from benchmarks.rename_corpus.case import Case, Specs
from pytest_ckpt_compat import Structure
from pytest_ckpt_compat._check import migration, migration_styles
from pytest_ckpt_compat._definition import proof
from pytest_ckpt_compat._definition.empty_state import empty_state
from pytest_ckpt_compat._definition.operations import carried_out
from pytest_ckpt_compat._definition.origins import Origins
from pytest_ckpt_compat._migrate import shapes
from pytest_ckpt_compat._migrate.rules import RulesError
from pytest_ckpt_compat._migrate.steps import DROP, MOVE, Step

#: right: moved as the truth says; computed: of the tensors that the truth says are gone, or of these and the
#: one that became it (weight norm); kept wrong: the difference does not show that it moved.
_COLUMNS = (
    "right",
    "computed",
    "undecided",
    "wrong",
    "dropped wrong",
    "kept wrong",
    "kept, complete",
    "blind",
)
#: Operators that only rearrange.
_REARRANGING = ("view", "blocks")


@dataclass
class Score:
    """Counts of one case.

    Attributes:
        name, kind, family: of the case.
        complete: whether all of it was proven and nothing was left to decide.
        live, proven: steps that are written as code, and those that are proven.
        rules: rules in the code.
        values: what became of the tensors whose key or form differs.
        problems: what is wrong, a line each.
        seconds: for all of it.
    """

    name: str
    kind: str
    family: str
    complete: bool = False
    live: int = 0
    proven: int = 0
    rules: int = 0
    values: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def score(case: Case, style: str, accept: bool) -> Score:
    """Migrates one case, and counts what the code does."""
    started = time.perf_counter()
    found = Score(case.name, case.kind, case.family)
    sides = migration.compared(Structure(_plain(case.old)), Structure(_plain(case.new)))
    plan = migration.planned(sides)
    if accept:
        rows = [step.group.replace(" -> ", "=", 1) for step in plan.doubtful if step.confidence == "likely"]
        plan = migration.planned(sides, dict.fromkeys(row for row in rows if row))
    try:
        made = migration.migration(sides, plan, style)
    except RulesError as error:
        found.problems.append(f"no rules: {error}")
        return found
    found.complete, found.live, found.proven = made.complete, len(plan.live), made.proven
    found.problems += [f"not proven: {key}: {why}" for key, why in made.unproven.items()]
    found.problems += list(made.problems)
    if made.code:
        writer = migration_styles.WRITERS[style](sides, plan)
        found.rules = len(writer.rules.all)
        # Where nothing is certain, the code is what is left to decide, and no function.
        function = _function(writer, made.code) if plan.live else dict
        _judge(case, sides.old, function, {key for s in plan.live if s.op == DROP for key in s.old}, found)
    found.seconds = time.perf_counter() - started
    return found


def _plain(specs: Specs) -> Specs:
    """Specs with the names of dtypes that structures have; some sources write ``torch.float32``."""
    return {key: replace(spec, dtype=spec.dtype.removeprefix("torch.")) for key, spec in specs.items()}


def _function(writer: Any, code: str) -> Any:
    if writer.style == "hook":
        upgrade = proof.compiled(code, "upgrade")

        def migrate(state: Any) -> Any:
            upgrade(None, state, "", {})
            return state

        return migrate
    return writer.function(code)


def _judge(case: Case, old: Structure, function: Any, dropped: set[str], found: Score) -> None:
    """Compares where each new key comes from with the truth."""
    state = empty_state(old, "meta")
    origins = Origins(state)
    truth = case.truth
    with origins.watched():
        wanted = dict(_wanted(case, state, origins))
        made = function(dict(state))
        given = {key: origins.of(value) for key, value in made.items()}
        own = {key: origins.of(value) for key, value in state.items()}
    free = {new for _, new in case.ambiguous} | truth.blind_new
    for key in case.new:
        moved = key in given and given[key] != own.get(key)
        if moved and _computed(given[key]):
            roots, source = set(_roots(given[key])), set(_roots_wanted(wanted.get(key)))
            fits = roots <= truth.removed | truth.untold | source and source <= roots
            found.values["computed" if fits else "wrong"] += 1
            if not fits:
                found.problems.append(f"wrong: {key} is computed of {_short(given[key])}")
        elif key in free:
            found.values["blind"] += moved
        elif key not in wanted:  # it came, or the source of the case does not say from where
            claims = moved and (not truth.untold or _told(given[key], truth.untold))
            found.values["wrong"] += claims
            if claims:
                found.problems.append(f"wrong: {key} is {_short(given[key])}, and nothing became it")
        elif key not in given:
            found.values["undecided"] += 1
        elif _agree(given[key], wanted[key]):
            found.values["right"] += moved
        else:
            kept = "kept, complete" if found.complete else "kept wrong"
            found.values["wrong" if moved else kept] += 1
            found.problems.append(f"wrong: {key} is {_short(given[key])}, not {_short(wanted[key])}")
    became = {*truth.renames, *truth.splits, *truth.resized, *(k for each, _ in truth.fuses for k in each)}
    lost = dropped & (became | (case.old.keys() & case.new.keys()))
    found.values["dropped wrong"] += len(lost)
    found.problems += [f"wrong: {key} is dropped" for key in lost]


def _computed(origin: Any) -> bool:
    return isinstance(origin, tuple) and origin[0] not in (*_REARRANGING, "object", "unknown")


def _roots_wanted(origin: Any) -> list[str]:
    return list(origin[1]) if isinstance(origin, tuple) and origin[:1] == ("roots",) else _roots(origin)


def _told(origin: Hashable, untold: frozenset[str]) -> bool:
    return untold.isdisjoint(_roots(origin))


def _wanted(case: Case, state: Any, origins: Origins) -> Iterator[tuple[str, Hashable]]:
    """The origin of each new key by the truth; of what has another shape, the tensors alone, in order."""
    truth = case.truth
    gone = {*truth.renames, *truth.splits, *truth.resized, *truth.removed}
    gone |= {key for each, _ in truth.fuses for key in each}
    came = {*truth.added, *truth.renames.values(), *truth.resized.values()}
    for key in case.old.keys() & case.new.keys():
        if key not in gone and key not in came and key not in truth.untold:
            yield key, origins.of(state[key])
    for old, new in truth.renames.items():
        yield new, _carried(Step(MOVE, (old,), (new,)), state, origins)[new]
    for old, new in truth.resized.items():
        yield new, ("roots", (old,))
    for old, parts in truth.splits.items():
        op = shapes.divided(case.old[old].shape, [case.new[key].shape for key in parts])
        made = _carried(Step(op, (old,), parts), state, origins) if op else {}
        yield from ((key, made.get(key, ("roots", (old,)))) for key in parts)
    for parts, new in truth.fuses:
        op = shapes.joined([case.old[key].shape for key in parts], case.new[new].shape)
        made = _carried(Step(op, parts, (new,)), state, origins) if op else {}
        yield new, made.get(new, ("roots", parts))


def _carried(step: Step, state: Any, origins: Origins) -> dict[str, Hashable]:
    return {key: origins.of(value) for key, value in carried_out(step, state.__getitem__).items()}


def _agree(given: Any, wanted: Any) -> bool:
    if isinstance(wanted, tuple) and wanted[:1] == ("roots",):
        return bool(tuple(_roots(given)) == wanted[1])
    return bool(given == wanted)


def _roots(origin: Any) -> list[str]:
    """The tensors of the checkpoint in an origin, in order."""
    if isinstance(origin, tuple):
        if len(origin) == 3 and origin[0] == "view" and isinstance(origin[1], str):
            return [origin[1]]
        return [key for part in origin for key in _roots(part)]
    return []


def _short(origin: Hashable) -> str:
    return " + ".join(_roots(origin)) or "nothing"


def _source(text: str) -> Path:
    """A folder or a corpus."""
    return Path(text) if Path(text).is_dir() else corpus.given(text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=_source, nargs="*", metavar="FILE_OR_FOLDER")
    parser.add_argument("--style", default="function")
    parser.add_argument(
        "--accept-likely", action="store_true", help="as a user who accepts all that is likely"
    )
    parser.add_argument(
        "--worst", type=int, default=0, metavar="N", help="list up to N lines on what is wrong"
    )
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    arguments = parser.parse_args()
    cases: list[Case] = []
    for source in arguments.sources or [corpus.COMMITTED]:
        cases += collect.collected(source) if source.is_dir() else corpus.read(source)
    jobs = [(case, arguments.style, arguments.accept_likely) for case in cases]
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        scores = pool.starmap(score, jobs, chunksize=4)
    print("\n".join(table(scores)))
    lines = [f"{each.name}: {line}" for each in scores for line in each.problems]
    print("\n".join(lines[: arguments.worst]))


def table(scores: list[Score]) -> Iterator[str]:
    """One line a kind of case."""
    heads = ("cases", "complete", "steps", "proven", *_COLUMNS, "rules*", "seconds")
    yield f"{'':12}" + "".join(f"{head:>14}" for head in heads)
    kinds: defaultdict[str, list[Score]] = defaultdict(list)
    for each in scores:
        kinds[each.kind].append(each)
        kinds["all"].append(each)
    for kind in sorted(kinds, key=lambda kind: kind == "all"):
        members = kinds[kind]
        values = sum((each.values for each in members), Counter[str]())
        rules = sorted(each.rules for each in members if each.live)
        cells: list[float] = [
            len(members),
            sum(each.complete for each in members),
            sum(each.live for each in members),
        ]
        cells += [sum(each.proven for each in members), *(values[name] for name in _COLUMNS)]
        cells += [rules[len(rules) // 2] if rules else 0, round(max(each.seconds for each in members), 1)]
        yield f"{kind:12}" + "".join(f"{cell:>14}" for cell in cells)
    yield "* median of the cases that have a step. complete: all proven, nothing left to decide."


if __name__ == "__main__":
    main()
