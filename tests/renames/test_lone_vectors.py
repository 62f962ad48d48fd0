"""Norms and other vectors, whose length is the width of the model and says little."""

from __future__ import annotations

import pytest

from pytest_ckpt_compat._renames import infer
from tests.renames.models import (
    Specs,
    batch_norm,
    kinds,
    linear,
    merged,
    norm,
    pairs,
    renamed,
    spec,
    transformer,
)

BODY = {key: value for key, value in transformer().items() if not key.startswith("norm.")}


def confidences(old: Specs, new: Specs) -> dict[str, str]:
    """The confidence of each change of one old key into another."""
    return {change.old[0]: change.confidence for change in infer(old, new) if change.old and change.new}


def by_name(specs: Specs) -> Specs:
    return dict(sorted(specs.items()))


@pytest.mark.parametrize("layer", [norm, batch_norm])
@pytest.mark.parametrize("order", [dict, by_name])
def test_a_lone_norm_under_a_strange_name_is_likely_that_norm(layer, order) -> None:  # type: ignore[no-untyped-def]
    old, new = {**BODY, **layer("norm", 32)}, {**BODY, **layer("quartz", 32)}
    found = confidences(order(old), new)
    assert set(found.values()) == {"likely"}
    assert pairs(order(old), new) == {key: key.replace("norm", "quartz") for key in layer("norm", 32)}


def test_a_lone_head_under_a_strange_name_is_a_possibility() -> None:
    body = {key: value for key, value in transformer().items() if not key.startswith("head.")}
    found = confidences({**body, **linear("dropout_gate", 8, 3)}, {**body, **linear("quantum_flux", 8, 3)})
    assert set(found.values()) == {"ambiguous"}


def test_a_vector_without_a_bias_may_be_anything() -> None:
    assert kinds({**BODY, "norm.weight": spec(32)}, {**BODY, "quartz.weight": spec(32)}) == {
        "missing": 1,
        "unexpected": 1,
    }


def test_blocks_that_came_beside_it_say_nothing_of_a_lone_norm() -> None:
    old, new = merged(BODY, norm("norm", 32)), merged(transformer(depth=6), norm("quartz", 32))
    del new["norm.weight"], new["norm.bias"]
    assert pairs(old, new) == {"norm.weight": "quartz.weight", "norm.bias": "quartz.bias"}


def test_of_a_norm_beside_a_part_that_was_replaced_nothing_is_told() -> None:
    old = merged(BODY, norm("norm", 32), linear("neck.mix", 5, 7))
    new = merged(BODY, norm("quartz", 32), linear("bridge.blend", 6, 9))
    assert "norm.weight" not in confidences(old, new)


@pytest.mark.parametrize("came", ["fusion", "norm"])
def test_a_norm_in_a_module_that_came_is_a_possibility(came: str) -> None:
    old = merged(BODY, norm("norm", 32))
    new = merged(
        BODY, linear(f"{came}.embed", 32, 50), linear(f"{came}.rank", 2, 32), norm(f"{came}.last_norm", 32)
    )
    assert set(confidences(old, new).values()) == {"ambiguous"}
    assert set(confidences(new, old).values()) == {"ambiguous"}


def test_a_norm_in_a_module_that_only_got_another_name_is_that_norm() -> None:
    old = merged(BODY, norm("tail.last_norm", 32), linear("tail.rank", 2, 32))
    assert set(confidences(old, renamed(old, ("tail", "stem"))).values()) == {"certain"}


def test_a_norm_beside_layers_that_grew_kept_its_place() -> None:
    old = merged(transformer(), {"embeddings.words.weight": spec(100, 32)}, norm("embeddings.first_norm", 32))
    new = renamed(old, ("embeddings.", "stem.embeddings."))
    new["stem.embeddings.words.weight"] = spec(120, 32)
    assert confidences(old, new)["embeddings.first_norm.weight"] != "ambiguous"


def test_a_norm_of_another_length_in_a_module_that_came_is_another_norm() -> None:
    old = merged(BODY, norm("norm", 32))
    new = merged(BODY, linear("norm.embed", 48, 50), norm("norm.norm", 48))
    assert kinds(old, new) == {"unexpected": 2, "missing": 4}


def test_a_norm_left_over_in_a_block_that_went_is_no_rival() -> None:
    def model(depth: int, prefix: str = "") -> Specs:
        blocks = [
            merged(
                linear(f"{prefix}layers.{n}.fc", 32, 32),
                norm(f"{prefix}layers.{n}.first_norm", 32),
                norm(f"{prefix}layers.{n}.final_norm", 32),
            )
            for n in range(depth)
        ]
        return merged(*blocks, linear(f"{prefix}head", 10, 32))

    old = by_name(merged(model(4), linear("mix.rank", 32, 7), norm("mix.norm", 7)))
    new = merged(model(3, "backbone."), linear("fusion.embed", 50, 5), norm("fusion.final_norm", 32))
    found = confidences(old, new)
    assert {found[f"layers.{n}.final_norm.weight"] for n in range(3)} == {"likely"}
