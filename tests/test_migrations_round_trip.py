"""What ``migrate`` prints is registered as it is, and ``convert`` rewrites the file by the registration."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import pytest_ckpt_compat as ckpt
from tests.conftest import SETTINGS, Printed
from tests.repository import edit

Command = Callable[..., Printed]

pytestmark = pytest.mark.long

MODELS = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.layers = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(4, 2)
"""

ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "v1"
path = "v1.pt"
model = "models:Net"
"""


class OldBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.norm = nn.LayerNorm(4)


class Old(nn.Module):
    """What the checkpoint was saved from: a joint projection, and other names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(OldBlock() for _ in range(3))
        self.head = nn.Linear(4, 2)


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytester.makepyfile(models=MODELS)
    pytester.makepyprojecttoml(SETTINGS + ENTRY)
    torch.save({"model": Old().state_dict(), "epoch": 3, "version": 1}, pytester.path / "v1.pt")
    monkeypatch.chdir(pytester.path)
    return pytester.path


def register(folder: Path, line: str) -> None:
    edit(folder / "pyproject.toml", 'model = "models:Net"', f'model = "models:Net"\n{line}')


def require_right_values(new: Any, old: Any) -> None:
    """Each tensor of the new state_dict is where torch's own operations put it."""
    assert torch.equal(new["stem.weight"], old["stem.weight"])
    for n in range(3):
        for name, part in zip("qkv", old[f"blocks.{n}.qkv.weight"].chunk(3), strict=True):
            assert torch.equal(new[f"layers.{n}.{name}.weight"], part)
        assert torch.equal(new[f"layers.{n}.norm.bias"], old[f"blocks.{n}.norm.bias"])
    assert len(new) == 4 + 3 * 8


@pytest.mark.parametrize(
    ("style", "file", "line"),
    [
        ("rules", "rules.toml", 'migrate = "rules.toml"'),
        ("function", "old_files.py", 'migrate = "old_files:migrate"'),
    ],
)
def test_what_is_printed_is_registered_as_it_is(
    folder: Path, command: Command, style: str, file: str, line: str
) -> None:
    assert command("check").code == 1
    printed = command("migrate", "v1", "--style", style)
    assert printed.code == 0, printed.err
    (folder / file).write_text(printed.out)
    register(folder, line)
    assert command("update").code == 0
    report = command("check")
    assert report.code == 0, report.out
    assert "matches no key" not in report.out
    stored = json.loads((folder / "ckpt_snapshots/v1.json").read_text())["migrated"]
    assert stored["by"] == ["rules.toml" if style == "rules" else "old_files.migrate"]
    assert stored["origins"]["layers.2.k.bias"][1:] == ["blocks.2.qkv.bias"]
    printed = command("convert", "v1", "-o", "v2.pt")
    assert printed.code == 0, printed.err
    assert "register v2.pt without migrate: what" in printed.err
    old, new = torch.load("v1.pt"), torch.load("v2.pt")
    assert (new["epoch"], new["version"]) == (3, 1)
    require_right_values(new["model"], old["model"])
    assert command("diff", "v2.pt", "models:Net").code == 0
    edit(folder / "pyproject.toml", f'v1.pt"\nmodel = "models:Net"\n{line}', 'v2.pt"\nmodel = "models:Net"')
    assert command("update", "v1").code == 0
    assert "migrated" not in json.loads((folder / "ckpt_snapshots/v1.json").read_text())
    assert command("check").code == 0


def test_both_styles_record_the_same(folder: Path, command: Command) -> None:
    """So one may take the place of the other."""
    for style, file in (("rules", "rules.toml"), ("function", "old_files.py")):
        (folder / file).write_text(command("migrate", "v1", "--style", style).out)
    register(folder, 'migrate = "rules.toml"')
    assert command("update").code == 0
    first = json.loads((folder / "ckpt_snapshots/v1.json").read_text())["migrated"]
    edit(folder / "pyproject.toml", '"rules.toml"', '"old_files:migrate"')
    assert command("check").code == 0
    assert command("update").code == 0
    second = json.loads((folder / "ckpt_snapshots/v1.json").read_text())["migrated"]
    assert second["origins"] == first["origins"]


def test_the_next_one_comes_after_those_that_are_there(folder: Path, command: Command) -> None:
    (folder / "first.toml").write_text(command("migrate", "v1", "--style", "rules").out)
    register(folder, 'migrate = "first.toml"')
    assert command("update").code == 0
    edit(folder / "models.py", "self.layers", "self.stages")
    printed = command("migrate", "v1", "--style", "rules")
    assert printed.code == 0, printed.err
    assert "it comes after migration first.toml" in printed.err
    (folder / "second.toml").write_text(printed.out)
    edit(folder / "pyproject.toml", '"first.toml"', '["first.toml", "second.toml"]')
    report = command("check")
    assert (report.code, "CK404" in report.out) == (0, False), report.out
    printed = command("convert", "v1", "-o", "v2.safetensors")
    assert printed.code == 0, printed.err
    new, old = load_file("v2.safetensors"), torch.load("v1.pt")["model"]
    assert torch.equal(new["stages.1.norm.bias"], old["blocks.1.norm.bias"])


VERSIONS = """
def to_2(state_dict):
    return {key.replace("blocks.", "layers."): value for key, value in state_dict.items()}


def to_3(state_dict, model):
    assert "layers.0.q.weight" in dict(model.named_parameters())
    made = {}
    for key, value in state_dict.items():
        if ".qkv." in key:
            made |= {key.replace("qkv", name): part for name, part in zip("qkv", value.chunk(3))}
        else:
            made[key] = value
    return made
"""


@pytest.mark.parametrize("place", ["version", "meta.version"])
def test_by_version_the_new_file_has_the_version_that_it_came_to(
    folder: Path, command: Command, place: str
) -> None:
    """The same registration then fits both files."""
    (folder / "old_files.py").write_text(VERSIONS)
    if place == "meta.version":
        whole = torch.load("v1.pt")
        torch.save({"model": whole["model"], "meta": {"version": 1, "by": "me"}}, "v1.pt")
    register(folder, f'version = "{place}"\nmigrate = {{2 = "old_files:to_2", 3 = "old_files:to_3"}}')
    assert command("update").code == 0
    report = command("check")
    assert report.code == 0, report.out
    printed = command("convert", "v1", "-o", "v3.pt")
    assert printed.code == 0, printed.err
    assert f"its {place} is now 3" in printed.err
    old, new = torch.load("v1.pt"), torch.load("v3.pt")
    require_right_values(new["model"], old["model"])
    assert (new["version"] if place == "version" else new["meta"]) in (3, {"version": 3, "by": "me"})
    edit(folder / "pyproject.toml", '"v1.pt"', '"v3.pt"')
    edit(folder / "pyproject.toml", '"v1"', '"v3"')
    assert command("update").code == 0
    (folder / "v3.pt").unlink()  # the snapshot has the version
    report = command("check")
    assert report.code == 0, report.out
    assert "note: no migration is for a file of version 3" in report.out
    printed = command("convert", "v3", "-o", "v4.pt")
    assert printed.code == 2


def test_a_version_in_the_metadata_of_safetensors(folder: Path, command: Command) -> None:
    (folder / "old_files.py").write_text(VERSIONS)
    state = {key: value.contiguous() for key, value in Old().state_dict().items()}
    save_file(state, "v1.safetensors", metadata={"version": "1", "format": "pt"})
    edit(folder / "pyproject.toml", '"v1.pt"', '"v1.safetensors"')
    register(folder, 'version = "version"\nmigrate = {2 = "old_files:to_2", 3 = "old_files:to_3"}')
    printed = command("convert", "v1", "-o", "v3.safetensors")
    assert printed.code == 0, printed.err
    assert ckpt.read("v3.safetensors").values["version"] == "3"
    require_right_values(load_file("v3.safetensors"), state)


def test_a_prefix_is_stripped_first(folder: Path, command: Command) -> None:
    state = nn.DataParallel(Old()).state_dict()
    torch.save(state, "v1.pt")
    (folder / "old_files.py").write_text(
        VERSIONS
        + textwrap.dedent("""

        def both(state_dict, model):
            metadata = state_dict._metadata
            made = to_3(to_2(state_dict), model)
            made = type(state_dict)(made)
            made._metadata = metadata
            return made
    """)
    )
    register(folder, 'strip_prefix = "module."\nmigrate = "old_files:both"')
    printed = command("convert", "v1", "-o", "v2.pt")
    assert printed.code == 0, printed.err
    new = torch.load("v2.pt")
    require_right_values(new, {key.removeprefix("module."): value for key, value in state.items()})
    assert "blocks.0.norm" in new._metadata
    assert "module.blocks.0.norm" not in new._metadata


@pytest.mark.parametrize(
    ("line", "words", "told"),
    [
        ("", ("v1", "-o", "v2.pt"), "v1: is registered without a migration; give migrate= where it is"),
        ("", ("v9", "-o", "v2.pt"), "v9: is not the id of a registered checkpoint; known are v1; for a file"),
        ("", ("v1", "-o", "v2.pt", "--key", "model"), "--key: was given with an id"),
        ("", ("v1", "-o", "v2.pt", "--choose", "a=b"), "--choose: was given without --model"),
        ('migrate = "old_files:to_2"', ("v1", "-o", "v1.pt"), "v1.pt: is the checkpoint itself; choose"),
        ('migrate = "old_files:broken"', ("v1", "-o", "v2.pt"), "old_files.broken raised KeyError: 'x'"),
        ('migrate = "old_files:numbers"', ("v1", "-o", "v2.pt"), "old_files.numbers: gives the key 1; give"),
        ('migrate = "wrong.toml"', ("v1", "-o", "v2.pt"), "migration wrong.toml: does not fit v1.pt: "),
        (
            'migrate = {1 = "old_files:to_2"}\nversion = 1',
            ("v1", "-o", "v2.pt"),
            "v1: needs no migration: it",
        ),
        ('migrate = "absent.toml"', ("v1", "-o", "v2.pt"), "names absent.toml, which is not there"),
    ],
)
def test_what_is_refused(folder: Path, command: Command, line: str, words: Any, told: str) -> None:
    broken = "\n\ndef broken(state_dict):\n    raise KeyError('x')\n"
    broken += "\n\ndef numbers(state_dict):\n    return {1: 2}\n"
    (folder / "old_files.py").write_text(VERSIONS + broken)
    (folder / "wrong.toml").write_text(
        "ckpt_compat_rules = 1\n[[rename]]\nfrom = 'weight|bias'\nto = 'both'\n"
    )
    if line:
        register(folder, line)
    before = (folder / "v1.pt").read_bytes()
    printed = command("convert", *words)
    assert printed.code == 2
    assert told in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not (folder / "v2.pt").exists()
    assert (folder / "v1.pt").read_bytes() == before


def test_in_place(folder: Path, command: Command) -> None:
    (folder / "rules.toml").write_text(command("migrate", "v1", "--style", "rules").out)
    register(folder, 'migrate = "rules.toml"')
    old = torch.load("v1.pt")
    assert command("convert", "v1", "--in-place").code == 0
    require_right_values(torch.load("v1.pt")["model"], old["model"])
