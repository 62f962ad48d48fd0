"""``ckpt-compat explain``: every rule's page is complete, and its example is what a report prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core import links, pages
from pytest_ckpt_compat._core.rule import Rule
from pytest_ckpt_compat._core.rules import BY_ID, RULES
from pytest_ckpt_compat._report.text import render
from tests.conftest import Printed
from tests.repository import ENTRY, edit, make_project

Command = Callable[..., Printed]

HERE = Path(__file__).parent
#: Reports that other tests hold.
GOLDEN = (*HERE.glob("pairs/*/report.txt"), *HERE.glob("breaks/*/report.txt"), *HERE.glob("golden/*.txt"))
#: The rules whose examples are made below.
MADE = {"CK203", "CK402", "CK404", "CK901", "CK902", "CK903", "CK904", "CK905", "CK906", "CK907", "CK908"}

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


def plain(text: str) -> str:
    """The words of a text, wherever its lines end."""
    return " ".join(text.split())


def says(report: str, rule: str) -> bool:
    """Whether a report prints the example of a rule: each of its paragraphs, line ends and indents aside."""
    return all(plain(part) in plain(report) for part in BY_ID[rule].example.split("\n\n"))


@each_rule
def test_an_example_is_what_a_report_prints(rule: Rule) -> None:
    held = any(says(path.read_text(encoding="utf-8"), rule.id) for path in GOLDEN)
    assert held is (rule.id not in MADE)


@pytest.fixture
def project(pytester: pytest.Pytester, command: Command) -> pytest.Pytester:
    """A project whose checkpoint ``v1`` is recorded."""
    make_project(pytester.path, ENTRY.replace("net-v1", "v1").replace("net.pt", "v1.pt"))
    (pytester.path / "net.pt").rename(pytester.path / "v1.pt")
    assert command("update").code == 0
    return pytester


def test_the_examples_about_snapshots(project: pytest.Pytester, command: Command) -> None:
    models, snapshots = project.path / "models.py", project.path / "ckpt_snapshots"
    edit(models, "nn.Linear(8, classes)", "nn.Linear(8, classes)\n        self.half()")
    assert says(command("check").out, "CK907")
    edit(models, "\n        self.half()", "")
    state = torch.load(project.path / "v1.pt")
    widened = {**state, "head.weight": torch.zeros(6, 8), "head.bias": torch.zeros(6)}
    torch.save(widened, project.path / "v1.pt")
    assert says(command("check").out, "CK902")
    torch.save(state, project.path / "v1.pt")
    (snapshots / "v1.json").unlink()
    assert says(command("check").out, "CK901")


def test_the_examples_about_acceptances(project: pytest.Pytester, command: Command) -> None:
    models, folder = project.path / "models.py", project.path / "ckpt_snapshots" / "accepted"
    edit(models, "classes=4", "classes=6")
    command("accept", "v1", "--rule", "CK202", "--key", "head.*", "--reason", "six shapes")
    (entries,) = folder.iterdir()
    edit(models, "classes=6", "classes=4")
    assert says(command("check").out, "CK903")
    edit(models, "classes=4", "classes=6")
    edit(entries, 'reason = "six shapes"', 'reason = "six shapes"\nuntil = 2026-05-31')
    assert says(command("check").out, "CK904")


def test_the_examples_about_the_check(
    project: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_ckpt_compat._check import checkpoint

    def fail(*_args: object, **_kwargs: object) -> None:
        raise IndexError("list index out of range")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "check_structure", fail)
        place = re.compile(r"\([\w/]+\.py:\d+\)")
        found = place.search(BY_ID["CK908"].example)
        assert found
        assert says(place.sub(lambda _: found[0], command("check").out), "CK908")
    (project.path / "ckpt_snapshots" / "v1.json").unlink()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"
    (project.path / "v1.pt").write_text(pointer)
    assert says(command("check").out.replace(f"{project.path}/", ""), "CK905")
    edit(project.path / "pyproject.toml", "models:Net", "models:Clasifier")
    assert says(command("check").out, "CK906")


def test_the_example_about_migrations(pytester: pytest.Pytester, command: Command) -> None:
    make_project(pytester.path, ENTRY.replace("net-v1", "v1") + 'migrate = "shapes:v1_to_v2"\n')
    models = (
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    )
    layers = "".join(f"        self.{name} = nn.Linear(4, 4, bias=False)\n" for name in ("q", "k", "out"))
    (pytester.path / "models.py").write_text(models + layers)
    torch.save({f"{name}.weight": torch.zeros(4, 4) for name in "qko"}, pytester.path / "net.pt")
    code = 'def v1_to_v2(state):\n    q, k = state["q.weight"], state["k.weight"]\n'
    (pytester.path / "shapes.py").write_text(
        code + '    return {"q.weight": q, "k.weight": k, "out.weight": state["o.weight"]}\n'
    )
    assert command("update").code == 0
    edit(pytester.path / "shapes.py", '"q.weight": q, "k.weight": k', '"q.weight": k, "k.weight": q')
    assert says(command("check").out, "CK404")


def test_the_example_of_another_dtype() -> None:
    def structure(dtype: str) -> ckpt.Structure:
        layers = {
            f"layers.{n}.{name}": (3, 3)[: len(name) // 4 + 1] for n in (0, 1) for name in ("weight", "b")
        }
        tensors = {key: ckpt.TensorSpec(dtype, shape) for key, shape in layers.items()}
        return ckpt.Structure({**tensors, "head.weight": ckpt.TensorSpec("float32", (2, 3))})

    assert says(render(ckpt.diff(structure("float32"), structure("float16"))), "CK203")


class Skipping(nn.Module):
    """Loads all but its head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Skips what would not fit, and does not say so."""
        body = {key[5:]: value for key, value in state_dict.items() if key[:4] == "body"}
        return self.body.load_state_dict(body, strict, assign)


def test_the_example_of_a_partial_load(tmp_path: Path) -> None:
    torch.save(Skipping().state_dict(), tmp_path / "v1.pt")
    assert says(render(ckpt.check(tmp_path / "v1.pt", Skipping)), "CK402")


@each_rule
def test_every_page_has_all_parts_in_both_forms(rule: Rule, command: Command) -> None:
    printed = command("explain", rule.id.lower())
    assert (printed.code, printed.err) == (0, "")
    assert command("explain", rule.kind).out == printed.out
    titles = ("Why it matters", "Example", "How to mend it", "How to accept it")
    assert printed.out.startswith(f"{rule.id} {rule.kind}: {rule.meaning}\n")
    for title in ("What it tells", *titles):
        assert f"\n\n{title}\n  " in printed.out
    assert all(f"\n\n**{title}.**" in pages.markdown(rule) for title in titles)
    code = {
        line
        for block in re.findall(r"```\w*\n(.*?)```", pages.markdown(rule), re.S)
        for line in block.splitlines()
    }
    prose = [
        line
        for line in printed.out.splitlines()[2:]
        if line.strip() and line.strip() not in {c.strip() for c in code}
    ]
    assert max(map(len, prose)) <= pages.WIDTH
    assert "```" not in printed.out
    assert "](" not in printed.out
    assert {line.strip() for line in code} <= {line.strip() for line in printed.out.splitlines()}


def test_a_page_is_as_wide_as_the_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = command("explain", "CK301").out.splitlines()
    assert max(len(line) for line in lines if line.startswith("  ") and not line.startswith("    ")) <= 60


def test_without_a_rule_all_are_listed(command: Command) -> None:
    printed = command("explain")
    assert printed.code == 0
    assert [line.split()[:2] for line in printed.out.splitlines()] == [
        [rule.id, rule.kind] for rule in sorted(RULES, key=lambda rule: rule.id)
    ]


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("ck130", "did you mean CK103 (renamed)? "),
        ("head-resised", "did you mean CK202 (head-resized)? "),
        ("nonsense!", ""),
    ],
)
def test_an_unknown_rule_is_one_line_with_the_nearest(command: Command, word: str, complaint: str) -> None:
    printed = command("explain", word)
    assert (printed.code, printed.out) == (2, "")
    assert (
        printed.err == f"ckpt-compat: {word}: is not a rule; {complaint}ckpt-compat explain lists the rules\n"
    )


def test_a_page_outside_of_the_site_has_whole_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "](" not in pages.standalone(BY_ID["CK107"])
    monkeypatch.setattr(pages, "documentation", lambda: "https://docs.example.org/")
    assert "[CK103](https://docs.example.org/rules.html#ck103)" in pages.standalone(BY_ID["CK107"])
    page = pages.standalone(BY_ID["CK404"])
    assert "[migrations](https://docs.example.org/migrating.html#registered-migrations)" in page
    monkeypatch.setattr(links, "documentation", lambda: "https://docs.example.org/")
    assert pages.text(BY_ID["CK107"]).endswith("\n\nhttps://docs.example.org/rules.html#ck107")
