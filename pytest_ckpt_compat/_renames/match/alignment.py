"""Finds the best assignment of old nodes to new ones.

Each round learns from the pairs of the last one. The best result of several starts is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, repeat
from typing import TYPE_CHECKING

from pytest_ckpt_compat._renames.match.assignment import assigned
from pytest_ckpt_compat._renames.match.candidates import (
    Candidates,
    Node,
    candidates,
    module_nodes,
    transposed_kinds,
    unit_nodes,
)
from pytest_ckpt_compat._renames.match.doubts import Doubt, Numbered, note
from pytest_ckpt_compat._renames.match.evidence import Weights, given, weighed
from pytest_ckpt_compat._renames.match.exchanges import Exchanger
from pytest_ckpt_compat._renames.match.free_partners import with_free_partners
from pytest_ckpt_compat._renames.match.further_blocks import out_of_further_blocks, outermost_blocks
from pytest_ckpt_compat._renames.match.groups import Groups, nested_share
from pytest_ckpt_compat._renames.match.learnt import Teacher
from pytest_ckpt_compat._renames.units.units import Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

    from pytest_ckpt_compat._renames.match.evidence import Measures

#: Most rounds of assigning and learning from one start. Usually three are enough.
_ROUNDS = 6

#: A pair with this lead over its rivals has full weight when others learn from it.
_CLEAR_LEAD = 0.5

#: The weight of a pair without a lead over its rivals.
_LEAST_TRUST = 0.1

#: Changes to the weights that ignore all evidence from order.
_NO_ORDER = dict.fromkeys(("kind_order", "file_order", "module_order", "neighbours"), 0.0)

#: Most pairs examined in one round, over all alternatives. Models of more than about 700 nodes outside
#: repeated blocks reach it; then no match is certain.
_MOST_LOOKS = 1_500_000

#: Least gain in the objective for which an exchange is made.
_GAIN = 1e-6


@dataclass(frozen=True)
class Alignment:
    """An assignment and the evidence for it.

    Attributes:
        pairs: all candidate pairs.
        score: the score of each candidate pair, given the chosen ones.
        chosen: indexes of the chosen pairs.
        objective: sum of the scores of the chosen pairs, by which assignments are compared.
        doubts: old node -> its cheapest alternative, if it has one.
        examined: whether all alternatives were examined.
        measures: kind of evidence -> its measure for each chosen pair.
        ordered: whether each side stands in the order of its model; order was evidence if both do.
    """

    pairs: Candidates
    score: Floats
    chosen: Ints
    objective: float
    doubts: Mapping[int, Doubt] = field(default_factory=dict)
    examined: bool = True
    measures: Measures = field(default_factory=dict)
    ordered: tuple[bool, bool] = (True, True)


def align(
    old: Sequence[Unit],
    new: Sequence[Unit],
    weights: Weights | None = None,
    ordered: tuple[bool, bool] = (True, True),
) -> Alignment:
    """Returns the best assignment found of old units to new ones.

    Args:
        old: units of the old side.
        new: units of the new side.
        weights: of the kinds of evidence.
        ordered: whether each side stands in the order of its model, so that order is evidence.
    """
    weights = weights or Weights()
    if not all(ordered):
        weights = replace(weights, **_NO_ORDER)
    turned = transposed_kinds(old, new)
    old_nodes, new_nodes = unit_nodes(old, turned), unit_nodes(new, turned, turn=True)
    problem = _Problem.of(old_nodes, new_nodes, weights, ordered)
    modules = _align_modules(module_nodes(old, turned), module_nodes(new, turned), weights, ordered)
    support = _support(old_nodes, new_nodes, problem.pairs, modules)
    starts = (problem.base, problem.base + weights.modules * support)
    found = max((problem.settle(start) for start in starts), key=lambda each: each.objective)
    sides = old_nodes, new_nodes
    blocks = outermost_blocks(old_nodes), outermost_blocks(new_nodes)
    numbered = Numbered.of(*sides)
    found = _improve(problem, found, Exchanger(*sides, problem.pairs, problem.teacher.ordinals), numbered)
    chosen = out_of_further_blocks(found.pairs, found.score, found.chosen, sides, blocks)
    found = problem.of_choice(chosen, found)
    costs = repeat(_costs(problem, found), _MOST_LOOKS // max(len(found.chosen), 1))
    numbered = numbered.among(found.pairs, found.chosen)
    doubts = with_free_partners(found.pairs, found.score, found.chosen, blocks, found.doubts, costs, numbered)
    return replace(found, doubts=doubts, measures=problem.measures(found.chosen), ordered=ordered)


def _costs(problem: _Problem, found: Alignment) -> Callable[[Ints], float]:
    """Returns a function that says by how much the objective of another choice is lower."""
    return lambda changed: found.objective - problem.objective(changed)


@dataclass(frozen=True)
class _Problem:
    """The fixed parts of one search for an assignment."""

    pairs: Candidates
    weights: Weights
    #: The evidence for each pair before anything is learnt, by kind.
    given: Measures
    #: The same, weighed in one number.
    base: Floats
    teacher: Teacher

    @classmethod
    def of(
        cls, old: Sequence[Node], new: Sequence[Node], weights: Weights, ordered: tuple[bool, bool]
    ) -> _Problem:
        pairs = candidates(old, new)
        measures = given(old, new, pairs)
        return cls(pairs, weights, measures, weighed(measures, weights), Teacher(old, new, pairs, ordered))

    def measures(self, chosen: Ints) -> Measures:
        """Returns all evidence for the chosen pairs, by kind."""
        learnt = self.teacher.among(chosen)
        return {**{name: values[chosen] for name, values in self.given.items()}, **learnt}

    def score(self, chosen: Ints, trust: Floats | None = None) -> Floats:
        """Returns the scores of all pairs, given the chosen ones and how far each is to be trusted."""
        import numpy as np

        trust = np.ones(len(chosen)) if trust is None else trust
        return self.base + weighed(self.teacher.learnt(chosen, trust), self.weights)

    def objective(self, chosen: Ints) -> float:
        """Returns the sum of the chosen pairs' scores, by which assignments are compared."""
        return float((self.base[chosen] + weighed(self.teacher.among(chosen), self.weights)).sum())

    def of_choice(self, chosen: Ints, found: Alignment) -> Alignment:
        """Returns the alignment with other chosen pairs."""
        if chosen is found.chosen:
            return found
        return replace(found, chosen=chosen, score=self.score(chosen), objective=self.objective(chosen))

    def unordered(self, chosen: Ints) -> float:
        """Returns the objective without the evidence from order."""
        return float(weighed(self.measures(chosen), replace(self.weights, **_NO_ORDER, numbers=0.0)).sum())

    def settle(self, score: Floats) -> Alignment:
        """Assigns and learns in turn until the assignment no longer changes. Returns the best that it saw."""
        import numpy as np

        best = chosen = assign(self.pairs, score)
        most = self.objective(best)
        for _ in range(_ROUNDS):
            score = self.score(chosen, _trust(self.pairs, score, chosen))
            before, chosen = chosen, assign(self.pairs, score)
            if np.array_equal(before, chosen):
                break
            if (objective := self.objective(chosen)) > most:
                best, most = chosen, objective
        return Alignment(self.pairs, self.score(best), best, most)


def _improve(problem: _Problem, found: Alignment, exchanger: Exchanger, numbered: Numbered) -> Alignment:
    """Tries alternatives while the objective gains, and notes the cheapest one of each node."""
    # Different proposals lead to equal assignments, and a round repeats most of the one before.
    objective, unordered = _remembered(problem.objective), _remembered(problem.unordered)
    for _ in range(_ROUNDS):
        chosen, best = found.chosen, found.objective
        doubts: dict[int, Doubt] = {}
        counted = numbered.among(found.pairs, chosen)
        proposals = exchanger.proposals(found.score, chosen)
        for proposal in islice(proposals, _MOST_LOOKS // max(len(chosen), 1)):
            changed = exchanger.carry_out(proposal, found.score, chosen)
            value = objective(changed)
            if value > best + _GAIN:
                chosen, best = changed, value
            cost = best - value
            if exchanger.crosses_names(proposal, chosen):
                cost = min(cost, unordered(chosen) - unordered(changed))
            note(doubts, found.pairs, chosen, changed, cost, counted)
        if best == found.objective:
            break
        score = problem.score(chosen)
        found = Alignment(found.pairs, score, chosen, best)
        found = max(found, problem.settle(score), key=lambda each: each.objective)
    return replace(found, doubts=doubts, examined=next(proposals, None) is None)


def _remembered(measure: Callable[[Ints], float]) -> Callable[[Ints], float]:
    """Returns ``measure``, which then measures each assignment once."""
    known: dict[bytes, float] = {}

    def recall(chosen: Ints) -> float:
        key = chosen.tobytes()
        if key not in known:
            known[key] = measure(chosen)
        return known[key]

    return recall


def _align_modules(
    old: Sequence[Node], new: Sequence[Node], weights: Weights, ordered: tuple[bool, bool]
) -> list[tuple[str, str]]:
    """Matches modules of equal content in the same way as units. Returns (old, new) paths."""
    problem = _Problem.of(old, new, weights, ordered)
    found = problem.settle(problem.base)
    rows, cols = problem.pairs.rows[found.chosen].tolist(), problem.pairs.cols[found.chosen].tolist()
    return [(old[row].path, new[col].path) for row, col in zip(rows, cols, strict=True)]


def _support(
    old: Sequence[Node], new: Sequence[Node], pairs: Candidates, modules: list[tuple[str, str]]
) -> Floats:
    """Measures, for each pair, how many of the modules around it are matched in ``modules``."""
    import numpy as np

    ours, theirs = Groups.of([node.modules for node in old]), Groups.of([node.modules for node in new])
    a, b = ({name: number for number, name in enumerate(side.names, start=1)} for side in (ours, theirs))
    table = np.zeros((len(ours.sizes), len(theirs.sizes)))
    for one, other in modules:
        if one in a and other in b:
            table[a[one], b[other]] = 1
    return nested_share(table, ours.members, theirs.members, pairs.rows, pairs.cols)


def assign(pairs: Candidates, score: Floats) -> Ints:
    """Returns the indexes of the best assignment's pairs, kind by kind."""
    import numpy as np

    chosen = [np.empty(0, dtype=np.intp)]
    for part, height, width in pairs.classes:
        rows, cols = assigned(score[part].reshape(height, width))
        chosen.append(part.start + rows * width + cols)
    return np.concatenate(chosen)


def _trust(pairs: Candidates, score: Floats, chosen: Ints) -> Floats:
    """Returns the lead of each chosen pair over its rivals, as a share of a clear lead."""
    import numpy as np

    lead = np.empty(len(score))
    for part, height, width in pairs.classes:
        table = score[part].reshape(height, width)
        rival = np.maximum(_best_other(table), _best_other(table.T).T)
        lead[part] = (table - rival).ravel()
    return np.clip(lead[chosen] / _CLEAR_LEAD, _LEAST_TRUST, 1.0)


def _best_other(table: Floats) -> Floats:
    """Returns, for each entry, the highest other entry of its row."""
    import numpy as np

    if table.shape[1] < 2:
        return np.full(table.shape, -np.inf)
    top = np.partition(table, -2, axis=1)[:, -2:]
    return np.where(table == top[:, 1:], top[:, :1], top[:, 1:])
