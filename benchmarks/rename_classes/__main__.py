"""What the classes of modules add to the explanation of renames: a table with and without them.

    python -m benchmarks.rename_classes SEED N [--worst N] [--processes N]

N refactors of real models of transformers, made up from the seed. What the evidence of classes may do was
chosen on some designs of models; the others are left out of it, and have lines of their own. ``keys`` knows
the two lists of keys, the old one as the model has it; ``keys, sorted`` as a file of safetensors has it;
``classes`` knows what a check knows of two definitions.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections import defaultdict
from collections.abc import Iterator, Sequence

from benchmarks.rename_classes.cases import LEFT_OUT, Classed, generate
from benchmarks.rename_classes.score import WAYS, scored
from benchmarks.rename_quality.score import Score, added
from benchmarks.rename_quality.table import upper_bound

_COLUMNS = {
    "cases": 6,
    "right": 6,
    "pairs": 7,
    "micro F1": 9,
    "certain wrong": 14,
    "at most": 9,
    "covers": 7,
    "likely wrong": 13,
    "ambiguous": 10,
    "false c/l": 10,
    "blind": 6,
}
_NAME = 44


def groups_of(each: Classed) -> Iterator[str]:
    """The groups of a case: all, whether its design is left out, and the kinds of its edits."""
    case = each.case
    if case.kind == "negative":
        yield "1 models of one design"
        return
    yield "2 designs left out" if case.family in LEFT_OUT else "3 designs it was chosen by"
    yield from sorted({f"4   {edit.split()[0]}" for edit in case.edits})


def lines(cases: Sequence[Classed], scores: Sequence[Sequence[Score]]) -> Iterator[str]:
    """The table: for each group, a line a way."""
    groups: defaultdict[str, list[Sequence[Score]]] = defaultdict(list)
    for each, ways in zip(cases, scores, strict=True):
        for group in groups_of(each):
            groups[group].append(ways)
    yield " " * _NAME + "".join(f"{name:>{width}}" for name, width in _COLUMNS.items())
    for group in sorted(groups):
        for number, way in enumerate(WAYS):
            total = added(ways[number] for ways in groups[group])
            cells = zip(_cells(total), _COLUMNS.values(), strict=True)
            name = f"{group[2:]}: {way}" if number == 0 else f"{' ' * (len(group) - 2)}  {way}"
            yield f"{name:{_NAME}}" + "".join(f"{cell:>{width}}" for cell, width in cells)
    yield "at most: the largest share of wrong ones among certain ones that is plausible (95 %)."
    yield "false: claims of what is gone, by certain and likely. blind: certain of what nobody can know."


def _cells(score: Score) -> Iterator[str]:
    certain, wrong = score.right["certain"] + score.wrong["certain"], score.wrong["certain"]
    yield str(score.cases)
    yield str(score.solved)
    yield str(score.true)
    yield f"{score.f1:.4f}"
    yield f"{wrong}/{certain}"
    yield f"{upper_bound(wrong, certain):.5f}" if certain else "-"
    yield f"{score.right['certain'] / score.true:.1%}" if score.true else "-"
    yield f"{score.wrong['likely']}/{score.right['likely'] + score.wrong['likely']}"
    yield str(score.ambiguous)
    yield f"{score.false['certain']}/{score.false['likely']}"
    yield str(score.blind)


def worst(cases: Sequence[Classed], scores: Sequence[Sequence[Score]], number: int) -> Iterator[str]:
    """The cases in which most is wrong that is called certain, or claimed of what is gone."""
    ranked = sorted(
        zip(cases, scores, strict=True),
        key=lambda item: (-item[1][-1].wrong["certain"] - item[1][-1].blind, -item[1][-1].wrong.total()),
    )
    for each, ways in ranked[:number]:
        counts = [f"{dict(way.right)} {dict(way.wrong)} lost {way.lost}" for way in ways]
        yield f"{each.case.name}  {' | '.join(counts)}  {'; '.join(each.case.edits)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seed", type=int)
    parser.add_argument("number", type=int)
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="list the N worst cases")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    arguments = parser.parse_args()
    cases = list(generate(arguments.seed, arguments.number))
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        scores = pool.map(scored, cases, chunksize=4)
    print("\n".join([*lines(cases, scores), *worst(cases, scores, arguments.worst)]))


if __name__ == "__main__":
    main()
