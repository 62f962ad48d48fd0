"""Ids name files: refused are those that some system cannot store, or that two would store differently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._registry import ids
from pytest_ckpt_compat._registry.ids import Ids
from pytest_ckpt_compat._registry.registration import definition_id
from pytest_ckpt_compat._snapshots import store
from tests.conftest import SETTINGS, Printed, save
from tests.repository import ENTRY

LONG = "is too long for a file name: more than 250 bytes without a slash; "


@pytest.mark.parametrize(
    ("identifier", "complaint"),
    [
        ("x" * 300, LONG),
        ("é" * 126, LONG),
        ("x" * 251, LONG),
        ("x" * 256 + "/a", LONG),
        ("/".join(["x" * 100] * 6), "is too long: 605 bytes, and 512 are the limit; "),
        ("a\udcff", "cannot be a file name: '\\udcff'; "),
        ("a\n", "cannot be a file name: '\\n'; "),
        ("a:b", "cannot be a file name: ':'; "),
        ("../up", "cannot be a file name; "),
        ("-v", "which a command would take for an option; "),
        ("a//b", "cannot be a file name; "),
        ("", "cannot be a file name; "),
        ("Definitions/x", "those in definitions/ are reserved for definitions; "),
        ("model.", "cannot be a file name on Windows: 'model.' ends with '.'; "),
        ("runs /a", "cannot be a file name on Windows: 'runs ' ends with ' '; "),
        ("aux", "cannot be a file name on Windows: 'aux' is the name of a device; "),
        ("a/Nul.pt", "cannot be a file name on Windows: 'Nul.pt' is the name of a device; "),
        ("com¹.x", "cannot be a file name on Windows: 'com¹.x' is the name of a device; "),
        ("CONOUT$", "is the name of a device; "),
    ],
)
def test_refused(identifier: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        ids.check("here", identifier, given=True)
    message = str(caught.value)
    assert complaint in message, message
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize(
    "identifier",
    [
        "x" * 250,
        "é" * 125,
        "/".join(["x" * 101] * 5),
        "é日本",
        "auxiliary",
        "com.x",
        "a.b/c.pt",
        " a",
        "...a",
    ],
)
def test_allowed_and_really_written(identifier: str, tmp_path: Path) -> None:
    ids.check("here", identifier, given=True)
    name = store.checkpoint_name(identifier)
    store.save(tmp_path, name, "{}")
    assert list(store.names(tmp_path)) == [name]
    assert (tmp_path / name).read_text() == "{}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Model", "model"),
        ("runs/A/x", "runs/a/x"),
        ("é", "e\u0301"),
        ("straße", "STRASSE"),
        ("ÉCLAIR", "e\u0301clair"),
        ("x", "x.json/y"),
        ("X", "x.json/y/z"),
        ("a/b", "A/B.json/c"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_clashes(one: str, other: str, swapped: bool) -> None:
    first, second = (other, one) if swapped else (one, other)
    known = Ids()
    known.add(first)
    known.add(first)
    with pytest.raises(UsageError) as caught:
        known.add(second)
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_what_is_no_clash() -> None:
    known = Ids()
    for identifier in ("a", "a/b", "A/c", "ab", "a.json.b", "x/a", "b"):
        known.add(identifier)


def test_a_definitions_name_is_held_to_the_same() -> None:
    assert definition_id("models.Net", {"name": "plain"}, "x") == "models.Net(name=plain)"
    for value in ("é" * 110, "a\udcff", "a/b", "x" * 200, "x,m=y"):
        assert definition_id("models.Net", {"name": value}, "x") == "x"
    assert definition_id("aux.Net", {}, "x") == "x"


class Untold:
    """An argument that cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError("nothing to say")


def test_a_definition_with_an_argument_that_cannot_be_shown_is_named_by_an_id() -> None:
    assert definition_id("models.Net", {"name": "plain", "cell": Untold()}, "net-v1") == "net-v1"


def test_a_definition_named_by_an_id_is_no_other_of_its_class() -> None:
    long = {"name": "x" * 500}
    for plain in ({}, {"name": "y"}, {"n": 1, "name": "y"}):
        other = definition_id("models.Net", plain, "net-v1")
        assert other.startswith("models.Net")
        assert definition_id("models.Net", long, other) == f"{other} (by id)"
    for free in ("net-v1", "models.Nets", "models.Net(0c2eae3b)@v1", "models.Net.pt"):
        assert definition_id("models.Net", long, free) == free


MARKED = """
import pytest

@pytest.mark.checkpoint("net.pt", model="models:Net", id="%s")
def test_marked():
    pass
"""
CLASH = (
    "*checkpoint model: differs from 'Model' in case alone, or in how its letters are composed: on macOS and "
    "Windows their snapshots are one file; give one of them another id*"
)
HOOK = """
def pytest_ckpt_compat_checkpoints(config):
    return [{"id": "model", "path": "net.pt", "model": "models:Net"}]
"""


@pytest.mark.parametrize("where", ["file", "hook", "marker", "modules", "test"])
def test_clashes_are_found_across_the_session(
    project: pytest.Pytester, command: Callable[..., Printed], where: str
) -> None:
    first = ENTRY.replace("net-v1", "Model")
    (project.path / "pyproject.toml").write_text(
        SETTINGS + (first if where in ("file", "hook", "marker") else "")
    )
    if where == "file":
        (project.path / "pyproject.toml").write_text(SETTINGS + first + ENTRY.replace("net-v1", "model"))
    elif where == "hook":
        project.makeconftest(HOOK)
    elif where == "marker":
        project.makepyfile(test_zz=MARKED % "model")
    elif where == "modules":
        project.makepyfile(test_a=MARKED % "Model", test_b=MARKED % "model")
    else:
        both = MARKED % "Model"
        mark = next(line for line in both.splitlines() if line.startswith("@"))
        project.makepyfile(test_a=both.replace(mark, f"{mark}\n{mark.replace('Model', 'model')}"))
    result = project.runpytest_inprocess("--ckpt-update")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines([f"*{CLASH.lstrip('*')}"])
    printed = command("check")
    assert printed.code == 2
    assert "'Model' in case alone" in printed.out


def test_one_id_on_two_tests_is_no_clash(project: pytest.Pytester) -> None:
    project.makepyfile(test_a=MARKED % "Model", test_b=MARKED % "Model")
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=2)


@pytest.mark.parametrize("identifier", ["x" * 300, "é" * 130])
def test_nothing_is_written_where_an_id_is_too_long(
    project: pytest.Pytester, command: Callable[..., Printed], identifier: str
) -> None:
    text = SETTINGS + ENTRY + ENTRY.replace("net-v1", identifier)
    (project.path / "pyproject.toml").write_text(text, encoding="utf-8")
    printed = command("update")
    assert printed.code == 2
    assert LONG in printed.out
    written = sorted(path.name for path in (project.path / "ckpt_snapshots").rglob("*.json"))
    assert written == ["models.Net.json", "net-v1.json"]


def test_each_id_that_is_refused_is_told(project: pytest.Pytester, command: Callable[..., Printed]) -> None:
    other = MARKED.replace("def test_marked", "def test_other")
    project.makepyfile(MARKED % ("x" * 300), test_other=other % ("é" * 130))
    printed = command("check")
    assert printed.code == 2
    assert printed.out.count("CK906 net.pt: checkpoint marker net.pt: has the id ") == 2
    assert command("status").out.count("CK906") == 2


def test_a_path_that_makes_no_id(project: pytest.Pytester) -> None:
    """The default id; and paths that no file can have."""
    save(project.path / ("x" * 252 + ".pt"))
    for path, complaint in (
        ("x" * 252 + ".pt", LONG + 'give an id="...", or rename the file'),
        ("x*.pt", LONG + 'give an id="...", or rename the file'),
        ("y" * 400, LONG),
        ("y\\0", "which cannot be a file name"),
    ):
        project.makepyfile(MARKED.replace(', id="%s"', "").replace("net.pt", path))
        result = project.runpytest_inprocess()
        result.assert_outcomes(failed=1)
        assert complaint in result.stdout.str()
        assert "Traceback" not in result.stdout.str()
        assert "raise " not in result.stdout.str()
