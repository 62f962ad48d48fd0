"""The page of HTML: what stands side by side, what is folded, and that names from files stay data."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import html
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pytest_ckpt_compat import Verdict
from pytest_ckpt_compat._core import links, pages
from pytest_ckpt_compat._core.changes import Severity
from pytest_ckpt_compat._core.migrated import Applied, Migrated
from pytest_ckpt_compat._core.rules import BY_ID
from pytest_ckpt_compat._core.toml import parse
from pytest_ckpt_compat._report.html import page
from tests.conftest import Printed
from tests.html_pages import hostile, loads, refactored, run_of
from tests.repository import ENTRY, edit, make_branch, make_project

Command = Callable[..., Printed]
FOLDER = Path(page.__file__).parent


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


def test_every_rule_that_is_named_is_explained_in_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = refactored()
    text = page.render(run_of(verdict))
    rules = sorted({change.rule for change in verdict.changes})
    assert rules == ["CK103", "CK104", "CK202"]
    elements = Markup(text).elements
    targets = {str(attributes["href"]) for tag, attributes in elements if tag == "a"}
    places = {f"#{attributes['id']}" for _, attributes in elements if attributes.get("id")}
    assert {f"#rule-{each.lower()}" for each in rules} <= targets
    assert {each for each in targets if each.startswith("#")} <= places
    assert [each for each in places if each.startswith("#rule-ck")] != []
    assert '"url"' not in text
    words = re.sub(r"<[^>]+>", "", text)
    for each in rules:
        for title, blocks in pages.parts(BY_ID[each]):
            assert title in words
            for block in blocks:
                plain = block.text if block.kind == "code" else re.sub(r"[`*]", "", block.text)
                assert plain in html.unescape(words).replace("*", "") or "*" in block.text
    monkeypatch.setattr(links, "documentation", lambda: "https://example.org/docs/")
    text = page.render(run_of(verdict))
    assert '<a href="https://example.org/docs/rules.html#ck103" rel="noreferrer">in the documentation' in text


def test_a_page_without_rules_explains_none() -> None:
    assert 'class="rules"' not in page.render(run_of(loads()))


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
@pytest.mark.usefixtures("earlier_code")
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
