"""Layers of equal size in a family that runs in another order now, as the sizes of the others show."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from pytest_ckpt_compat._renames import infer

from .models import Specs, batch_norm, by_name, conv, linear, merged

ENDS = linear("stem", 32, 7), linear("head", 10, 32)


def layers(family: str, widths: Sequence[int]) -> Specs:
    return merged(*(linear(f"{family}{n}", width, 32) for n, width in enumerate(widths)))


def blocks(family: str, widths: Sequence[int]) -> Specs:
    parts = (
        (conv(f"{family}{n}.conv", w, w), batch_norm(f"{family}{n}.bn", w)) for n, w in enumerate(widths)
    )
    return merged(*(spec for part in parts for spec in part))


def sure(old: Specs, new: Specs, width: int) -> set[str]:
    """What is told of the layers of a width, in every order of the files and both directions."""
    found: set[str] = set()
    for one, other in ((old, new), (by_name(old), new), (by_name(old), by_name(new))):
        for sides in ((one, other), (other, one)):
            for change in infer(merged(ENDS[0], sides[0], ENDS[1]), merged(ENDS[0], sides[1], ENDS[1])):
                first = sides[0].get(change.old[0]) if change.old and change.new else None
                if first and first.shape and first.shape[0] == width:
                    found.add(change.confidence)
    return found


@pytest.mark.parametrize("widths", [(64, 128, 128, 256), (64, 128, 256, 128, 512)])
@pytest.mark.parametrize("family", ["ffn.", "model.mlp.", "layer"])
def test_of_a_family_that_runs_backwards_those_alike_do_not_keep_their_numbers(
    widths: Sequence[int], family: str
) -> None:
    assert sure(layers("mlp.", widths), layers(family, widths[::-1]), widths[1]) == {"ambiguous"}


def test_three_blocks_alike_among_others_that_run_backwards_are_not_certain() -> None:
    widths = (5, 6, 6, 6, 7)
    assert "certain" not in sure(blocks("mlp.", widths), blocks("ffn.", widths[::-1]), 6)


@pytest.mark.parametrize("made", [layers, blocks])
def test_a_pattern_that_runs_backwards_is_not_certain(made: Callable[[str, Sequence[int]], Specs]) -> None:
    assert "certain" not in sure(made("mlp.", (5, 6, 7) * 3), made("ffn.", (7, 6, 5) * 3), 6)


def test_those_alike_are_certain_if_the_others_keep_their_order() -> None:
    widths = (64, 128, 128, 256)
    assert sure(layers("mlp.", widths), layers("ffn.", widths), 128) == {"certain"}
