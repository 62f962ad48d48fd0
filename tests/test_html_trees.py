"""The trees of a page: what stands side by side, what is folded, and that every key is in the data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ckpt_compat import TensorSpec, Verdict, diff
from pytest_ckpt_compat._core.changes import Change, Policy, Severity
from pytest_ckpt_compat._core.migrated import Applied, Migrated, Origin
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._report.html import data, page
from pytest_ckpt_compat._report.html.folded import Folding
from pytest_ckpt_compat._report.html.links import Linked, linked
from pytest_ckpt_compat._report.html.trees import Row, paired
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import Printed
from tests.html_pages import new_shapes, old_shapes, refactored, structure

Command = Callable[..., Printed]
FOLDER = Path(page.__file__).parent


FOLDERS = sorted(path for path in (Path(__file__).parent / "pairs").iterdir() if path.is_dir())


def drawn(verdict: Verdict) -> list[str]:
    """The folded rows of a verdict, indented: ``blocks | layers``."""
    found = linked(verdict)
    assert found is not None
    rows = Folding(lambda row: (len(row.old), len(row.new))).folded(paired(found).rows)
    return list(_lines(rows, ""))


def _lines(rows: Iterable[Row], indent: str) -> Iterable[str]:
    for row in rows:
        left, right = (
            name if name is not None else "..." if row.level else "-" for name in (row.left, row.right)
        )
        yield f"{indent}{left} | {right}"
        yield from _lines(row.rows, indent + " ")


def compared(
    old: Mapping[str, tuple[int, ...]], new: Mapping[str, tuple[int, ...]], *changes: Change
) -> Verdict:
    """A verdict with changes that are given."""
    return Verdict(judge(changes, Policy()), name="n", old=structure(old), new=structure(new))


def test_a_refactor_is_drawn_with_its_modules_paired_and_its_blocks_folded() -> None:
    assert drawn(refactored()) == [
        "embed | embed",
        " weight | weight",
        "blocks | layers",
        " {0..11} | {0..11}",
        "  norm1 | attn_norm",
        "   weight | weight",
        "   bias | bias",
        "  attn | attn",
        "   qkv | q",
        "    weight | weight",
        "    bias | bias",
        "   - | k",
        "    - | weight",
        "    - | bias",
        "   - | v",
        "    - | weight",
        "    - | bias",
        "  mlp | mlp",
        "   fc1 | fc1",
        "    weight | weight",
        "   fc2 | fc2",
        "    weight | weight",
        "head | head",
        " weight | weight",
        " bias | bias",
    ]


def test_a_level_that_one_side_has_more_does_not_part_what_is_in_it() -> None:
    bare = {"enc.weight": (3,), "dec.weight": (4,)}
    wrapped = {f"model.{key}": shape for key, shape in bare.items()}
    inside = [" enc | enc", "  weight | weight", " dec | dec", "  weight | weight"]
    assert drawn(diff(structure(wrapped), structure(bare))) == ["model | ...", *inside]
    assert drawn(diff(structure(bare), structure(wrapped))) == ["... | model", *inside]


def test_what_moved_out_of_a_module_does_not_make_the_module_a_level() -> None:
    old = {"net.a.weight": (3,), "net.b.weight": (4,), "net.head.weight": (5,)}
    new = {"net.a.weight": (3,), "net.b.weight": (4,), "head.weight": (5,)}
    moved = Change("renamed", ("net.head.weight",), ("head.weight",))
    rows = drawn(compared(old, new, moved))
    assert rows[0] == "net | net"
    modules = [row for row in rows if "weight" not in row]
    assert modules == ["net | net", " a | a", " b | b", " head | -", "- | head"]


def test_the_order_is_the_definitions_and_folding_follows_numbers() -> None:
    sorted_by_name = {f"layers.{n}.w": (2,) for n in sorted(range(12), key=str)}
    by_number = {f"layers.{n}.w": (2,) for n in range(12)}
    assert drawn(diff(structure(sorted_by_name), structure(by_number)))[1] == " {0..11} | {0..11}"
    shifted = {f"layers.{n + 1}.w": (2,) for n in range(12)}
    pairs = [Change("renamed", (f"layers.{n}.w",), (f"layers.{n + 1}.w",)) for n in range(12)]
    assert drawn(compared(by_number, shifted, *pairs))[1] == " {0..11} | {1..12}"


@pytest.mark.parametrize("names", [("0", "2"), ("00", "01"), ("a0", "a1"), ("-1", "0"), ("\u0661", "\u0662")])
def test_only_consecutive_numbers_are_folded(names: tuple[str, str]) -> None:
    shapes = {f"layers.{name}.w": (2,) for name in names}
    assert len(drawn(diff(structure(shapes), structure(shapes)))) == 5


def test_blocks_with_other_shapes_or_other_changes_are_not_folded_with_the_rest() -> None:
    same = {f"layers.{n}.w": (2,) for n in range(6)}
    wider = same | {"layers.3.w": (4,)}
    rows = [each[0] for each in trees(diff(structure(wider), structure(same)))["rows"][0][2]]
    assert rows == ["{0..2}", "3", "{4,5}"]
    accepted = judge([Change("retyped", (f"layers.{n}.w",), (f"layers.{n}.w",)) for n in range(6)], Policy())
    changes = tuple(
        replace(each, severity=Severity.ACCEPTED) if "5" in each.old[0] else each for each in accepted
    )
    verdict = Verdict(changes, old=structure(same), new=structure(same))
    assert [each[0] for each in trees(verdict)["rows"][0][2]] == ["{0..4}", "5"]


def trees(verdict: Verdict) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data.trees(verdict))
    return found


def read_back(entries: list[Any], known: list[str]) -> list[str]:
    """The keys as the page's script reads them."""
    keys: list[str] = []
    before: list[str] = []
    for entry in entries:
        if isinstance(entry, list):
            keys += known[entry[0] : entry[0] + entry[1]]
            before = []
        else:
            shared, _, rest = entry.partition(" ")
            before = [*before[: int(shared)], *rest.split(".")]
            keys.append(".".join(before))
    return keys


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (old_shapes(), new_shapes()),
        (
            {"": (), "a": (1,), "a.b": (2,), "a..b": (3,), ".a": (4,), "a.": (5,), "a b.c": (6,)},
            {"a.b": (2,)},
        ),
        ({"\ud800": (1,), "\u2028<": (1,), "a." * 70 + "b": (2,)}, {"a." * 70 + "c": (2,)}),
        ({}, {"a": (1,)}),
    ],
)
def test_every_key_is_in_the_data_once_with_its_spec(
    old: Mapping[str, tuple[int, ...]], new: Mapping[str, tuple[int, ...]]
) -> None:
    text = data.trees(compared(old, new))
    assert text.isascii()
    assert not set("<>&") & set(text)
    found = json.loads(text)
    keys = read_back(found["old"], [])
    again = read_back(found["new"], keys)
    assert sorted(keys) == sorted(old)
    assert sorted(again) == sorted(new)
    specs = [found["specs"][number] for number in found["oldSpecs"]]
    assert specs == [str(TensorSpec("float32", old[key])) for key in keys]
    for side, number in enumerate((len(old), len(new))):
        places = [place for places in _places(found["rows"]) for place in places[side]]
        assert sorted(places) == list(range(number))


def _places(rows: list[Any]) -> Iterable[tuple[list[int], list[int]]]:
    for row in rows:
        if isinstance(row[3], bool):
            yield from _places(row[2])
        else:
            yield tuple(each if isinstance(each, list) else [each] for each in row[2:4])  # type: ignore[misc]


def test_a_module_whose_tensors_all_share_one_change_is_closed_at_first() -> None:
    (embed, layers, head) = trees(refactored())["rows"]
    assert (embed[3], layers[3], head[3]) == (False, True, False)
    (block,) = layers[2]
    assert {row[0] or row[1]: row[3] for row in block[2]} == {"norm1": False, "attn": True, "mlp": False}


def test_what_a_migration_moves_is_linked_to_where_it_came_from() -> None:
    old = structure({"a.w": (2,), "b.w": (4,), "c.w": (3,)})
    result = structure({"x.w": (2,), "b.one": (2,), "b.two": (2,), "c.w": (3,)})
    origins = {"x.w": Origin(("a.w",)), "b.one": Origin(("b.w",), "1"), "b.two": Origin(("b.w",), "2")}
    verdict = Verdict(
        judge([Change("renamed", ("b.one",), ("b.first",))], Policy()),
        old=result,
        new=structure({"x.w": (2,), "b.first": (2,), "b.two": (2,), "c.w": (3,)}),
        before=old,
        remapped={"a.w": "x.w"},
        migrated=Migrated(("v1",), origins, applied=(Applied("v1", True),)),
    )
    found = linked(verdict)
    assert isinstance(found, Linked)
    assert [(fact.mark.word, fact.old, fact.new) for fact in found.facts] == [
        ("renamed", ("b.w",), ("b.first",)),
        ("migrated", ("a.w",), ("x.w",)),
        ("migrated", ("b.w",), ("b.two",)),
    ]
    assert found.same == {"c.w"}


def test_a_key_whose_name_is_used_again_is_linked_to_what_it_became() -> None:
    shapes: dict[str, tuple[int, ...]] = {"norm2.w": (2,), "norm3.w": (2,)}
    new: dict[str, tuple[int, ...]] = {"cross.w": (2,), "norm2.w": (2,)}
    changes = [Change("renamed", ("norm2.w",), ("cross.w",)), Change("renamed", ("norm3.w",), ("norm2.w",))]
    found = linked(compared(shapes, new, *changes))
    assert found is not None
    assert not found.same
    assert drawn(compared(shapes, new, *changes)) == ["norm2 | cross", " w | w", "norm3 | norm2", " w | w"]


def test_a_tie_that_changed_leaves_the_keys_side_by_side() -> None:
    shapes: dict[str, tuple[int, ...]] = {"a.w": (2,), "b.w": (2,)}
    found = linked(compared(shapes, shapes, Change("retied", (), ("a.w", "b.w"))))
    assert found is not None
    assert found.same == {"a.w", "b.w"}


def test_a_reparametrized_weight_leaves_its_module_beside_itself() -> None:
    old = {"up.0.weight_g": (1,), "up.0.weight_v": (1, 2), "up.0.bias": (1,)}
    inside = "up.0.parametrizations.weight.original"
    new = {"up.0.bias": (1,), f"{inside}0": (1,), f"{inside}1": (1, 2)}
    change = Change("reparametrized", ("up.0.weight_g", "up.0.weight_v"), (f"{inside}0", f"{inside}1"))
    assert drawn(compared(old, new, change))[:3] == ["up | up", " 0 | 0", "  bias | bias"]


def checked(verdict: Verdict) -> None:
    """Every key is in one row of its side, and every change of keys among the facts."""
    found = trees(verdict)
    assert verdict.old is not None
    assert verdict.new is not None
    old = read_back(found["old"], [])
    new = read_back(found["new"], old)
    assert (sorted(old), sorted(new)) == (sorted(verdict.old.tensors), sorted(verdict.new.tensors))
    for side, keys in enumerate((old, new)):
        assert sorted(place for each in _places(found["rows"]) for place in each[side]) == list(
            range(len(keys))
        )
    told = {key for _, olds, news in found["facts"] for key in (*named(olds, old), *named(news, new))}
    changes = [change for change in verdict.changes if change.kind != "settings-changed"]
    assert told == {key for change in changes for key in (*change.old, *change.new)}


def named(places: int | list[int], keys: list[str]) -> list[str]:
    """The keys at some positions."""
    return [keys[place] for place in (places if isinstance(places, list) else [places])]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_key_of_the_corpus_is_drawn_once_in_both_directions(folder: Path) -> None:
    sides = [
        fingerprint.loads((folder / name).read_text(encoding="utf-8"), name)
        for name in ("old.json", "new.json")
    ]
    checked(diff(*sides))
    checked(diff(*sides[::-1]))


_NAMES = st.lists(st.sampled_from(["a", "b", "0", "1", "2", "10", "", "<"]), min_size=1, max_size=4).map(
    ".".join
)
_SIDES = st.dictionaries(_NAMES, st.sampled_from([(), (2,), (3,), (2, 3)]), max_size=12)


@given(_SIDES, _SIDES)
def test_every_key_of_any_two_sides_is_drawn_once(
    old: Mapping[str, tuple[int, ...]], new: Mapping[str, tuple[int, ...]]
) -> None:
    checked(diff(structure(old), structure(new)))
