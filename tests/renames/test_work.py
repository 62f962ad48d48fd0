"""How much work an explanation takes, counted in operations."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames import aligned, infer
from pytest_ckpt_compat._renames.match.alignment import _Problem
from pytest_ckpt_compat._renames.match.candidates import Node, _surroundings, candidates
from pytest_ckpt_compat._renames.match.learnt import Teacher
from pytest_ckpt_compat._renames.units.blocks import collapse
from pytest_ckpt_compat._renames.units.paths import modules_of
from pytest_ckpt_compat._renames.units.tokens import Names
from tests.counting import calls

Specs = dict[str, TensorSpec]


def _model(layers: int, names: tuple[str, ...], width: int = 8) -> Specs:
    return {
        f"layers.{layer}.{name}.{tensor}": TensorSpec("float32", shape)
        for layer in range(layers)
        for name in names
        for tensor, shape in (("weight", (width, width)), ("bias", (width,)))
    }


def _as_is(specs: Specs) -> Specs:
    return specs


def _by_name(specs: Specs) -> Specs:
    return dict(sorted(specs.items()))


def _shuffled(specs: Specs) -> Specs:
    items = list(specs.items())
    random.Random(0).shuffle(items)
    return dict(items)


@pytest.mark.parametrize("order", [_as_is, _by_name, _shuffled])
def test_layers_alike_are_compared_once_in_any_order(order: Callable[[Specs], Specs]) -> None:
    pairs = [
        len(aligned(order(_model(layers, ("q", "k", "out"))), _model(layers, ("wq", "wk", "wo")))[3].pairs)
        for layers in (6, 60)
    ]
    assert pairs == [9, 9]


def test_the_experts_of_each_layer_are_not_compared_with_those_of_every_other() -> None:
    """They are runs of blocks alike: the numbers of each were compared with those of every other one."""
    made = []
    for layers in (20, 80):
        specs = {
            f"layers.{layer}.experts.{expert}.up": TensorSpec("float32", (8, 8))
            for layer in range(layers)
            for expert in range(8)
        }
        modules_of.cache_clear()
        with calls() as counted:
            assert len(collapse(specs, specs)[0].specs) == 1
            made.append(counted())
    assert made[1] < 4.5 * made[0]


def test_no_assignment_is_measured_twice_by_the_search_for_better_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[bytes] = []
    settling: list[bool] = []
    objective, settle = _Problem.objective, _Problem.settle

    def counted(problem: _Problem, chosen: Any) -> float:
        if not settling:
            measured.append(chosen.tobytes())
        return objective(problem, chosen)

    def settled(problem: _Problem, score: Any) -> Any:
        settling.append(True)
        found = settle(problem, score)
        settling.pop()
        return found

    monkeypatch.setattr(_Problem, "objective", counted)
    monkeypatch.setattr(_Problem, "settle", settled)
    old, new = _model(3, ("conv1", "conv2", "conv3")), _model(3, ("first", "middle", "second"))
    aligned(_shuffled(old), new)
    assert measured
    assert len(measured) == len(set(measured))


_PATH = st.lists(st.sampled_from(["a", "b", "0", "1", "2", "c3"]), min_size=1, max_size=7).map(".".join)


@given(st.data(), *(st.lists(_PATH, unique=True, min_size=1, max_size=12) for _ in range(2)))
def test_deep_modules_are_measured_as_each_level_by_itself(
    data: st.DataObject, old: list[str], new: list[str]
) -> None:
    """What is measured for all pairs at once is the same number, to the last digit."""
    ours, theirs = _nodes(old), _nodes(new)
    pairs = candidates(ours, theirs)
    teacher = Teacher(ours, theirs, pairs, (True, True))
    at = np.arange(len(pairs))
    chosen = np.array(data.draw(st.lists(st.sampled_from(at.tolist()), unique=True)), dtype=np.intp)
    trusts = st.lists(st.floats(0.1, 1), min_size=len(chosen), max_size=len(chosen))
    trust = np.array(data.draw(trusts), dtype=np.float64)
    own = np.zeros(len(pairs))
    own[chosen] = trust
    votes = teacher._modules.votes(chosen, trust)
    deep, each = (measure(votes, own) for measure in (teacher._deep, teacher._around_each))
    assert {name: values.tolist() for name, values in deep.items()} == {
        name: values.tolist() for name, values in each.items()
    }


@given(st.data(), *(st.lists(_PATH, unique=True, min_size=1, max_size=12) for _ in range(2)))
def test_the_chosen_pairs_are_measured_among_themselves_as_among_all(
    data: st.DataObject, old: list[str], new: list[str]
) -> None:
    ours, theirs = _nodes(old), _nodes(new)
    pairs = candidates(ours, theirs)
    teacher = Teacher(ours, theirs, pairs, (data.draw(st.booleans()), True))
    order = data.draw(st.permutations(range(len(new))))
    chosen = np.array([row * len(new) + col for row, col in zip(range(len(old)), order, strict=False)])
    among = teacher.among(chosen)
    learnt = teacher.learnt(chosen, np.ones(len(chosen)))
    assert {name: values.tolist() for name, values in among.items()} == {
        name: values[chosen].tolist() for name, values in learnt.items()
    }


def test_an_exchange_is_judged_by_the_chosen_pairs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them was held against all pairs that could be chosen."""
    measured: list[int] = []
    learnt = Teacher.learnt

    def noted(teacher: Teacher, *args: Any) -> Any:
        measured.append(1)
        return learnt(teacher, *args)

    monkeypatch.setattr(Teacher, "learnt", noted)
    spec = TensorSpec("float32", ())
    old, new = ({f"{letter}{number}": spec for number in range(30)} for letter in "xy")
    infer(_shuffled(old), new)
    assert len(measured) <= 60


def test_names_of_many_layers_alike_are_compared_in_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each two of four hundred matrices were compared by four pairs of names, a word at a time."""
    compared: list[str] = []
    similarity = Names.similarity

    def noted(names: Names, old: str, new: str) -> float:
        compared.append(old)
        return similarity(names, old, new)

    monkeypatch.setattr(Names, "similarity", noted)
    words = ["".join(letters) for letters in permutations("bdgktz", 3)]
    old, new = (
        {f"{word}{ending}.weight": TensorSpec("float32", (4, 4)) for word in words}
        for ending in ("", "_proj")
    )
    found = infer(old, new)
    assert [change.kind for change in found] == ["renamed"] * len(words)
    assert len(compared) <= len(words)


def _nodes(paths: list[str]) -> list[Node]:
    around = _surroundings(paths)
    return [Node(path, "kind", around[path]) for path in paths]


def test_of_deep_modules_only_what_is_chosen_is_measured_level_by_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of each of all pairs, the levels of one side were held against those of the other: a fourth power."""
    measured: list[int] = []
    around_each = Teacher._around_each

    def noted(teacher: Teacher, votes: Any, own: Any, *at: Any) -> Any:
        measured.append(len(own))
        return around_each(teacher, votes, own, *at)

    monkeypatch.setattr(Teacher, "_around_each", noted)
    levels, spec = 25, TensorSpec("float32", (2, 2))
    old, new = (
        {".".join([*[inner] * level, name, "weight"]): spec for level in range(levels)}
        for inner, name in (("inner", "linear"), ("child", "proj"))
    )
    found = infer(old, new)
    assert [change.kind for change in found] == ["renamed"] * levels
    assert max(measured) <= levels
