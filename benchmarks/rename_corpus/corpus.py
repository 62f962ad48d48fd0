"""A corpus: a compressed file with one case a line, and its division by family."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.rename_corpus.case import Case, from_data, to_data

#: The corpus of the project: refactors of real libraries, and some that were generated.
COMMITTED = Path(__file__).parents[2] / "tests" / "renames" / "corpus.jsonl.xz"


def read(path: Path = COMMITTED) -> list[Case]:
    """The cases of a file, in its order."""
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        return [from_data(json.loads(line)) for line in lines]


def write(path: Path, cases: Iterable[Case]) -> None:
    """Writes the cases, in order. Equal cases give equal bytes."""
    lines = (json.dumps(to_data(case), separators=(",", ":"), ensure_ascii=True) for case in cases)
    text = "".join(f"{line}\n" for line in lines)
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def families(cases: Iterable[Case]) -> Iterator[tuple[str, list[Case], list[Case]]]:
    """For each family in turn: its name, the cases of all other families, and its own."""
    cases = list(cases)
    for family in sorted({case.family for case in cases}):
        yield (
            family,
            [case for case in cases if case.family != family],
            [case for case in cases if case.family == family],
        )
