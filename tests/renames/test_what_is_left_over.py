"""Which layers that are left over say that a part may have been replaced, and which do not."""

from __future__ import annotations

import math

import pytest

from pytest_ckpt_compat._renames import infer
from pytest_ckpt_compat._renames.believe.blocks import more_of_the_same
from pytest_ckpt_compat._renames.match.alignment import align
from pytest_ckpt_compat._renames.match.leftovers import grown
from pytest_ckpt_compat._renames.units.units import units_of

from .models import Specs, conv, linear, merged, norm, pairs, renamed, spec


def encoder(vocabulary: int = 100, depth: int = 4) -> Specs:
    """A small encoder; its embeddings are a table and a norm."""
    layers = (
        merged(
            linear(f"encoder.layers.{i}.fc1", 64, 16),
            linear(f"encoder.layers.{i}.fc2", 16, 64),
            norm(f"encoder.layers.{i}.norm", 16),
        )
        for i in range(depth)
    )
    table = {"encoder.embed.table.weight": spec(vocabulary, 16)}
    return merged(table, norm("encoder.embed.norm", 16), *layers, norm("encoder.last", 16))


def confidences(old: Specs, new: Specs, word: str) -> set[str]:
    found: set[str] = {c.confidence for c in infer(old, new) if c.new and any(word in key for key in c.old)}
    assert found
    return found


@pytest.mark.parametrize("sort", [False, True])
def test_a_table_that_grew_where_it_was_is_no_replacement(sort: bool) -> None:
    old = encoder()
    old = dict(sorted(old.items())) if sort else old
    new = renamed(encoder(vocabulary=120), ("encoder.", "backbone."))
    assert confidences(old, new, "layers") == {"certain"}


def test_a_table_under_another_name_may_be_one() -> None:
    new = renamed(encoder(vocabulary=120), ("encoder.", "backbone."), ("table", "patches"))
    assert "certain" not in confidences(encoder(), new, "layers")


def pairs_that_grew(old: Specs, new: Specs, believed: list[tuple[str, str]]) -> list[tuple[str, str]]:
    ours, theirs = units_of(old), units_of(new)
    here, there = ([unit.path for unit in units] for units in (ours, theirs))
    matches = [(here.index(a), there.index(b)) for a, b in believed]
    return [(here[a], there[b]) for a, b in grown(ours, theirs, matches)]


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"b.embed.table.weight": spec(120, 16)}, True),
        ({"b.embed.rows.weight": spec(120, 16)}, False),  # another name
        ({"b.other.table.weight": spec(120, 16)}, False),  # another module
        ({"b.embed.table.weight": spec(120, 32)}, False),  # both sizes
        ({"b.embed.table.weight": spec(120, 16), "b.embed.table.bias": spec(120)}, False),
    ],
)
def test_what_grew_kept_its_name_in_the_partner_of_its_module(table: Specs, found: bool) -> None:
    old = merged({"a.embed.table.weight": spec(100, 16)}, norm("a.embed.norm", 16))
    new = merged(table, norm("b.embed.norm", 16))
    expected = [("a.embed.table", "b.embed.table")] if found else []
    assert pairs_that_grew(old, new, [("a.embed.norm", "b.embed.norm")]) == expected


def test_modules_inside_that_kept_their_names_tell_where_the_outer_one_went() -> None:
    old = merged({"a.inner.table.weight": spec(100, 16)}, linear("a.inner.h.0", 16, 16))
    new = merged({"a.table.weight": spec(120, 16)}, linear("a.h.0", 16, 16))
    found = [("a.inner.table", "a.table")]
    assert pairs_that_grew(old, new, [("a.inner.h.0", "a.h.0")]) == found
    other = merged({"a.table.weight": spec(120, 16)}, linear("a.g.0", 16, 16))
    assert pairs_that_grew(old, other, [("a.inner.h.0", "a.g.0")]) == []


def test_nothing_tells_where_the_module_went_if_all_of_it_grew() -> None:
    old, new = {"a.table.weight": spec(100, 16)}, {"b.table.weight": spec(120, 16)}
    assert pairs_that_grew(old, new, []) == []


def test_further_blocks_say_nothing_of_the_rest() -> None:
    """The depth leaves open which block is which, but not what became of the other layers."""
    new = renamed(encoder(depth=6), ("encoder.", "backbone."))
    assert confidences(encoder(), new, "last") == {"certain"}
    assert confidences(encoder(), new, "layers") == {"likely"}


def seq2seq(
    encoder_depth: int, decoder_depth: int, names: tuple[str, str], fc: str = "fc1", *, cross: bool = True
) -> Specs:
    """An encoder, and a decoder whose blocks have a layer more, or the same."""
    sides: list[Specs] = []
    for name, depth in zip(names, (encoder_depth, decoder_depth), strict=True):
        for i in range(depth):
            block = f"{name}.layers.{i}"
            sides += [
                linear(f"{block}.{fc}", 64, 16),
                linear(f"{block}.fc2", 16, 64),
                norm(f"{block}.norm", 16),
            ]
            sides += [linear(f"{block}.cross", 16, 16)] if cross and name == names[1] else []
    return merged(linear("embed", 16, 100), *sides, linear("out", 7, 16))


@pytest.mark.parametrize(("before", "after"), [((6, 6), (6, 5)), ((6, 6), (6, 8)), ((6, 6), (4, 6))])
@pytest.mark.parametrize("names", [("encoder", "marble"), ("backbone", "decoder"), ("encoder", "decoder")])
def test_of_two_stacks_of_one_depth_one_got_deeper_or_shallower(
    before: tuple[int, int], after: tuple[int, int], names: tuple[str, str]
) -> None:
    old, new = seq2seq(*before, ("encoder", "decoder")), seq2seq(*after, names, fc="linear1")
    truth = {
        key: key.replace("encoder", names[0]).replace("decoder", names[1]).replace("fc1", "linear1")
        for key in old
    }
    for side in (old, dict(sorted(old.items()))):
        assert pairs(side, new) == {a: b for a, b in truth.items() if b in new and a != b}


@pytest.mark.parametrize("after", [(6, 5), (5, 6), (6, 8), (8, 6)])
def test_of_two_equal_stacks_under_new_names_nobody_knows_which_got_deeper(after: tuple[int, int]) -> None:
    old = seq2seq(6, 6, ("encoder", "decoder"), cross=False)
    new = seq2seq(*after, ("alpha", "beta"), fc="linear1", cross=False)
    for side in (old, dict(sorted(old.items()))):
        found = [each for each in infer(side, new) if each.old and each.new and "layers" in each.old[0]]
        assert "certain" not in {change.confidence for change in found}


def test_a_number_that_is_not_there_any_more_was_taken_out() -> None:
    """Blocks 0 to 4 are what they were, 5 went, and 6 and 7 came."""
    old = encoder(depth=6)
    deeper = renamed(encoder(depth=8), ("encoder.", "backbone."))
    new = {key: value for key, value in deeper.items() if ".5." not in key}
    found = {a: b for a, b in pairs(old, new).items() if "layers" in a}
    assert found == {a: a.replace("encoder", "backbone") for a in old if "layers" in a and ".5." not in a}


def left_over(specs: Specs, *unmatched: str) -> set[str]:
    units = units_of(specs)
    matched = {index for index, unit in enumerate(units) if not unit.path.startswith(unmatched)}
    return {units[index].path for index in more_of_the_same(units, matched)}


def test_a_block_is_more_of_the_same_only_as_a_whole_beside_one_that_is_alike() -> None:
    blocks = merged(*(merged(linear(f"b.{i}.fc", 8, 8), norm(f"b.{i}.norm", 8)) for i in range(3)))
    assert left_over(blocks, "b.2.") == {"b.2.fc", "b.2.norm"}
    assert left_over(blocks, "b.2.norm") == set()
    assert left_over(merged(blocks, linear("b.3.fc", 9, 8)), "b.3.") == set()
    assert left_over(blocks, "b.") == set()
    assert left_over(merged(blocks, linear("gate", 8, 8)), "gate") == set()


def attention(value: str, *further: Specs, stem: str = "table", inputs: int = 100) -> Specs:
    """A model of three blocks, whose stem has a name and a number of inputs of its own."""
    layers = (
        merged(
            *(linear(f"layers.{i}.attn.{name}", 16, 16) for name in ("query", "key", value)),
            *({key.replace("#", str(i)): each for key, each in one.items()} for one in further),
        )
        for i in range(3)
    )
    first = (linear(f"stem.{stem}.{i}", 16 + i, inputs) for i in range(4))
    return merged(*first, norm("stem.norm", 16), *layers)


def told(old: Specs, new: Specs, kind: str) -> set[str]:
    return {key for change in infer(old, new) if change.kind == kind for key in change.old}


@pytest.mark.parametrize("sort", [False, True])
def test_what_was_replaced_elsewhere_says_little_of_a_module_that_keeps_other_layers(sort: bool) -> None:
    old = attention("value")
    old = dict(sorted(old.items())) if sort else old
    assert confidences(old, attention("v", stem="patches", inputs=120), "value") == {"likely"}


def test_what_was_replaced_beside_it_says_that_it_may_be_so_too() -> None:
    old = attention("value", linear("layers.#.attn.scale", 4, 16))
    new = attention("v", linear("layers.#.attn.offset", 5, 16), stem="patches", inputs=120)
    assert told(old, new, "renamed") == set()


def test_a_module_that_keeps_nothing_does_not_speak_for_what_came_in_it() -> None:
    old = merged(attention("value"), linear("mixer.left", 16, 24))
    new = merged(attention("value", stem="patches", inputs=120), linear("mixer.right", 16, 24))
    assert told(old, new, "renamed") == set()


def tagger(depth: int, embed: str = "", layer: str = "encoder.layers") -> Specs:
    """A small tagger, in which all norms have one name."""
    layers = (
        merged(
            linear(f"{layer}.{i}.up", 64, 16),
            linear(f"{layer}.{i}.down", 16, 64),
            norm(f"{layer}.{i}.output.norm", 16),
        )
        for i in range(depth)
    )
    return merged({f"{embed}table.weight": spec(100, 16)}, norm(f"{embed}norm", 16), *layers)


def alternatives(old: Specs, new: Specs, path: str) -> bool:
    """Whether a layer has an alternative."""
    ours, theirs = units_of(old), units_of(new)
    (index,) = (index for index, unit in enumerate(ours) if unit.path == path)
    return index in (doubts := align(ours, theirs).doubts) and doubts[index].cost < math.inf


@pytest.mark.parametrize(("before", "after"), [(4, 6), (6, 4), (6, 5)])
def test_a_layer_beside_the_blocks_is_none_of_a_block_that_came_or_went(before: int, after: int) -> None:
    old, new = tagger(before, "embed."), tagger(after, layer="layers")
    assert not alternatives(old, new, "embed.norm")
    assert confidences(old, new, "embed.norm") == {"certain"}
    one = min(before, after)
    assert confidences(old, new, f"encoder.layers.{one - 1}.output.norm") == {"likely"}  # it keeps its number


def test_a_layer_beside_the_blocks_may_be_one_that_came_in_a_block() -> None:
    old, new = tagger(4, "embed."), tagger(4, layer="layers")
    assert alternatives(old, merged(new, norm("layers.3.extra.norm", 16)), "embed.norm")
    assert alternatives(old, merged(new, norm("others.0.norm", 16)), "embed.norm")


def test_a_module_that_keeps_little_does_not_speak_for_what_came_in_it() -> None:
    def model(stack: str, *names: str, inputs: int) -> Specs:
        blocks = (
            merged(
                linear(f"encoder.{stack}.{i}.{names[0]}", 64, 16),
                linear(f"encoder.{stack}.{i}.{names[1]}", 16, 64),
                linear(f"encoder.{stack}.{i}.{names[2]}", 16, 16),
            )
            for i in range(4)
        )
        stem = (linear(f"stem.{stack}.{i}", 16 + i, inputs) for i in range(4))
        return merged(*stem, {"encoder.table": spec(77, 16)}, *blocks, linear("head", 10, 16))

    old = model("layers", "mlp.fc1", "mlp.fc2", "attn.out", inputs=100)
    new = model("stack", "ffn.w1", "ffn.w2", "mixer.out", inputs=120)
    assert "likely" not in {c.confidence for c in infer(old, new) if c.kind == "renamed"}


def stack(name: str, depth: int, *parts: str, inner: int = 64) -> Specs:
    """Equal blocks: square layers of these names, and an MLP."""
    return merged(
        *(
            merged(
                *(linear(f"{name}.layers.{i}.{part}", 16, 16) for part in parts),
                linear(f"{name}.layers.{i}.fc1", inner, 16),
                linear(f"{name}.layers.{i}.fc2", 16, inner),
            )
            for i in range(depth)
        )
    )


@pytest.mark.parametrize("depth", [(6, 5, 5, 7), (5, 7, 6, 5), (6, 5, 5, 6)])
def test_a_stack_is_no_other_one_that_has_its_old_length(depth: tuple[int, int, int, int]) -> None:
    """An encoder got shallower, and a decoder as deep as it is now got deeper."""
    attention = [f"self.{n}" for n in ("q_proj", "k_proj")], [f"cross.{n}" for n in ("q_proj", "k_proj")]
    old = merged(stack("enc", depth[0], *attention[0]), stack("dec", depth[2], *attention[0], *attention[1]))
    new = merged(stack("enc", depth[1], *attention[0]), stack("dec", depth[3], *attention[0], *attention[1]))
    found = pairs(old, renamed(new, ("q_proj", "wq")))
    expected = {key: key.replace("q_proj", "wq") for key in old.keys() & new.keys() if "q_proj" in key}
    assert {key: other for key, other in found.items() if key in new} == expected


@pytest.mark.parametrize("depth", [(6, 6, 6, 5), (6, 5, 5, 5)])
def test_a_stack_that_lost_a_layer_and_its_name_is_still_none_of_the_old_length(
    depth: tuple[int, int, int, int],
) -> None:
    """No block holds just what it did, and no module has its name."""
    own, cross = ("self.q_proj", "self.k_proj"), ("cross.q_proj", "cross.k_proj")
    old = merged(stack("enc", depth[0], *own), stack("dec", depth[2], *own, *cross))
    kept = merged(stack("enc", depth[1], *own), stack("dec", depth[3], *own, *cross))
    kept = {key: value for key, value in kept.items() if not key.endswith("fc2.bias")}
    moved = ("enc.", "encoder."), ("dec.", "decoder.")
    found = pairs(old, renamed(kept, *moved))
    attention = [key for key in old.keys() & kept.keys() if "self" in key]
    truth = {key: next(iter(renamed({key: kept[key]}, *moved))) for key in attention}
    assert {key: found.get(key) for key in attention} == truth


@pytest.mark.parametrize("depth", [(3, 4), (4, 3)])
def test_blocks_are_not_as_many_as_others_of_which_there_are_as_many(depth: tuple[int, int]) -> None:
    """Four convolutions stayed; an encoder of three blocks has four now, and another name."""
    convs = [conv(f"convs.{i}.conv", 24, 24) for i in range(4)]
    parts = ("attn.q_proj", "attn.v_proj", "attn.out_proj")
    old, new = (merged(*convs, stack("enc", n, *parts), norm("enc.norm", 16)) for n in depth)
    found = infer(old, renamed(new, ("enc.", "quartz."), ("v_proj", "wv")))
    told = {c.old[0]: c.new[0] for c in found if c.old and c.new and c.confidence == "likely"}
    for key in old.keys() & new.keys():
        if "layers" in key:
            assert told[key] == key.replace("enc.", "quartz.").replace("v_proj", "wv")
