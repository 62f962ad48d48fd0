"""Rename inference over a folder of real refactors with ground truth, beside simple baselines.

    pip install rapidfuzz
    python benchmarks/renames.py FOLDER [--negatives FOLDER] [--no-baselines]

Each ``*.json`` of the folder holds ``old`` and ``new`` ([key, shape, dtype] each, in order) and ``truth``
(``renames``, ``splits``, ``fuses``, ...); pairs under ``ambiguous`` count neither for nor against.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames import infer

Specs = dict[str, TensorSpec]
Pairs = dict[str, str]


@dataclass(frozen=True)
class Case:
    """One refactor and what is true of it."""

    name: str
    family: str
    old: Specs
    new: Specs
    renames: Pairs
    splits: set[tuple[str, tuple[str, ...]]]
    fuses: set[tuple[tuple[str, ...], str]]
    undecided: set[tuple[str, str]]


@dataclass(frozen=True)
class Score:
    """Renames found right, found wrong, and not found."""

    right: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where there was nothing to find."""
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else 1.0

    def __str__(self) -> str:
        precision = self.right / max(self.right + self.wrong, 1)
        recall = self.right / max(self.right + self.missed, 1)
        return f"precision {precision:.4f}  recall {recall:.4f}  F1 {self.f1:.4f}"


def read(path: Path) -> Case:
    data = json.loads(path.read_text(encoding="utf-8"))
    old, new = (
        {key: TensorSpec(dtype, tuple(shape)) for key, shape, dtype in data[side]} for side in ("old", "new")
    )
    truth = data["truth"]
    return Case(
        data["name"],
        data["family"],
        old,
        new,
        truth["renames"],
        {(one, tuple(several)) for one, several in truth["splits"].items()},
        {(tuple(several), one) for several, one in truth["fuses"]},
        {(one, other) for one, other in data.get("ambiguous", [])},
    )


def compare(found: Pairs, case: Case) -> Score:
    found = {old: new for old, new in found.items() if old != new and (old, new) not in case.undecided}
    right = sum(case.renames.get(old) == new for old, new in found.items())
    return Score(right, len(found) - right, len(case.renames) - right)


def total(scores: Iterable[Score]) -> Score:
    scores = list(scores)
    return Score(sum(s.right for s in scores), sum(s.wrong for s in scores), sum(s.missed for s in scores))


def one_to_one(changes: Iterable[Change]) -> Pairs:
    """Keys of the same shape that went over one by one, as the ground truth counts renames."""
    return {
        old: new
        for change in changes
        if change.kind in ("renamed", "reparametrized") and len(change.old) == len(change.new)
        for old, new in zip(change.old, change.new, strict=True)
    }


def greedy_names(old: Specs, new: Specs) -> Pairs:
    """The most alike names of one shape first."""
    ranked = sorted(
        (
            (difflib.SequenceMatcher(None, a, b).ratio(), a, b)
            for a in old
            if a not in new
            for b in new
            if b not in old and old[a].shape == new[b].shape
        ),
        reverse=True,
    )
    found: Pairs = {}
    taken: set[str] = set()
    for ratio, a, b in ranked:
        if ratio > 0.4 and a not in found and b not in taken:
            found[a] = b
            taken.add(b)
    return found


def order_and_shape(old: Specs, new: Specs) -> Pairs:
    """The longest common subsequence of shapes."""
    a, b = [key for key in old if key not in new], [key for key in new if key not in old]
    matcher = difflib.SequenceMatcher(
        None, [old[k].shape for k in a], [new[k].shape for k in b], autojunk=False
    )
    return {a[i + n]: b[j + n] for i, j, size in matcher.get_matching_blocks() for n in range(size)}


def suffixes(old: Specs, new: Specs) -> Pairs:
    """The longest old key that a new key ends with, as detectron2's loader matches."""
    found: Pairs = {}
    for b in new:
        ends = [a for a in old if (b.endswith(f".{a}") or a == b) and old[a].shape == new[b].shape]
        if ends:
            best = max(ends, key=len)
            found.setdefault(best, b)
    return found


def assignment(old: Specs, new: Specs) -> Pairs:
    """The best assignment on name similarity within each shape."""
    import numpy as np
    from rapidfuzz import fuzz, process
    from scipy.optimize import linear_sum_assignment

    shapes: defaultdict[tuple[int, ...], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, (specs, others) in enumerate(((old, new), (new, old))):
        for key, spec in specs.items():
            if key not in others:
                shapes[spec.shape][side].append(key)
    found: Pairs = {}
    for a, b in shapes.values():
        if a and b:
            table = np.asarray(process.cdist(a, b, scorer=fuzz.ratio))
            rows, cols = linear_sum_assignment(table, maximize=True)
            found.update((a[i], b[j]) for i, j in zip(rows, cols, strict=True) if table[i, j] > 40)
    return found


BASELINES: dict[str, Callable[[Specs, Specs], Pairs]] = {
    "greedy name similarity": greedy_names,
    "order + shape": order_and_shape,
    "suffix": suffixes,
    "optimal assignment on names": assignment,
}


def run_cases(cases: list[Case]) -> None:
    families: defaultdict[str, list[Score]] = defaultdict(list)
    certain = certain_right = joint_right = joint = ambiguous = 0
    for case in cases:
        start = time.perf_counter()
        changes = infer(case.old, case.new)
        seconds = time.perf_counter() - start
        score = compare(one_to_one(changes), case)
        families[case.family].append(score)
        sure = one_to_one(change for change in changes if change.confidence == "certain")
        certain += sum((a, b) not in case.undecided for a, b in sure.items())
        certain_right += sum(case.renames.get(a) == b for a, b in sure.items())
        ambiguous += len(one_to_one(change for change in changes if change.confidence == "ambiguous"))
        found = {(c.old[0], c.new) for c in changes if c.kind == "split"} & case.splits
        fused = {(c.old, c.new[0]) for c in changes if c.kind == "fused"} & case.fuses
        joint_right += len(found) + len(fused)
        joint += len(case.splits) + len(case.fuses)
        print(f"{case.name[:56]:56}  {score}  {seconds:5.2f} s")
    everything = [score for scores in families.values() for score in scores]
    print()
    for family, scores in sorted(families.items()):
        print(f"{family:24} {len(scores):3} cases  {total(scores)}")
    micro = total(everything)
    counted = [score for score in everything if score.right + score.missed]
    print(f"\nmicro   {micro}")
    print(f"macro   F1 {sum(score.f1 for score in counted) / max(len(counted), 1):.4f}")
    share = certain_right / max(micro.right + micro.missed, 1)
    print(f"certain {certain_right} of {certain} right, {share:.1%} of all renames; {ambiguous} ambiguous")
    print(f"splits and fuses found exactly: {joint_right} of {joint}")


def run_baselines(cases: list[Case], negatives: list[Case]) -> None:
    for name, method in BASELINES.items():
        if method is assignment and importlib.util.find_spec("rapidfuzz") is None:
            print(f"{name:28} skipped: pip install rapidfuzz")
            continue
        scores = [compare(method(case.old, case.new), case) for case in cases]
        macro = [score.f1 for score in scores if score.right + score.missed]
        false = sum(compare(method(case.old, case.new), case).wrong for case in negatives)
        print(f"{name:28} {total(scores)}  macro {sum(macro) / max(len(macro), 1):.4f}  {false} false")


def run_negatives(cases: list[Case]) -> None:
    false = 0
    for case in cases:
        changes = infer(case.old, case.new)
        wrong = compare(one_to_one(changes), case).wrong + sum(c.kind in ("split", "fused") for c in changes)
        false += wrong
        if wrong:
            print(f"{case.name}: {wrong} false")
    print(f"false renames on {len(cases)} negatives: {false}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--negatives", type=Path, help="folder of pairs in which no rename is true")
    parser.add_argument("--no-baselines", action="store_true", help="without the four simple methods")
    arguments = parser.parse_args()
    cases = [read(path) for path in sorted(arguments.folder.glob("*.json"))]
    negatives = (
        [read(path) for path in sorted(arguments.negatives.glob("*.json"))] if arguments.negatives else []
    )
    run_cases(cases)
    if negatives:
        run_negatives(negatives)
    if not arguments.no_baselines:
        print()
        run_baselines(cases, negatives)


if __name__ == "__main__":
    main()
