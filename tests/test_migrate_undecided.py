"""What ``ckpt-compat migrate`` says of what it cannot write as code: it leads to no hidden break."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._core.verdict import Verdict
from tests.conftest import Printed
from tests.migrations import unwrapped
from tests.repository import edit

Command = Callable[..., Printed]

MODELS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=12):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        self.head = nn.Linear(8, classes)

class Fixed(Net):
    def __init__(self):
        super().__init__(12)
"""
ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"
"""


def saved(folder: Path, prefix: str = "encoder", classes: int = 12, others: Iterable[str] = ()) -> None:
    net = nn.Module()
    net.add_module(prefix, nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)))
    if classes:
        net.add_module("head", nn.Linear(8, classes))
    torch.save({**net.state_dict(), **dict.fromkeys(others, torch.zeros(3))}, folder / "net.pt")


@pytest.fixture
def folder(pytester: pytest.Pytester, command: Command) -> Path:
    (pytester.path / "models.py").write_text(MODELS)
    (pytester.path / "pyproject.toml").write_text(ENTRY)
    return pytester.path


@pytest.mark.parametrize(
    ("model", "advice"),
    [
        (
            "models:Net",
            "it loads with classes=10: build the model so, and give this in kwargs, or leave the head out "
            "of what "
            "is loaded",
        ),
        (
            "models:Fixed",
            "build it with the file's outputs, load, then replace the head; or leave it out of the load",
        ),
    ],
)
def test_a_head_of_another_size_does_not_lead_to_a_lenient_load(
    folder: Path, command: Command, model: str, advice: str
) -> None:
    """strict=False would hide every other break with it, and does not even load another size."""
    saved(folder, classes=10)
    printed = command("migrate", "net.pt", model)
    assert printed.code == 1
    assert "strict=False" not in printed.out + printed.err
    assert unwrapped(printed.out).splitlines()[1:] == [
        "# decide: head.weight, head.bias (2 tensors): float32[10, 8] -> float32[12, 8], outputs 10 -> 12; "
        f"float32[10] -> float32[12], outputs 10 -> 12: {advice} "
        "(--choose head= drops them, and the code says what starts the model's anew)",
    ]
    assert printed.err.splitlines() == [
        "ckpt-compat: no code is written: nothing is certain; all of it is in the lines that begin with # "
        "decide",
        f"ckpt-compat: for code, run it with the choices that are right: ckpt-compat migrate net.pt {model} "
        "--choose head=",
    ]


@pytest.mark.parametrize(
    ("style", "own"),
    [
        ("hook", "state_dict.setdefault(prefix + 'head.weight', module.state_dict()['head.weight'])"),
        (
            "lightning",
            "checkpoint['state_dict'].setdefault('head.weight', self.state_dict()['head.weight'])",
        ),
    ],
)
def test_what_starts_a_head_anew_is_told_in_the_words_of_the_style(
    folder: Path, command: Command, style: str, own: str
) -> None:
    saved(folder, "backbone", 10)
    choices = ("--choose", "head.weight=", "--choose", "head.bias=")
    printed = command("migrate", "net-v1", "--style", style, *choices)
    told = "ckpt-compat: not proven: head.weight: the load refuses it (CK101 missing), and so for 1 other"
    assert told in printed.err.splitlines()
    assert "proven, but the load refuses 2 keys" in printed.err
    assert [line for line in unwrapped(printed.out).splitlines() if "# decide" in line] == [
        "# decide: head.weight, head.bias: left out; to start the model's own anew, add "
        f"{own}, and so for 1 other"
    ]


@pytest.mark.parametrize("classes", [0, 12])
def test_many_tensors_without_a_source_share_a_line(folder: Path, command: Command, classes: int) -> None:
    saved(folder, classes=classes)
    edit(folder / "models.py", "nn.ReLU(),", "nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8),")
    edit(
        folder / "models.py", "        self.head", "        self.norm = nn.BatchNorm1d(8)\n        self.head"
    )
    lines = unwrapped(command("migrate", "net-v1").out).splitlines()
    assert len([line for line in lines if "nothing in the checkpoint is known" in line]) == 1


def test_a_head_that_is_started_anew_ends_green_by_the_advice(folder: Path, command: Command) -> None:
    saved(folder, "backbone", 10)
    printed = command("migrate", "net-v1", "--choose", "head.weight=", "--choose", "head.bias=")
    assert printed.code == 1
    own = "new['head.weight'] = model.state_dict()['head.weight'] above the return, with "
    own += "migrate(state_dict, model) as its signature"
    told = f"# decide: head.weight, head.bias: left out; to start the model's own anew, add {own}"
    assert f"{told}, and so for 1 other" in unwrapped(printed.out)
    assert unwrapped(printed.out).count("model.state_dict()") == 1, "it is said once"
    assert "model.state_dict()" not in printed.err
    code = printed.out.replace("migrate(state_dict):", "migrate(state_dict, model):").replace(
        "    return new\n",
        "".join(f"    new['{key}'] = model.state_dict()['{key}']\n" for key in ("head.weight", "head.bias"))
        + "    return new\n",
    )
    (folder / "old_files.py").write_text(code)
    (folder / "pyproject.toml").write_text(ENTRY + 'migrate = "old_files:migrate"\n')
    assert command("update").code == 0
    assert command("check").code == 0


@pytest.mark.parametrize("style", ["function", "hook", "rules"])
def test_a_checkpoint_that_loads_leniently_gets_no_empty_function(
    folder: Path, command: Command, style: str
) -> None:
    saved(folder, classes=0, others=["old_head.w"])
    (folder / "pyproject.toml").write_text(ENTRY + "strict = false\n")
    printed = command("migrate", "net-v1", "--style", style)
    assert printed.code == 1
    assert unwrapped(printed.out).splitlines() == [
        "# net.pt -> models.Net (models.py:4)",
        "# decide: head.weight, head.bias (2 tensors): nothing in the checkpoint is known to become it: "
        "say what does (--choose OLD=NEW), or start it anew with the model's own value",
        "# decide: old_head.w: nothing is known to want it, while the model lacks others: drop it, or say "
        "what it "
        "became (--choose old_head.w= drops it)",
    ]
    assert printed.err.splitlines() == [
        "ckpt-compat: no code is written: nothing is certain; all of it is in the lines that begin with # "
        "decide",
        "ckpt-compat: it loads as it is registered, with strict=False, and without what these lines name",
        "ckpt-compat: for code, run it with the choices that are right: ckpt-compat migrate net-v1 "
        f"{'' if style == 'function' else f'--style {style} '}--choose old_head.w=",
    ]


def test_one_command_has_a_choice_for_all_that_is_open(folder: Path, command: Command) -> None:
    """A rename that is only possible, beside a head of another size: the command gives code as it is."""
    (folder / "models.py").write_text(
        MODELS.replace("nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))", "nn.Linear(8, 8)")
    )
    body = {"body.weight": torch.zeros(8, 8), "body.bias": torch.zeros(8)}
    torch.save({**body, "head.weight": torch.zeros(9, 8), "head.bias": torch.zeros(9)}, folder / "net.pt")
    first = command("migrate", "net-v1")
    assert "def " not in first.out
    (line,) = (each for each in first.err.splitlines() if "run it with the choices that are right: " in each)
    words = shlex.split(line.partition("run it with the choices that are right: ckpt-compat ")[2])
    assert words == ["migrate", "net-v1", "--choose", "body=encoder", "--choose", "head="]
    given = command(*words)
    assert '(r"^body\\.", "encoder."),' in given.out
    assert "def migrate(state_dict):" in given.out
    assert "the choices that are right" not in given.err  # nothing is open that a choice would settle


def test_a_rename_in_a_checkpoint_that_loads_leniently_is_written(folder: Path, command: Command) -> None:
    saved(folder, "backbone")
    (folder / "pyproject.toml").write_text(ENTRY + "strict = false\n")
    printed = command("migrate", "net-v1")
    assert (printed.code, '(r"^backbone\\.", "encoder."),' in printed.out) == (0, True)


@pytest.mark.parametrize(
    ("style", "line"),
    [
        ("function", "new['head.weight'] = model.state_dict()['head.weight'] above the return"),
        ("hook", "state_dict.setdefault(prefix + 'head.weight', module.state_dict()['head.weight'])"),
        ("rules", "in a function: --style function"),
    ],
)
def test_what_the_checkpoint_has_not_is_started_anew_in_the_words_of_the_style(
    folder: Path, command: Command, style: str, line: str
) -> None:
    saved(folder, prefix="old", classes=0)
    printed = unwrapped(command("migrate", "net-v1", "--style", style).out)
    assert "# decide: head.weight: to start it anew, add " in printed
    assert line in printed
    assert printed.count("to start it anew") == printed.count(", and so for 1 other\n") == 1


@pytest.mark.parametrize(
    ("settings", "checks"), [("", 0), ('[tool.ckpt_compat.severity]\nCK203 = "ignore"\n', 1)]
)
def test_the_code_of_a_page_takes_the_verdict_that_there_is(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch, settings: str, checks: int
) -> None:
    """A project that ignores a rule has another one than that which a migration is written for."""
    saved(folder, "backbone")
    (folder / "pyproject.toml").write_text(ENTRY + settings)
    made = []
    own = check_structure

    def counted(*given: Any) -> Verdict:
        made.append(given)
        return own(*given)

    monkeypatch.setattr("pytest_ckpt_compat._check.migration.check_structure", counted)
    command("check", "--report", "page.html")
    assert "def migrate" in (folder / "page.html").read_text()
    assert len(made) == checks
