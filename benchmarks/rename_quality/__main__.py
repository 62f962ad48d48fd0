"""How good the explanation of renames is: one table for each order of the old side.

    python -m benchmarks.rename_quality [FILE ...] [--generated SEED N] [--tables] [--worst N] [--processes N]

Without sources: the corpus of the project. Files are corpora, as ``benchmarks.rename_corpus`` writes them.
Every case counts twice: with the old side as it is, and with it sorted by name, as safetensors files are.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

from benchmarks.rename_corpus import corpus
from benchmarks.rename_corpus.case import Case
from benchmarks.rename_quality.score import Score, score
from benchmarks.rename_quality.table import reliability, table, worst


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=corpus.given, nargs="*", metavar="FILE")
    parser.add_argument("--generated", type=int, nargs=2, metavar=("SEED", "N"), help="N fresh cases")
    parser.add_argument("--tables", action="store_true", help="the tables of transformers")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="list the N worst cases")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    arguments = parser.parse_args()
    started = time.perf_counter()
    cases = _cases(arguments)
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for name, in_order in (("as it is", False), ("sorted by name", True)):
            jobs = [(case, in_order) for case in cases]
            scores = list(zip(cases, pool.starmap(score, jobs, chunksize=4), strict=True))
            _print(f"old side {name}", scores, arguments.worst)
    print(f"{len(cases)} cases, {time.perf_counter() - started:.0f} s")


def _cases(arguments: argparse.Namespace) -> list[Case]:
    files = arguments.files
    if not (files or arguments.generated or arguments.tables):
        files = [corpus.COMMITTED]
    cases = [case for file in files for case in corpus.read(file)]
    if arguments.generated:
        from benchmarks.rename_corpus.generate import generate

        cases += generate(*arguments.generated)
    if arguments.tables:
        from benchmarks.rename_corpus.tables import tables

        cases += tables()
    return cases


def _print(title: str, scores: list[tuple[Case, Score]], number: int) -> None:
    print(f"\n{title}\n{'=' * len(title)}")
    print("\n".join(table(scores)))
    print()
    print("\n".join(reliability(scores)))
    if number:
        print()
        print("\n".join(worst(scores, number)))


if __name__ == "__main__":
    main()
