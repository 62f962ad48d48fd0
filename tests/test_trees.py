"""The merge base's tree: what git has and nothing else, where nobody else can write, for one run."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._premerge import git as premerge_git
from pytest_ckpt_compat._premerge import trees
from tests.conftest import Printed
from tests.repository import commit, edit, git, make_project

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="owners, modes and links are POSIX's")

WIDER = ("nn.Linear(8, classes)", "nn.Linear(8, classes + 1)")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """A cache and a temporary folder of the test's own."""
    cache, temporary = tmp_path / "cache", tmp_path / "temporary"
    cache.mkdir(mode=0o700)
    temporary.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield cache, temporary
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def base(tmp_path: Path) -> premerge_git.Base:
    """A commit with a file, a script and links."""
    root = make_project(tmp_path / "project")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "up").symlink_to("../..")  # the tree's top
    (root / "a" / "b" / "good.py").symlink_to("../../models.py")
    (root / "out").symlink_to("a/b/up/..")  # as text within the tree, in truth above it
    (root / "passwd").symlink_to("/etc/passwd")
    (root / "above").symlink_to("../..")
    (root / "big.bin").write_bytes(b"\0" * 100)
    commit(root)
    return premerge_git.merge_base(root, "main")


def inside(folder: Path) -> list[Path]:
    """All that is in a folder of the cache or of temporary files."""
    return [path for path in folder.rglob("*") if path.name != "pytest-ckpt-compat"]


def test_what_git_has(
    base: premerge_git.Base, monkeypatch: pytest.MonkeyPatch, places: tuple[Path, Path]
) -> None:
    monkeypatch.setattr(trees, "LARGEST", 5_000)
    (base.root / "untracked.py").write_text("")
    edit(base.root / "models.py", *WIDER)
    tree = trees.extract(base)
    assert "classes + 1" not in (tree / "models.py").read_text()
    assert not (tree / "untracked.py").exists()
    assert (tree / "run.sh").stat().st_mode & 0o111
    assert not (tree / "models.py").stat().st_mode & 0o111
    assert (tree / "a" / "b" / "good.py").read_text() == (tree / "models.py").read_text()
    assert (tree / "a" / "b" / "up" / "models.py").exists()
    for name in ("out", "passwd", "above"):
        assert not os.path.lexists(tree / name), name
    top = tree.parent
    assert top.parent == places[0] / "pytest-ckpt-compat"
    assert stat.S_IMODE(top.stat().st_mode) == 0o700
    assert sorted(path.name for path in top.iterdir()) == ["pytest.ini", "tree"]
    again = trees.extract(base)
    assert again != tree
    trees.remove(tree)
    trees.remove(again)
    assert inside(places[0]) == []


def test_a_file_is_never_written_through_a_link(
    base: premerge_git.Base, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A made-up commit can have a link and a folder of one name."""
    target = tmp_path / "target"
    target.mkdir()

    def contents(*_: object) -> Iterator[tuple[str, bytes, str]]:
        yield "name", os.fsencode(target), premerge_git.LINK
        yield "name/file", b"text", "100644"
        yield "name/file", os.fsencode(target / "x"), premerge_git.LINK

    monkeypatch.setattr(premerge_git, "contents", contents)
    tree = trees.extract(base)
    assert (tree / "name" / "file").read_text() == "text"
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/up", "a//up", "./up"])
def test_names_that_leave_the_tree(name: str) -> None:
    assert not premerge_git._stays_inside(name)
    assert premerge_git._stays_inside("a/..b/c..")


def _foreign(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    folder.mkdir(mode=0o700)
    os.chown(folder, 12_345, 12_345)


def _linked(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)


def _open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def _in_an_open_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.parent.chmod(0o777)


def _a_file(folder: Path) -> None:
    folder.write_text("")


@pytest.mark.parametrize("prepare", [_foreign, _linked, _open_to_all, _in_an_open_folder, _a_file])
def test_a_cache_that_is_not_the_users_alone(
    base: premerge_git.Base, places: tuple[Path, Path], prepare: Callable[[Path], None]
) -> None:
    """It is not used: the temporary folder is, in which a new folder is made."""
    cache, temporary = places
    prepare(cache / "pytest-ckpt-compat")
    before = inside(cache)
    tree = trees.extract(base)
    assert tree.parent.parent == temporary
    assert inside(cache) == before
    trees.remove(tree)
    assert list(temporary.iterdir()) == []


def test_a_user_that_the_system_reports_otherwise(
    base: premerge_git.Base, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.remove(trees.extract(base))
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    tree = trees.extract(base)
    assert tree.parent.parent == places[1]
    trees.remove(tree)


@pytest.mark.parametrize("variable", ["relative", None])
def test_a_cache_that_is_not_set(
    base: premerge_git.Base, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    if variable is None:
        monkeypatch.delenv("XDG_CACHE_HOME")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
    tree = trees.extract(base)
    assert tree.parent.parent == home / ".cache" / "pytest-ckpt-compat"
    trees.remove(tree)


def test_leftovers(base: premerge_git.Base, places: tuple[Path, Path], tmp_path: Path) -> None:
    """Of runs that were killed; only what is old, by name, and the user's own."""
    folder = places[0] / "pytest-ckpt-compat"
    folder.mkdir(mode=0o700)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("")
    for name in ("old", "new", "foreign"):
        (folder / f"pytest-ckpt-compat-{name}" / "tree").mkdir(parents=True)
    (folder / "another").mkdir()
    (folder / "pytest-ckpt-compat-link").symlink_to(kept)
    if not os.geteuid():
        os.chown(folder / "pytest-ckpt-compat-foreign", 12_345, 12_345)
    ago = time.time() - 90_000
    for path in folder.iterdir():
        if not path.name.endswith("new") and (not os.geteuid() or not path.name.endswith("foreign")):
            os.utime(path, (ago, ago), follow_symlinks=False)
    trees.remove(trees.extract(base))
    left = {path.name.removeprefix("pytest-ckpt-compat-") for path in folder.iterdir()}
    assert left == {"new", "foreign", "another", "link"}
    assert (kept / "file").exists()


@pytest.mark.parametrize("when", ["folder", "file", "interrupt"])
def test_what_cannot_be_written(
    base: premerge_git.Base, places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise KeyboardInterrupt if when == "interrupt" else OSError(28, "No space left on device")

    if when == "folder":
        monkeypatch.setattr(tempfile, "mkdtemp", full)
    else:
        monkeypatch.setattr(Path, "write_bytes", full)
    wanted = KeyboardInterrupt if when == "interrupt" else BuildError
    with pytest.raises(wanted) as caught:
        trees.extract(base)
    if when != "interrupt":
        assert "cannot be written there (No space left on device); set TMPDIR" in str(caught.value)
    assert inside(places[0]) == []


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize("runner", ["command", "pytest"])
@pytest.mark.usefixtures("earlier_code")
def test_what_lies_there_is_neither_run_nor_believed(
    pytester: pytest.Pytester, command: Callable[..., Printed], places: tuple[Path, Path], runner: str
) -> None:
    """A folder where earlier versions looked, with other code in it; and settings above the tree."""
    root = make_project(pytester.path)
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    commit(root)
    git(root, "switch", "-q", "-c", "work")
    edit(root / "models.py", *WIDER)
    cache, temporary = places
    prepared = cache / "pytest-ckpt-compat" / git(root, "rev-parse", "main^{tree}")
    (prepared / "tree").mkdir(parents=True)
    (prepared / "answers").mkdir()
    (prepared / "answers" / f"{'0' * 64}.json").write_text('{"registered": true, "files": {}}')
    marker = cache / "was-run"
    ran = f"open({str(marker)!r}, 'w').close()\n"
    for name in ("models.py", "pyproject.toml", "net.pt"):
        (prepared / "tree" / name).write_bytes((root / name).read_bytes())
    (prepared / "tree" / "conftest.py").write_text(ran)
    for above in (cache, cache / "pytest-ckpt-compat", temporary):
        (above / "conftest.py").write_text(ran)
        (above / "evil.py").write_text(ran)
        (above / "pytest.ini").write_text("[pytest]\npythonpath = .\naddopts = -p evil\n")
    before = sorted(inside(cache))
    if runner == "command":
        printed = command("check", "--against", "main")
        assert (printed.code, "CK202 net-v1: head resized" in printed.out) == (1, True), printed.out
    else:
        pytester.runpytest_inprocess("--ckpt-against", "main").assert_outcomes(failed=1)
    assert not marker.exists()
    assert sorted(inside(cache)) == before, "nothing stays behind"
    assert sorted(path.name for path in temporary.iterdir()) == ["conftest.py", "evil.py", "pytest.ini"]


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
def test_settings_above_a_tree_without_any(tmp_path: Path, places: tuple[Path, Path]) -> None:
    """Pytest looks upwards for settings, and must not find those of a folder that others can write to."""
    from pytest_ckpt_compat._core.structure import Structure
    from pytest_ckpt_compat._premerge.process import Process
    from pytest_ckpt_compat._pytest_plugin.merge_base_worker import serve
    from pytest_ckpt_compat._snapshots.fingerprint import dumps

    root = tmp_path / "project"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    (root / "models.py").write_text("")
    commit(root)
    marker = tmp_path / "was-run"
    ran = f"open({str(marker)!r}, 'w').close()\n"
    (places[0] / "pytest-ckpt-compat").mkdir(mode=0o700)
    for above in (places[0], places[0] / "pytest-ckpt-compat"):
        (above / "conftest.py").write_text(ran)
        (above / "evil.py").write_text(ran)
        (above / "pytest.ini").write_text("[pytest]\npythonpath = .\naddopts = -p evil\n")
    tree = trees.extract(premerge_git.merge_base(root, "main"))
    process = Process(tree, "", ["."], serve)
    request = {"ids": ["x"], "name": "n", "file": "", "values": dumps(Structure({})), "questions": {}}
    try:
        assert process.ask(request | {"paths": ["."], "top": str(root)})["registered"] is False
    finally:
        process.close()
        trees.remove(tree)
    assert not marker.exists()
