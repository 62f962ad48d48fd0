"""Any two lists of keys are explained: nothing raises, and every key named is one that its side has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._renames import infer, rename_patterns
from tests.effort import examples

from .models import Specs, spec

Shapes = dict[str, list[int]]


def specs(shapes: Shapes) -> Specs:
    return {key: spec(*shape) for key, shape in shapes.items()}


def assert_names_real_keys(changes: Iterable[Change], old: Specs, new: Specs) -> None:
    changes = list(changes)
    for side, named in ((old, [c.old for c in changes]), (new, [c.new for c in changes])):
        used = Counter(key for keys in named for key in keys)
        assert used.keys() <= side.keys()
        assert max(used.values(), default=1) == 1
    assert {key for change in changes for key in change.candidates} <= new.keys()


def explained(old: Specs, new: Specs) -> dict[tuple[str, ...], tuple[str, tuple[str, ...]]]:
    """Explains in every way there is; returns old keys -> (kind, new keys) of what was found."""
    changes = infer(old, new)
    assert_names_real_keys(changes, old, new)
    rename_patterns(changes, old, new)
    verdict = ckpt.diff(ckpt.Structure(old), ckpt.Structure(new))
    assert verdict.notes == ()
    assert str(verdict) is not None
    assert_names_real_keys((c for c in verdict.changes if c.kind != "retyped"), old, new)
    return {change.old: (change.kind, change.new) for change in changes if change.old and change.new}


# Nasty lists ----------------------------------------------------------------------------------------

odd = ["", "", " ", "é", "日本", "²", "1٣", "01", "{0,1}", "*", "\ud800", "9" * 25, "parametrizations"]
names = ["a", "b", "layers", "0", "1", "2", "3", "q", "k", "v", "qkv", "q_proj", "norm", "module", "weight"]
leaves = [
    *("weight", "bias", "gamma", "in_proj_weight", "q_bias", "running_var", "weight_g", "weight_v"),
    *("weight_orig", "weight_u", "weight_mask", "bias_orig", "parametrizations.weight.original"),
    *("parametrizations.weight.original0", "parametrizations.weight.original1"),
    *("parametrizations.weight.0._u", "parametrizations.X.original", "parametrizations.X.0.base"),
]
segments = st.sampled_from(names + odd)
shapes = st.lists(st.sampled_from([0, 1, 2, 4, 8]), max_size=5).map(tuple)
keys = st.one_of(
    st.lists(segments, min_size=1, max_size=5).map(".".join),
    st.tuples(st.sampled_from(["", "a.", "0.", "a.0.", ".", "a..", "module."]), st.sampled_from(leaves)).map(
        "".join
    ),
    st.tuples(st.sampled_from(["", "a.", "b.", "0."]), st.sampled_from("qkv"), st.just(".weight")).map(
        "".join
    ),
)
blocks = st.builds(
    lambda trunk, tails, count: [f"{trunk}.{n}.{tail}" for n in range(count) for tail in tails],
    st.sampled_from(["", "a", "a.0", "parametrizations"]),
    st.lists(st.one_of(segments, st.sampled_from(leaves)), min_size=1, max_size=2),
    st.integers(3, 5),
)
deep = st.builds(lambda name, depth: [".".join([name] * depth) + ".weight"], segments, st.integers(30, 60))
lists = st.one_of(st.lists(keys, max_size=7), st.lists(keys, max_size=7), blocks, deep)


@st.composite
def sides(draw: st.DrawFn) -> tuple[Specs, Specs]:
    """Two lists of keys; the second often has much of the first, under other names."""
    few = draw(st.lists(shapes, min_size=1, max_size=3))
    old = {key: spec(*draw(st.sampled_from(few))) for key in draw(lists)}
    new = {key: spec(*draw(st.sampled_from(few))) for key in draw(lists)}
    if draw(st.booleans()):
        table = draw(st.dictionaries(st.sampled_from(names), segments, max_size=3))
        prefix = draw(st.sampled_from(["", "", "module.", "."]))
        new = {
            **{prefix + ".".join(table.get(p, p) for p in key.split(".")): each for key, each in old.items()},
            **(new if draw(st.booleans()) else {}),
        }
    return old, new


@settings(max_examples=examples(200), deadline=None, suppress_health_check=list(HealthCheck))
@given(sides())
def test_any_two_lists_of_keys_are_explained(both: tuple[Specs, Specs]) -> None:
    explained(*both)


# The smallest lists that once raised ----------------------------------------------------------------

LAYER = {"out.weight": [2, 3]}
SPECTRAL = {"l.weight_orig": [4, 5], "l.weight_u": [4], "l.weight_v": [5]}
SPECTRAL_NEW = {
    "l.parametrizations.weight.original": [4, 5],
    "l.parametrizations.weight.0._u": [4],
    "l.parametrizations.weight.0._v": [5],
}
NORM = {"l.weight_g": [4, 1], "l.weight_v": [4, 5]}
NORM_NEW = {"l.parametrizations.weight.original0": [4, 1], "l.parametrizations.weight.original1": [4, 5]}
PRUNED = {"l.weight_orig": [4, 5], "l.weight_mask": [4, 5]}
PLAIN = {"l.weight": [4, 5]}
ORTHOGONAL = {"l.parametrizations.weight.original": [4, 5], "l.parametrizations.weight.0.base": [4, 4]}
SINGLE = {"l.parametrizations.weight.original": [4, 5]}
BIAS = {"l.parametrizations.bias.original": [4]}
LSTM = {"l.weight_hh_l0_g": [16, 1], "l.weight_hh_l0_v": [16, 4]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PLAIN, SINGLE),
        (PLAIN, SPECTRAL),
        (PLAIN, SPECTRAL_NEW),
        (PLAIN, NORM),
        (PLAIN, NORM_NEW),
        (PLAIN, PRUNED),
        (PLAIN, ORTHOGONAL),
        (PLAIN, {"l.weight_orig": [4, 5]}),
        ({"l.bias": [4]}, BIAS),
        ({"l.weight_hh_l0": [16, 4]}, LSTM),
        (NORM, NORM_NEW),
        (SINGLE, SPECTRAL_NEW),
    ],
)
@pytest.mark.parametrize("beside", [LAYER, {}, {"l.bias2": [4], "m.weight": [4, 5]}])
def test_a_weight_in_another_parametrization_is_that_weight(
    one: Shapes, other: Shapes, beside: Shapes
) -> None:
    for old, new in ((one, other), (other, one)):
        found = explained(specs({**old, **beside}), specs({**new, **beside}))
        assert {(kind, *map(frozenset, (keys, others))) for keys, (kind, others) in found.items()} == {
            ("reparametrized", frozenset(old), frozenset(new))
        }


def test_each_part_of_spectral_norm_has_its_counterpart() -> None:
    found = explained(specs({**SPECTRAL, **LAYER}), specs({**SPECTRAL_NEW, **LAYER}))
    assert found == {
        (old,): ("reparametrized", (new,)) for old, new in zip(SPECTRAL, SPECTRAL_NEW, strict=True)
    }


def test_one_parametrization_is_not_another() -> None:
    assert explained(specs(PRUNED), specs(NORM)) == {}
    assert explained(specs(NORM), specs(SPECTRAL_NEW)) == {}


def test_names_alone_make_no_parametrization() -> None:
    """Two gates of one shape, a magnitude without its direction, a module called ``parametrizations``."""
    for model in (
        {"w_g": [4, 5], "w_v": [4, 5]},
        {"a.weight_g": [3]},
        {"parametrizations.1.qkv.bias": [2]},
        {"x_orig": [3], "y_orig": [2]},
    ):
        old = specs({f"a.{key}": shape for key, shape in model.items()})
        new = specs({f"b.{key}": shape for key, shape in model.items()})
        assert all(kind == "renamed" for kind, _ in explained(old, new).values())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a.pos": [3], "b.weight": []}, {"module.a.weight_g": [3], "module.b.weight": []}),
        # A number of more digits than any model has is a name.
        ({f"b.{n}.a": [] for n in (0, 1, 2)}, {f"b.{n}.a": [] for n in (10**25, 1, 2)}),
        ({"a.q.weight": [4, 2, 1], "a.k.weight": [4, 2]}, {"b.weight": [8, 2]}),
        (
            {"g.1.gate.scale": [], "g.1.qkv.bias": [2]},
            {
                "parametrizations.1.qkv.bias": [2],
                "parametrizations.2.gate.scale": [],
                "parametrizations.2.qkv.bias": [2],
            },
        ),
        ({".a.x.b": [], ".a.y.b": []}, {"a.x.b": [], "a.y.b": []}),
        ({"a.b..w": [2, 3], "a.b..v": [3]}, {"a.c..w": [2, 3], "a.c..v": [3]}),
        ({".x.w": [2, 3], ".y.w": [4, 5], "z.w": [3]}, {".u.w": [2, 3], ".v.w": [4, 5]}),
        ({"": [2], ".": [3], "..": [4, 5]}, {"a": [2], "a.": [3], "a..": [4, 5]}),
        ({"q.weight": [], "k.weight": []}, {".a.weight": [], ".k.weight": []}),
        # A tensor named like a repeated block, and one named after it.
        (
            {**{f"a.{n}.w": [2] for n in range(4)}, "a.0": [3], "a.0_weight": [2, 3]},
            {**{f"b.{n}.w": [2] for n in range(4)}, "b.0": [3], "b.0_weight": [2, 3]},
        ),
        # Digits that are no decimals, not ASCII, or too many for Python to read.
        ({f"l.{n}.w": [2] for n in "²³¹٣"}, {f"m.{n}.w": [2] for n in "²³¹٣"}),
        ({"l.13.w": [2, 3], "l.1٣.w": [2, 3]}, {"m.13.w": [2, 3], "m.1٣.w": [2, 3]}),
        ({f"l.{'9' * 5000}.w": [2, 3]}, {f"m.{'9' * 5000}.w": [2, 3]}),
        # A block that is in a module without a number now, beside the others of its family.
        (
            {".0.a": [], ".1.a": [], ".2.a": [0]},
            {"b": [], "0.in_proj_weight": [], "2.a": [], "a.0.a": [0]},
        ),
        # Repeated parametrizations of one weight, each with its own buffer.
        (
            {"l.weight": [4, 5], "o.weight": [2, 3]},
            {
                "l.parametrizations.weight.original": [4, 5],
                **{f"l.parametrizations.weight.{n}.base": [4, 4] for n in range(5)},
                "o.weight": [2, 3],
            },
        ),
    ],
)
def test_what_once_raised_is_explained(old: Shapes, new: Shapes) -> None:
    explained(specs(old), specs(new))
    explained(specs(new), specs(old))


def test_a_key_of_a_thousand_segments_is_explained() -> None:
    trunk = ".".join(["a"] * 1010)
    layers = {f"{trunk}.n{number}.weight": [number, 3] for number in range(2, 7)}
    old = specs({**{f"x.{key}": shape for key, shape in layers.items()}, f"x.{trunk}.gate": [5]})
    new = specs({**{f"y.{key}": shape for key, shape in layers.items()}, f"y.{trunk}.scale": [7]})
    found = {(change.old, change.new) for change in infer(old, new) if change.kind == "renamed"}
    assert found == {((f"x.{key}",), (f"y.{key}",)) for key in layers}


def test_a_module_without_a_name_is_not_the_whole_model() -> None:
    old, new = specs({".w": [2, 3], ".b": [2], "c": [5]}), specs({"m.w": [2, 3], "m.b": [2], "c": [5]})
    assert {change.group for change in infer(old, new)} == {".* -> m.*"}
