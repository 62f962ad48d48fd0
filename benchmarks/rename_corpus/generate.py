"""Makes up refactors of real models, with their truth: edits as people make them, one to four a case.

    python -m benchmarks.rename_corpus.generate SEED N [FILE]

Equal seeds give equal cases. With a file, they are written there; without, each is told in one line.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.rename_corpus import edit_layers, edit_names, edit_nesting, edit_tensors, negatives
from benchmarks.rename_corpus.architectures import drawn
from benchmarks.rename_corpus.case import Case, Kind, Truth, problems
from benchmarks.rename_corpus.corpus import write
from benchmarks.rename_corpus.draft import Draft
from benchmarks.rename_corpus.orders import ORDERS, ordered

Edit = Callable[[Draft, random.Random], Draft | None]

#: The edits, and how often each is tried.
EDITS: dict[Edit, int] = {
    edit_names.rename: 14,
    edit_names.restyle: 4,
    edit_names.affix: 4,
    edit_names.strange: 5,
    edit_names.leaves: 2,
    edit_nesting.wrap: 6,
    edit_nesting.unwrap: 5,
    edit_nesting.offset: 2,
    edit_nesting.unlist: 3,
    edit_nesting.number: 2,
    edit_nesting.enlist: 3,
    edit_nesting.flatten: 3,
    edit_nesting.nest: 2,
    edit_nesting.sequence: 3,
    edit_names.shift: 4,
    edit_layers.append: 4,
    edit_layers.drop: 3,
    edit_layers.insert: 4,
    edit_layers.resize: 5,
    edit_layers.widen: 4,
    edit_layers.replaced: 5,
    edit_layers.stranger: 3,
    edit_layers.reorder: 3,
    edit_layers.buffers: 3,
    edit_layers.biases: 2,
    edit_layers.retype: 2,
    edit_tensors.fuse: 6,
    edit_tensors.split: 7,
    edit_tensors.transpose: 2,
    edit_tensors.reparametrize: 3,
}

#: Of a hundred cases, as many are pairs of different models, and of models of one design.
_DIFFERENT, _ALIKE = 5, 4


def generate(seed: int, number: int) -> Iterator[Case]:
    """That many cases; the first ones of two runs with one seed are equal."""
    for each in range(number):
        r = random.Random(f"{seed} {each}")
        name = f"generated_{seed}_{each}"
        kind = r.randrange(100)
        if kind < _DIFFERENT:
            yield negatives.different(name, r)
        elif kind < _DIFFERENT + _ALIKE:
            yield negatives.alike(name, r)
        else:
            yield refactor(name, r)


def refactor(name: str, r: random.Random) -> Case:
    """A model after one to four edits, or before them."""
    while True:
        model, design, specs = drawn(r)
        draft = edited(Draft.of(specs), r.choice((1, 1, 1, 2, 2, 3, 4)), r)
        if draft.edits:
            break
    backwards = r.random() < 0.4
    order = r.choice(("model", *ORDERS))
    new = {slot.key: slot.spec for slot in draft.slots}
    lost = order != "model" or any(edit.startswith("reorder") for edit in draft.edits)
    truth = draft.truth(order_is_lost=lost)
    old = draft.old
    if backwards:
        old, new, truth = new, old, reversed_truth(truth)
    kind: Kind = "mixed" if any(edit.startswith("replace ") for edit in draft.edits) else "refactor"
    edits = (*draft.edits, *(("backwards",) if backwards else ()), f"order {order}")
    family = f"generated {design}"
    return Case(
        f"{name}_{model.rpartition('/')[2]}", family, kind, ordered(old, order, r), new, truth, edits=edits
    )


def edited(draft: Draft, number: int, r: random.Random) -> Draft:
    """The draft after that many edits, or fewer where most do not apply."""
    for _ in range(30):
        if len(draft.edits) >= number:
            break
        (edit,) = r.choices(list(EDITS), weights=list(EDITS.values()))
        draft = edit(draft, r) or draft
    return draft


def reversed_truth(truth: Truth) -> Truth:
    """What is true of a case whose sides change places."""
    return Truth(
        {new: old for old, new in truth.renames.items()},
        {new: old for old, new in truth.fuses},
        tuple((new, old) for old, new in truth.splits.items()),
        {new: old for old, new in truth.resized.items()},
        truth.added,
        truth.removed,
        truth.blind_new,
        truth.blind_old,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seed", type=int)
    parser.add_argument("number", type=int)
    parser.add_argument("file", type=Path, nargs="?")
    arguments = parser.parse_args()
    cases = list(generate(arguments.seed, arguments.number))
    for case in cases:
        wrong = "".join(f"  WRONG {problem}" for problem in problems(case))
        if wrong or not arguments.file:
            sizes = f"{len(case.old)} -> {len(case.new)}"
            print(f"{case.name}  {case.family}  {sizes}  {'; '.join(case.edits)}{wrong}")
    if arguments.file:
        write(arguments.file, cases)
        print(f"{len(cases)} cases, {arguments.file.stat().st_size:,} bytes in {arguments.file}")


if __name__ == "__main__":
    main()
