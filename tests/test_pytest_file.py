"""pytest's own settings, as commands find them that do not run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._cli import sides
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._registry import pytest_file
from tests.conftest import Printed
from tests.repository import ENTRY, commit, edit, git, make_project

Command = Callable[..., Printed]

INI = "[pytest]\nckpt_snapshot_dir = snaps/deep\n"
CFG = "[tool:pytest]\nckpt_snapshot_dir = snaps\n"
TOML = '[tool.pytest.ini_options]\nckpt_snapshot_dir = "snaps"\n'
OWN = '[tool.ckpt_compat]\nsnapshot_dir = "own"\n'


@pytest.mark.parametrize(
    "texts",
    [
        {"pytest.ini": INI},
        {"pytest.ini": "", "pyproject.toml": TOML},
        {".pytest.ini": INI, "setup.cfg": CFG},
        {"tox.ini": INI},
        {"tox.ini": "[tox]\n", "setup.cfg": CFG},
        {"setup.cfg": CFG},
        {"pyproject.toml": TOML + OWN},
        {"pyproject.toml": OWN},
        {"pyproject.toml": OWN, "tox.ini": INI},
        {"pyproject.toml": "[tool.other]\n", "a/setup.py": ""},
        {"a/pyproject.toml": TOML, "pytest.ini": INI},
        {"a/pyproject.toml": "[tool.other]\n", "pytest.ini": INI},
        {"setup.py": "", "a/setup.cfg": "[metadata]\n"},
        {"a/b/tox.ini": INI, "pyproject.toml": TOML},
        {},
    ],
)
def test_it_is_what_pytest_takes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, texts: dict[str, str]
) -> None:
    """In the folder from which a command is run, and that is two below the top."""
    folder = pytester.mkdir("a") / "b"
    folder.mkdir()
    for name, text in texts.items():
        (pytester.path / name).write_text(text)
    monkeypatch.chdir(folder)
    config = pytester.parseconfig()
    root = pytest_file.root_of(folder)
    assert root == config.rootpath
    own = "own" if OWN in texts.get("pyproject.toml", "") else "ckpt_snapshots"
    assert pytest_file.snapshot_dir(root) == (config.getini("ckpt_snapshot_dir") or own)


def test_a_file_that_is_not_valid_is_pytests_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "tox.ini").write_text("[pytest\n")
    (tmp_path / "setup.cfg").write_text(CFG)
    assert pytest_file.snapshot_dir(tmp_path) == "snaps"
    (tmp_path / "pyproject.toml").write_text("[tool.ckpt_compat\n")
    with pytest.raises(UsageError, match=r"pyproject\.toml: is not TOML"):
        pytest_file.snapshot_dir(tmp_path)


@pytest.mark.parametrize("folder", ["snaps", "snaps/deep"])
def test_show_finds_an_id_where_pytests_settings_have_it_and_from_below(
    project: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    entry = '[[tool.ckpt_compat.checkpoint]]\nid = "net-v1"\npath = "net.pt"\nmodel = "models:Net"\n'
    settings = f'[tool.pytest.ini_options]\npythonpath = ["."]\nckpt_snapshot_dir = "{folder}"\n'
    project.makepyprojecttoml(settings + entry)
    assert command("update").code == 0
    project.makeconftest("raise SystemExit('imported')")
    shown = command("show", "net-v1")
    assert (shown.code, shown.err) == (0, "")
    monkeypatch.chdir(project.mkdir("below"))
    assert len(sides.read("net-v1").tensors) == 6
    with pytest.raises(
        UsageError, match=rf"^net-v9: there is no such file, nor \.\./{folder}/net-v9\.json, its"
    ):
        sides.read("net-v9")


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_branch_that_renames_the_folder_of_pytests_settings(
    pytester: pytest.Pytester, command: Command
) -> None:
    """None of the snapshots was looked for, and a checkpoint that nobody loads any more went unseen."""
    second = ENTRY.replace("net-v1", "net-v2")
    folder = make_project(pytester.path, ENTRY + second)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\nckpt_snapshot_dir = before\n")
    assert command("update").code == 0
    commit(folder, "first")
    git(folder, "switch", "-q", "-c", "change")
    git(folder, "mv", "before", "after")
    edit(folder / "pytest.ini", "= before", "= after")
    edit(folder / "pyproject.toml", second, "")
    (folder / "after" / "net-v2.json").unlink()
    printed = command("check", "--against", "main")
    assert printed.code == 2, printed.out
    assert "CK901 net-v2: main " in printed.out
