"""Layers that alone got another name: norms, whose length is the width of the model, and heads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_ckpt_compat._renames import infer
from tests.renames.models import (
    Specs,
    batch_norm,
    by_name,
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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (linear("value", 1, 32), linear("regressor", 1, 32)),
        (linear("value", 1, 1), linear("gate", 1, 1)),
        (norm("calibration", 1), norm("gate", 1)),
    ],
)
@pytest.mark.parametrize("order", [dict, by_name])
def test_a_lone_head_with_one_output_is_no_norm(
    old: Specs, new: Specs, order: Callable[[Specs], Specs]
) -> None:
    body = {key: value for key, value in transformer().items() if not key.startswith("head.")}
    found = {**kinds(order({**body, **old}), {**body, **new})}
    assert found == {"missing": 2, "unexpected": 2}


def test_a_vector_without_a_bias_may_be_anything() -> None:
    assert kinds({**BODY, "norm.weight": spec(32)}, {**BODY, "quartz.weight": spec(32)}) == {
        "missing": 1,
        "unexpected": 1,
    }


def test_blocks_that_came_beside_it_say_nothing_of_a_lone_norm() -> None:
    old, new = merged(BODY, norm("norm", 32)), merged(transformer(depth=6), norm("quartz", 32))
    del new["norm.weight"], new["norm.bias"]
    assert pairs(old, new) == {"norm.weight": "quartz.weight", "norm.bias": "quartz.bias"}


def test_two_lone_norms_take_no_partner_twice() -> None:
    old = merged(BODY, norm("norm", 32), norm("last", 32))
    new = merged(transformer(depth=6), norm("quartz", 32), norm("marble", 32))
    del new["norm.weight"], new["norm.bias"]
    moved = [change for change in infer(old, new) if change.old and change.new]
    assert sorted(key for change in moved for key in change.new) == sorted(
        {*norm("quartz", 32), *norm("marble", 32)}
    )


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


def test_a_norm_beside_a_matrix_that_came_with_it_is_that_norm() -> None:
    old = merged(BODY, norm("tail.last_norm", 32), linear("tail.rank", 2, 32), linear("tail.mix", 7, 9))
    new = merged(BODY, norm("stem.last_norm", 32), linear("stem.rank", 2, 32), linear("stem.fold", 6, 8))
    found = confidences(old, merged(new, linear("stem.view", 5, 4)))
    assert found["tail.last_norm.weight"] == "likely"


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


def language_model(head: str, rows: int = 50, embedding: str = "embed_in") -> Specs:
    return merged(
        {f"{embedding}.weight": spec(50, 32)}, transformer_blocks(), norm("norm", 32), {head: spec(rows, 32)}
    )


def transformer_blocks() -> Specs:
    return {key: value for key, value in transformer().items() if key.startswith("blocks.")}


@pytest.mark.parametrize("order", [dict, by_name])
def test_a_lone_head_with_a_row_for_each_word_is_likely_that_head(order: Callable[[Specs], Specs]) -> None:
    found = confidences(order(language_model("embed_out.weight")), language_model("lm_head.weight"))
    assert found == {"embed_out.weight": "likely"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (language_model("embed_out.weight", 51), language_model("lm_head.weight", 51)),  # not the words
        (
            language_model("embed_out.weight", embedding="table"),
            language_model("lm_head.weight", embedding="table"),
        ),
        (
            {"rank.weight": spec(50, 32)} | language_model("embed_out.weight"),  # a third of this shape
            {"rank.weight": spec(50, 32)} | language_model("lm_head.weight"),
        ),
        (
            merged(
                {"embed.weight": spec(32, 32)}, norm("norm", 32), {"embed_out.weight": spec(32, 32)}
            ),  # a square
            merged({"embed.weight": spec(32, 32)}, norm("norm", 32), {"lm_head.weight": spec(32, 32)}),
        ),
        (
            {"shared.weight": spec(50, 32)} | language_model("norm.scale", 3),  # no head
            language_model("norm.scale", 3) | {"moon_gate.weight": spec(50, 32)},
        ),
    ],
)
def test_another_lone_matrix_of_the_shape_of_an_embedding_is_a_possibility(old: Specs, new: Specs) -> None:
    assert set(confidences(old, new).values()) == {"ambiguous"}


@pytest.mark.parametrize("order", [dict, by_name])
def test_what_stayed_is_no_candidate(order: Callable[[Specs], Specs]) -> None:
    old = merged(BODY, norm("norm", 32), linear("dropout_gate", 32, 32))
    new = merged(
        BODY, linear("fusion.embed", 6, 5), norm("fusion.last_norm", 32), linear("quantum_flux", 32, 32)
    )
    doubtful = [change for change in infer(order(old), new) if change.confidence == "ambiguous"]
    assert doubtful
    assert not old.keys() & {key for change in doubtful for key in change.candidates}
