"""What a reader of both lists could not know, or would know from the names alone: never certain."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_ckpt_compat._renames import infer
from pytest_ckpt_compat._renames.believe.torn import torn
from pytest_ckpt_compat._renames.units.units import units_of

from .models import Specs, batch_norm, by_name, conv, linear, merged, norm, pairs, renamed, spec, transformer

ENDS = linear("stem", 16, 3), linear("head", 5, 16)


def between(*parts: Specs) -> Specs:
    """A model of these parts, with a layer in front and one behind that stay."""
    return merged(ENDS[0], *parts, ENDS[1])


def told(old: Specs, new: Specs) -> dict[str, tuple[str, str]]:
    """Old key -> new key and confidence, of all that moved; the same in both orders of the file."""
    found: list[dict[str, tuple[str, str]]] = [
        {
            a: (b, change.confidence)
            for change in infer(side, new)
            if len(change.old) == len(change.new)
            for a, b in zip(change.old, change.new, strict=True)
            if a != b
        }
        for side in (old, by_name(old))
    ]
    assert found[0] == found[1]
    return found[0]


def confidences(old: Specs, new: Specs) -> set[str]:
    return {confidence for _, confidence in told(old, new).values()}


# --- blocks ------------------------------------------------------------------------------------------------


def path_up(order: Sequence[int], *layers: str, name: str = "up") -> Specs:
    """Blocks of a decoder, listed in this order."""
    return merged(*(conv(f"{name}{number}.{layer}", 8, 8) for number in order for layer in layers))


@pytest.mark.parametrize("order", [(0, 3, 2, 1), (3, 2, 1, 0)])
def test_blocks_that_a_definition_lists_backwards_keep_their_numbers(order: tuple[int, ...]) -> None:
    old = between(path_up(range(4), "conv1", "conv2"))
    new = between(path_up(order, "conv1", "conv_b"))
    assert {key: other for key, (other, _) in told(old, new).items()} == {
        f"up{number}.conv2.weight": f"up{number}.conv_b.weight" for number in range(4)
    }


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (0, 2, 1, 3), (1, 2, 3, 0)])
@pytest.mark.parametrize("names", [("norm{}", "dnorm.{}"), ("norms.{}", "dnorm.{}")])
@pytest.mark.parametrize("further", [0, 1])
def test_layers_of_equal_size_may_follow_those_beside_them(
    order: tuple[int, ...], names: tuple[str, str], further: int
) -> None:
    def model(convolution: str, other: str, order: Sequence[int]) -> Specs:
        sizes = (conv(convolution.format(place), 8 << each, 8 << each) for each, place in enumerate(order))
        return between(*sizes, *(norm(other.format(number), 4) for number in range(4 + further)))

    old, new = model("up{}", names[0], range(4)), model("dec.{}", names[1], order)
    for one, other in ((old, new), (new, old)):
        for side in (one, by_name(one)):
            changes = [change for change in infer(side, other) if change.old and change.new]
            assert {each.confidence for each in changes if "norm" in each.old[0]} == {"likely"}


def test_a_decoder_that_runs_backwards_says_nothing_of_the_encoder() -> None:
    def model(coder: str, decoder: str, order: Sequence[int]) -> Specs:
        encoder = (conv(f"{coder}.{number}.conv", 4, 4) for number in range(4))
        return between(
            *encoder, *(conv(f"{decoder}.{place}.conv", 8 << e, 8) for e, place in enumerate(order))
        )

    old, new = model("enc", "dec", range(4)), model("encoder", "decoder", (3, 2, 1, 0))
    assert confidences(old, new) == {"certain"}


def with_positions(numbers: Sequence[int], depth: int = 12) -> Specs:
    """Blocks of which some have a table."""
    blocks = [
        merged(
            linear(f"blocks.{number}.fc", 16, 16),
            {f"blocks.{number}.pos": spec(7, 16)} if number in numbers else {},
        )
        for number in range(depth)
    ]
    return between(*blocks)


@pytest.mark.parametrize(
    ("before", "after", "depth"), [((3, 7, 11), (2, 6, 10), 12), ((3,), (5,), 8), ((1,), (2,), 3)]
)
def test_a_layer_that_moved_to_another_block_takes_no_other_with_it(
    before: tuple[int, ...], after: tuple[int, ...], depth: int
) -> None:
    found = told(with_positions(before, depth), with_positions(after, depth))
    assert all(key.endswith("pos") and sure != "certain" for key, (_, sure) in found.items())


def test_layers_do_not_move_together_where_others_of_their_name_stayed() -> None:
    sizes = [8 << number for number in range(5)]

    def model(name: str, inside: Sequence[str], skips: Sequence[str]) -> Specs:
        blocks = (
            linear(f"{name}.{number}.{each}", size * factor, size)
            for number, size in enumerate(sizes)
            for factor, each in enumerate(inside, start=2)
        )
        return between(
            *blocks, *(linear(f"{name}.{path}", size, size) for path, size in zip(skips, sizes, strict=True))
        )

    old = model("blocks", ("up", "gate", "mix"), [f"{number}.skip" for number in range(5)])
    moved = ["0.shortcut", "2.shortcut_in", "3.shortcut_in", "3.shortcut", "4.shortcut"]
    new = model("layers", ("fc1", "fc2", "fc3"), moved)
    for changes in (infer(old, new), infer(new, old)):
        sure = {c.confidence for c in changes if any("shortcut_in" in key for key in (*c.old, *c.new))}
        assert "certain" not in sure


@pytest.mark.parametrize("depth", [3, 6, 12])
def test_a_block_is_not_torn(depth: int) -> None:
    """A block was inserted in front, or the layer moved on."""
    found = told(with_positions([1], depth), with_positions([2], depth + 1))
    assert all(sure != "certain" for _, sure in found.values())


@pytest.mark.parametrize(
    ("became", "found"),
    [
        # Two blocks became one, and a layer of the second stands in the next one.
        (
            {
                "b.0.p": "s.0.p",
                "b.0.q": "s.0.q",
                "b.1.p": "s.0.r",
                "b.1.q": "s.0.s",
                "b.1.skip": "s.1.skip",
                "b.2.p": "s.1.p",
                "b.2.q": "s.1.q",
            },
            {"b.1.skip"},
        ),
        # A block that came has one layer each of two that are still there.
        (
            {
                **{f"b.{number}.{name}": f"b.{number}.{name}" for number in (1, 2) for name in "pqr"},
                "b.1.skip": "b.3.skip",
                "b.2.gate": "b.3.gate",
            },
            {"b.1.skip", "b.2.gate"},
        ),
        # Half of each block moved on: those that kept the number are in their own.
        (
            {f"b.{n}.{name}": f"c.{n + (name == 'q')}.{name}" for n in range(3) for name in "pq"},
            {"b.0.q", "b.1.q"},
        ),
    ],
)
def test_a_layer_is_torn_out_of_the_block_that_holds_most_of_its_own(
    became: dict[str, str], found: set[str]
) -> None:
    sides = became, became.values()
    ours, theirs = (units_of(merged(*(linear(path, 4, 4) for path in side))) for side in sides)
    places = {unit.path: index for index, unit in enumerate(theirs)}
    pairs = [(index, places[became[unit.path]]) for index, unit in enumerate(ours)]
    assert {ours[a].path for a, _ in torn(ours, theirs, pairs)} == found


def test_a_family_of_another_size_is_not_certain_where_a_block_may_have_grown() -> None:
    old, new = with_positions(range(4)), with_positions((0, 1, 2, 3, 10), 13)
    found = told(old, renamed(new, ("blocks", "layers")))
    assert all(sure != "certain" for _, sure in found.values())


# --- parts of a model -----------------------------------------------------------------------------------


def part(name: str) -> Specs:
    return merged(conv(f"{name}.conv", 8, 3), batch_norm(f"{name}.bn", 8))


def test_a_part_that_came_may_be_another_one_of_its_kind() -> None:
    stay = part("audio_encoder"), part("pose_encoder"), linear("zfuse", 2, 4)
    assert confidences(merged(part("rgb"), *stay), merged(part("touch"), *stay)) == {"likely"}
    assert confidences(merged(part("rgb_in"), *stay), merged(part("rgb"), *stay)) == {"certain"}


def test_a_head_that_came_may_be_another_one() -> None:
    stay = linear("audio_encoder", 4, 8), linear("zfuse", 2, 4)
    old, new = (merged(linear(f"{name}_head", 4, 8), *stay) for name in ("sentiment", "toxicity"))
    assert confidences(old, new) == {"likely"}


@pytest.mark.parametrize(
    ("other", "sure"),
    [("head", "likely"), ("lm_head", "likely"), ("class_predictor", "likely"), ("cls_head", "certain")],
)
def test_a_classifier_is_a_head_of_classes(other: str, sure: str) -> None:
    old, new = (renamed(transformer(), ("head", name)) for name in (other, "classifier"))
    assert confidences(old, new) == {sure}


def tower(name: str) -> Specs:
    parts = [conv(f"{name}.stem", 16, 3), batch_norm(f"{name}.bn", 16)]
    for block in range(3):
        parts += [norm(f"{name}.b.{block}.n", 16), linear(f"{name}.b.{block}.qkv", 48, 16)]
        parts += [linear(f"{name}.b.{block}.fc1", 64, 16), linear(f"{name}.b.{block}.fc2", 16, 64)]
    return merged(*parts)


def test_a_part_of_which_two_came_is_either() -> None:
    old, new = between(tower("encoder")), between(tower("left"), tower("right"))
    changes = [change for change in infer(old, new) if change.old and change.old != change.new]
    assert {change.confidence for change in changes} == {"ambiguous"}
    assert all("right" in " ".join(change.candidates) for change in changes)


def test_the_name_says_which_of_two_it_became() -> None:
    old, new = between(tower("encoder")), between(tower("encoder_a"), tower("other"))
    assert set(pairs(old, new).values()) == set(tower("encoder_a"))
    assert "ambiguous" not in confidences(old, new)


def test_parts_whose_words_exclude_each_other_are_not_the_same() -> None:
    assert confidences(between(tower("prior")), between(tower("posterior"))) == {"ambiguous"}
    assert confidences(between(tower("prior")), between(tower("backbone"))) == {"certain"}


# --- layers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 2, 3, 6])
def test_the_alphabet_does_not_tell_siblings_apart(blocks: int) -> None:
    old, new = (
        between(*(linear(f"h.{block}.{name}", 16, 16) for block in range(blocks) for name in names))
        for names in (("time", "user"), ("rain", "cat"))
    )
    sure = {change.confidence for change in infer(by_name(old), new) if change.old and change.new}
    assert sure - {"certain"} <= {"ambiguous"}
    assert not any(change.confidence == "likely" for change in infer(by_name(old), new))


def test_names_that_count_tell_siblings_apart_in_a_sorted_file() -> None:
    old, new = (
        between(*(norm(f"h.{block}.{name}", 16) for block in range(3) for name in names))
        for names in (("ln_1", "ln_2"), ("attn_norm", "ffn_norm"))
    )
    found = pairs(by_name(old), new)
    assert found["h.0.ln_1.weight"] == "h.0.attn_norm.weight"


def test_the_order_of_fused_parts_is_no_matter_of_the_alphabet() -> None:
    bare = {"m.fc_in.weight": spec(64, 16), "m.fc_gate.weight": spec(64, 16), "m.fc_out.weight": spec(16, 64)}
    new = {"m.wi.weight": spec(128, 16), "m.fc_out.weight": spec(16, 64)}
    assert [change.confidence for change in infer(bare, new) if change.kind == "fused"] == ["likely"]
    assert [c.confidence for c in infer(by_name(bare), new) if c.kind == "fused"] == ["ambiguous"]


def test_the_candidates_of_joint_layers_begin_with_those_in_the_same_block() -> None:
    blocks, towers = range(8), (("left", "right"), ("alpha", "beta"))
    parts = (linear(f"l.{i}.{tower}.{n}", 8, 8) for i in blocks for tower in towers[0] for n in "qkv")
    whole = (linear(f"l.{i}.{tower}.qkv", 24, 8) for i in blocks for tower in towers[1])
    old, new = between(*parts), between(*whole)
    fused = [change for change in infer(by_name(old), new) if change.kind == "fused"]
    assert {change.confidence for change in fused} == {"ambiguous"}
    for change in fused:
        _, number, _, _, name = change.new[0].split(".")
        assert set(change.candidates[:2]) == {f"l.{number}.{tower}.qkv.{name}" for tower in towers[1]}


def gated(block: str, **shapes: tuple[int, int]) -> Specs:
    return {f"{block}.{name}.weight": spec(*shape) for name, shape in shapes.items()}


def test_exchanged_names_are_not_called_transposed() -> None:
    """Llama calls the layer that leads back w2, others w3."""
    old = between(*(gated(f"l.{i}", w1=(64, 16), w2=(16, 64), w3=(64, 16)) for i in range(2)))
    new = between(*(gated(f"l.{i}", w1=(64, 16), w2=(64, 16), w3=(16, 64)) for i in range(2)))
    assert "transposed" not in {change.kind for change in infer(old, new)}
    assert confidences(old, new) == {"likely"}


def test_biases_show_that_names_were_exchanged() -> None:
    old, new = (
        merged(linear("fc1", 64, 16), linear("fc2", 16, 64)),
        merged(linear("fc1", 16, 64), linear("fc2", 64, 16)),
    )
    assert pairs(old, new)["fc1.weight"] == "fc2.weight"


def test_two_layers_were_transposed_or_exchanged_their_names() -> None:
    old, new = (between(gated("l", wi=wi, wo=wi[::-1])) for wi in ((64, 16), (16, 64)))
    found = {change.old[0]: change for change in infer(old, new) if change.kind == "transposed"}
    assert found["l.wi.weight"].confidence == "ambiguous"
    assert found["l.wi.weight"].candidates == ("l.wi.weight", "l.wo.weight")


@pytest.mark.parametrize("names", [("c_attn", "c_fc", "c_proj"), ("qkv", "fc1", "fc2")])
def test_one_layer_shows_that_all_are_transposed(names: tuple[str, str, str]) -> None:
    """A Conv1D of GPT-2 became a Linear: of its MLP alone, the shapes would show nothing."""
    shapes = (16, 48), (16, 64), (64, 16)
    old, new = (
        {
            f"h.{block}.{name}.weight": spec(*shape[::step])
            for block in range(3)
            for name, shape in zip(side, shapes, strict=True)
        }
        for side, step in ((("c_attn", "c_fc", "c_proj"), 1), (names, -1))
    )
    changes = infer({"wte.weight": spec(50, 16), **old}, {"wte.weight": spec(50, 16), **new})
    found = {change.old[0]: (change.new[0], change.confidence) for change in changes if change.old}
    for one, other in zip(old, new, strict=True):
        assert found[one] == (other, "certain")


def test_place_alone_is_not_certain_where_no_name_speaks() -> None:
    sizes = (4, 3), (5, 4), (6, 5)
    old, new = (
        merged(*(linear(name, *size) for name, size in zip(names, sizes, strict=True)))
        for names in (("wind", "rain", "sun"), ("policy", "reward", "cost"))
    )
    for side in (old, by_name(old)):
        assert "certain" not in {change.confidence for change in infer(side, new) if change.new}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("mask", "pos"), ("POS", "MASK")),
        (("left", "item", "space"), ("item_param", "left_param", "space_param")),
        (("user_tower", "item_tower"), ("item_encoder", "user_encoder")),
    ],
)
def test_a_word_outweighs_the_place(old: tuple[str, ...], new: tuple[str, ...]) -> None:
    ours, theirs = (between(*(linear(name, 8, 8) for name in names)) for names in (old, new))
    found = told(ours, theirs)
    assert found
    for key, (other, sure) in found.items():
        assert sure == "certain"
        assert key.partition(".")[0].partition("_")[0] == other.lower().partition(".")[0].partition("_")[0]


@pytest.mark.parametrize(("joint", "sure"), [("gate_up_proj", "certain"), ("up_gate_proj", "ambiguous")])
def test_the_name_of_a_joint_layer_says_how_its_parts_stand(joint: str, sure: str) -> None:
    old = {f"m.{name}.weight": spec(64, 16) for name in ("gate_proj", "up_proj")}
    new = {f"m.{joint}.weight": spec(128, 16)}
    rest = {"m.down_proj.weight": spec(16, 64)}
    for side in ({**old, **rest}, by_name({**old, **rest})):
        assert [each.confidence for each in infer(side, {**new, **rest}) if each.kind == "fused"] == [sure]


def test_a_definition_lists_the_parts_that_a_sorted_file_holds_joint() -> None:
    old = {"m.linear1.weight": spec(128, 16), "m.out.weight": spec(16, 64)}
    new = {"m.value.weight": spec(64, 16), "m.gate.weight": spec(64, 16), "m.out.weight": spec(16, 64)}
    new = {**new, "m.norm.weight": spec(16), "m.norm.bias": spec(16)}
    found = {change.confidence for change in infer(by_name(old), new) if change.kind == "split"}
    assert found == {"likely"}


def test_two_stages_that_became_one_stack_are_no_copies() -> None:
    old = between(*(linear(f"layer{stage}.{block}.q", 16, 16) for stage in (0, 1) for block in range(3)))
    new = between(*(linear(f"l.{block}.q", 16, 16) for block in range(6)))
    assert not any(change.rivals for change in infer(old, new))
    back = infer(new, old)
    assert not any(change.candidates for change in back if change.old < ("l.3",))
    assert pairs(new, old) == {other: one for one, other in zip(old, new, strict=True) if ".q." in one}


@pytest.mark.parametrize("outputs", [(4, 5), (4, 5, 6, 7)])
def test_of_a_block_no_layer_moves_alone(outputs: tuple[int, ...]) -> None:
    def blocks(sizes: tuple[int, ...]) -> Specs:
        return between(
            *(
                merged(linear(f"b.{i}.fc", 16, 16), linear(f"b.{i}.out", size, 16))
                for i, size in enumerate(sizes)
            )
        )

    assert "certain" not in confidences(blocks(outputs), blocks(outputs[::-1]))


def test_blocks_of_a_renamed_family_do_not_exchange_places() -> None:
    old, new = with_positions((3, 7, 11)), renamed(with_positions((2, 6, 10)), ("blocks", "layers"))
    assert "certain" not in confidences(old, new)


@pytest.mark.parametrize(("number", "sure"), [(4, "likely"), (12, "certain")])
def test_all_blocks_of_a_family_moved_on_by_one(number: int, sure: str) -> None:
    old, new = (
        between(
            *(
                merged(norm(f"h.{i + first}.n", 16), linear(f"h.{i + first}.fc", 64, 16))
                for i in range(number)
            )
        )
        for first in (0, 1)
    )
    found = told(old, new)
    assert found["h.0.fc.weight"] == ("h.1.fc.weight", sure)
    assert len(found) == 4 * number


def test_parts_of_other_sizes_are_of_one_kind() -> None:
    def sensor(name: str, channels: int) -> Specs:
        return merged(conv(f"{name}.conv", 8, channels), batch_norm(f"{name}.bn", 8))

    stay = sensor("audio", 1), sensor("pose", 2), linear("zfuse", 2, 4)
    old, new = (merged(sensor(name, 3), *stay) for name in ("cam", "tactile"))
    assert confidences(old, new) == {"likely"}


@pytest.mark.parametrize(
    ("old", "new", "sure"),
    [
        ("critic", "critic_target", "likely"),
        ("reward_model", "cost_model", "likely"),
        ("vision_tower", "vision_model", "certain"),
        ("enc", "encoder", "certain"),
    ],
)
def test_what_the_name_of_a_part_says_of_another_one(old: str, new: str, sure: str) -> None:
    ours, theirs = (between(part(name)) for name in (old, new))
    assert confidences(ours, theirs) == {sure}


@pytest.mark.parametrize("first", ["self_attn", "cross_attn"])
def test_which_of_two_modules_keeps_its_query_apart_is_a_guess(
    first: str,
) -> None:
    second = {"self_attn": "cross_attn", "cross_attn": "self_attn"}[first]
    parts = ("query", "key", "value", "dense")
    old = between(*({f"{each}.{part}.weight": spec(16, 16)} for each in (first, second) for part in parts))
    joint = {f"attn1.{name}.weight": spec(rows, 16) for name, rows in (("in_proj", 48), ("out_proj", 16))}
    apart = (("q_proj", 16), ("kv_proj", 32), ("out_proj", 16))
    new = between(joint, {f"attn2.{name}.weight": spec(rows, 16) for name, rows in apart})
    for side in (old, by_name(old)):
        for changes in (infer(side, new), infer(by_name(new), old)):
            assert "certain" not in {change.confidence for change in changes if change.old != change.new}


def test_the_letters_of_a_joint_layer_are_its_order() -> None:
    old = {f"m.{name}.weight": spec(16, 16) for name in "qkv"}
    rest = {"m.fc.weight": spec(64, 16), "m.out.weight": spec(16, 64)}
    for joint, sure in (("qkv", "certain"), ("kqv", "ambiguous")):
        changes = infer({**old, **rest}, {f"m.{joint}.weight": spec(48, 16), **rest})
        assert [each.confidence for each in changes if each.kind == "fused"] == [sure]


@pytest.mark.parametrize(
    ("before", "after", "rows"),
    [
        ("kqv", "qkv", 96),
        ("gate_up", "up_gate", 64),
        ("to_kv", "to_vk", 64),
        ("left_right", "right_left", 64),
        ("scale_shift", "shift_scale", 64),
        ("scale_shift", "beta_gamma", 64),
        ("mean_logvar", "logvar_mean", 64),
        ("q_k_v.linear", "k_q_v.linear", 96),
    ],
)
def test_a_joint_layer_whose_name_says_another_order_may_hold_its_rows_as_before(
    before: str, after: str, rows: int
) -> None:
    def model(name: str) -> Specs:
        blocks = (
            merged(linear(f"blocks.{n}.attn.{name}", rows, 32), linear(f"blocks.{n}.fc", 16, 32))
            for n in range(3)
        )
        return merged(*blocks, linear("head", 10, 32))

    for old, new in ((before, after), (after, before)):
        found = [change for change in infer(model(old), model(new)) if change.old and change.new]
        assert {change.confidence for change in found} == {"ambiguous"}


def test_other_words_in_another_order_are_the_same_name() -> None:
    old = merged(linear("body.proj_in", 8, 4), norm("body.layer_norm", 8), linear("head", 10, 8))
    new = renamed(old, ("proj_in", "in_proj"), ("layer_norm", "norm_layer"))
    assert {change.confidence for change in infer(old, new)} == {"certain"}


# --- single layers among others that stayed --


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("layer", [lambda path: linear(path, 16, 16), lambda path: norm(path, 16)])
@pytest.mark.parametrize("home", ["", "pool."])
def test_a_layer_that_alone_joined_a_module_that_stayed_may_be_another_one(prefix, layer, home) -> None:  # type: ignore[no-untyped-def]
    rest = merged(linear("cls.out", 7, 16), linear("pool.out", 9, 16))
    old, new = between(rest, layer(f"{home}dense")), between(rest, layer("cls.dense"))
    new = {f"{prefix}{key}": value for key, value in new.items()}
    for one, other in ((old, new), (new, old)):
        found = {
            key: confidence
            for key, (_, confidence) in told(one, other).items()
            if key.removeprefix(prefix).startswith((f"{home}dense", "cls.dense"))
        }
        assert set(found.values()) == {"likely"}


def test_a_norm_that_went_at_the_end_may_not_be_the_one_that_came_beside_the_stem() -> None:
    old = transformer(prefix="")
    new = {key: value for key, value in old.items() if not key.startswith("norm.")}
    found = confidences(old, {**new, **norm("patch_embed.norm", 32)})
    assert found == {"likely"}


def test_a_layer_that_got_a_module_of_its_own_is_that_layer() -> None:
    old, new = between(linear("dense", 16, 16)), between(linear("pool.dense", 16, 16))
    assert confidences(old, new) == {"certain"}


def test_layers_that_joined_a_module_together_are_those_layers() -> None:
    rest, moved = linear("cls.out", 7, 16), merged(linear("dense", 16, 16), linear("gate", 3, 16))
    new = between(rest, {f"cls.{key}": value for key, value in moved.items()})
    assert confidences(between(rest, moved), new) == {"certain"}
