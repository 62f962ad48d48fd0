"""Which node became which: assignments that teach themselves, from several starts, the best one kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_ckpt_compat.renames.candidates import Candidates, Node, candidates, module_nodes, unit_nodes
from pytest_ckpt_compat.renames.evidence import Weights, given
from pytest_ckpt_compat.renames.exchanges import Exchanger, Proposal
from pytest_ckpt_compat.renames.groups import Groups, nested_share
from pytest_ckpt_compat.renames.learnt import Teacher
from pytest_ckpt_compat.renames.units import Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

#: Rounds of assigning and learning from one start; most settle in three.
_ROUNDS = 6

#: A pair this far ahead of its rivals is believed fully when others learn from it.
_CLEAR_LEAD = 0.5

#: What a pair that is level with a rival is still believed.
_LEAST_TRUST = 0.1


#: An exchange is made if the objective gains more than this.
_GAIN = 1e-6


@dataclass(frozen=True)
class Alignment:
    """An assignment and what speaks for it.

    Attributes:
        pairs: all candidates.
        score: the worth of each candidate, given the chosen ones.
        chosen: indexes of the candidates that were chosen.
        objective: sum of the worths of the chosen ones; what alternatives are compared by.
    """

    pairs: Candidates
    score: Floats
    chosen: Ints
    objective: float


def align(old: Sequence[Unit], new: Sequence[Unit], weights: Weights | None = None) -> Alignment:
    """The best assignment found of old units to new ones."""
    weights = weights or Weights()
    old_nodes, new_nodes = unit_nodes(old), unit_nodes(new)
    pairs = candidates(old_nodes, new_nodes)
    teacher = Teacher(old_nodes, new_nodes, pairs, weights)
    base = given(old_nodes, new_nodes, pairs, weights)
    modules = _align_modules(old, new, weights)
    starts = [base, base + weights.modules * _support(old_nodes, new_nodes, pairs, modules)]
    found = max((_settle(pairs, base, start, teacher) for start in starts), key=lambda found: found.objective)
    return _improve(found, base, teacher, Exchanger(old_nodes, new_nodes, pairs))


def _improve(found: Alignment, base: Floats, teacher: Teacher, exchanger: Exchanger) -> Alignment:
    """Exchanges whole blocks, and the same layers of all blocks, as long as the objective gains."""
    import numpy as np

    def objective(chosen: Ints) -> float:
        return float((base[chosen] + teacher.score(chosen, np.ones(len(chosen)), chosen)).sum())

    everywhere = np.arange(len(base))
    for _ in range(_ROUNDS):
        chosen, best = found.chosen, found.objective
        tried: set[Proposal] = set()
        for one, other, _ in exchanger.rivals(found.score, chosen):
            for proposal in exchanger.proposals(chosen, one, other):
                if proposal not in tried:
                    tried.add(proposal)
                    changed = exchanger.carry_out(proposal, found.score, chosen)
                    value = objective(changed)
                    if value > best + _GAIN:
                        chosen, best = changed, value
        if best == found.objective:
            return found
        score = base + teacher.score(chosen, np.ones(len(chosen)), everywhere)
        found = Alignment(found.pairs, score, chosen, best)
        found = max(found, _settle(found.pairs, base, score, teacher), key=lambda each: each.objective)
    return found


def _align_modules(old: Sequence[Unit], new: Sequence[Unit], weights: Weights) -> list[tuple[str, str]]:
    """Whole modules of equal content matched to each other, by the same means as units."""
    old_nodes, new_nodes = module_nodes(old), module_nodes(new)
    pairs = candidates(old_nodes, new_nodes)
    base = given(old_nodes, new_nodes, pairs, weights)
    found = _settle(pairs, base, base, Teacher(old_nodes, new_nodes, pairs, weights))
    return [
        (old_nodes[row].path, new_nodes[col].path)
        for row, col in zip(pairs.rows[found.chosen], pairs.cols[found.chosen], strict=True)
    ]


def _support(
    old: Sequence[Node], new: Sequence[Node], pairs: Candidates, modules: list[tuple[str, str]]
) -> Floats:
    """How far the modules around a pair are among the matched ``modules``."""
    import numpy as np

    ours, theirs = Groups.of([node.modules for node in old]), Groups.of([node.modules for node in new])
    a, b = ({name: number for number, name in enumerate(side.names, start=1)} for side in (ours, theirs))
    table = np.zeros((len(ours.sizes), len(theirs.sizes)))
    for one, other in modules:
        if one in a and other in b:
            table[a[one], b[other]] = 1
    return nested_share(table, ours.members[pairs.rows], theirs.members[pairs.cols])


def _settle(pairs: Candidates, base: Floats, start: Floats, teacher: Teacher) -> Alignment:
    """Assigns and learns in turn until nothing changes."""
    import numpy as np

    everywhere = np.arange(len(pairs))
    score = start
    chosen = assign(pairs, score)
    for _ in range(_ROUNDS):
        score = base + teacher.score(chosen, _trust(pairs, score, chosen), everywhere)
        before, chosen = chosen, assign(pairs, score)
        if np.array_equal(before, chosen):
            break
    score = base + teacher.score(chosen, np.ones(len(chosen)), everywhere)
    return Alignment(pairs, score, chosen, float(score[chosen].sum()))


def assign(pairs: Candidates, score: Floats) -> Ints:
    """The pairs of the best assignment, kind by kind."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    chosen = [np.empty(0, dtype=np.intp)]
    for part, height, width in pairs.classes:
        rows, cols = linear_sum_assignment(score[part].reshape(height, width), maximize=True)
        chosen.append(part.start + rows * width + cols)
    return np.concatenate(chosen)


def _trust(pairs: Candidates, score: Floats, chosen: Ints) -> Floats:
    """How far each chosen pair is ahead of its rivals, as a share of a clear lead."""
    import numpy as np

    lead = np.empty(len(score))
    for part, height, width in pairs.classes:
        table = score[part].reshape(height, width)
        rival = np.maximum(_best_other(table), _best_other(table.T).T)
        lead[part] = (table - rival).ravel()
    return np.clip(lead[chosen] / _CLEAR_LEAD, _LEAST_TRUST, 1.0)


def _best_other(table: Floats) -> Floats:
    """For each entry the best other entry of its row."""
    import numpy as np

    if table.shape[1] < 2:
        return np.full(table.shape, -np.inf)
    top = np.partition(table, -2, axis=1)[:, -2:]
    return np.where(table == top[:, 1:], top[:, :1], top[:, 1:])
