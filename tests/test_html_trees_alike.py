"""What both sides of a page have alike is paired without a look at its tensors, and in the same way."""

from __future__ import annotations

import random

import pytest

from pytest_ckpt_compat import Structure, TensorSpec, diff
from pytest_ckpt_compat._report.html import trees
from pytest_ckpt_compat._report.html.links import Linked, linked
from pytest_ckpt_compat._report.html.trees import paired
from tests.counting import calls


def structure(chance: random.Random, keys: list[str]) -> Structure:
    return Structure({key: TensorSpec("float32", (chance.randint(2, 3),)) for key in keys})


def drawn(seed: int) -> tuple[Structure, Structure]:
    """Two state_dicts of nearly the same keys, of which some are of another shape, gone, new or elsewhere."""
    chance = random.Random(seed)
    names = ["a", "b", "0", "1", "weight"]
    keys = list(
        dict.fromkeys(
            ".".join(chance.choices(names, k=chance.randint(1, 4))) for _ in range(chance.randint(1, 25))
        )
    )
    now = [key for key in keys if chance.random() > 0.05]
    now += [f"{key}.more" for key in keys if chance.random() < 0.03]
    if chance.random() < 0.2:
        chance.shuffle(now)
    if seed % 2:
        now = keys
    return structure(chance, keys), structure(chance, now or ["x"])


def of(old: Structure, new: Structure) -> Linked:
    found = linked(diff(old, new))
    assert found is not None
    return found


def test_what_is_alike_is_paired_as_anything_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = [of(*drawn(seed)) for seed in range(100)]
    found = list(map(paired, sides))
    monkeypatch.setattr(trees._Pairing, "are_alike", lambda *_: False)
    assert found == list(map(paired, sides))


def test_the_tensors_of_what_is_alike_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"layers.{layer}.{name}.weight" for layer in range(300) for name in "abc"]
    both = structure(random.Random(0), keys)

    def work() -> int:
        found = of(both, both)
        with calls() as counted:
            paired(found)
            return counted()

    quickly = work()
    monkeypatch.setattr(trees._Pairing, "are_alike", lambda *_: False)
    slowly = work()
    assert quickly < slowly / 2
