"""The page of HTML: what stands side by side, what is folded, and that names from files stay data."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pytest_ckpt_compat import TensorSpec, Verdict, diff
from pytest_ckpt_compat._core.changes import Change, Policy, Severity
from pytest_ckpt_compat._core.migrated import Applied, Migrated, Origin
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._core.toml import parse
from pytest_ckpt_compat._report.html import data, page
from pytest_ckpt_compat._report.html.folded import Folding
from pytest_ckpt_compat._report.html.links import Linked, linked
from pytest_ckpt_compat._report.html.trees import Row, paired
from tests.conftest import Printed
from tests.html_pages import hostile, loads, new_shapes, old_shapes, refactored, run_of, structure
from tests.repository import ENTRY, edit, make_branch, make_project

Command = Callable[..., Printed]
FOLDER = Path(page.__file__).parent


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


class Markup(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_the_page_is_complete_in_itself_and_hostile_names_are_no_markup() -> None:
    text = page.render(run_of(refactored(), hostile(), loads()))
    elements = Markup(text).elements
    assert not [tag for tag, _ in elements if tag in ("img", "iframe", "object", "link", "base", "form")]
    assert not [
        name
        for _, attributes in elements
        for name in attributes
        if name.startswith("on") or name in ("src", "style")
    ]
    targets = [attributes["href"] or "" for tag, attributes in elements if tag == "a"]
    assert all(each.startswith(("#", "https://")) for each in targets)
    policy = next(each["content"] or "" for tag, each in elements if tag == "meta" and each.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        wanted = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{wanted}'" in policy
    assert [each.get("type") for tag, each in elements if tag == "script"].count(None) == 1
    assert "<img" not in text
    assert "\u202e" not in text


def test_the_page_shows_breaks_advice_commands_and_accepted_breaks_with_their_reasons() -> None:
    verdict = refactored()
    verdict = verdict.with_severity(lambda c: c.kind == "head-resized", Severity.ACCEPTED, "two new classes")
    verdict = verdict.with_severity(lambda c: c.kind == "split", Severity.EXISTING, "origin/main")
    verdict = replace(
        verdict,
        repairs=(("fix", "ckpt-compat migrate vit-v1"),),
        code="def migrate(): ...",
        proof="9 of 9 steps proven",
    )
    text = page.render(run_of(verdict, label="origin/main"))
    for words in (
        "New breaks</h3>",
        "Accepted</h3>",
        "accepted: two new classes",
        "Broke before</h3>",
        "already on origin/main",
        "rename the keys while loading",
        "ckpt-compat migrate vit-v1</code>",
        "The migration: 9 of 9 steps proven",
        "def migrate(): ...",
    ):
        assert words in text


def test_the_names_of_rules_link_to_the_documentation_where_it_has_an_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pytest_ckpt_compat._core import links

    assert 'class="rule" href' not in page.render(run_of(refactored())) or links.documentation()
    monkeypatch.setattr(links, "documentation", lambda: "https://example.org/docs/")
    text = page.render(run_of(refactored()))
    assert (
        '<a class="rule" href="https://example.org/docs/rules.html#ck103" rel="noreferrer">CK103</a>' in text
    )
    assert '"url":"https://example.org/docs/rules.html#ck103"' in text


def test_trees_that_cannot_be_drawn_cost_nothing_but_the_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_ckpt_compat._report.html import section

    def fail(verdict: Verdict) -> str:
        raise KeyError("a")

    monkeypatch.setattr(section, "trees", fail)
    text = page.render(run_of(refactored()))
    assert "drawing the trees failed: KeyError" in text
    assert "121" not in text
    assert "CK103 vit-v1" in text


def test_every_file_of_the_page_is_in_the_package() -> None:
    settings = parse((FOLDER.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["pytest_ckpt_compat"]
    files = [
        f"_report/html/{path.name}" for path in FOLDER.iterdir() if path.is_file() and path.suffix != ".py"
    ]
    assert len(files) >= 10
    assert not [name for name in files if not any(fnmatch.fnmatch(name, each) for each in patterns)]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_of_text_has_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    texts = set(colours) - {"back", "panel", "line", "strong-line"}
    assert len(texts) >= 9
    for ground in ("back", "panel"):
        for name in texts:
            light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{name} on {ground}"


@pytest.fixture
def one(pytester: pytest.Pytester) -> pytest.Pytester:
    make_project(pytester.path, ENTRY)
    return pytester


@pytest.mark.parametrize("how", ["pytest", "check", "diff"])
def test_without_jinja2_one_line_says_so_before_anything_is_checked(
    one: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    line = 'needs jinja2, which is not installed; run: pip install "pytest-ckpt-compat[html]"'
    if how == "pytest":
        result = one.runpytest_inprocess("--ckpt-report=r.html")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: report r.html: {line}".replace("[", "[[]")])
        return
    arguments = {
        "check": ("check", "--report", "r.html"),
        "diff": ("diff", "net.pt", "models:Net", "--format", "html"),
    }
    done = command(*arguments[how])
    what = {"check": "report r.html", "diff": "--format html"}[how]
    assert (done.code, done.out) == (2, "")
    assert done.err == f"ckpt-compat: {what}: {line}\n"


@pytest.mark.parametrize("how", ["pytest", pytest.param("xdist", marks=pytest.mark.long), "check"])
def test_a_run_writes_the_page_with_the_proven_migration(
    pytester: pytest.Pytester, command: Command, how: str
) -> None:
    make_branch(pytester)
    edit(pytester.path / "models.py", 'body="body"', 'body="trunk"')
    if how == "check":
        assert command("check", "--report", "r.html", "--against", "main").code == 1
    elif how == "xdist":
        pytester.runpytest_subprocess("--ckpt-report=r.html", "-n2", "--ckpt-against=main")
    else:
        pytester.runpytest_inprocess("--ckpt-report=r.html", "--ckpt-against=main")
    text = (pytester.path / "r.html").read_text(encoding="utf-8")
    assert "New breaks</h3>" in text
    assert "4 of 4 steps proven, loaded by the definition" in text
    assert "def migrate(" in text
    assert "ckpt-compat migrate net-v1" in text
    (first,) = re.findall(r'<script type="application/json" id="data-1">(.*?)</script>', text)
    assert [row[:2] for row in json.loads(first)["rows"]] == [["body", "trunk"], ["head", 1]]


def test_a_comparison_is_printed_as_a_page(one: pytest.Pytester, command: Command) -> None:
    done = command("diff", "net.pt", "models:Net", "--format", "html")
    assert done.code == 0
    assert done.out.startswith("<!DOCTYPE html>")
    assert done.out.count('<section class="checkpoint"') == 1
    assert "OK net.pt: 6 tensors load" in done.out


def test_a_migration_of_the_branch_is_named_with_what_it_repairs(pytester: pytest.Pytester) -> None:
    verdict = replace(
        loads(), migrated=Migrated(("m.v1",), applied=(Applied("m.v1", True),)), repaired_by=("m.v1",)
    )
    text = page.render(run_of(verdict))
    assert "m.v1 changes the checkpoint before the load, and this branch brings it" in text
