"""When a layer's name, or its having none, speaks for a match."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_ckpt_compat._renames import infer
from pytest_ckpt_compat._renames.believe.blocks import PLAUSIBLE, SETTLED, block_maps
from pytest_ckpt_compat._renames.believe.interchangeable import interchangeable
from pytest_ckpt_compat._renames.believe.vouchers import Vouchers
from pytest_ckpt_compat._renames.units.tokens import opposed
from pytest_ckpt_compat._renames.units.units import Unit, units_of

from .models import Specs, batch_norm, conv, linear, merged, norm, renamed, transformer


def vouched(old: Specs, new: Specs) -> list[bool]:
    """Whether each layer's name speaks for a match with the new layer at the same place in the order."""
    ours, theirs = units_of(old), units_of(new)
    pairs = [(index, index) for index in range(len(ours))]
    vouchers = Vouchers(ours, theirs, pairs)
    return [vouchers.vouch(*pair) for pair in pairs]


def mlp(*names: str) -> Specs:
    """Two layers of an MLP, after enough layers with kept names that a new name is not what to expect."""
    first, second = (f"mlp.{name}" for name in names)
    kept = merged(*(norm(f"{name}.norm", 8) for name in ("a", "b", "c", "d")))
    return merged(kept, linear(first, 16, 8), linear(second, 8, 16))


def test_numbered_layers_all_get_names() -> None:
    assert all(vouched(mlp("0", "2"), mlp("wide", "back")))
    assert all(vouched(mlp("wide", "back"), mlp("0", "2")))


def test_names_for_other_names_say_nothing() -> None:
    assert vouched(mlp("a", "b"), mlp("wide", "back"))[-2:] == [False, False]


def test_a_lone_numbered_layer_may_be_another_one_under_a_name() -> None:
    kept = merged(*(norm(f"{name}.norm", 8) for name in ("a", "b", "c", "d")))
    old, new = merged(kept, linear("tap.0", 3, 8)), merged(kept, linear("tap.score", 3, 8))
    assert vouched(old, new)[-1] is False


def test_one_numbered_layer_that_went_is_no_name_for_another() -> None:
    """mlp.2 is still there, so mlp.0 may have been replaced by mlp.gate."""
    assert vouched(mlp("0", "2"), mlp("gate", "2"))[-2] is False


def test_nobody_knows_what_a_numbered_layer_joins() -> None:
    """attn.0 is twice as wide: it may hold any two of the four."""
    old = transformer()
    old = merged(*(linear(f"{i}.attn.{name}_proj", 32, 32) for i in range(4) for name in "qkvo"), old)
    sizes = ((64, 32), (32, 32), (32, 32))
    new = merged(
        *(linear(f"{i}.attn.{n}", *size) for i in range(4) for n, size in enumerate(sizes)), transformer()
    )
    found = [change.confidence for change in infer(old, new) if any("attn.0" in key for key in change.new)]
    assert "certain" not in found


def test_a_word_of_the_module_is_no_name_of_a_numbered_layer() -> None:
    """conv.0.1 has no name of its own, so that conv.0.conv cannot have got it."""
    old = merged(
        *(merged(conv(f"{b}.conv.0.0", 8 + b, 8, 1), batch_norm(f"{b}.conv.0.1", 8 + b)) for b in range(3))
    )
    new = merged(
        *(
            merged(conv(f"{b}.conv.0.conv", 8 + b, 8, 1), batch_norm(f"{b}.conv.0.bn", 8 + b))
            for b in range(3)
        )
    )
    assert all(vouched(old, new))


def wrapped(name: str) -> Specs:
    kept = merged(*(norm(f"{letter}.norm", 8) for letter in "abcd"))
    return merged(kept, linear(f"head.{name}", 3, 8))


@pytest.mark.parametrize(
    ("old", "new", "speaks"),
    [
        ("tap", "inner.tap", True),
        ("inner.tap", "tap", True),
        ("tap", "tap.score", False),  # the layer itself has a new name
        ("left.tap", "right.tap", False),  # one wrapper for another
        ("tap", "inner.score", False),
    ],
)
def test_a_wrapper_leaves_the_name_as_it_was(old: str, new: str, speaks: bool) -> None:
    assert vouched(wrapped(old), wrapped(new))[-1] is speaks


def test_a_lone_vector_may_be_another_ones_in_a_module_that_came() -> None:
    kept = merged(*(norm(f"{letter}.scale", 8) for letter in "abcd"))
    old, new = merged(kept, norm("last", 32)), merged(kept, norm("adapter.last", 32))
    assert vouched(old, new)[-1] is False
    blocks = merged(*(norm(f"blocks.{i}.last", 32 + i) for i in range(2)))
    assert vouched(merged(kept, blocks), renamed(merged(kept, blocks), (".last", ".inner.last")))[-2:] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("after", "speaks"),
    [
        (("conv1_1x1.gain", "conv2_kxk.gain", "conv3_1x1.gain"), True),
        (("conv2_1x1.gain", "conv1_kxk.gain", "conv3_1x1.gain"), False),  # another order
        (("conv_1x1.gain", "conv_kxk.gain", "conv_1x1b.gain"), False),  # no rank in each
        (("conv1_1x1.gain", "conv1_kxk.gain", "conv3_1x1.gain"), False),  # one rank twice
    ],
)
def test_the_first_number_is_the_rank_where_the_last_is_none(after: tuple[str, ...], speaks: bool) -> None:
    old = merged(*(norm(f"pool.{number}", 8) for number in (1, 2, 3)))
    assert vouched(old, merged(*(norm(path, 8) for path in after))) == [speaks] * 3


def kernels(first: str, second: str) -> Specs:
    """Blocks with two kernels of 1 x 1 that have the same sizes the other way round, and no biases."""
    parts = [merged(conv(f"{b}.{first}", 24, 8, 1), conv(f"{b}.{second}", 8, 24, 1)) for b in range(3)]
    return renamed({key: spec for key, spec in merged(*parts).items() if not key.endswith("bias")})


def test_kernels_of_one_side_lie_in_one_order() -> None:
    """24 x 8 x 1 x 1 is never 8 x 24 x 1 x 1, as 24 x 8 may be 8 x 24 for layers that transpose."""
    wide, back = units_of(kernels("wide", "back"))[:2]
    assert wide.kind == back.kind
    assert wide.slot != back.slot


def bottlenecks(first: str, second: str, third: str) -> list[Unit]:
    """Three blocks, each with norms of two sizes under the given names, of which two are alike."""
    return units_of(
        merged(
            *(
                merged(norm(f"b.{i}.{first}", 8), norm(f"b.{i}.{second}", 8), norm(f"b.{i}.{third}", 32))
                for i in range(3)
            )
        )
    )


@pytest.mark.parametrize(
    ("after", "least"),
    [
        (("conv.1.norm", "conv.2.norm", "conv.3.norm"), SETTLED),
        (("conv.2.norm", "conv.1.norm", "conv.3.norm"), 0.0),
        (("conv.1.norm", "conv.2.norm", "last"), PLAUSIBLE),  # two blocks alike, and nothing else among them
    ],
)
def test_numbered_blocks_that_were_layers_with_numbers(after: tuple[str, str, str], least: float) -> None:
    old, new = bottlenecks("bn1", "bn2", "bn3"), bottlenecks(*after)
    maps = block_maps(old, new, [(index, index) for index in range(len(old))])
    assert min(maps.values()) == least


def stages(path: str, numbers: range, widths: list[int]) -> list[Unit]:
    layers = zip(numbers, widths, strict=True)
    return units_of(
        merged(*(merged(linear(f"{path}.{n}.a", w, 4), norm(f"{path}.{n}.b", w)) for n, w in layers))
    )


@pytest.mark.parametrize(
    ("before", "after", "widths", "settled"),
    [
        (range(1, 5), range(2, 6), [8, 9, 10, 11], True),
        (range(1, 5), range(2, 6), [8, 8, 8, 8], False),  # blocks alike: the first may have gone
        (range(1, 4), range(2, 8, 2), [8, 9, 10], False),  # other gaps: blocks may have come between
    ],
)
def test_a_family_that_starts_with_another_number(
    before: range, after: range, widths: list[int], settled: bool
) -> None:
    old, new = stages("layer", before, widths), stages("res", after, widths)
    maps = block_maps(old, new, [(index, index) for index in range(len(old))])
    assert (min(maps.values()) == SETTLED) is settled


def test_a_sequential_that_got_names_is_certain() -> None:
    old = renamed(transformer(), ("mlp.fc1", "mlp.0"), ("mlp.fc2", "mlp.3"))
    new = renamed(transformer(), ("mlp.fc1", "mlp.wide"), ("mlp.fc2", "mlp.back"))
    found = [change.confidence for change in infer(old, new) if change.new and "mlp" in change.old[0]]
    assert found
    assert set(found) == {"certain"}


@pytest.mark.parametrize(
    ("before", "after", "speaks"),
    [
        (("norm1", "norm2"), ("norm_a", "norm_b"), True),
        (("norm1", "norm2"), ("norm_b", "norm_a"), False),
        (("norm1", "norm2"), ("norm_q", "norm_k"), False),  # these letters are words
        (("norm1", "norm2"), ("attn_norm", "final_norm"), True),  # what is not the last of two is the first
        (("norm1", "norm2"), ("final_norm", "attn_norm"), False),
        (("norm1", "norm2"), ("out_norm", "attn_norm"), False),
        (("norm1", "norm2", "norm3"), ("self_norm", "cross_norm", "final_norm"), False),
    ],
)
def test_names_that_count_without_a_number(
    before: tuple[str, ...], after: tuple[str, ...], speaks: bool
) -> None:
    old, new = (
        merged(*(norm(f"{side}.{name}", 8) for name in names))
        for side, names in (("a", before), ("b", after))
    )
    assert set(vouched(old, new)) == {speaks}


def test_letters_and_the_word_for_the_last_tell_siblings_apart() -> None:
    def siblings(*names: str) -> set[int]:
        units = units_of(merged(*(norm(f"block.{name}", 8) for name in names)))
        return interchangeable(
            units_of(merged(norm("x.norm1", 8), norm("x.norm2", 8))), units, [(0, 0), (1, 1)]
        )

    assert siblings("gain_a", "gain_b") == siblings("inner", "final_inner") == set()
    assert siblings("gain_x", "gain_y") == {0, 1}


def test_those_that_kept_their_names_need_no_rank() -> None:
    """Two scales kept theirs, two norms beside them got new ones that count in the same order."""
    scales = norm("block.scale_1", 8), norm("block.scale_2", 8)
    new_names = merged(*(linear(f"{letter}.lin", 8 + place, 8) for place, letter in enumerate("abcde")))
    old = merged(*scales, norm("block.norm1", 8), norm("block.norm2", 8), new_names)
    new = merged(
        *scales,
        norm("block.before_norm", 8),
        norm("block.after_norm", 8),
        renamed(new_names, ("lin", "wide")),
    )
    assert all(vouched(old, new))
    crossed = merged(
        *scales,
        norm("block.after_norm", 8),
        norm("block.before_norm", 8),
        renamed(new_names, ("lin", "wide")),
    )
    assert not all(vouched(old, crossed))


def test_a_projections_word_in_the_name_of_a_module_excludes_nothing() -> None:
    assert not opposed("v.blocks.0.proj", "encoder.layer.0.output.dense")
    assert opposed("encoder.0.proj", "decoder.0.proj")


@pytest.mark.parametrize(
    ("names", "speaks"), [(("q_proj", "k_proj", "v_proj"), True), (("a_proj", "b_proj", "c_proj"), False)]
)
def test_torch_names_the_joint_tensor_of_attention_in_proj(names: tuple[str, ...], speaks: bool) -> None:
    kept = merged(*(norm(f"{letter}.norm", 8) for letter in "abcdefgh"), linear("attn.out_proj", 8, 8))
    old = units_of(merged(kept, linear("attn.in_proj", 24, 8)))
    parts = tuple(units_of(merged(*(linear(f"attn.{name}", 8, 8) for name in names))))
    joint = replace(old[-1], path="attn." + "_".join((*(name[0] for name in names), "proj")), parts=parts)
    pairs = [(index, index) for index in range(len(old))]
    assert Vouchers(old, [*old[:-1], joint], pairs).vouch(*pairs[-1]) is speaks


#: Layer -> outputs and inputs.
MLP = {"up": (64, 16), "down": (16, 64)}


def test_a_module_named_after_what_it_holds_tells_nothing_of_which_is_which() -> None:
    """``qkv_linear`` has the words of all three: only the last name tells them apart."""
    old = merged(
        *(linear(f"model.layers.{i}.self_attn.{name}_proj", 16, 16) for i in range(4) for name in "qkvo"),
        *(linear(f"model.layers.{i}.mlp.{name}_proj", *size) for i in range(4) for name, size in MLP.items()),
    )
    new = merged(
        *(linear(f"layers.{i}.attention.qkv_linear.w{name}", 16, 16) for i in range(4) for name in "vqk"),
        *(linear(f"layers.{i}.attention.wo", 16, 16) for i in range(4)),
        *(linear(f"layers.{i}.mlp.{name}", *size) for i in range(4) for name, size in MLP.items()),
    )
    told = {change.old[0]: change for change in infer(dict(sorted(old.items())), new) if change.new}
    for name in "qkv":
        change = told[f"model.layers.1.self_attn.{name}_proj.weight"]
        assert change.new == (f"layers.1.attention.qkv_linear.w{name}.weight",)
        assert change.confidence == "certain"
