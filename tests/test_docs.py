"""The documentation is complete, its links lead somewhere, and what it shows works."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

import pytest_ckpt_compat
from pytest_ckpt_compat._cli.main import parser
from pytest_ckpt_compat._core.rules import RULES
from pytest_ckpt_compat._pytest_plugin import hooks
from pytest_ckpt_compat._registry.options import OPTIONS
from pytest_ckpt_compat._snapshots import fingerprint

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

MODELS = """
from torch import nn


class Classifier(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.stem(x).mean((2, 3)))
"""


def load(name: str) -> ModuleType:
    """A module of ``docs/``."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


GENERATE = load("generate")


def text_of(page: Path) -> str:
    """A page's text with its generated parts."""
    text: str = GENERATE.fill(page.read_text(encoding="utf-8"))
    return text


def blocks(text: str, language: str) -> Iterator[str]:
    """The code blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def section(page: str, title: str) -> str:
    """What a filled page of ``docs/`` has under a heading."""
    found = re.search(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text_of(ROOT / "docs" / page), re.S | re.M
    )
    assert found, f"docs/{page} has no section {title}"
    return found[1]


def test_every_rule_is_documented() -> None:
    for rule in RULES:
        text = section("rules.md", f"{rule.id} {rule.kind}")
        assert rule.meaning[1:] in text
        assert rule.severity.value in text
        assert f"| [{rule.id}](#{rule.id.lower()}) | {rule.kind} |" in text_of(ROOT / "docs" / "rules.md")


@pytest.mark.parametrize(
    ("page", "tables"), [("rules.md", 1), ("registering.md", 1), ("commands.md", 2), ("python.md", 1)]
)
def test_the_committed_tables_are_those_of_the_code(page: str, tables: int) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == tables
    assert text == GENERATE.tables(text), "run python docs/generate.py"


def test_a_page_that_is_made_when_the_site_is_built_says_something_in_a_clone() -> None:
    """What is read on the web page of the repository is the page as it is committed."""
    linked = re.findall(r"\]\((docs/\w+\.md)", (ROOT / "README.md").read_text(encoding="utf-8"))
    made = [page for page in linked if "<!-- generated: " in (ROOT / page).read_text(encoding="utf-8")]
    assert made
    for page in made:
        text = (ROOT / page).read_text(encoding="utf-8")
        before = text[: text.index("<!-- generated: ")]
        assert "<!-- table: " in before, page


def test_every_marker_option_is_documented() -> None:
    text = section("registering.md", "Options")
    for option in OPTIONS:
        assert f"| `{option.name}` |" in text


def test_every_command_and_option_is_documented() -> None:
    options = {name: each for name, _, each in GENERATE._subparsers(parser())}
    assert "check" in options
    for name, each in options.items():
        text = section("commands.md", f"ckpt-compat {name}")
        for word in re.findall(r"--[a-z]+", each.format_help().replace("--help", "")):
            assert word in text


def test_every_option_of_pytest_is_documented() -> None:
    names = re.findall(r'"(--ckpt-\w+|ckpt_snapshot_dir)"', Path(hooks.__file__).read_text(encoding="utf-8"))
    assert len(names) >= 6
    text = section("commands.md", "pytest")
    assert all(f"| `{name}" in text for name in names)


def test_every_public_name_is_documented() -> None:
    text = text_of(ROOT / "docs" / "python.md")
    for name in pytest_ckpt_compat.__all__:
        assert re.search(rf"^\.\. auto(class|function|exception):: pytest_ckpt_compat\.{name}$", text, re.M)


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or f"\n{page.stem}\n" in index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_snapshot_shown_is_one_that_is_written() -> None:
    text = (ROOT / "docs" / "snapshots.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- a snapshot -->\n```json\n(.*?)```", text, re.DOTALL)
    structure = fingerprint.loads(shown, "docs/snapshots.md")
    assert fingerprint.dumps(structure, whole=False) == shown
    assert structure.modules["blocks.2.1"] == "torch.nn.GELU"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_shown_report_is_a_real_one(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name, shown in re.findall(r"<!-- (tests/golden/\w+\.txt) -->\n```\w*\n(.*?)```", text, re.DOTALL):
        assert shown == (ROOT / name).read_text(encoding="utf-8")
    reports = re.findall(r"^```(?:text)?\nCK\d+ ", text, re.MULTILINE)
    assert len(reports) == text.count("<!-- tests/golden/")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_commands_are_understood(page: Path) -> None:
    text = text_of(page)
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    lines += re.findall(r"^ +(?:- run|entry): (ckpt-compat .*)$", text, re.MULTILINE)
    lines += re.findall(r"^\| `((?:ckpt-compat|pytest) [^`]*)`", text, re.MULTILINE)
    known = Path(hooks.__file__).read_text(encoding="utf-8")
    for words in (shlex.split(line, comments=True) for line in lines):
        if words[:1] == ["ckpt-compat"]:
            parser().parse_args(words[1:])
        for word in words:
            assert not word.startswith("--ckpt-") or f'"{word}"' in known


def test_the_hook_for_pre_commit_is_the_repositorys() -> None:
    (shown,) = (
        each for each in blocks(text_of(ROOT / "docs" / "reports.md"), "yaml") if "repo: local" in each
    )
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    for field in ("id", "name", "entry", "language", "pass_filenames", "types_or"):
        (line,) = re.findall(rf"^[- ]+{field}: (.*)$", hook, re.MULTILINE)
        assert f" {field}: {line}\n" in shown


@pytest.fixture
def user(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project like that of the README: ``models.Classifier`` and a checkpoint of it."""
    pytester.makepyfile(models=MODELS)
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    (pytester.path / "checkpoints").mkdir()
    state = {
        "stem.weight": torch.zeros(8, 3, 3, 3),
        "stem.bias": torch.zeros(8),
        "head.weight": torch.zeros(10, 8),
        "head.bias": torch.zeros(10),
    }
    torch.save(state, pytester.path / "checkpoints" / "classifier_v1.pt")
    return pytester


def record_and_run(project: pytest.Pytester) -> None:
    """The snapshots are recorded, and the next run passes."""
    for arguments in (("--ckpt-update",), ()):
        result = project.runpytest_inprocess("-p", "no:hypothesispytest", *arguments)
        result.assert_outcomes(passed=1)


@pytest.mark.parametrize("page", ["README.md", "docs/first_five_minutes.md"])
def test_the_first_test_works(user: pytest.Pytester, page: str) -> None:
    (code,) = blocks((ROOT / page).read_text(encoding="utf-8"), "python")
    user.makepyfile(test_first=code)
    record_and_run(user)


def test_the_table_of_the_configuration_works(user: pytest.Pytester) -> None:
    table, severity = blocks(text_of(ROOT / "docs" / "configuration.md"), "toml")
    with (user.path / "pyproject.toml").open("a") as file:
        file.write("\n" + table.replace("example.models", "models") + severity)
    record_and_run(user)


def test_the_hook_of_the_configuration_works(user: pytest.Pytester) -> None:
    (code,) = blocks(text_of(ROOT / "docs" / "configuration.md"), "python")
    code = code.replace("example.models", "models").replace("runs/17/last.pt", "checkpoints/classifier_v1.pt")
    user.makeconftest(code)
    record_and_run(user)


@pytest.mark.usefixtures("warm_python")
def test_the_python_page_works(user: pytest.Pytester) -> None:
    (code,) = blocks(text_of(ROOT / "docs" / "python.md"), "python")
    script = code + "\nassert structure.tensors['head.weight'] == ckpt.TensorSpec('float32', (10, 8))\n"
    script += "assert verdict.compatible\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=user.path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
