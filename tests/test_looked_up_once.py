"""What a process has looked up and what does not change is not looked up again."""

from __future__ import annotations

import os
import sys
import sysconfig
import types
from pathlib import Path

import pytest
from torch import nn

from pytest_ckpt_compat import define
from pytest_ckpt_compat._definition.importable import homes_of
from pytest_ckpt_compat._definition.names import installed
from pytest_ckpt_compat._premerge import git as premerge_git
from pytest_ckpt_compat._premerge.own_code import outside
from tests.counting import calls
from tests.repository import commit, git


def test_no_name_is_looked_for_in_no_module() -> None:
    with calls() as counted:
        assert homes_of([]) == {}
        made = counted()
    assert made < 10


def test_where_things_are_installed_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    read = sysconfig.get_path

    def noted(name: str) -> str:
        asked.append(name)
        return read(name)

    monkeypatch.setattr(sysconfig, "get_path", noted)
    installed.cache_clear()
    try:
        for _ in range(2):
            define(nn.Linear, {"in_features": 2, "out_features": 2})
        homes_of([("torch.nn", "Linear")])
        assert sorted(asked) == ["platlib", "platstdlib", "purelib", "stdlib"]
    finally:
        installed.cache_clear()


def test_a_file_of_a_commit_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "a.json").write_text("{}")
    commit(tmp_path)
    base = premerge_git.base_of(tmp_path, "main", tmp_path)
    assert premerge_git.read(base, tmp_path / "a.json", 10) == "{}"
    monkeypatch.setenv("PATH", "")
    assert premerge_git.read(base, tmp_path / "a.json", 10) == "{}"
    with pytest.raises(ValueError, match="more than 1 bytes"):
        premerge_git.read(base, tmp_path / "a.json", 1)


def test_modules_are_where_their_links_lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    for name in ("one.py", "two.py"):
        (tmp_path / "real" / name).touch()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "other.py").symlink_to(tmp_path / "folder" / "two.py")
    for name, file in (("linked_one", "folder/one.py"), ("linked_two", "other.py")):
        module = types.ModuleType(name)
        module.__file__ = str(tmp_path / file)
        monkeypatch.setitem(sys.modules, name, module)
    real = os.path.realpath(tmp_path / "real")
    expected = {"linked_one": os.path.join(real, "one.py"), "linked_two": os.path.join(real, "two.py")}
    for _ in range(2):
        found = dict(outside(str(tmp_path / "tree")))
        assert {name: found[name] for name in expected} == expected


def test_git_is_not_asked_for_what_the_work_tree_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    texts = {
        "same.json": "{\n}\n",
        "other.json": "[1]",
        "gone.json": "[2]",
        "empty.json": "",
        "link.json": "at",
    }
    for name, text in texts.items():
        if name == "link.json":
            (tmp_path / name).symlink_to(text)
        else:
            (tmp_path / name).write_text(text)
    commit(tmp_path)
    (tmp_path / "other.json").write_text("[3]")
    (tmp_path / "gone.json").unlink()
    (tmp_path / "link.json").unlink()
    (tmp_path / "link.json").write_text("at")
    base = premerge_git.base_of(tmp_path, "main", tmp_path)
    asked: list[str] = []
    shown = premerge_git._shown

    def noted(of: premerge_git.Base, path: str) -> bytes:
        asked.append(path)
        return shown(of, path)

    monkeypatch.setattr(premerge_git, "_shown", noted)
    assert {name: premerge_git.read(base, tmp_path / name, 10) for name in texts} == texts
    assert asked == ["other.json", "gone.json", "link.json"]
