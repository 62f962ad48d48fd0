"""What the shapes of biases, the ranks in paths and the numbers of blocks settle, and what they do not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import pytest

from pytest_ckpt_compat._renames import infer
from pytest_ckpt_compat._renames.believe.blocks import SETTLED, block_maps
from pytest_ckpt_compat._renames.believe.vouchers import Vouchers
from pytest_ckpt_compat._renames.units.units import Unit, units_of

from .models import Specs, batch_norm, conv, linear, merged, norm, renamed, spec, transformer

#: New names for most layers of a transformer, but not for those of its mlp.
MOST = (
    ("blocks.", "layers."),
    ("attn.qkv", "mixer.joint"),
    ("attn.proj", "mixer.output"),
    ("patch_embed", "stem"),
    ("cls_token", "class_embedding"),
    ("head", "classifier"),
)


def confidences(old: Specs, new: Specs, word: str) -> set[str]:
    """How confident the matches of keys with a word are."""
    return {
        change.confidence
        for change in infer(old, new)
        if change.new and any(word in key for key in change.old)
    }


def certain(old: Specs, new: Specs, word: str) -> bool:
    """Whether all changes of keys with a word are certain."""
    found = confidences(old, new, word)
    assert found
    return found == {"certain"}


def without_biases(specs: Specs) -> Specs:
    return {key: value for key, value in specs.items() if not ("mlp" in key and key.endswith("bias"))}


@pytest.mark.parametrize("sort", [False, True])
def test_biases_tell_which_of_two_matrices_widens(sort: bool) -> None:
    """fc1 is 128 x 32 with a bias of 128, fc2 its transpose with one of 32: neither can be the other."""
    old = transformer()
    old = dict(sorted(old.items())) if sort else old
    new = renamed(transformer(), *MOST, ("mlp.fc1", "mlp.wide"), ("mlp.fc2", "mlp.back"))
    assert certain(old, new, "fc1")
    assert certain(old, new, "fc2")


def test_without_biases_only_orientation_tells_them_apart() -> None:
    """The layers may have been exchanged and be stored transposed, as Conv1D and Linear are."""
    old = without_biases(transformer())
    new = renamed(old, *MOST, ("mlp.fc1", "mlp.wide"), ("mlp.fc2", "mlp.back"))
    assert not certain(old, new, "fc1")


def test_the_bias_of_a_square_matrix_tells_nothing() -> None:
    old = merged(transformer(), *(linear(f"blocks.{i}.gate", 32, 32) for i in range(4)))
    new = renamed(old, *MOST, ("gate", "alpha"), ("mixer.output", "beta"))
    assert not certain(old, new, "gate")


def test_sizes_of_biases_stand_for_numbers_too() -> None:
    """mlp.0 and mlp.3 are no family of equal layers, so that nobody has to know which way it runs."""
    old = renamed(transformer(), ("mlp.fc1", "mlp.0"), ("mlp.fc2", "mlp.3"))
    new = renamed(transformer(), *MOST, ("mlp.fc1", "mlp.fc1"))
    assert certain(old, new, "mlp.0")
    assert certain(old, new, "mlp.3")


def bottlenecks(*names: str) -> Specs:
    """Blocks of two kernels of unlike size, each with a batch norm, under the given four names."""
    parts: list[Specs] = [conv("stem", 16, 3, 7)]
    for block in range(3):
        first, after, second, last = (name.replace("#", str(block)) for name in names)
        parts += [
            conv(first, 16, 16, 1),
            batch_norm(after, 16),
            conv(second, 16, 16, 3),
            batch_norm(last, 16),
        ]
    return merged(*parts, linear("fc", 10, 16))


BEFORE = ("layer.#.conv1", "layer.#.bn1", "layer.#.conv2", "layer.#.bn2")


def test_a_rank_counts_where_paths_part() -> None:
    units = "stage.#.unit.0.convolution", "stage.#.unit.0.normalization"
    after = bottlenecks(*units, *(unit.replace("unit.0", "unit.1") for unit in units))
    assert certain(bottlenecks(*BEFORE), after, ".bn")


def test_ranks_in_opposite_order_are_not_certain() -> None:
    """What now has number 0 may be what was second."""
    units = "stage.#.unit.1.convolution", "stage.#.unit.1.normalization"
    after = bottlenecks(*units, *(unit.replace("unit.1", "unit.0") for unit in units))
    assert "certain" not in confidences(bottlenecks(*BEFORE), after, ".bn")


def ranks_that_count(after: Sequence[str]) -> set[tuple[int, int]]:
    """The matches of ``pool.0``, ``pool.1``, ... with layers of the given paths, in this order, that rank."""
    old = units_of(merged(*(norm(f"pool.{number}", 8) for number in range(len(after)))))
    new = units_of(merged(*(norm(path, 8) for path in after)))
    vouchers = Vouchers(old, new, [(index, index) for index in range(len(after))])
    return {(index, index) for index in range(len(after)) if vouchers.vouch(index, index)}


@pytest.mark.parametrize(
    ("after", "count"),
    [
        (["layers.0.gain", "layers.1.gain", "layers.2.gain"], 3),
        (["layers.0.gain", "layers.2.gain", "layers.1.gain"], 0),  # another order
        (["layers.0.gain", "layers.1.scale", "layers.2.gain"], 0),  # two kinds of places
        (["layers.x.gain", "layers.y.gain", "layers.z.gain"], 0),  # no ranks
    ],
)
def test_ranks_are_those_of_one_family(after: list[str], count: int) -> None:
    assert len(ranks_that_count(after)) == count


def blocks(number: int, masked: Collection[int]) -> list[Unit]:
    """Blocks of two layers, some of which have a mask as well; the masks stand last."""
    layers = [
        merged(linear(f"blocks.{block}.attn", 8, 8), norm(f"blocks.{block}.norm", 8))
        for block in range(number)
    ]
    return units_of(merged(*layers, *({f"blocks.{block}.mask": spec(4, 4, 9)} for block in masked)))


@pytest.mark.parametrize(("number", "settled"), [(4, True), (5, False)])
def test_kept_numbers_count_if_no_block_was_added(number: int, settled: bool) -> None:
    """Every second block lost its mask, so that blocks are equal that were not."""
    old, new = blocks(4, masked=(1, 3)), blocks(number, masked=())
    maps = block_maps(old, new, [(index, index) for index in range(8)])
    assert [value == SETTLED for value in maps.values()] == [settled] * 8


def test_a_layer_that_went_may_have_been_the_one_that_stayed() -> None:
    """Two tables of one shape became one of another name: which of them, nothing says."""
    tables = {f"{side}.positions": spec(26, 8) for side in ("decoder", "encoder")}
    layers = merged(*(linear(f"encoder.layers.{i}.fc", 16, 8) for i in range(6)))
    after = merged(*(linear(f"layers.{i}.fc", 16, 8) for i in range(6)))
    changes = infer(
        merged(tables, layers), {"positions": spec(26, 8), "decoder.positions": spec(27, 8), **after}
    )
    found = {change.old: change.confidence for change in changes if change.new == ("positions",)}
    assert set(found) <= {("encoder.positions",), ("decoder.positions",)}
    assert "certain" not in found.values()


@pytest.mark.parametrize("width", [lambda block: 8, lambda block: 8 + block], ids=["alike", "each its own"])
def test_the_last_block_of_another_family_is_not_certain(width: Callable[[int], int]) -> None:
    """Seven blocks got a new name, and one is alone under the old name with another number."""

    def block(path: str, number: int) -> Specs:
        return merged(linear(f"{path}.attn", width(number), 4), norm(f"{path}.norm", width(number)))

    old = merged(*(block(f"stages.{i}", i) for i in range(8)), linear("head", 10, 4))
    new = merged(*(block(f"levels.{i}", i) for i in range(7)), block("stages.8", 7), linear("head", 10, 4))
    found = {c.confidence for c in infer(old, new) if c.new and "stages.7" in c.old[0]}
    assert "certain" not in found


@pytest.mark.parametrize(
    ("old", "new", "known"),
    [
        ("encoder", "decoder", False),
        ("actor", "critic", False),
        ("student", "teacher", False),
        ("text", "audio", False),
        ("encoder", "backbone", True),
        ("actor", "agent", True),
    ],
)
def test_a_part_is_not_certainly_one_that_takes_its_place(old: str, new: str, known: bool) -> None:
    """A decoder of the encoder's design came where that went: a rename has all the same keys."""

    def model(name: str) -> Specs:
        return {**linear("inputs", 32, 8), **renamed(transformer(), ("blocks.", f"{name}.blocks."))}

    assert certain(model(old), model(new), old) is known
