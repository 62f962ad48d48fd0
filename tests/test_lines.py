"""On which line a definition names what a finding is about: the one that registered it, or none."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat import Structure, TensorSpec, Verdict, diff
from pytest_ckpt_compat._report import findings, github, gitlab, sarif, summary
from pytest_ckpt_compat._report.rows import rows
from tests.conftest import SETTINGS

LAYERS = """
import torch
from torch import nn

def conv(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3), nn.BatchNorm2d(o))

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Parameter(
            torch.ones(width)
        )
        self.register_buffer("seen", torch.zeros(1))
        self.attn = (
            nn.Linear(width, width)
        )

class Guarded(nn.Module):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(2, 2)
"""
NET = """
from torch import nn
from layers import Block, Guarded, conv

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = conv(3, 8)

class Net(Base):
    def __init__(self, depth=2):
        super().__init__()
        self.blocks = nn.ModuleList()
        for i in range(depth):
            self.blocks.append(Block(8))
        for name in ("a", "b"):
            setattr(self, name, nn.Linear(8, 2))
        self.head = nn.Linear(8, 4)
        self.tied = self.head
        if depth:
            self.head = nn.Linear(8, 5)
        self.guarded = Guarded()
        self.library = nn.TransformerEncoderLayer(8, 2)
        self.bare = nn.ModuleDict({"x": nn.Linear(2, 2)})
        self.bare._modules["y"] = nn.Linear(2, 2)

def factory():
    net = Net()
    net.stem = conv(3, 16)
    net.head.extra = nn.Linear(2, 2)
    return net
"""


@pytest.fixture
def nets(pytester: pytest.Pytester) -> Path:
    pytester.makepyfile(layers=LAYERS, net=NET)
    pytester.makepyprojecttoml(SETTINGS)
    pytester.syspathinsert()
    return pytester.path


def told(structure: Structure, key: str) -> str:
    """The source of the line that is named for a key."""
    where = findings.named_at(structure.lines, key)
    if not where:
        return ""
    file, _, line = where.rpartition(":")
    return Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1].strip()


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("stem.0.weight", "self.stem = conv(3, 8)"),
        ("stem.1.running_mean", "self.stem = conv(3, 8)"),
        ("blocks.1.norm.bias", "self.norm = nn.LayerNorm(width)"),
        ("blocks.0.scale", "self.scale = nn.Parameter("),
        ("blocks.0.seen", 'self.register_buffer("seen", torch.zeros(1))'),
        ("blocks.0.attn.weight", "self.attn = ("),
        ("b.weight", "setattr(self, name, nn.Linear(8, 2))"),
        ("head.weight", "self.head = nn.Linear(8, 5)"),
        ("tied.weight", "self.tied = self.head"),
        ("guarded.gate.weight", "self.gate = nn.Linear(2, 2)"),
        ("library.self_attn.in_proj_weight", "self.library = nn.TransformerEncoderLayer(8, 2)"),
        ("bare.y.weight", 'self.bare = nn.ModuleDict({"x": nn.Linear(2, 2)})'),
    ],
)
def test_the_line_is_that_which_gave_the_name(nets: Path, key: str, line: str) -> None:
    structure = ckpt.define("net:Net")
    assert key in structure.tensors
    assert told(structure, key) == line


def test_what_a_factory_replaces_is_named_there(nets: Path) -> None:
    structure = ckpt.define("net:factory")
    assert told(structure, "stem.0.weight") == "net.stem = conv(3, 16)"
    assert told(structure, "head.extra.weight") == "net.head.extra = nn.Linear(2, 2)"
    assert told(structure, "blocks.1.attn.bias") == "self.attn = ("


@pytest.mark.parametrize("model", ["torch.nn:TransformerEncoderLayer", "instance:NET"])
def test_no_line_where_none_is_known(nets: Path, model: str) -> None:
    (nets / "instance.py").write_text("import net\nNET = net.Net()\n", encoding="utf-8")
    kwargs = {"d_model": 8, "nhead": 2} if "torch" in model else None
    structure = ckpt.define(model, kwargs)
    assert structure.tensors
    assert not structure.lines


def test_hooks_are_gone_after_a_build_that_raises(nets: Path) -> None:
    from torch.nn.modules import module as hooks

    (nets / "bad.py").write_text("def make():\n    raise ValueError('no')\n", encoding="utf-8")
    with pytest.raises(ckpt.CkptCompatError):
        ckpt.define("bad:make")
    assert not hooks._global_module_registration_hooks
    assert not hooks._global_parameter_registration_hooks
    assert not hooks._global_buffer_registration_hooks


def test_nothing_is_kept_alive_meanwhile() -> None:
    import torch
    from torch import nn

    from pytest_ckpt_compat._definition.lines import watched
    from pytest_ckpt_compat._definition.module_classes import described

    with watched() as registered:
        net = nn.Sequential()
        net.part = nn.Linear(2, 2)
        replaced: list[weakref.ref[Any]] = [weakref.ref(net.part), weakref.ref(net.part.weight)]
        net.part = nn.Linear(2, 3)
        net.scale = nn.Parameter(torch.ones(2))
        replaced.append(weakref.ref(net.scale))
        net.scale = nn.Parameter(torch.ones(3))
        gc.collect()
        assert [each() for each in replaced] == [None, None, None]
    registered.keep(net)
    assert sorted(described(net).lines) == ["part", "scale"]
    kept = weakref.ref(net)
    del net
    gc.collect()
    assert kept() is None


def verdict(keys: Mapping[str, tuple[int, ...]], lines: dict[str, str]) -> Verdict:
    """A verdict on a checkpoint with other shapes."""
    new = Structure({key: TensorSpec("float32", shape) for key, shape in keys.items()}, lines=lines)
    old = Structure({key: TensorSpec("float32", (9, *shape)) for key, shape in keys.items()})
    return replace(diff(old, new), name="net", where="net.py:3")


def test_a_row_about_several_lines_has_none() -> None:
    keys = {"a.weight": (2, 2), "b.weight": (2, 2)}
    one = verdict(keys, {"a": "net.py:5", "b": "net.py:5"})
    assert {each.where for each in findings.of_rows(one, rows(one))} == {"net.py:5"}
    names = [f"layers.{number}.fc" for number in range(3)]
    two = verdict(
        {f"{name}.weight": (2, 2) for name in names}, {name: f"net.py:{at}" for at, name in enumerate(names)}
    )
    (row,) = rows(two)
    assert len(row.changes) == 3
    assert [each.where for each in findings.of_rows(two, (row,))] == [""]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ({"a": "net.py:5", "b": "net.py:5"}, "file=net.py,line=5,"),
        ({"a": "net.py:5", "b": "net.py:6"}, "file=net.py,line=3,"),
        ({"a": "net.py:5"}, "file=net.py,line=3,"),
        ({"a": "/elsewhere/net.py:5", "b": "/elsewhere/net.py:5"}, "file=net.py,line=3,"),
    ],
)
def test_an_annotation_is_on_the_line_that_all_is_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lines: dict[str, str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = verdict({"a.weight": (2, 2), "b.bias": (2,)}, lines)
    run = summary.Run((summary.entry(found),), "compared  1 checkpoint")
    (line,) = github.render(run, str(tmp_path))
    assert line.startswith(f"::error {expected}")


@pytest.mark.parametrize(("line", "expected"), [("net.py:5", 5), ("/elsewhere/net.py:5", 3), ("", 3)])
def test_a_line_outside_of_the_repository_is_that_of_the_class(
    make: Callable[[str], list[int]], line: str, expected: int
) -> None:
    assert make(line) == [expected]


@pytest.fixture
def make(pytester: pytest.Pytester) -> Callable[[str], list[int]]:
    """The lines of SARIF and GitLab for one row that the definition names on a line."""
    pytester.makepyprojecttoml(SETTINGS)
    (pytester.path / "net.py").write_text("\n" * 9, encoding="utf-8")

    def made(line: str) -> list[int]:
        found = verdict({"a.weight": (2, 2)}, {"a": line} if line else {})
        run = summary.Run((summary.entry(found),), "compared  1 checkpoint")
        (result,) = json.loads(sarif.render(run))["runs"][0]["results"]
        (issue,) = json.loads(gitlab.render(run))
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == issue["location"]["path"] == "net.py"
        return sorted({place["region"]["startLine"], issue["location"]["lines"]["begin"]})

    return made
