"""What numbers settle where a block of one side has no counterpart on the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_ckpt_compat._renames import infer
from pytest_ckpt_compat._renames.believe.blocks import AGAINST, PLAUSIBLE, SETTLED, block_maps
from pytest_ckpt_compat._renames.believe.in_step import MANY, in_step
from pytest_ckpt_compat._renames.believe.renumbered import renumbered
from pytest_ckpt_compat._renames.units.numbered import canonical
from pytest_ckpt_compat._renames.units.units import Unit, units_of

from .models import Specs, batch_norm, conv, linear, merged, norm, pairs, renamed, transformer


def layers(paths: Sequence[str], widths: Sequence[int]) -> list[Unit]:
    return units_of(merged(*(norm(path, width) for path, width in zip(paths, widths, strict=True))))


def counted(old: Sequence[str], new: Sequence[str], widths: Sequence[int]) -> bool:
    """Whether the numbers of layers of these widths settle that each became the one at its place."""
    pairs = [(index, index) for index in range(len(old))]
    found = in_step(layers(old, widths), layers(new, widths), pairs)
    assert found in (set(), set(pairs))
    return bool(found)


def settled(old: Sequence[Unit], new: Sequence[Unit], pairs: Sequence[tuple[int, int]]) -> set[float]:
    return set(block_maps(old, new, pairs).values())


LEVELS = [f"down.{stage}.block.{block}.norm" for stage in range(3) for block in range(2)]
ONE_LEVEL = [f"inputs.{number}.1.norm" for number in (1, 2, 4, 5, 7, 8)]


@pytest.mark.parametrize(
    ("old", "new", "widths", "found"),
    [
        (["bns.0", "bns.1"], ["layers.0.norm", "layers.1.norm"], [8, 8], True),
        (["bns.0", "bns.1"], ["layers.1.norm", "layers.0.norm"], [8, 8], False),
        (ONE_LEVEL, LEVELS, [8, 8, 16, 16, 32, 32], True),
        (LEVELS, ONE_LEVEL, [8, 8, 16, 16, 32, 32], True),
        (ONE_LEVEL, [*LEVELS[:4], LEVELS[5], LEVELS[4]], [8, 8, 16, 16, 32, 32], False),
        (ONE_LEVEL[:4], LEVELS[:4], [8] * 4, False),  # nothing stands among them, and they are few
        (ONE_LEVEL, LEVELS, [8] * MANY, True),
        (["a.norm"], ["b.0.norm"], [8], False),  # a single one has nothing to be in step with
    ],
)
def test_layers_of_one_name_are_counted(
    old: list[str], new: list[str], widths: list[int], found: bool
) -> None:
    assert counted(old, new, widths) is found


STEPS = [(i, j) for i in range(1, 5) for j in range(1, 3)]


@pytest.mark.parametrize(
    ("stage", "block", "widths", "found"),
    [
        (-1, -1, [8, 8, 16, 16, 32, 32, 64, 64], True),
        (-1, 0, [8, 8, 16, 16, 32, 32, 64, 64], True),
        (-1, 1, [8, 8, 16, 16, 32, 32, 64, 64], False),
        (-1, -1, [8] * 8, False),  # four stages of two each may run backwards
    ],
)
def test_numbers_of_two_levels_move_by_one_step(
    stage: int, block: int, widths: list[int], found: bool
) -> None:
    old = [f"layer.{i}.{j}.norm" for i, j in STEPS]
    new = [f"layers.{i + stage}.blocks.{j + block}.norm" for i, j in STEPS]
    assert counted(old, new, widths) is found


def test_a_stage_that_moves_alone_is_not_in_step() -> None:
    old = [f"layer.{i}.{j}.norm" for i, j in STEPS]
    new = [*old[:6], "layer.5.1.norm", "layer.5.2.norm"]
    widths = [8, 8, 16, 16, 32, 32, 64, 64]
    assert not counted(old, new, widths)
    assert not counted(old[6:], new[6:], widths[6:])


def staged(*numbers: int, name: str = "stages", inside: str = "layers") -> Specs:
    """Stages of convolutions, each of a width of its own."""
    return merged(
        *(
            conv(f"{name}.{number}.{inside}.{layer}.conv{size}", width, width, size)
            for number, width in zip(numbers, (8, 12, 20, 24), strict=False)
            for layer in range(2)
            for size in (1, 3)
        )
    )


@pytest.mark.parametrize(
    ("before", "after", "last"),
    [
        ((0, 1, 2, 3), (0, 1, 2, 4), "likely"),  # or the last one went, and one that holds the same came
        ((0, 1, 2, 4), (0, 1, 2, 3), "likely"),
        ((0, 1, 2, 3), (0, 1, 3, 4), "certain"),
        ((0, 2, 3, 5), (0, 2, 3, 6), "certain"),  # modules without weights stood among them before
    ],
)
@pytest.mark.parametrize("name", ["stages", "levels"])
def test_a_stage_that_moves_alone_may_have_gone(
    before: tuple[int, ...], after: tuple[int, ...], last: str, name: str
) -> None:
    found = {c.confidence for c in infer(staged(*before), staged(*after, name=name)) if "24" in str(c)}
    assert found == {last}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((0, 1), (0, 2)),  # a family of two
        ((0, 1), (2, 1)),
        ((0, 1, 2, 3), (0, 9, 2, 3)),  # what is inserted would have moved those behind it
        ((0, 1, 2, 3), (0, 5, 2, 7)),
        ((0, 1, 2, 3), (7, 5, 2, 3)),
    ],
)
@pytest.mark.parametrize("inside", ["layers", "0"])
def test_stages_that_move_for_themselves_may_have_gone(
    before: tuple[int, ...], after: tuple[int, ...], inside: str
) -> None:
    old, new = staged(*before, inside=inside), staged(*after, inside=inside)
    for one, other in ((old, new), (new, old)):
        changes = infer(one, other)
        assert "certain" not in {change.confidence for change in changes}
        assert {change.kind for change in changes} == {"renamed"}


@pytest.mark.parametrize(("after", "last"), [((0, 1, 2, 4), "likely"), ((0, 2, 3, 4), "certain")])
def test_stages_that_hold_one_block_each_move_like_others(after: tuple[int, ...], last: str) -> None:
    old, new = staged(0, 1, 2, 3, inside="0"), staged(*after, inside="0")
    assert {change.confidence for change in infer(old, new)} == {last}


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ((0, 1, 2, 3), (0, 1, 2, 4), "likely"),
        ((0, 1, 2, 3), (0, 7, 2, 3), "likely"),
        ((0, 1), (0, 2), "likely"),
        ((0, 1, 2, 3), (0, 1, 3, 4), "certain"),
        ((0, 2, 4, 6), (0, 2, 4, 7), "certain"),  # modules without weights stood among them before
    ],
)
def test_a_numbered_layer_that_moves_alone_may_have_gone(
    before: tuple[int, ...], after: tuple[int, ...], moved: str
) -> None:
    def model(numbers: tuple[int, ...]) -> Specs:
        layers = (linear(f"net.{number}", 8 << place, 16) for place, number in enumerate(numbers))
        return merged(conv("stem", 16, 3), *layers, linear("head", 10, 16))

    for old, new in ((before, after), (after, before)):
        assert {change.confidence for change in infer(model(old), model(new))} == {moved}


def test_a_layer_of_that_name_and_size_that_is_left_over_leaves_it_open() -> None:
    old, new = layers([*ONE_LEVEL, "inputs.10.1.norm"], [8, 8, 16, 16, 32, 32, 32]), layers(LEVELS, [8] * 6)
    pairs = [(index, index) for index in range(6)]
    assert in_step(old, new, pairs) == set()
    assert in_step(old[:6], new, pairs) == set(pairs)


def unets(down: str, number: Sequence[str]) -> Specs:
    """The encoder of a U-Net: three resolutions, in each two blocks and attention."""
    parts = [conv("first", 16, 4)]
    inner = 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(2):
            path = down.format(stage=stage, block=block, number=number[2 * stage + block])
            parts += [
                norm(path.format(kind="resnets", index=0) + ".norm1", inner),
                conv(path.format(kind="resnets", index=0) + ".conv1", width, inner),
                norm(path.format(kind="attentions", index=1) + ".norm", width),
                linear(path.format(kind="attentions", index=1) + ".layers.0.qkv", 3 * width, width),
                linear(path.format(kind="attentions", index=1) + ".layers.0.proj", width, width),
                linear(path.format(kind="attentions", index=1) + ".layers.0.fc", 4 * width, width),
            ]
            inner = width
    return merged(*parts, conv("last", 4, 64))


@pytest.mark.parametrize("sort", [False, True])
def test_two_levels_that_became_one(sort: bool) -> None:
    old = unets("inputs.{number}.{{index}}", "124578")
    new = unets("down.{stage}.{{kind}}.{block}", "124578")
    changes = infer(dict(sorted(old.items())) if sort else old, new)
    assert {change.confidence for change in changes} == {"certain"}
    moved = {one: other for change in changes for one, other in zip(change.old, change.new, strict=True)}
    assert moved["inputs.5.1.layers.0.fc.weight"] == "down.1.attentions.1.layers.0.fc.weight"


def test_the_counterpart_of_a_block_holds_least_else() -> None:
    """attentions.1 is attentions.1, and not the one block inside of it that holds nearly all of it."""
    old = units_of(unets("down.{stage}.{{kind}}.{block}", "124578"))
    new = [replace(unit, path=unit.path.replace("0.fc", "mlp.1")) for unit in old]
    assert settled(old, new, [(index, index) for index in range(len(old))]) == {SETTLED}


def test_layers_numbered_beside_blocks_are_the_first_of_their_family() -> None:
    """layers.0 and layers.1 are no blocks, but they show that nothing in front of layers.2 went."""
    stem = norm("layers.0", 4), norm("layers.1", 4)
    old = merged(*stem, *(norm(f"layers.{i}.norm", 8 * i) for i in (2, 3, 4)))
    new = merged(
        norm("stem", 4), norm("first", 4), *(norm(f"blocks.{i}.norm", 8 * (i + 2)) for i in range(3))
    )
    pairs = [(index, index) for index in range(5)]
    assert settled(units_of(old), units_of(new), pairs) == {SETTLED}
    without = units_of(old)[2:], units_of(new)[2:]
    third = merged(*(norm(f"layers.{i}.norm", 8) for i in (2, 3)), norm("layers.4.norm", 16))
    moved = units_of(
        renamed(third, ("layers.2", "blocks.0"), ("layers.3", "blocks.1"), ("layers.4", "blocks.2"))
    )
    assert settled(*without, pairs[:3]) == {SETTLED}
    assert min(settled(units_of(third), moved, pairs[:3])) < SETTLED


def test_what_stands_beside_a_family_may_have_gone_elsewhere() -> None:
    old = merged(*(conv(f"stage{i}.0", 8 * i, 8) for i in (2, 3, 4)), conv("conv5.0", 64, 8))
    new = merged(*(conv(f"layers.{i}.0", 8 * (i + 2), 8) for i in range(3)), conv("layers.3.conv", 64, 8))
    old = renamed(old, ("stage", "stage."))
    assert settled(units_of(old), units_of(new), [(index, index) for index in range(4)]) == {SETTLED}


@pytest.mark.parametrize(("widths", "least"), [((8, 8, 32), SETTLED), ((8, 8, 8), PLAUSIBLE)])
def test_numbers_at_the_end_are_anchored_by_layers_of_another_size(
    widths: tuple[int, ...], least: float
) -> None:
    old = layers(["seq.1", "seq.4", "seq.7"], widths)
    new = layers(["bn1", "bn2", "bn3"], widths)
    assert min(settled(old, new, [(0, 0), (1, 1), (2, 2)])) == least


@pytest.mark.parametrize(
    ("after", "sizes", "found"),
    [
        ((1, 2, 3), (8, 8, 32), True),  # bn2 had 32, so that it is not the bn2 of today
        ((1, 2, 3), (8, 8, 8), False),  # each of them may have stayed, and bn0 be gone
        ((2, 1, 3), (8, 8, 32), False),
    ],
)
def test_numbers_moved_on_if_they_could_not_have_stayed(
    after: Sequence[int], sizes: Sequence[int], found: bool
) -> None:
    old, new = layers(["bn0", "bn1", "bn2"], sizes), layers([f"bn{number}" for number in after], sizes)
    pairs = [(index, index) for index in range(3)]
    assert renumbered(old, new, pairs) == (set(pairs) if found else set())
    assert not renumbered(old, [*new, *layers(["bn9"], [5])], pairs)


def test_norms_that_moved_on_are_certain() -> None:
    def blocks(first: int) -> Specs:
        return merged(
            *(
                merged(
                    conv(f"b.{i}.wide", 32, 8, 1),
                    batch_norm(f"b.{i}.bn{first}", 32),
                    conv(f"b.{i}.deep", 32, 1, 3),
                    batch_norm(f"b.{i}.bn{first + 1}", 32),
                    conv(f"b.{i}.back", 8, 32, 1),
                    batch_norm(f"b.{i}.bn{first + 2}", 8),
                )
                for i in range(3)
            )
        )

    new = renamed(blocks(1), ("wide", "conv_pw"), ("deep", "conv_dw"), ("back", "conv_pwl"))
    assert {change.confidence for change in infer(blocks(0), new)} == {"certain"}


def test_a_model_cut_out_of_another_is_judged_for_itself() -> None:
    """The decoder went, and was most of it; a new head of another size is left over on the other side."""
    encoder = renamed(transformer(prefix="encoder.", classes=16), (".mlp.fc", ".mlp.lin"))
    decoder = merged(
        *(linear(f"decoder.{name}", 24, index) for index, name in enumerate("abcdefghijklmnopqrst", 1))
    )
    new = transformer(classes=10)
    changes = infer(merged(encoder, decoder), new)
    found = {change.confidence for change in changes if change.kind not in ("removed", "head-resized")}
    assert found == {"certain"}


def lists(old: Sequence[str], new: Sequence[str], widths: Sequence[int]) -> dict[str, float]:
    """What the numbers say of each layer that became the one at its place."""
    found = block_maps(layers(old, widths), layers(new, widths), [(i, i) for i in range(len(old))])
    return {path: found[i, i] for i, path in enumerate(old)}


def test_blocks_that_went_into_one_rise_with_the_others() -> None:
    """down.2 and down.3 hold the same, and what stood between the blocks went into those before it."""
    old = ["down.0.a", "down.0.b", "down.1.op", "down.2.a", "down.2.b", "down.3.a", "down.3.b", "down.4.c"]
    new = ["d.0.a", "d.0.b", "d.0.op", "d.1.a", "d.1.b", "d.2.a", "d.2.b", "middle.0.c"]
    widths = [4, 5, 6, 8, 9, 8, 9, 7]
    assert set(lists(old, new, widths).values()) == {SETTLED}
    crossed = [*new[:3], "d.2.a", "d.2.b", "d.1.a", "d.1.b", new[-1]]
    assert min(lists(old, crossed, widths).values()) < SETTLED


def test_of_blocks_that_became_one_a_layer_that_one_of_them_has_is_told_by_its_name() -> None:
    """layer.0 and layer.1 hold the same under two names; which norm is whose, no name says."""
    old = [f"layer.{i}.{name}" for i, names in enumerate(("self.q", "cross.q")) for name in (names, "norm")]
    new = ["self_q", "norm_x", "cross_q", "norm_y"]
    said = lists(
        [f"b.{i}.{path}" for i in (0, 1) for path in old],
        [f"b.{i}.{path}" for i in (0, 1) for path in new],
        [4, 8, 4, 8, 5, 9, 5, 9],
    )
    assert {path.rpartition(".")[2]: value for path, value in said.items()} == {"q": SETTLED, "norm": AGAINST}


def test_a_family_that_runs_backwards_as_a_whole_is_plausible() -> None:
    """A decoder that counts from its end: three blocks alike, and others that show the direction."""
    old = [f"up.{i}.norm" for i in range(5)]
    back = [f"blocks.{4 - i}.norm" for i in range(5)]
    widths = [8, 16, 32, 32, 32]
    assert [*lists(old, back, widths).values()] == [SETTLED, SETTLED, PLAUSIBLE, PLAUSIBLE, PLAUSIBLE]
    torn = [*back[:3], back[4], back[3]]
    assert [*lists(old, torn, widths).values()] == [SETTLED, SETTLED, AGAINST, AGAINST, AGAINST]


def test_two_blocks_alike_run_backwards_if_their_whole_family_does() -> None:
    old = [f"up.{i}.norm" for i in range(4)]
    back = [f"blocks.{3 - i}.norm" for i in range(4)]
    assert [*lists(old, back, [8, 16, 32, 32]).values()] == [SETTLED, SETTLED, PLAUSIBLE, PLAUSIBLE]
    # Without the others, nothing shows a direction.
    assert AGAINST in lists(old[2:], back[2:], [32, 32]).values()


NAMED = ["mid.block_1.norm", "mid.block_2.norm"]


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (["mid.blocks.0.norm", "mid.blocks.1.norm"], PLAUSIBLE),
        (["mid.blocks.1.norm", "mid.blocks.0.norm"], AGAINST),
    ],
)
def test_numbers_in_the_names_of_two_blocks_rise_with_those_of_blocks(new: list[str], said: float) -> None:
    assert set(lists(NAMED, new, [8, 8]).values()) == {said}
    assert set(lists(new, NAMED, [8, 8]).values()) == {said}


def test_a_third_one_that_is_left_over_may_have_been_meant() -> None:
    new = layers(["mid.blocks.0.norm", "mid.blocks.1.norm", "mid.blocks.2.norm"], [8, 8, 8])
    assert AGAINST in settled(layers(NAMED, [8, 8]), new, [(0, 0), (1, 1)])


@pytest.mark.parametrize(
    ("keys", "forms"),
    [
        # One stage has three blocks, and another of the same name one.
        (
            [f"s1.b{i}.conv.w" for i in (1, 2, 3)] + ["s2.b1.conv.w"],
            [f"s1.b.{i}.conv.w" for i in (1, 2, 3)] + ["s2.b.1.conv.w"],
        ),
        (["s1.b1.conv.w", "s1.b2.conv.w", "s2.b1.conv.w"], None),
        # The number of the stage stands in the names of its blocks as well.
        (
            [f"block{i}.block{i}-{j}.f.w" for i in (1, 2, 3) for j in (0, 1, 2)],
            [f"block.{i}.block.{j}.f.w" for i in (1, 2, 3) for j in (0, 1, 2)],
        ),
        # Here it says something: the block of stage 1 has one of stage 2.
        (
            [f"block{i}.block{k}-{j}.f.w" for i, k in ((1, 2), (2, 2), (3, 3)) for j in (0, 1, 2)],
            [f"block.{i}.block.{k}.{j}.f.w" for i, k in ((1, 2), (2, 2), (3, 3)) for j in (0, 1, 2)],
        ),
    ],
)
def test_numbered_blocks_have_one_form(keys: list[str], forms: list[str] | None) -> None:
    assert [*canonical(keys).items()] == [*zip(forms or keys, keys, strict=True)]


def bottlenecks(block: str, side: str, names: Sequence[str], layers: Sequence[str]) -> Specs:
    """Four stages of blocks of three layers, of which the outer two have one shape.

    The first block of a stage has a layer beside them: in front if it is called ``proj``.
    """
    found: Specs = {}
    for stage, depth in enumerate((1, 3, 4, 2), start=1):
        for number in range(depth):
            path, first = block.format(stage=stage, number=number, next=number + 1), not number
            order = [side] * (first and side == "proj") + [*names] + [side] * (first and side != "proj")
            for name in order:
                size = 3 if name == names[1] else 1
                inner = 8 * (stage - 1) or 4
                width = inner if first and name in (side, names[0]) else 8 * stage
                found |= conv(f"{path}.{name}.{layers[0]}", 8 * stage, width, size)
                found |= batch_norm(f"{path}.{name}.{layers[1]}", 8 * stage)
    return found


def test_letters_and_numbers_count_in_stages_that_have_few_blocks() -> None:
    old = bottlenecks("block{stage}.block{stage}-{number}", "proj", ("f.a", "f.b", "f.c"), ("0", "1"))
    new = bottlenecks("s{stage}.b{next}", "downsample", ("conv1", "conv2", "conv3"), ("conv", "bn"))
    words = (".f.a.", ".conv1."), (".f.b.", ".conv2."), (".f.c.", ".conv3."), (".proj.", ".downsample.")
    layers = (".0.", ".conv."), (".1.", ".bn.")
    for side in (old, dict(sorted(old.items()))):
        for one, other in pairs(side, new).items():
            stage, number = re.findall(r"-?(\d)", one)[1:3]
            rest = one.partition(f"-{number}")[2]
            for a, b in (*words, *layers):
                rest = rest.replace(a, b)
            assert other == f"s{stage}.b{int(number) + 1}{rest}"
        assert len(pairs(side, new)) == len(old)


def test_layers_that_are_alone_under_their_numbers_keep_them() -> None:
    """Two convolutions of one shape among others, in a sorted file: no module around them holds more."""
    old = merged(
        *(conv(f"extractor.layers.{n}.conv", 8, 8, size) for n, size in enumerate((9, 3, 3, 3, 3, 2, 2))),
        linear("fc", 8, 8),
    )
    changes = infer(dict(sorted(old.items())), renamed(old, ("extractor.", "")))
    assert {(change.confidence, change.new[0]) for change in changes} == {
        ("certain", key.removeprefix("extractor.")) for key in old if "extractor" in key
    }
