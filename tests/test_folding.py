"""Folding keys into patterns."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.patterns import fold, fold_pairs


def patterns(keys: list[str], universe: list[str] | None = None) -> list[str]:
    return [each.pattern for each in fold(keys, universe or ())]


@pytest.mark.parametrize(
    ("keys", "universe", "expected"),
    [
        ([], [], []),
        (["pool.scale"], ["pool.scale", "fc.bias"], ["pool.scale"]),
        (["pool.scale"], ["pool.scale", "pool.shift", "fc.bias"], ["pool.scale"]),
        (["b.a.w", "b.a.x"], ["b.a.w", "b.a.x", "b.c"], ["b.a.*"]),
        (["b.a.w", "b.a.x"], ["b.a.w", "b.a.x", "b.a.y"], ["b.a.{w,x}"]),
        (["a.w", "b.w"], ["a.w", "b.w"], ["*"]),
        (["a.w", "b.w"], [], ["{a,b}.w"]),
        ([f"l.{i}.q.w" for i in range(4)], ["l.9"], ["l.{0..3}.q.w"]),
        ([f"l.{i}.{n}.w" for i in (0, 1) for n in "qkv"], ["l.0.o", "l.1.o"], ["l.{0,1}.{q,k,v}.w"]),
        (["l.0.w", "l.1.w", "l.2.w", "l.5.w"], ["l.9"], ["l.{0..2,5}.w"]),
        (["bn1.w", "bn2.w", "bn3.w"], ["h"], ["bn{1..3}.w"]),
        (["a.01.w", "a.1.w"], ["a.2.w"], ["a.{01,1}.w"]),
        (["s.0.0.w", "s.0.1.w", "s.1.0.w"], ["s.0.2", "s.1.2"], ["s.0.{0,1}.w", "s.1.0.w"]),
        (["a", "a.b"], ["a", "a.b", "c"], ["a", "a.b"]),
    ],
)
def test_fold(keys: list[str], universe: list[str], expected: list[str]) -> None:
    assert patterns(keys, list(dict.fromkeys([*keys, *universe])) if universe else []) == expected


@pytest.mark.parametrize(
    ("pairs", "kept", "expected"),
    [
        ({"b.x.w": "e.x.w", "b.y.w": "e.y.w"}, {}, ["b.* -> e.*"]),
        ({"b.x.w": "e.x.w", "b.y.w": "e.y.w"}, {"b.z": "b.z"}, ["b.{x,y}.w -> e.{x,y}.w"]),
        ({"x.w": "m.x.w", "y.w": "m.y.w"}, {}, ["* -> m.*"]),
        ({f"l.{i}.w": f"b.{i + 1}.w" for i in range(6)}, {}, ["l.{0..5}.w -> b.{1..6}.w"]),
        ({f"l.{i}.w": f"b.{5 - i}.w" for i in range(6)}, {}, ["l.{0..5}.w -> b.{5..0}.w"]),
        (
            {f"l.{i}.{old}.w": f"b.{i}.{new}.w" for i in range(3) for old, new in ("aq", "bk")},
            {},
            ["l.{0..2}.{a,b}.w -> b.{0..2}.{q,k}.w"],
        ),
        ({"l.0.n2.w": "l.0.nc.w", "l.0.n3.w": "l.0.n2.w"}, {"h": "h"}, ["l.0.{n2,n3}.w -> l.0.{nc,n2}.w"]),
        ({"s.0.n0.w": "n.0.w", "s.1.n1.w": "n.1.w"}, {}, ["s.0.n0.w -> n.0.w", "s.1.n1.w -> n.1.w"]),
    ],
)
def test_fold_pairs(pairs: dict[str, str], kept: dict[str, str], expected: list[str]) -> None:
    folded = fold_pairs(list(pairs.items()), [*pairs, *kept], [*pairs.values(), *kept.values()])
    assert [str(each) for each in folded] == expected


names = st.sampled_from(["a", "b", "layers", "0", "1", "2", "10", "conv1", "conv2", "w"])
key_lists = st.lists(st.lists(names, min_size=1, max_size=4).map(".".join), unique=True, max_size=30)


def matches(pattern: str) -> set[str]:
    """The keys a pattern without ``*`` stands for, read independently of how it was made."""
    if "{" not in pattern:
        return {pattern}
    before, _, rest = pattern.partition("{")
    inside, _, after = rest.partition("}")
    options: list[str] = []
    for part in inside.split(","):
        first, dots, last = part.partition("..")
        step = 1 if not dots or int(first) <= int(last) else -1
        options += [str(n) for n in range(int(first), int(last) + step, step)] if dots else [part]
    return {each for option in options for each in matches(f"{before}{option}{after}")}


@given(key_lists, key_lists)
def test_every_pattern_stands_for_exactly_its_keys(keys: list[str], others: list[str]) -> None:
    universe = list(dict.fromkeys([*keys, *others, "zz.unrelated"]))
    folded = fold(keys, universe)
    assert sorted(key for each in folded for key in each.keys) == sorted(keys)
    for each in folded:
        module, star, _ = each.pattern.partition("*")
        if star:
            heads = matches(module.rstrip("."))
            found = {key for key in universe if any(key.startswith(f"{head}.") for head in heads)}
        else:
            found = matches(each.pattern)
        assert found == set(each.keys)


@given(key_lists, st.permutations(["x", "y", "z"]))
def test_every_pair_is_in_one_fold(keys: list[str], prefixes: list[str]) -> None:
    pairs = [(key, f"{prefixes[number % 3]}.{key}") for number, key in enumerate(keys)]
    folded = fold_pairs(pairs, keys, [new for _, new in pairs])
    assert sorted(pair for each in folded for pair in each.pairs) == sorted(pairs)


def calls(work: Callable[[], object]) -> int:
    """How many functions of Python and C ``work`` calls."""
    number = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return number


def experts(layers: int) -> list[str]:
    """Keys of a mixture of experts."""
    return [
        f"model.layers.{layer}.mlp.experts.{expert}.{name}_proj.weight"
        for layer in range(layers)
        for expert in range(32)
        for name in ("gate", "up", "down")
    ]


def test_a_mixture_of_experts_folds_into_one_line() -> None:
    keys = experts(60)
    assert patterns(keys, [*keys, "lm_head.weight"]) == ["model.*"]
    assert len(fold_pairs([(key, key.replace("experts", "pool")) for key in keys], keys)) == 1


def permutation(number: int) -> list[tuple[str, str]]:
    """Pairs of keys whose numbers follow no rule."""
    return [(f"l.{i}.w", f"l.{(i * i * 7919 + i) % 10007}.w") for i in range(number)]


def test_a_permutation_without_a_rule_is_listed() -> None:
    pairs = permutation(500)
    folded = fold_pairs(pairs, [old for old, _ in pairs], [new for _, new in pairs])
    assert sum(len(each.pairs) for each in folded) == len(pairs)


@pytest.mark.parametrize(
    "make",
    [
        lambda size: [(key, key.replace("experts", "pool")) for key in experts(size)],
        lambda size: permutation(100 * size),
    ],
    ids=["experts", "permutation"],
)
def test_the_work_grows_with_the_number_of_keys(make: Callable[[int], list[tuple[str, str]]]) -> None:
    small, large = make(6), make(12)
    assert calls(lambda: fold_pairs(large)) < 2.5 * calls(lambda: fold_pairs(small))


def test_a_key_without_letters_is_seen() -> None:
    from pytest_ckpt_compat._check.check import diff
    from pytest_ckpt_compat._core.structure import Structure, TensorSpec

    spec = TensorSpec("float32", (1,))
    left, lost = Structure({"": spec, "a.b": spec}), Structure({"a.b": spec})
    assert '  - ""   float32[1]' in str(diff(left, lost)).splitlines()


def test_an_ambiguous_change_never_names_its_own_key_as_the_alternative() -> None:
    def model(body: str) -> ckpt.Structure:
        shapes = {f"{body}.weight": (8, 4), f"{body}.bias": (8,), "head.weight": (3, 8), "head.bias": (3,)}
        return ckpt.Structure({key: ckpt.TensorSpec("float32", shape) for key, shape in shapes.items()})

    text = str(ckpt.diff(model("trunk"), model("body")))
    assert "trunk.* -> body.*   2 tensors   ambiguous, it could also be a new layer" in text


def test_the_same_pattern_does_not_stand_for_other_keys_on_the_other_side() -> None:
    """``+ up.*`` and ``- up.*`` read as one thing that is there and is not."""

    def side(*layers: str) -> ckpt.Structure:
        shapes = {"weight": (4, 3) if layers[0].endswith(".1") else (5, 4, 2), "bias": (3,)}
        keys = [(f"{layer}.{name}", shape) for layer in layers for name, shape in shapes.items()]
        return ckpt.Structure(
            {key: ckpt.TensorSpec("float32", shape) for key, shape in (*keys, ("head", (2,)))}
        )

    text = str(ckpt.diff(side("up.0", "up.1"), side("up.0.1", "up.1.1")))
    assert "+ up.{0,1}.1.*" in text
    assert "- up.{0,1}.{weight,bias}" in text


def test_names_in_braces_stand_in_the_order_given() -> None:
    pairs = {"wte.w": "m.tok.w", "h.0.a.w": "m.l.0.a.w", "h.0.b.w": "m.l.0.b.w", "ln.w": "m.n.w"}
    [found] = fold_pairs(list(pairs.items()), [*pairs, "head"], [*pairs.values(), "head"])
    assert str(found) == "{wte,h,ln}.* -> m.{tok,l,n}.*"
