"""What holds of every inference."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames import infer, rename_patterns
from tests.effort import examples

from .models import Specs, merged, pairs, renamed, resnet, spec, transformer
from .test_structural import separate
from .test_traps import branches, experts, swin

MODELS = {
    "transformer": transformer(),
    "resnet": resnet(),
    "swin": swin(first=True),
    "experts": experts("experts", "gate", "up", "down", count=5),
    "branches": branches("left", "right"),
}

segments = st.sampled_from(["a", "b", "conv", "norm", "layers", "0", "1", "2", "weight", "bias", "attn"])
keys = st.lists(segments, min_size=1, max_size=4).map(".".join)
sizes = st.lists(st.sampled_from([1, 2, 3, 8]), max_size=3)
structures = st.dictionaries(keys, sizes.map(lambda shape: spec(*shape)), max_size=14)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_structure_against_itself_gives_nothing(model: Specs) -> None:
    assert infer(model, dict(model)) == ()


@settings(max_examples=examples(60), deadline=None)
@given(structures)
def test_any_structure_against_itself_gives_nothing(model: Specs) -> None:
    assert infer(model, dict(model)) == ()
    assert infer(model, dict(reversed(model.items()))) == ()


def assert_accounts_for_every_key(old: Specs, new: Specs) -> None:
    changes = infer(old, new)
    for side, others, used in (
        (old, new, Counter(key for change in changes for key in change.old)),
        (new, old, Counter(key for change in changes for key in change.new)),
    ):
        assert set(used) <= set(side)
        assert not used or max(used.values()) == 1
        for key in side.keys() - used.keys():
            assert side[key].shape == others[key].shape
    for change in changes:
        assert change.old_specs == tuple(old[key] for key in change.old)
        assert change.new_specs == tuple(new[key] for key in change.new)
        assert change.group


@settings(max_examples=examples(60), deadline=None)
@given(structures, structures)
def test_every_key_is_accounted_for_once(old: Specs, new: Specs) -> None:
    assert_accounts_for_every_key(old, new)


@pytest.mark.parametrize("first", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("second", MODELS.values(), ids=MODELS)
def test_every_key_of_models_is_accounted_for_once(first: Specs, second: Specs) -> None:
    assert_accounts_for_every_key(first, second)


@settings(max_examples=examples(25), deadline=None)
@given(st.data(), st.sampled_from(["transformer", "resnet", "swin"]))
def test_renaming_segments_is_recovered(data: st.DataObject, name: str) -> None:
    """Any injective map of the names of modules; numbers and the names of tensors stay."""
    model = MODELS[name]
    named = sorted({part for key in model for part in key.split(".")[:-1] if not part.isdigit()})
    fresh = data.draw(
        st.permutations([f"{letter}{letter}x" for letter in "abcdefghijklmnopqrstu"[: len(named)]])
    )
    chosen = data.draw(st.sets(st.sampled_from(named)))
    table = {part: new for part, new in zip(named, fresh, strict=True) if part in chosen}
    new = {
        ".".join([*(table.get(p, p) for p in k.split(".")[:-1]), k.split(".")[-1]]): v
        for k, v in model.items()
    }
    truth = {old: other for old, other in zip(model, new, strict=True) if old != other}
    assert pairs(model, new) == truth


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (transformer(), renamed(transformer(), ("blocks", "encoder.layer"), ("norm1", "before"))),
        (swin(first=True), swin(first=False)),
        (resnet(), renamed(resnet(), ("layer", "stages."), ("bn", "norm"))),
        (transformer(), renamed(separate(transformer()), ("mlp", "ffn"))),
    ],
)
def test_exchanging_the_sides_exchanges_every_change(old: Specs, new: Specs) -> None:
    forward = {(change.old, change.new) for change in infer(old, new)}
    assert forward == {(change.new, change.old) for change in infer(new, old)}


@settings(max_examples=examples(15), deadline=None)
@given(st.permutations(["cls_token", "patch_embed", "blocks", "norm", "head"]))
def test_the_order_of_independent_subtrees_changes_no_certain_answer(order: list[str]) -> None:
    old = transformer()
    new = renamed(old, ("blocks", "layers"), ("mlp.fc1", "mlp.up"), ("mlp.fc2", "mlp.down"))
    tops = ["layers" if top == "blocks" else top for top in order]
    shuffled = merged(*({key: spec for key, spec in new.items() if key.split(".")[0] == top} for top in tops))
    certain = [
        {(c.old, c.new) for c in infer(old, side) if c.confidence == "certain"} for side in (new, shuffled)
    ]
    right = {((a,), (b,)) for a, b in zip(old, new, strict=True)}
    assert certain[0] <= right
    assert certain[1] <= right


def test_rules_are_few_and_match_nothing_else() -> None:
    old = transformer()
    new = renamed(old, ("blocks", "encoder.layer"), ("mlp.fc", "dense"), ("norm.", "final."))
    found = rename_patterns(infer(old, new), old.keys(), new.keys())
    assert found.exceptions == ()
    assert len(found.patterns) <= 5
    explained = [pair for pattern in found.patterns for pair in pattern.matches]
    assert sorted(explained) == sorted(pairs(old, new).items())


def test_pairs_that_cannot_be_decided_are_in_no_rule() -> None:
    old, new = branches("left", "right"), branches("alpha", "beta")
    assert rename_patterns(infer(old, new), old.keys(), new.keys()).patterns == ()


def test_a_dtype_alone_is_no_rename() -> None:
    old = transformer()
    new = {key: TensorSpec("bfloat16", value.shape) for key, value in old.items()}
    assert infer(old, new) == ()
