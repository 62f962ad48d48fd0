"""Fits the weights of the evidence for renames, and says how far they can be trusted.

    python -m benchmarks.rename_fit [FILE ...] [--write] [--processes N]

Every match of every case, in both orders, is one row: its features, and whether it is true. A logistic
model is fitted to all families but one and judges the one left out, each in turn; all figures are those of
families left out. The threshold of ``certain`` is the least at which the upper confidence bound of the
error lies below 1 in 2,000; what forbids certainty is applied first. ``--write`` fits all families and
writes the table that the package reads, and the figures into the page of the documentation.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rename_corpus import corpus
from benchmarks.rename_corpus.case import Case
from benchmarks.rename_quality.table import upper_bound
from pytest_ckpt_compat import _renames
from pytest_ckpt_compat._renames.believe import table
from pytest_ckpt_compat._renames.believe.features import Features, features
from pytest_ckpt_compat._renames.believe.judge import forbids_certainty
from pytest_ckpt_compat._renames.explain.changes import Match, Sides, changes
from pytest_ckpt_compat._renames.units.numbered import canonical
from pytest_ckpt_compat._renames.units.units import Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NAMES = tuple(table.WEIGHTS)

#: The page that has the figures, between two lines that begin with this.
_PAGE = Path(__file__).parents[1] / "docs" / "renames.md"
_MARK = "<!-- figures"

#: Largest error among certain matches.
_ERROR = 1 / 2000

#: Strength of the penalty on large weights, of standardised features.
_PENALTY = 1e-4

_BINS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.01)


@dataclass(frozen=True)
class Row:
    """A match.

    Attributes:
        evidence: what speaks for it.
        right: whether it is true.
        keys: number of changes that it makes.
        weight: what it counts in the fit: a case counts as the root of its number of changes.
        family: the case's.
        case: the case's name.
        refactor: whether the case is one, and not a negative or a mixed one.
    """

    evidence: Features
    right: bool
    keys: int
    weight: float
    family: str
    case: str
    refactor: bool

    @property
    def values(self) -> tuple[float, ...]:
        """The features in the order of ``NAMES``."""
        return tuple(float(getattr(self.evidence, name)) for name in NAMES)

    @property
    def obstacle(self) -> str | None:
        """What forbids certainty, or None."""
        return forbids_certainty(self.evidence)


def rows_of(case: Case, sort: bool) -> list[Row]:
    """The matches of a case, with the old side in its own order or sorted by name."""
    old = dict(sorted(case.old.items())) if sort else case.old
    ours, theirs = canonical(old), canonical(case.new)
    sides, old_units, new_units, found = _renames.aligned(
        {name: old[key] for name, key in ours.items()},
        {name: case.new[key] for name, key in theirs.items()},
    )
    judged, refactor = [], case.kind == "refactor"
    for (a, b), evidence in features(old_units, new_units, found).items():
        right, wrong = counted(case, sides, old_units[a], new_units[b], ours, theirs)
        if right + wrong:
            judged.append((evidence, not wrong, right + wrong))
    total = sum(keys for _, _, keys in judged)
    return [
        Row(evidence, right, keys, keys / total**0.5, case.family, case.name, refactor)
        for evidence, right, keys in judged
    ]


def counted(
    case: Case, sides: Sides, one: Unit, other: Unit, ours: dict[str, str], theirs: dict[str, str]
) -> tuple[int, int]:
    """Counts the true and the false changes of a match. What nobody can know is false."""
    right = wrong = 0
    held = {
        key for unit in one.parts or (one,) for t in unit.tensors for key in sides.old_repeats.expand(t.key)
    }
    for change in changes(sides, [Match(one, other)]):
        if not change.new or not held.issuperset(change.old) or not change.old:
            continue
        truths = list(_truths(case, [ours[key] for key in change.old], [theirs[key] for key in change.new]))
        right += truths.count(True) > 0 and False not in truths
        wrong += False in truths
    return right, wrong


def _truths(case: Case, old: list[str], new: list[str]) -> Iterator[bool]:
    truth = case.truth
    if len(old) != len(new):
        if truth.untold.isdisjoint(old):
            split = set(truth.splits.get(old[0], ())) == set(new) if len(old) == 1 else False
            yield split or any(set(several) == set(old) and [whole] == new for several, whole in truth.fuses)
        return
    for a, b in zip(old, new, strict=True):
        if (a, b) in case.ambiguous or a in truth.untold or a == b:
            continue
        yield b in (truth.renames.get(a), truth.resized.get(a)) and a not in truth.blind_old


def fitted(values: Floats, right: Floats, weights: Floats) -> tuple[float, Floats]:
    """Returns the intercept and the weights of the features, by maximum likelihood with a small penalty."""
    import numpy as np
    from scipy.optimize import minimize

    mean, scale = values.mean(axis=0), values.std(axis=0) + 1e-9
    inputs = np.column_stack([(values - mean) / scale, np.ones(len(values))])
    share = weights / weights.sum()

    def loss(parameters: Floats) -> tuple[float, Floats]:
        odds = inputs @ parameters
        slopes = np.append(parameters[:-1], 0.0)
        likelihood = share @ np.logaddexp(0, np.where(right > 0, -odds, odds))
        gradient = inputs.T @ (share * (1 / (1 + np.exp(-odds)) - right))
        return float(likelihood + _PENALTY * slopes @ slopes), gradient + 2 * _PENALTY * slopes

    found = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
    slopes = found[:-1] / scale
    return float(found[-1] - slopes @ mean), slopes


def left_out(rows: Sequence[Row]) -> Floats:
    """Returns each row's probability by the model of all other families."""
    import numpy as np

    values, right, weights = _arrays(rows)
    families = np.array([row.family for row in rows])
    found = np.zeros(len(rows))
    for family in sorted(set(families.tolist())):
        own = families == family
        intercept, slopes = fitted(values[~own], right[~own], weights[~own])
        found[own] = 1 / (1 + np.exp(-(values[own] @ slopes + intercept)))
    return found


def _arrays(rows: Sequence[Row]) -> tuple[Floats, Floats, Floats]:
    import numpy as np

    return (
        np.array([row.values for row in rows]),
        np.array([float(row.right) for row in rows]),
        np.array([row.weight for row in rows]),
    )


def threshold(rows: Sequence[Row], probabilities: Floats) -> float | None:
    """Returns the least probability from which on too few certain matches are wrong, or None."""
    candidates = sorted({round(float(p), 3) for p in probabilities if p >= 0.5})
    for least in candidates:
        kept = [row for row, p in zip(rows, probabilities, strict=True) if p >= least and not row.obstacle]
        wrong = sum(row.keys for row in kept if not row.right)
        if kept and upper_bound(wrong, sum(row.keys for row in kept)) < _ERROR:
            return least
    return None


def report(rows: Sequence[Row], probabilities: Floats) -> Iterator[str]:
    """The reliability table, and what certain covers at each threshold."""
    joined = list(zip(rows, probabilities.tolist(), strict=True))
    yield "claimed        changes   true   not forbidden   wrong of these"
    for low, high in pairwise(_BINS):
        inside = [row for row, p in joined if low <= p < high]
        free = [row for row in inside if not row.obstacle]
        keys = sum(row.keys for row in inside)
        true = sum(row.keys for row in inside if row.right)
        wrong = sum(row.keys for row in free if not row.right)
        yield (
            f"{low:.2f} to {min(high, 1.0):.2f} {keys:9}  {true / max(keys, 1):.3f} "
            f"{sum(row.keys for row in free):15} {wrong:16}"
        )
    true = sum(row.keys for row in rows if row.right and row.refactor)
    for least in (0.5, 0.8, 0.9, 0.95, 0.98, 0.99):
        kept = [row for row, p in joined if p >= least and not row.obstacle]
        number, wrong = sum(row.keys for row in kept), sum(row.keys for row in kept if not row.right)
        covered = sum(row.keys for row in kept if row.right and row.refactor) / max(true, 1)
        cases = sorted({row.case for row in kept if not row.right})
        yield (
            f"certain from {least:.2f}: {wrong} wrong of {number}, bound {upper_bound(wrong, number):.5f}, "
            f"covers {covered:.3f} of the true ones{': ' if cases else ''}{', '.join(cases)}"
        )


def undecided(rows: Sequence[Row]) -> Iterator[str]:
    """What keeps true changes from being certain, and how many false ones; one reason each."""
    yield "kept from certain by   true changes  of all  false changes"
    true = sum(row.keys for row in rows if row.right and row.refactor)
    reasons = Counter[str]()
    caught = Counter[str]()
    for row in rows:
        if row.obstacle and (row.refactor or not row.right):
            (reasons if row.right else caught)[row.obstacle] += row.keys
    for reason, keys in reasons.most_common():
        yield f"{reason:22} {keys:12} {keys / max(true, 1):7.3f} {caught[reason]:14}"


def written(intercept: float, slopes: Sequence[float], certain: float) -> str:
    """Returns the text of the table that the package reads."""
    lines = Path(table.__file__).read_text(encoding="utf-8").splitlines()
    fresh: list[str] = []
    for line in lines:
        name = line.strip().partition('": ')[0].strip('"')
        if line.startswith("INTERCEPT"):
            line = f"INTERCEPT = {intercept:.2f}"
        elif line.startswith("CERTAIN"):
            line = f"CERTAIN = {certain:.3f}"
        elif name in NAMES:
            line = f'        "{name}": {slopes[NAMES.index(name)]:.2f},'
        fresh.append(line)
    return "\n".join(fresh) + "\n"


def page(text: str, lines: Sequence[str]) -> str:
    """Returns the text of the page with new figures."""
    before, _, rest = text.partition(_MARK)
    opening, _, rest = rest.partition("\n")
    closing = rest.index(_MARK)
    figures = "\n".join(lines)
    return f"{before}{_MARK}{opening}\n\n```text\n{figures}\n```\n\n{rest[closing:]}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=corpus.given, nargs="*", metavar="FILE")
    parser.add_argument("--write", action="store_true", help="write the table that the package reads")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    arguments = parser.parse_args()
    cases = [case for file in arguments.files or [corpus.COMMITTED] for case in corpus.read(file)]
    jobs: list[Any] = [(case, sort) for case in cases for sort in (False, True)]
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        rows = [row for found in pool.starmap(rows_of, jobs, chunksize=4) for row in found]
    probabilities = left_out(rows)
    families = len({row.family for row in rows})
    figures = [
        f"{len(cases)} cases of {families} families, in both orders: {len(rows)} matches",
        "",
        *report(rows, probabilities),
        "",
        *undecided(rows),
    ]
    print("\n".join(figures))
    least = threshold(rows, probabilities)
    intercept, slopes = fitted(*_arrays(rows))
    print(
        f"\nintercept {intercept:.2f}  "
        + "  ".join(f"{n} {w:.2f}" for n, w in zip(NAMES, slopes, strict=True))
    )
    print(f"certain from {least}")
    if arguments.write and least is not None:
        Path(table.__file__).write_text(written(intercept, list(slopes), least), encoding="utf-8")
        _PAGE.write_text(page(_PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")


if __name__ == "__main__":
    main()
