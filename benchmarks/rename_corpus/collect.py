"""Makes the corpus: refactors of real libraries from a folder, the tables of transformers, generated ones.

    python -m benchmarks.rename_corpus.collect FOLDER SEED N [FILE]

The folder holds ``cases/``, ``mixed/`` and ``negatives/``, one JSON file a case.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.rename_corpus.case import Case, Kind, from_data, problems
from benchmarks.rename_corpus.corpus import COMMITTED, write
from benchmarks.rename_corpus.generate import generate
from benchmarks.rename_corpus.tables import tables

KINDS: dict[str, Kind] = {"cases": "refactor", "mixed": "mixed", "negatives": "negative"}

#: Pairs of one design and one width: which layer is which cannot be known, and neither can it be excluded.
SAME_DESIGN = ("neg_bloom_vs_opt", "neg_llama_vs_phi", "neg_bert_vs_deberta_v2")

#: Cases in which one of several equal blocks is new, and nobody can know which: old and new path of these.
UNKNOWABLE = {"hand_vit_insert_identical_block": ("blocks.", "layers.")}


def collected(folder: Path) -> Iterator[Case]:
    """The cases of a folder, by kind and name."""
    for part, kind in KINDS.items():
        for path in sorted((folder / part).glob("*.json")):
            data = json.loads(path.read_text(encoding="utf-8"))
            yield _blinded(from_data({**data, "kind": kind}))


def _blinded(case: Case) -> Case:
    """Marks what cannot be known."""
    truth = case.truth
    if case.name in SAME_DESIGN:
        blind_old, blind_new = truth.removed, truth.added
    elif case.name in UNKNOWABLE:
        old, new = UNKNOWABLE[case.name]
        blind_old = frozenset(key for key in case.old if key.startswith(old))
        blind_new = frozenset(key for key in case.new if key.startswith(new))
    else:
        return case
    return replace(case, truth=replace(truth, blind_old=blind_old, blind_new=blind_new))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("number", type=int, help="of generated cases")
    parser.add_argument("file", type=Path, nargs="?", default=COMMITTED)
    arguments = parser.parse_args()
    cases = [*collected(arguments.folder), *tables(), *generate(arguments.seed, arguments.number)]
    for case in cases:
        for problem in problems(case):
            print(f"{case.name}: {problem}")
    write(arguments.file, cases)
    print(f"{len(cases)} cases, {arguments.file.stat().st_size:,} bytes in {arguments.file}")


if __name__ == "__main__":
    main()
