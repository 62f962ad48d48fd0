"""Situations that mislead: reused names, shifts, branches alike, partial prefixes, heads, ties, experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from benchmarks.rename_corpus import corpus
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

WIDTH = 32

#: New names for the layers of a transformer.
NEW_NAMES = {"norm1": "ante", "attn.qkv": "mix.all", "attn.proj": "mix.join", "norm2": "post", "mlp": "box"}


def decoder(*layers: str, depth: int = 3) -> Specs:
    """Blocks of norms, attentions (one matrix of 3 widths) and an mlp, in the given order."""
    parts: list[Specs] = [linear("stem", WIDTH, 3)]
    for block in range(depth):
        for layer in layers:
            path = f"layers.{block}.{layer}"
            if "norm" in layer:
                parts.append(norm(path, WIDTH))
            else:
                parts.append(linear(path, (4 if layer == "mlp" else 3) * WIDTH, WIDTH))
    return merged(*parts, linear("head", 10, WIDTH))


def test_a_reused_name_is_not_taken_for_proof() -> None:
    """norm2 became norm_cross_attn and norm3 became norm2: the lists show norm3 vanishing alone."""
    old = decoder("norm1", "attn", "norm2", "cross_attn", "norm3", "mlp")
    new = decoder("mlp", "norm1", "attn", "norm2", "norm_cross_attn", "cross_attn")
    changes = infer(old, new)
    assert changes
    for change in changes:
        right = {("norm2", "norm_cross_attn"), ("norm3", "norm2")}
        went = change.old[0].split(".")[2], change.new[0].split(".")[2]
        assert went in right or change.confidence == "ambiguous"
        assert change.confidence != "ambiguous" or any("norm2" in key for key in change.candidates)


def swin(*, first: bool) -> Specs:
    """Stages with the downsampling at their end, or at the start of the next."""
    parts = [conv("patch_embed", 8, 3)]
    for stage, width in enumerate((8, 16, 32)):
        down = f"layers.{stage}.downsample"
        inner = width // 2 if first else width
        down_layer = merged(
            {f"{down}.reduction.weight": spec(2 * inner, 4 * inner)}, norm(f"{down}.norm", 4 * inner)
        )
        if first and stage:
            parts.append(down_layer)
        for block in range(2):
            parts.append(norm(f"layers.{stage}.blocks.{block}.norm1", width))
            parts.append(linear(f"layers.{stage}.blocks.{block}.attn", width, width))
        if not first and stage < 2:
            parts.append(down_layer)
    return merged(*parts, linear("head", 10, 32))


def test_a_shift_that_looks_like_size_mismatches() -> None:
    assert pairs(swin(first=False), swin(first=True)) == {
        f"layers.{stage}.downsample.{name}": f"layers.{stage + 1}.downsample.{name}"
        for stage in (0, 1)
        for name in ("reduction.weight", "norm.weight", "norm.bias")
    }


def sequential(*layers: tuple[int, ...]) -> Specs:
    parts = [
        conv(f"features.{index}", *layer) if len(layer) == 2 else batch_norm(f"features.{index}", *layer)
        for index, layer in enumerate(layers)
    ]
    return merged(*parts, linear("fc", 10, 64))


def test_a_block_inserted_in_the_middle_of_a_sequential() -> None:
    old = sequential((8, 3), (8,), (16, 8), (16,), (64, 16), (64,))
    new = sequential((8, 3), (8,), (16, 8), (16,), (16, 16), (16,), (64, 16), (64,))
    found = pairs(old, new)
    assert found["features.4.weight"] == "features.6.weight"
    assert found["features.5.running_mean"] == "features.7.running_mean"
    assert len(found) == 6


def branches(first: str, second: str) -> Specs:
    layers = [linear(f"{branch}.{index}", 8, 8) for branch in (first, second) for index in range(3)]
    return merged(linear("stem", 8, 3), *layers, linear("head", 10, 8))


def test_equal_branches_under_new_names_are_ambiguous() -> None:
    changes = infer(branches("left", "right"), branches("alpha", "beta"))
    assert {change.confidence for change in changes} == {"ambiguous"}
    assert all(len(change.candidates) > 1 for change in changes)


def pair(first: str, second: str) -> Specs:
    """Two layers of one shape each in a block of their own, between a stem and a head."""
    branches = [merged(linear(f"{name}.proj", 8, 8), norm(f"{name}.norm", 8)) for name in (first, second)]
    return merged(linear("stem", 8, 3), *branches, linear("head", 10, 8))


@pytest.mark.parametrize(
    ("old", "new", "certain"),
    [
        (("left", "right"), ("alpha", "beta"), False),  # the order of the file, and nothing else
        (("text_net", "image_net"), ("text_encoder", "image_encoder"), True),  # the names say it
        (("block.0", "block.1"), ("stages.0", "stages.1"), True),  # numbered alike
    ],
)
def test_order_alone_makes_nothing_certain(old: tuple[str, str], new: tuple[str, str], certain: bool) -> None:
    changes = [change for change in infer(pair(*old), pair(*new)) if change.kind == "renamed"]
    assert len(changes) == 8
    assert {change.old[0].replace(old[0], new[0]).replace(old[1], new[1]) for change in changes} == {
        change.new[0] for change in changes
    }
    assert all((change.confidence == "certain") is certain for change in changes)


def test_twin_branches_swapped_do_not_show_at_all() -> None:
    assert infer(branches("left", "right"), branches("right", "left")) == ()


def test_a_rename_and_a_head_change_in_one_commit() -> None:
    old, other = transformer(), transformer(classes=5)
    new = renamed(other, ("blocks", "layers"), ("head", "classifier"))
    assert pairs(old, new) == {
        key: key.replace("blocks", "layers").replace("head", "classifier")
        for key in old
        if key.startswith(("blocks", "head"))
    }
    assert kinds(old, new) == {"renamed": 48, "head-resized": 2}


def test_a_head_resized_under_its_own_name() -> None:
    assert kinds(transformer(), transformer(classes=5)) == {"head-resized": 2}


def test_a_wrapper_prefix_on_only_some_keys() -> None:
    old = transformer()
    new = {(f"module.{key}" if key.startswith("blocks") else key): value for key, value in old.items()}
    assert pairs(old, new) == {key: f"module.{key}" for key in old if key.startswith("blocks")}


def test_a_prefix_and_a_rename_together() -> None:
    old = transformer()
    new = {f"model.{key}".replace("fc1", "up").replace("fc2", "down"): value for key, value in old.items()}
    assert pairs(old, new) == dict(zip(old, new, strict=True))
    sure = {change.old[0] for change in infer(old, new) if change.confidence == "certain"}
    # A name that was exchanged for another does not speak for its layer, however well the rest fits.
    assert sure == {key for key in old if "fc" not in key}


def test_tied_weights_renamed_on_one_side_only() -> None:
    body = transformer()
    old = {"embed.weight": spec(100, 32), **body, "lm_head.weight": spec(100, 32)}
    new = {"embed.weight": spec(100, 32), **body, "decoder.weight": spec(100, 32)}
    assert pairs(old, new) == {"lm_head.weight": "decoder.weight"}


def experts(expert: str, *names: str, count: int = 64) -> Specs:
    parts = [linear("embed", 32, 8)]
    for layer in range(2):
        parts.append({f"layers.{layer}.router.weight": spec(count, 32)})
        for number in range(count):
            shapes = (spec(48, 32), spec(48, 32), spec(32, 48))
            parts.append(
                {
                    f"layers.{layer}.{expert}.{number}.{n}.weight": s
                    for n, s in zip(names, shapes, strict=True)
                }
            )
    return merged(*parts)


@pytest.mark.parametrize("blocks", [3, 6])
@pytest.mark.parametrize(("before", "after"), [(16, 20), (20, 16), (16, 17)])
def test_a_router_that_grew_with_its_experts_is_not_split_into_one(
    before: int, after: int, blocks: int
) -> None:
    def model(number: int) -> Specs:
        layers = [
            merged(
                linear(f"blocks.{block}.mlp.gate", number, 32),
                *(
                    linear(f"blocks.{block}.mlp.experts.{n}.{part}", 8, 32)
                    for part in ("gate", "up")
                    for n in range(number)
                ),
                linear(f"blocks.{block}.norm", 32, 32),
            )
            for block in range(blocks)
        ]
        return merged(*layers, linear("head", 10, 32))

    old, new = model(before), model(after)
    changes = infer(old, new)
    assert {
        (each.old, each.new) for each in changes if each.old and each.new and each.old != each.new
    } == set()
    left = {key for each in changes if not each.old or not each.new for key in (*each.old, *each.new)}
    assert left == old.keys() ^ new.keys()


def test_sixty_four_identical_experts_keep_their_numbers() -> None:
    old, new = experts("experts", "gate", "up", "down"), experts("moe.pool", "gate", "up", "down")
    assert pairs(old, new) == {key: key.replace("experts", "moe.pool") for key in old if "experts" in key}


@pytest.mark.parametrize(
    ("number", "confidence"), [(3, "likely"), (5, "likely"), (6, "certain"), (12, "certain")]
)
def test_a_few_blocks_under_new_numbers_may_run_backwards(number: int, confidence: str) -> None:
    """Blocks of one shape under shifted numbers: a pyramid's few are never certain."""
    body = resnet()
    parts = merged(conv("a", 7, 7), conv("b", 7, 7))
    blocks = {f"fuse{n}.{k}": v for n in range(1, number + 1) for k, v in parts.items()}
    new = {f"fusion.{n}.{k}": v for n in range(number) for k, v in parts.items()}
    changes = infer({**body, **blocks}, {**body, **new})
    assert {change.confidence for change in changes} == {confidence}
    assert pairs({**body, **blocks}, {**body, **new}) == dict(zip(blocks, new, strict=True))


@pytest.mark.parametrize(("number", "found"), [(5, False), (6, True)])
def test_numbers_at_the_end_of_names_count_as_those_of_blocks(number: int, found: bool) -> None:
    """The outputs of a pyramid, one layer each: their numbers end their names. A few may run backwards."""
    body = transformer()
    fresh = renamed(body, *NEW_NAMES.items())
    old = {f"output{n + 2}.weight": spec(7, 7, 3, 3) for n in range(number)}
    new = {f"out.{n}.weight": spec(7, 7, 3, 3) for n in range(number)}
    changes = [c for c in infer({**body, **old}, {**fresh, **new}) if c.old and c.new and c.old[0] in old]
    sure = {c.old[0]: c.new[0] for c in changes if c.confidence == "certain"}
    assert sure == (dict(zip(old, new, strict=True)) if found else {})


def test_a_block_of_other_content_anchors_those_around_it() -> None:
    """Stages that became one list: where the width changes shows where each block went."""
    old = merged(*(linear(f"stages.{n // 2}.{n % 2}.proj", 8 << (n // 2), 9) for n in range(6)))
    new = merged(*(linear(f"blocks.{n}.proj", 8 << (n // 2), 9) for n in range(6)))
    changes = infer(old, new)
    assert pairs(old, new) == dict(zip(old, new, strict=True))
    assert {change.confidence for change in changes} == {"certain"}


def test_most_layers_with_new_names_vouch_for_each_other() -> None:
    """A name that says nothing is what to expect in a conversion, and no evidence in a small change."""
    old = transformer()
    new = renamed(old, *NEW_NAMES.items())
    assert "certain" in {change.confidence for change in infer(old, new)}
    one = renamed(old, ("attn.proj", "attn.join"))
    assert {change.confidence for change in infer(old, one)} == {"likely"}


def test_names_that_are_new_around_a_layer_vouch_for_it() -> None:
    """A part with new names in a model that kept its own."""
    parts = {"pool": "mean", "drift": "delta", "score": "rank", "gate": "valve", "out": "join"}
    sizes = dict(zip(parts, (11, 12, 13, 14, 15), strict=True))
    body = merged(resnet(), transformer(prefix="vit."))
    old = merged(body, *(linear(f"fusion.{name}", sizes[name], 9) for name in parts))
    new = merged(body, *(linear(f"mixer.{other}", sizes[name], 9) for name, other in parts.items()))
    assert {change.confidence for change in infer(old, new)} == {"certain"}
    few = dict(list(parts.items())[:3])
    old = merged(body, *(linear(f"fusion.{name}", sizes[name], 9) for name in few))
    new = merged(body, *(linear(f"mixer.{other}", sizes[name], 9) for name, other in few.items()))
    assert {change.confidence for change in infer(old, new)} == {"likely"}


@pytest.mark.parametrize(
    ("new", "confidence"),
    [
        (("q_proj", "k_proj", "v_proj", "drift"), "certain"),
        (("linear_q", "linear_k", "linear_v", "drift"), "likely"),
        (("q_proj", "k_proj", "w1", "w2"), "likely"),
    ],
)
def test_the_last_of_several_siblings_is_settled_by_the_others(new: tuple[str, ...], confidence: str) -> None:
    """Unless another kept its name, or two are left."""
    old = ("linear_q", "linear_k", "linear_v", "linear_pos")
    body = transformer()

    def model(block: str, names: tuple[str, ...]) -> Specs:
        return merged(body, *(linear(f"mixing.{n}.{block}.{name}", 9, 9) for n in range(3) for name in names))

    changes = infer(model("attn", old), model("attention", new))
    last = {change.confidence for change in changes if change.old[0].split(".")[3] == "linear_pos"}
    assert last == {confidence}


@pytest.mark.parametrize(
    ("kinds_of_layers", "added", "confidence"),
    [
        pytest.param(6, 0, "certain", id="rich"),
        pytest.param(5, 0, "likely", id="too few kinds of layers"),
        pytest.param(6, 1, "certain", id="one layer was added"),
        pytest.param(6, 2, "likely", id="a third as many were added"),
    ],
)
def test_a_rich_part_is_believed_though_another_was_replaced(
    kinds_of_layers: int, added: int, confidence: str
) -> None:
    def part(name: str, number: int) -> Specs:
        return merged(
            *(linear(f"{name}.layer{letter}", 11 + n, 9) for n, letter in enumerate("abcdefghi"[:number]))
        )

    def tail(name: str, width: int) -> Specs:
        return merged(*(linear(f"tail.{letter}{name}", width + n, 50) for n, letter in enumerate("abcdefgh")))

    body = merged(
        *(linear(f"core.{letter}z", 300, 70 + n) for n, letter in enumerate("abcdefghijklmnopqrst"))
    )
    old = merged(part("old", kinds_of_layers), tail("x", 100), body)
    new = merged(part("new", kinds_of_layers + added), tail("y", 200), renamed(body, ("core", "kernel")))
    moved = [c for c in infer(old, new) if c.old and c.new and c.old[0].startswith("old.")]
    assert {change.confidence for change in moved} == {confidence}


@pytest.mark.parametrize(
    ("gone", "added", "confidence"),
    [
        (0, 10, "certain"),  # all of the old model is a part of the new one
        (1, 10, "certain"),
        (3, 10, "likely"),
        (3, 6, "certain"),
    ],
)
def test_a_rich_part_is_not_believed_where_most_is_new(gone: int, added: int, confidence: str) -> None:
    def part(name: str) -> Specs:
        return merged(*(conv(f"{name}.layer{letter}", 11 + n, 9, 5) for n, letter in enumerate("abcdefgh")))

    def rest(name: str, number: int) -> Specs:
        return merged(
            *(linear(f"{name}.{letter}x", 200 + n, 50) for n, letter in enumerate("abcdefghij"[:number]))
        )

    last = merged(*(norm(f"end.{letter}y", 70 + n) for n, letter in enumerate("abc"[:gone])))
    changes = infer(merged(part("old"), last), merged(part("new"), rest("aside", added)))
    assert {c.confidence for c in changes if c.old and c.new} == {confidence}


def stages(name: str, *widths: int) -> Specs:
    parts = [
        merged(linear(f"{name}.{n}.proj", w, 9), norm(f"{name}.{n}.norm", w)) for n, w in enumerate(widths)
    ]
    return merged(linear("stem", 8, 3), *parts)


def test_reversed_blocks_follow_those_whose_shapes_show_it() -> None:
    found = pairs(stages("up", 8, 16, 32, 32), stages("up_blocks", 32, 32, 16, 8))
    assert {(old.split(".")[1], new.split(".")[1]) for old, new in found.items()} == {
        ("0", "3"),
        ("1", "2"),
        ("2", "1"),
        ("3", "0"),
    }


def test_a_replaced_module_does_not_hide_the_rest() -> None:
    necks = [linear(f"neck.{n}.lateral", 48 + n, 48) for n in range(4)]
    bridges = [linear(f"bridge.{n}.mix", 17 + n, 48) for n in range(4)]
    old = merged(transformer(), *necks)
    new = merged(renamed(transformer(), ("blocks", "layers")), *bridges)
    assert kinds(old, new) == {"renamed": 48, "unexpected": 8, "missing": 8}


def test_a_vector_that_went_and_one_that_came_are_no_rename() -> None:
    old, new = {**transformer(), "a.scale": spec(32)}, {**transformer(), "zeta.omega": spec(32)}
    assert kinds(old, new) == {"unexpected": 1, "missing": 1}


def test_a_lone_renamed_head() -> None:
    body = {key: value for key, value in transformer().items() if "head" not in key}
    old, new = {**body, **linear("fc", 10, 32)}, {**body, **linear("classifier", 10, 32)}
    assert pairs(old, new) == {"fc.weight": "classifier.weight", "fc.bias": "classifier.bias"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (transformer(), resnet()),
        (resnet(), transformer()),
        (resnet((16, 32)), transformer(width=16)),
        ({"a.weight": spec(3, 4)}, {"b.weight": spec(5, 6)}),
        ({}, transformer()),
        (transformer(), {}),
    ],
)
def test_different_models_give_no_renames(old: Specs, new: Specs) -> None:
    assert set(kinds(old, new)) <= {"missing", "unexpected", "resized"}


def test_blocks_with_the_same_numbers_are_not_ambiguous_because_a_file_is_sorted() -> None:
    """The first layer of a block is another one on each side: the blocks are of one family nevertheless."""
    (case,) = (case for case in corpus.read() if case.name == "hfconv_simmim_swin")
    changes = infer(by_name(dict(case.old)), case.new)
    assert not [change for change in changes if change.confidence == "ambiguous"]


@pytest.mark.parametrize("depth", [4, 12])
def test_a_file_sorted_by_name_is_matched_by_number(depth: int) -> None:
    old = {f"model.{key}": value for key, value in transformer(depth=depth).items()}
    new = renamed(transformer(depth=depth), ("norm1", "layer_norm1"))
    found = infer(by_name(old), new)
    assert {(c.old[0], c.new[0]) for c in found} == set(zip(old, new, strict=True))
    assert all(change.confidence != "ambiguous" for change in found)


def test_a_resized_vocabulary_in_a_sorted_file_moves_nothing() -> None:
    old, new = ({"embed.weight": spec(rows, 32), **transformer(depth=12)} for rows in (100, 120))
    assert [(c.kind, c.old, c.new) for c in infer(by_name(old), new)] == [
        ("resized", ("embed.weight",), ("embed.weight",))
    ]


def test_a_renamed_stem_beside_a_resized_head() -> None:
    """The resized head is explained: it does not count against the rename."""

    def model(stem: str, classes: int) -> Specs:
        return merged(conv(stem, 8, 3), linear("head", classes, 8))

    assert kinds(model("conv1", 10), model("stem", 12)) == {"renamed": 1, "head-resized": 2}


@pytest.mark.parametrize("order", [list, sorted])
def test_a_layer_in_the_place_of_another_is_a_possibility(order: Callable[[Specs], list[str]]) -> None:
    body = transformer()
    old = merged(body, linear("dropout_gate", 8, 3))
    new = merged(body, linear("quantum_flux", 8, 3))
    changes = infer({key: old[key] for key in order(old)}, new)
    assert {change.confidence for change in changes if change.kind == "renamed"} == {"ambiguous"}


@pytest.mark.parametrize(
    ("words", "rest", "told"),
    [
        (("norm1", "qkv", "fc1"), 0, {"likely"}),
        (("norm1", "fc1"), 0, {"ambiguous"}),  # few others got new names
        (("norm1", "norm2", "fc1"), 0, {"ambiguous"}),  # two of them as one
        (("blocks", "embed", "head"), 0, {"ambiguous"}),  # of their modules, most of them
        (("norm1", "qkv", "fc1"), 1, {"ambiguous"}),  # something else was replaced
    ],
)
@pytest.mark.parametrize("order", [list, sorted])
def test_a_strange_name_among_other_new_names_is_likely(
    words: Sequence[str], rest: int, told: set[str], order: Callable[[Specs], list[str]]
) -> None:
    body = renamed(transformer(), *((word, f"my_{word}") for word in words))
    old = merged(transformer(), linear("dropout_gate", 8, 3), *[conv("out", 4, 4)] * rest)
    new = merged(body, linear("quantum_flux", 8, 3), *[conv("leave", 4, 5)] * rest)
    changes = infer({key: old[key] for key in order(old)}, new)
    assert {change.confidence for change in changes if "quantum_flux" in "".join(change.new)} == told


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_a_new_name_counts_once_however_many_blocks_have_it(depth: int) -> None:
    old, new = transformer(depth), renamed(transformer(depth), ("norm1", "my_norm1"), ("fc1", "my_fc1"))
    changes = infer(merged(old, linear("dropout_gate", 8, 3)), merged(new, linear("quantum_flux", 8, 3)))
    assert {c.confidence for c in changes if "quantum_flux" in "".join(c.new)} == {"ambiguous"}


def test_a_strange_name_is_never_certain() -> None:
    """All layers got new names, but one may have gone, and another of its size have come."""
    words = ("qkv", "joint"), ("proj", "leave"), ("norm", "scale"), ("fc", "step"), ("head", "label")
    old = merged(transformer(), linear("dropout_gate", 8, 3))
    new = merged(renamed(transformer(), *words), linear("quantum_flux", 8, 3))
    changes = infer(old, new)
    assert {c.confidence for c in changes if "quantum_flux" in "".join(c.new)} == {"likely"}
    assert "certain" in {c.confidence for c in changes}


@pytest.mark.parametrize(("before", "after"), [(4, 6), (6, 4)])
def test_a_stack_of_another_depth_keeps_its_numbers(before: int, after: int) -> None:
    old, new = transformer(depth=before), renamed(transformer(depth=after), ("blocks", "layers"))
    found = pairs(old, new)
    assert found == {
        k: k.replace("blocks", "layers")
        for k in old
        if k.replace("blocks", "layers") in new and "blocks" in k
    }
    # Where blocks were inserted or taken out, nobody can know.
    assert not any(c.confidence == "certain" for c in infer(old, new) if c.kind == "renamed")


@pytest.mark.parametrize(("before", "after"), [(4, 6), (6, 4), (4, 5), (2, 12), (12, 14)])
@pytest.mark.parametrize("inside", ["", ".fc"])
@pytest.mark.parametrize("order", [dict, by_name])
def test_so_does_a_stack_of_single_layers(
    before: int, after: int, inside: str, order: Callable[[Specs], Specs]
) -> None:
    def model(name: str, depth: int) -> Specs:
        layers = (linear(f"{name}.{n}{inside}", 8, 8) for n in range(depth))
        return merged(linear("stem", 8, 4), *layers, linear("head", 3, 8))

    changes = infer(order(model("blocks", before)), model("layers", after))
    told = [change for change in changes if change.old and change.new and change.old != change.new]
    assert {change.confidence for change in told} == {"likely"}
    assert {(change.old, change.new) for change in told} == {
        ((f"blocks.{n}{inside}.{leaf}",), (f"layers.{n}{inside}.{leaf}",))
        for n in range(min(before, after))
        for leaf in ("weight", "bias")
    }


def test_a_word_shared_by_siblings_makes_nothing_certain() -> None:
    """post_attention_layernorm comes after attention: it is no attention_norm."""

    def model(*norms: str) -> Specs:
        blocks = [
            merged(*(norm(f"layers.{n}.{name}", 32) for name in norms), linear(f"layers.{n}.mlp", 64, 32))
            for n in range(3)
        ]
        return merged(linear("stem", 32, 3), *blocks)

    old, new = model("input_layernorm", "post_attention_layernorm"), model("attention_norm", "ffn_norm")
    right = {"input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}
    for change in infer(by_name(old), new):
        assert right[change.old[0].split(".")[2]] == change.new[0].split(".")[2]
        assert change.confidence != "certain"


def test_digits_within_names_are_numbers_of_blocks() -> None:
    old = renamed(transformer(), ("blocks.", "encoder_layer_"))
    new = renamed(transformer(), ("blocks", "layers"))
    assert pairs(old, new) == {k: v for k, v in zip(old, new, strict=True) if k != v}


def test_exact_shapes_come_before_transposed_ones() -> None:
    """Up and down are transposes of each other; a model without transposed layers keeps them apart."""

    def model(*names: str) -> Specs:
        shapes = (spec(64, 32), spec(64, 32), spec(32, 64))
        return merged(
            linear("stem", 32, 3),
            *(
                {f"layers.{n}.{name}.weight": s for name, s in zip(names, shapes, strict=True)}
                for n in range(3)
            ),
        )

    old, new = model("gate_proj", "up_proj", "down_proj"), model("w1", "w3", "w2")
    changes = infer(old, new)
    assert {change.kind for change in changes} == {"renamed"}
    assert all(change.old_specs == change.new_specs for change in changes)


def square(*names: str) -> Specs:
    """Tensors of one shape each: weights 8 x 8, biases 8."""
    return {name: spec(8, 8) if name.endswith("weight") else spec(8) for name in names}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(
            square("b.gate.weight", "b.proj.weight", "b.proj.bias"),
            square("l.proj.weight", "l.proj.bias", "l.w2.weight", "l.w2.bias"),
            id="another layer has its name",
        ),
        pytest.param(
            square("net.0.weight", "net.1.weight", "net.2.weight"),
            square("net.1.weight", "net.2.weight", "net.3.weight"),
            id="shifted by one",
        ),
        pytest.param(
            square("up1.weight", "up2.weight"), square("dec2.weight", "dec1.weight"), id="two run backwards"
        ),
        pytest.param(
            square("p3.weight", "p4.weight", "p5.weight"),
            square("out1.weight", "out2.weight", "out3.weight"),
            id="a pyramid",
        ),
        pytest.param(
            square("a.es.weight", "a.cs.weight"),
            square("l.ces.weight", "l.spa.weight"),
            id="letters in common by chance",
        ),
        pytest.param(
            {"b.0.gate.weight": spec(8, 8), "b.0.value.weight": spec(5, 8), "b.0.value.bias": spec(5)},
            {"b.0.value.weight": spec(8, 8), "b.0.proj.weight": spec(5, 8), "b.0.proj.bias": spec(5)},
            id="a layer of another shape has its name",
        ),
        pytest.param(
            square("b.norm.weight", "b.norm_ffn.weight"),
            square("b.norm.weight", "b.norm_attn.weight"),
            id="a name passed on",
        ),
        pytest.param(square("foo.dense.weight"), square("bar.dense.weight"), id="a last word that all have"),
        pytest.param(square("head.weight"), square("aux_head.weight"), id="one word more"),
        pytest.param(
            square("bert.enc.norm.weight", "bert.pooler.dense.weight"),
            square("bert.enc.norm.weight", "classifier.dense.weight"),
            id="a part that is left alone in its module",
        ),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_what_nobody_can_know_is_never_certain(old: Specs, new: Specs, turned: bool) -> None:
    body = resnet()
    sides = ({**body, **new}, {**body, **old}) if turned else ({**body, **old}, {**body, **new})
    for before in (sides[0], by_name(sides[0])):
        moved = [change for change in infer(before, sides[1]) if change.old and change.new]
        assert "certain" not in {change.confidence for change in moved if change.old != change.new}
