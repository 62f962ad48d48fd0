"""The words for the evidence of a match: each where there is such evidence, and nowhere else."""

from __future__ import annotations

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat import TensorSpec

_Shapes = dict[str, tuple[int, ...]]


def evidence(old: _Shapes, new: _Shapes, key: str) -> tuple[str, ...]:
    sides = [ckpt.Structure({k: TensorSpec("float32", s) for k, s in side.items()}) for side in (old, new)]
    return next(change.evidence for change in ckpt.diff(*sides).changes if change.old == (key,))


def _stack(name: str, depth: int) -> _Shapes:
    layer = {"w1.weight": (8, 8), "w1.bias": (8,), "w2.weight": (8, 8)}
    blocks = {f"{name}.{i}.{end}": shape for i in range(depth) for end, shape in layer.items()}
    return {"stem.weight": (8, 4), **blocks, "head.weight": (2, 8)}


def test_all_that_speaks_for_a_match_is_named() -> None:
    said = evidence(_stack("blocks", 4), _stack("layers", 6), "blocks.1.w1.weight")
    assert said == (
        "similar names",
        "the modules around them correspond",
        "the same ending is renamed likewise elsewhere",
        "between the same neighbours",
        "numbered in the same way",
    )


def test_names_without_a_word_in_common_are_not_called_similar() -> None:
    rest: _Shapes = {"body.weight": (8, 8), "body.bias": (8,), "fc.weight": (10, 8)}
    said = evidence(
        {"conv1.weight": (8, 3, 3, 3), **rest}, {"stem.weight": (8, 3, 3, 3), **rest}, "conv1.weight"
    )
    assert "the only ones of this shape" in said
    assert "similar names" not in said


def test_of_one_kind_that_has_no_equal_the_shape_is_named_first() -> None:
    old: _Shapes = {"bn1.weight": (8,), "bn1.bias": (8,), "body.0.weight": (8, 8), "fc.weight": (10, 8)}
    new = {key.replace("bn1", "norm1").replace("body", "trunk"): shape for key, shape in old.items()}
    assert evidence(old, new, "bn1.weight")[:2] == ("the only ones of this shape", "similar names")
