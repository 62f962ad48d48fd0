"""What is measured of many pairs at once is, to the last digit, what is measured of each."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ckpt_compat._renames.believe.partings import Partings
from pytest_ckpt_compat._renames.believe.ranks import ranks
from pytest_ckpt_compat._renames.units import similarities as tables
from pytest_ckpt_compat._renames.units.paths import modules_of, template
from pytest_ckpt_compat._renames.units.tokens import Names

_WORDS = ["q", "k_proj", "query", "layernorm1", "norm2", "enc", "decoder", "wqkv", "project", "projection"]
_WORDS += ["attn_out", "after_norm", "post_attn", "conv_a", "conv_b", "0", "11", "h", "blocks", "x", ""]
_PATHS = st.lists(
    st.lists(st.sampled_from(_WORDS), min_size=1, max_size=4).map(".".join),
    unique=True,
    min_size=1,
    max_size=8,
)


@given(_PATHS, _PATHS)
@pytest.mark.parametrize("most", [1, 1 << 20])
def test_similarities_are_those_of_each_pair(most: int, old: list[str], new: list[str]) -> None:
    names = Names(old, new)
    pairs = list(product(range(len(old)), range(len(new))))
    rows, cols = (np.array(side, dtype=np.intp) for side in zip(*pairs, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_MOST", most)
        found = tables.similarities(names, old, new, rows, cols)
    assert found.tolist() == [names.similarity(old[row], new[col]) for row, col in pairs]


@given(_PATHS)
def test_partings_are_those_of_each_two_paths(paths: list[str]) -> None:
    contents = {module: len(module) % 3 for path in paths for module in (*modules_of(path), path)}
    one, other = np.triu_indices(len(paths), 1)
    sides = Partings(paths, contents)
    left, right = sides.modules(one, other)
    told: Any = zip(
        sides.numbered(left, right).tolist(),
        sides.alike(left, right).tolist(),
        *(stated.tolist() for stated in sides.ranks(left, right)),
        strict=True,
    )
    for a, b, (numbered, alike, *stated) in zip(one.tolist(), other.tolist(), told, strict=True):
        modules = _parted(paths[a], paths[b])
        assert numbered == (template(modules[0]) == template(modules[1]))
        assert alike == (contents[modules[0]] == contents[modules[1]])
        np.testing.assert_array_equal(stated, ranks(modules))


def _parted(one: str, other: str) -> tuple[str, str]:
    """The modules at which two paths part, segment by segment."""
    ours, theirs = one.split("."), other.split(".")
    depth = next((i for i, (x, y) in enumerate(zip(ours, theirs, strict=False)) if x != y), 0)
    return ".".join(ours[: depth + 1]), ".".join(theirs[: depth + 1])
