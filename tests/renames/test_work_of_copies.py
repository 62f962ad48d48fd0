"""How often the keys of a checkpoint are looked at to find copies of the model in it."""

from __future__ import annotations

from collections import UserDict
from collections.abc import ItemsView
from itertools import permutations

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames import infer
from pytest_ckpt_compat._renames.explain.copies import with_copies


class _Watched(UserDict[str, TensorSpec]):
    """Specs that count how often all of them are listed."""

    listed = 0

    def items(self) -> ItemsView[str, TensorSpec]:
        self.listed += 1
        return super().items()


def _model(words: list[str], ending: str = "") -> dict[str, TensorSpec]:
    return {f"{word}{ending}.fc.weight": TensorSpec("float32", (3, 4)) for word in words}


def test_the_keys_of_a_checkpoint_are_listed_once_for_all_modules_alike() -> None:
    """They were for each two modules of which one was renamed and one is gone."""
    words = ["".join(letters) for letters in permutations("bdgk", 3)]
    old, new = _Watched(_model(words)), _Watched(_model(words[::2], "_net"))
    changes = infer(dict(old), dict(new))
    assert {change.kind for change in changes} == {"renamed", "unexpected"}
    with_copies(changes, old, new)
    assert old.listed <= 1
    assert new.listed <= 1
