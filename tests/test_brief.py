"""A row of the report is read by people, however long its keys and patterns are."""

from __future__ import annotations

import pytest

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._report.brief import brief
from pytest_ckpt_compat._report.rows import rows

_SPEC = TensorSpec("float32", (2, 2))
_SCATTERED = [f"layers.{at}.weight" for at in range(0, 20_000, 2)]
#: Name -> keys of the old side, keys of the new side, how the longest row begins.
LONG = {
    "numbers without an order": (
        [f"layers.{at}.weight" for at in range(20_000)],
        _SCATTERED,
        "layers.{1,3,5,7,9,11,...,19999}.weight",
    ),
    "a name": (["a.weight", "x" * 9_000 + ".weight"], ["a.weight"], "xxx"),
    "a name that changed": ([f"{'x' * 9_000}.weight"], [f"{'y' * 9_000}.weight"], "xxx"),
    "modules in modules": (["a.weight", "b." * 500 + "weight"], ["a.weight"], "b.b."),
}


@pytest.mark.parametrize("name", LONG)
def test_a_row_is_never_longer_than_a_few_lines(name: str) -> None:
    old, new, begin = LONG[name]
    verdict = ckpt.diff(*(Structure(dict.fromkeys(keys, _SPEC)) for keys in (old, new)))
    assert max(map(len, str(verdict).split("\n"))) < 600
    shortened = [row for row in rows(verdict) if row.subject.startswith(begin)]
    assert shortened
    assert all(row.note.endswith("(-vv prints all)") for row in shortened)
    told = {key for row in rows(verdict, full=True) for key in row.subject.split(" -> ")}
    assert set(old) ^ set(new) <= told


def test_what_fits_is_left_as_it_is() -> None:
    pattern = "layers.{1,3,5,7,9,11,13,15,17}.{q,k,v}.* -> blocks.{1,3,5,7,9,11,13,15,17}.{a,b,c}.*"
    assert brief(pattern) == pattern
    assert brief(f"{{{', '.join(f'head.{at}' for at in range(90))}}}") == (
        "{head.0, head.1, head.2, head.3, head.4, head.5,...,head.89}"
    )
