"""What a layer without a partner says of the others: it may be the one that one of them is taken for."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pytest_ckpt_compat._renames import infer

from .models import (
    Specs,
    batch_norm,
    by_name,
    conv,
    kinds,
    linear,
    merged,
    norm,
    pairs,
    renamed,
    resnet,
    spec,
    transformer,
)


def confidences(old: Specs, new: Specs) -> dict[str, str]:
    """Old key -> confidence, of all that moved; the least one over both orders of the old file."""
    order = ("ambiguous", "likely", "certain")
    found: dict[str, str] = {}
    for side in (old, by_name(old)):
        for change in infer(side, new):
            moved = change.old if change.new and change.old != change.new else ()
            found |= {
                key: min(change.confidence, found.get(key, "certain"), key=order.index) for key in moved
            }
    return found


def in_model(specs: Specs) -> Specs:
    return {f"model.{key}": value for key, value in specs.items()}


# --- layers of an nn.Sequential -----------------------------------------------------------------------------


def perceptron(hidden: int, rest: int = 6) -> Specs:
    """Hidden layers of one size, and other layers beside them."""
    middle = (linear(f"mlp.{2 * number}", 32, 32) for number in range(1, hidden + 1))
    tables = (linear(f"tables.{number}", 16, 10 * number + 7) for number in range(rest))
    return merged(linear("mlp.0", 32, 13), *middle, linear(f"mlp.{2 * hidden + 2}", 5, 32), *tables)


@pytest.mark.parametrize("hidden", [1, 2, 3, 12])
def test_a_hidden_layer_was_put_in_somewhere(hidden: int) -> None:
    old, new = perceptron(hidden), in_model(perceptron(hidden + 1))
    for one, other, prefix in ((old, new, ""), (new, old, "model.")):
        found = confidences(one, other)
        middle = {key: told for key, told in found.items() if re.match(rf"{prefix}mlp\.\d+\.weight", key)}
        ends = {f"{prefix}mlp.0.weight", f"{prefix}mlp.{2 * (hidden + (one is new)) + 2}.weight"}
        assert "certain" not in {told for key, told in middle.items() if key not in ends}
        assert {middle[key] for key in ends} == {"certain"}


def test_a_hidden_layer_that_was_put_in_leaves_those_of_other_modules_certain() -> None:
    found = confidences(perceptron(2), in_model(perceptron(3)))
    assert {told for key, told in found.items() if key.startswith("tables.")} == {"certain"}


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [2, 3])
def test_the_layer_that_a_partner_is_named_after_is_left_over(blocks: int) -> None:
    def model(blocks: int, first: int) -> Specs:
        parts: list[Specs] = [conv("conv1", 8, 3), batch_norm("bn1", 8)]
        inner = 8
        for stage, width in enumerate((8, 16, 32), start=1):
            for block in range(first if stage == 1 else 0, blocks):
                path = f"layer{stage}.{block - first if stage == 1 else block}"
                sizes = (width, inner if block == 0 else 4 * width), (width, width), (4 * width, width)
                for number, ((out, size), kernel) in enumerate(zip(sizes, (1, 3, 1), strict=True), start=1):
                    parts += [conv(f"{path}.conv{number}", out, size, kernel)]
                    parts += [batch_norm(f"{path}.bn{number}", out)]
            inner = 4 * width
        return merged(*parts, linear("fc", 5, inner))

    found = confidences(model(blocks, 0), in_model(model(blocks, 1)))
    moved = pairs(model(blocks, 0), in_model(model(blocks, 1)))
    wrong = {a for a, b in moved.items() if b == "model.bn1.weight" and a != "bn1.weight"}
    assert "certain" not in {found[key] for key in wrong}


def test_a_layer_of_which_a_copy_came_may_have_kept_its_name() -> None:
    old = {f"backbone.{key}": value for key, value in resnet((16, 32, 64)).items()}
    new = {re.sub(r"layer(\d)\.(\d)", r"units.\2.layer\1", key): value for key, value in old.items()}
    both = merged(new, {f"ema.{key}": value for key, value in old.items()})
    for one, other, key in (
        (old, both, "backbone.bn1.weight"),
        (both, old, "ema.backbone.bn1.weight"),
    ):
        assert confidences(one, other).get(key) != "certain"


def test_a_head_of_another_size_does_not_leave_its_block() -> None:
    def stack(path: str, blocks: int) -> Specs:
        sizes = ((32, 20), (32, 32), (32, 32))
        layers = (
            (linear(f"{path}.blocks.{block}.fc.{number}", *size) for number, size in enumerate(sizes))
            for block in range(blocks)
        )
        heads = (linear(f"{path}.blocks.{block}.cast", 20, 8) for block in range(blocks))
        return merged(*(layer for block in layers for layer in block), *heads)

    old, new = merged(stack("stacks.0", 3), stack("stacks.1", 3)), stack("stacks.0", 4)
    assert not [change for change in infer(old, new) if change.kind == "resized"]
    assert not [change for change in infer(new, old) if change.kind == "resized"]


# --- recurrent layers --------------------------------------------------------------------------------------


def recurrent(path: str, size: int, layers: int) -> Specs:
    specs: Specs = {}
    for layer in range(layers):
        for name, inner in (("ih", size), ("hh", size)):
            named = linear(path, 4 * size, inner)
            specs[f"{path}.weight_{name}_l{layer}"] = named[f"{path}.weight"]
            specs[f"{path}.bias_{name}_l{layer}"] = named[f"{path}.bias"]
    return specs


@pytest.mark.parametrize("layers", [1, 2])
def test_the_names_inside_of_a_recurrent_layer_are_none_of_its_own(layers: int) -> None:
    def model(name: str) -> Specs:
        return merged(
            conv("encoder.conv", 8, 3),
            norm("encoder.norm", 8),
            linear("predictor.proj", 8, 32),
            recurrent(f"predictor.{name}", 32, layers),
            linear("head", 5, 8),
        )

    assert set(confidences(model("rnn"), model("film")).values()) == {"likely"}
    assert set(confidences(model("rnn"), renamed(model("rnn"), ("predictor", "pred"))).values()) == {
        "certain"
    }


# --- blocks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [4, 6, 12])
@pytest.mark.parametrize("gap", [1, 2])
@pytest.mark.parametrize("names", [("", "fc"), ("norm", "fc")])
def test_the_last_of_many_equal_blocks_may_be_another_one(
    depth: int, gap: int, names: tuple[str, str]
) -> None:
    def model(numbers: list[int], around: str) -> Specs:
        def block(number: int) -> Specs:
            path = f"{around}.{number}"
            return (
                merged(norm(f"{path}.norm", 8), linear(f"{path}.fc", 8, 16))
                if all(names)
                else linear(path, 8, 16)
            )

        return merged(conv("stem", 8, 3), *map(block, numbers), linear("head", 5, 8))

    numbers = [*range(depth - 1), depth - 1 + gap]
    for around in ("blocks", "model.blocks"):
        old, new = model([*range(depth)], "blocks"), model(numbers, around)
        for one, other, last in ((old, new, f"blocks.{depth - 1}."), (new, old, f"{around}.{numbers[-1]}.")):
            found = confidences(one, other)
            assert "certain" not in {told for key, told in found.items() if key.startswith(last)}


def test_many_equal_blocks_that_all_moved_on_are_the_same() -> None:
    def model(numbers: range) -> Specs:
        return merged(conv("stem", 8, 3), *(linear(f"blocks.{each}.fc", 8, 16) for each in numbers))

    assert set(confidences(model(range(12)), model(range(1, 13))).values()) == {"certain"}


@pytest.mark.parametrize("depth", [2, 3])
def test_a_block_that_seems_to_have_jumped_over_equal_ones_is_ambiguous(depth: int) -> None:
    """All of them may have moved on by one."""

    def block(path: str, width: int) -> Specs:
        gamma = {f"{path}.gamma": spec(width)}
        deep = {f"{path}.conv.weight": spec(width, 1, 7, 7), f"{path}.conv.bias": spec(width)}
        inner = linear(f"{path}.fc1", 4 * width, width), linear(f"{path}.fc2", width, 4 * width)
        return merged(gamma, deep, norm(f"{path}.norm", width), *inner)

    def model(first: int) -> Specs:
        parts: list[Specs] = [conv("stem", 8, 3)]
        for stage in range(4):
            parts += [conv(f"downsample.{stage}", 8 << stage, 4 << stage, 2)]
            first_number = first * (stage == 2)
            numbers = range(first_number, first_number + depth)
            parts += [block(f"stages.{stage}.{number}", 8 << stage) for number in numbers]
        return merged(*parts, norm("norm", 64), linear("head", 5, 64))

    for one, other in ((model(0), model(1)), (model(1), model(0))):
        assert not {"likely", "certain"} & set(confidences(one, other).values())


def stages(path: str, *depths: int) -> Specs:
    """Stages of one width, of which some have more blocks."""
    blocks = [f"{path.format(stage)}.{n}" for stage, depth in enumerate(depths) for n in range(depth)]
    layers = [merged(conv(f"{block}.conv", 32, 32), batch_norm(f"{block}.bn", 32)) for block in blocks]
    return merged(conv("stem", 32, 3, 7), *layers, linear("head", 10, 32))


@pytest.mark.parametrize("order", [dict, by_name])
@pytest.mark.parametrize(
    ("before", "after"), [((2, 3), (2, 2, 3)), ((1, 2), (1, 1, 2)), ((2, 3, 4), (2, 2, 3, 4))], ids=str
)
def test_a_stage_may_have_come_in_front_where_a_further_one_holds_what_the_last_one_did(
    before: tuple[int, ...], after: tuple[int, ...], order: Callable[[Specs], Specs]
) -> None:
    old, new = stages("stages.{}.blocks", *before), stages("layer{}", *after)
    for one, other in ((old, new), (new, old)):
        found = confidences(order(one), other)
        first = {sure for key, sure in found.items() if key.startswith(("stages.0.", "layer0.", "layer1."))}
        assert "certain" not in first


def feature_extractor(depth: int, prefix: str) -> Specs:
    """Layers that are alone in their numbered modules; all but the first two are equal."""
    sizes = [(16, 1, 10), (16, 16, 3), *((16, 16, 2) for _ in range(depth - 2))]
    return {f"{prefix}convs.{n}.conv.weight": spec(*size) for n, size in enumerate(sizes)}


@pytest.mark.parametrize("order", [dict, by_name])
@pytest.mark.parametrize(("before", "after"), [(6, 5), (5, 7)])
def test_a_layer_alone_in_its_block_keeps_its_number(
    before: int, after: int, order: Callable[[Specs], Specs]
) -> None:
    old = merged(feature_extractor(before, "extractor."), transformer())
    new = merged(feature_extractor(after, ""), transformer())
    found = {change.old[0]: change for change in infer(order(old), new) if change.kind == "renamed"}
    assert len(found) == min(before, after)
    assert all(change.old[0] == f"extractor.{change.new[0]}" for change in found.values())
    assert "ambiguous" not in {change.confidence for change in found.values()}


def decoder(depth: int, prefix: str, proj: str = "proj") -> Specs:
    blocks = [
        merged(
            linear(f"{prefix}layers.{n}.attn.{proj}", 32, 32),
            norm(f"{prefix}layers.{n}.attn_norm", 32),
            linear(f"{prefix}layers.{n}.fc", 64, 32),
            norm(f"{prefix}layers.{n}.final_norm", 32),
        )
        for n in range(depth)
    ]
    return merged({f"{prefix}words.weight": spec(50, 32)}, norm(f"{prefix}final_norm", 32), *blocks)


@pytest.mark.parametrize("order", [dict, by_name])
def test_a_norm_that_blocks_have_by_its_name_is_not_one_of_blocks_that_came(
    order: Callable[[Specs], Specs],
) -> None:
    found = pairs(order(decoder(4, "decoder.")), decoder(6, "", "out"))
    assert found["decoder.final_norm.weight"] == "final_norm.weight"


def test_the_last_block_keeps_its_number_where_further_ones_came() -> None:
    found = confidences(decoder(4, "decoder."), decoder(6, "", "out"))
    assert {key: found[key] for key in found if key.startswith("decoder.layers.")} == {
        key: "likely" for key in decoder(4, "decoder.") if key.startswith("decoder.layers.")
    }


def test_a_layer_that_grew_is_not_one_of_a_block_that_came() -> None:
    old, new = decoder(4, ""), decoder(5, "")
    old |= linear("pooler.proj", 32, 32)
    new |= linear("pooler.proj", 33, 32)
    assert kinds(old, new) == {"head-resized": 2, "missing": 8}


@pytest.mark.parametrize("inside", ["", "net.", "net.deep."])
@pytest.mark.parametrize("pooler", ["pooler", "trunk.pooler", "quartz"])
def test_a_part_is_judged_for_itself_where_another_was_replaced(pooler: str, inside: str) -> None:
    old = merged(decoder(4, ""), linear("pooler.proj", 32, 32), *(linear(f"embed.{n}", 7, 9) for n in "abcd"))
    other = [linear(f"embed.{n}", 6, 8) for n in "uvwx"]
    new = merged(decoder(4, ""), linear(f"{pooler}.proj", 32, 32), *other)
    others = linear("stem", 5, 3) if inside else {}
    old, new = ({f"{inside}{key}": value for key, value in side.items()} | others for side in (old, new))
    found = {change.old[0]: change.confidence for change in infer(old, new) if change.old and change.new}
    assert found == (
        {} if pooler == "pooler" else {f"{inside}pooler.proj.{name}": "likely" for name in ("weight", "bias")}
    )


def test_a_layer_with_another_name_is_not_judged_for_itself() -> None:
    old = merged(decoder(4, ""), linear("pooler.proj", 32, 32), *(linear(f"embed.{n}", 7, 9) for n in "abcd"))
    other = [linear(f"embed.{n}", 6, 8) for n in "uvwx"]
    new = merged(decoder(4, ""), linear("quartz.mix", 32, 32), *other)
    assert "renamed" not in kinds(old, new)


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("depth", [2, 3, 12])
def test_an_equal_layer_in_front_may_be_the_one_that_came_where_the_others_moved_on(
    prefix: str, depth: int
) -> None:
    widths = [16 * number for number in range(1, depth + 2)]
    shapes = list(zip(widths[1:], widths, strict=False))
    old = merged(linear("stem", 16, 3), *(linear(f"net.{n}", *shape) for n, shape in enumerate(shapes)))
    moved = [linear(f"{prefix}net.{n}", *shape) for n, shape in enumerate((shapes[0], *shapes))]
    new = merged(linear(f"{prefix}stem", 16, 3), *moved)
    for one, other in ((old, new), (new, old)):
        found = confidences(one, other)
        assert found.get("net.0.weight", "ambiguous") == "ambiguous"
        assert found.get("model.net.0.weight", "ambiguous") == "ambiguous"
        assert any(confidence != "ambiguous" for confidence in found.values())
