"""A corpus: a compressed file with one case a line, and its division by family."""

from __future__ import annotations

import argparse
import json
import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.rename_corpus.case import Case, from_data, to_data

#: The corpus of the project: refactors of real libraries, and some that were generated.
COMMITTED = Path(__file__).parents[2] / "tests" / "renames" / "corpus.jsonl.xz"


#: What a file begins with that ``lzma`` reads.
_MAGIC = b"\xfd7zXZ\x00"


def given(text: str) -> Path:
    """A corpus that a command line names. Raises ArgumentTypeError for anything else."""
    path = Path(text)
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                return path
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error
    wanted = "a compressed file with one case a line, as tests/renames/corpus.jsonl.xz is"
    raise argparse.ArgumentTypeError(f"{path} is no corpus: give {wanted}")


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
