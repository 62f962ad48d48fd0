"""A JSON report that is read back says what the run said, or is refused in one line that names the place."""

from __future__ import annotations

import base64
import copy
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_ckpt_compat import diff
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._report import gitlab, markdown, merge, overview, reading, sarif, summary
from pytest_ckpt_compat._report.html import page
from pytest_ckpt_compat._report.html.packed import packed, unpacked
from pytest_ckpt_compat._report.migrations import Migrations
from pytest_ckpt_compat._report.publish import as_json
from pytest_ckpt_compat._report.summary import Run
from tests.conftest import Filled, Printed
from tests.html_pages import HOSTILE, hostile, loads, old_shapes, refactored, run_of, structure
from tests.repository import ENTRY, make_project

ONE, TWO = ENTRY, ENTRY.replace("net-v1", "net-v2") + "kwargs = { classes = 7 }\n"


def whole() -> Run:
    """A run with something in every field."""
    noted = replace(loads(), by_settings=("1 change ignored (CK203: why)",), notes=("a note",))
    entries = (*run_of(refactored(), noted, hostile()).entries, summary.unchecked("v3", "unknown", "why"))
    return Run(
        (replace(entries[0], where="models.py:3", hints=("open: torch.load(...)",)), *entries[1:]),
        "compared  2 checkpoints",
        "main (merge base 1a2b3c4d)",
        Migrations(("vit-v1",), {"models.rename": ("vit-v2",)}, ("models.old changes nothing",), ("vit-v2",)),
        ("failed    x is not TOML",),
        ("CK203 is ignored here",),
        ("vit-v1", "vit-v2"),
    )


def test_a_run_comes_back_whole() -> None:
    again = reading.loads(as_json(whole()), "r.json")
    expected = whole()
    assert replace(again, entries=()) == replace(expected, entries=())
    for found, entry in zip(again.entries, expected.entries, strict=True):
        given = {name: value for name, value in found.as_data().items() if name not in ("data", "page")}
        assert given == {name: value for name, value in entry.as_data().items() if name in given}
        assert found.page == entry.page
        assert found.data == json.loads(json.dumps(entry.data))
    for render in (page.render, markdown.render, sarif.render, gitlab.render, as_json, overview.render):
        assert render(again) == render(expected)


@pytest.mark.parametrize("render", [page.render, markdown.render])
def test_what_failed_and_what_settings_did_is_in_every_report(render: Callable[[Run], str]) -> None:
    text = render(whole())
    for line in ("x is not TOML", "CK203 is ignored here", "1 change ignored (CK203: why)"):
        assert line in text


def test_failures_of_shards_are_kept_and_named() -> None:
    run = whole()
    done, code = merge.merged([merge.Shard("a.json", run), merge.Shard("b.json", replace(run, failures=()))])
    assert done.failures == ("failed    x is not TOML (a.json)",)
    assert done.settings == run.settings
    assert [each.findings for each in done.entries] == [each.findings for each in run.entries]
    assert code == 1


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value in JSON; of a list, its first value alone."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


@pytest.mark.parametrize("other", [None, 3, "\x1b[2J", [], {}, [3], {"a": 3}, True], ids=repr)
def test_whatever_stands_anywhere_is_refused_in_a_line_or_rendered(other: Any) -> None:
    data = json.loads(as_json(whole()))
    complaints: list[str] = []
    for path in places(data):
        if not path:
            continue
        changed = copy.deepcopy(data)
        at = changed
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = other
        try:
            run = reading.loads(json.dumps(changed), "r.json")
        except ReadError as error:
            complaints.append(str(error))
            continue
        done, _ = merge.merged([merge.Shard("r.json", run)])
        for render in (page.render, markdown.render, sarif.render, gitlab.render, as_json, overview.render):
            assert "\x1b" not in render(done)
    assert len(complaints) > 20
    for line in complaints:
        assert re.fullmatch(
            r"r\.json: (is|was) [^\x1b]*; write (it with ckpt-compat check .*|and read .*)", line
        )


@pytest.mark.parametrize("text", ["[]", "{", "3", '{"schema": 1}', '{"schema": 2}', "[" * 100_000])
def test_a_report_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(
        ReadError, match=r"r\.json: is not a report on all checkpoints; write it with ckpt-compat check"
    ):
        reading.loads(text, "r.json")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"state": "fine"}, "checkpoints[0].state is 'fine'"),
        ({"text": 3}, "checkpoints[0].text is 3"),
        ({"changes": [{"rule": "CK103"}]}, "checkpoints[0].changes[0] has no kind"),
        ({"findings": [{"rule": "CK000"}]}, "checkpoints[0].findings[0].rule is 'CK000'"),
        ({"old": None}, "checkpoints[0].old is None"),
        ({"page": "!"}, "page is not what a report has"),
        ({"page": "AAAA"}, "page is not what a report has"),
        ({"page": base64.b64encode(zlib.compress(b"{}")).decode()}, "page has no old"),
        ({"page": base64.b64encode(zlib.compress(b"{}")[:-5]).decode()}, "page is cut, or too long"),
        ({"page": base64.b64encode(zlib.compress(b"[" * 99_999)).decode()}, "page is not what a report has"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_the_place_of_what_no_report_has_is_named(change: dict[str, Any], place: str) -> None:
    data = json.loads(as_json(whole()))
    data["checkpoints"][0] |= change
    with pytest.raises(ReadError) as caught:
        reading.loads(json.dumps(data), "r.json")
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_page_in_a_report_cannot_bring_markup_or_links() -> None:
    entry = run_of(hostile()).entries[0]
    made = entry.page
    evil = "https://evil.example"
    trees = {**json.loads(made["trees"]), HOSTILE: HOSTILE, "marks": [{"rule": "CK101", "url": evil}]}
    rows = [{**made["groups"][0]["rows"][0], "url": evil}]
    text = packed({**made, "trees": json.dumps(trees), "groups": [{**made["groups"][0], "rows": rows}]})
    found = unpacked(text)
    assert "<" not in found["trees"]
    assert json.loads(found["trees"])[HOSTILE] == HOSTILE
    written = page.render(Run((replace(entry, page=found),), ""))
    assert set(re.findall(r'href="(.*?)"', written)) == {"#checkpoints", "#rule-ck101"}
    scripts = Path(page.__file__).parent.glob("*.js")
    assert not [each.name for each in scripts if ".url" in each.read_text(encoding="utf-8")]


def test_pages_add_little_to_a_report() -> None:
    for run in (run_of(loads()), run_of(refactored(200))):
        bare = replace(run, entries=tuple(replace(each, page={}) for each in run.entries))
        assert len(as_json(run)) < 3 * len(as_json(bare))
    shapes = structure(old_shapes(1000))  # 6,000 tensors
    large = run_of(replace(diff(shapes, shapes), name="large"))
    assert len(as_json(large)) < 10_000


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, filled: Filled, warm_python: str
) -> Path:
    """Two checkpoints, of which the second does not load."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)

    def fill() -> None:
        make_project(pytester.path, ONE + TWO)
        models = pytester.path / "models.py"
        pytester.inline_run("--ckpt-update", "-q")
        models.write_text(models.read_text().replace("self.stem", "self.base"), encoding="utf-8")
        for name in ("net-v1", "net-v2"):
            pytester.inline_run("-k", name, "--ckpt-report", f"{name}.json", "-q")

    filled("reading", fill)
    return pytester.path


def test_shards_make_the_page_of_the_whole(project: Path, command: Callable[..., Printed]) -> None:
    assert command("check", "--report", "whole.html").code == 1
    merged = command("report", "merge", "net-v1.json", "net-v2.json", "-o", "all.html")
    assert (merged.code, merged.err) == (1, "")
    text = (project / "all.html").read_text(encoding="utf-8")
    assert text == (project / "whole.html").read_text(encoding="utf-8")
    assert "Modules side by side" in text
