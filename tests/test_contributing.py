"""What CONTRIBUTING.md says is so: its map is complete, and an unfinished addition fails a test."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

from pytest_ckpt_compat import _report
from pytest_ckpt_compat._pytest_plugin import hooks
from pytest_ckpt_compat._readers import formats
from pytest_ckpt_compat._registry.options import OPTIONS
from pytest_ckpt_compat._report import publish
from pytest_ckpt_compat._report.summary import Entry, Run
from tests.test_architecture import ROOMS

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
PACKAGE = ROOT / "pytest_ckpt_compat"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

#: Modules of the folder that are no format: they choose between formats, or refuse.
CHOOSERS = {"archives", "directories", "foreign", "single_file"}
FORMATS = sorted({found.name for found in pkgutil.iter_modules(formats.__path__)} - CHOOSERS)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_map_has_every_folder_in_the_order_of_imports() -> None:
    assert re.findall(r"^\| `(_\w+)` \| \w", CONTRIBUTING, re.MULTILINE) == list(ROOMS[:-1])


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", CONTRIBUTING)
    assert len(named) >= 6
    for file, test in named:
        assert f"def {test}(" in read(ROOT / file) or not test, f"{file}::{test}"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognized_and_tested(name: str) -> None:
    assert re.search(r'^FORMAT = "', read(PACKAGE / "_readers" / "formats" / f"{name}.py"), re.MULTILINE)
    word = re.compile(rf"\b{name}\b")
    readers = [path for path in (PACKAGE / "_readers").rglob("*.py") if path.stem != name]
    assert any(word.search(read(path)) for path in readers), f"no reader calls _readers/formats/{name}.py"
    tests = [path for path in (TESTS / "readers").glob("*.py") if path.name != "test_documentation.py"]
    assert any(name in path.stem or word.search(read(path)) for path in tests), f"no test names {name}"


#: Modules of the folder that a report is made with: they write none themselves.
PARTS = {
    "alike",
    "bare",
    "brief",
    "comment",
    "difference",
    "findings",
    "forms",
    "github",
    "merge",
    "migrations",
    "of_run",
    "overview",
    "places",
    "publish",
    "quiet_losses",
    "reading",
    "refusals",
    "rows",
    "settings_rows",
    "summary",
    "text",
    "tree",
}


def test_every_report_module_is_published() -> None:
    text = read(PACKAGE / "_report" / "publish.py")
    for name in {found.name for found in pkgutil.iter_modules(_report.__path__)} - PARTS:
        assert re.search(rf"\b{name}\b", text), f"_report/publish.py does not use _report/{name}.py"


def test_every_report_is_written_documented_and_tested(tmp_path: Path) -> None:
    run = Run(
        (Entry("net-v1", "broken", "CK101 net-v1: 1 of 2 tensors missing", "text", "", {}),), "compared", ""
    )
    written = {}
    for suffix in publish._SUFFIXES:
        file = tmp_path / f"report{suffix}"
        publish.publish(run, [str(file)], {})
        written[suffix] = read(file)
        assert f"`{suffix}`" in read(ROOT / "docs" / "reports.md")
        assert any(f"{suffix}" in read(path) for path in TESTS.glob("test_*report*.py"))
        for options in (PACKAGE / "_cli" / "check.py", PACKAGE / "_cli" / "report.py", Path(hooks.__file__)):
            assert re.search(rf"by suffix: .*\{suffix}\b", read(options)), f"{options} does not name {suffix}"
    assert len(set(written.values())) == len(written), "two suffixes give one text"


@pytest.mark.parametrize("option", [option.name for option in OPTIONS if not option.positional])
def test_every_marker_option_is_tested(option: str) -> None:
    tests = [
        path for path in TESTS.glob("test_*.py") if path.name not in ("test_contributing.py", "test_docs.py")
    ]
    assert any(re.search(rf"\b{option}\b ?=", read(path)) for path in tests), f"no test gives {option}="
