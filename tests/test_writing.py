"""Files are written whole or not at all, by a name of their own, and never through a link."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._check import update
from pytest_ckpt_compat._snapshots import store
from pytest_ckpt_compat._snapshots.writing import write
from tests.conftest import SETTINGS, Printed, save
from tests.repository import ENTRY

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and modes are POSIX's")

ROUNDS = 200
SIZE = 20_000
WRITER = f"""
import sys
from pathlib import Path
from pytest_ckpt_compat._snapshots.writing import write
for _ in range({ROUNDS}):
    write(Path(sys.argv[1]), sys.argv[2] * {SIZE})
"""


def require_whole(path: Path) -> None:
    text = path.read_text()
    assert text in ("a" * SIZE, "b" * SIZE)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    package = str(Path(__file__).parent.parent)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), sign],
            env=os.environ | {"PYTHONPATH": package},
            stderr=subprocess.PIPE,
            text=True,
        )
        for sign in "ab"
    ]
    while any(each.poll() is None for each in writers):
        if path.exists():
            assert path.read_text() in ("a" * SIZE, "b" * SIZE), "a reader never sees a part"
    assert [(each.returncode, each.communicate()[1]) for each in writers] == [(0, "")] * 2
    require_whole(path)


def test_two_threads_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "net.json"
    failures: list[BaseException] = []

    def run(sign: str) -> None:
        try:
            for _ in range(ROUNDS):
                write(path, sign * SIZE)
        except BaseException as error:
            failures.append(error)

    mask = os.umask(0o022)
    os.umask(mask)
    threads = [threading.Thread(target=run, args=(sign,)) for sign in "ab"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    require_whole(path)
    after = os.umask(mask)
    assert after == mask, "it is the whole process's"


@posix
@pytest.mark.parametrize("name", [".net.json.tmp", "net.json"])
@pytest.mark.parametrize("there", [True, False])
def test_no_link_is_followed(tmp_path: Path, name: str, there: bool) -> None:
    victim = tmp_path / "victim"
    if there:
        victim.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).symlink_to(victim)
    write(folder / "net.json", "new")
    assert (folder / "net.json").read_text() == "new"
    assert not (folder / "net.json").is_symlink()
    assert victim.exists() is there
    if there:
        assert victim.read_text() == "precious"


@posix
def test_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    before = os.umask(0o027)
    try:
        write(path, "old")
        assert path.stat().st_mode & 0o777 == 0o640, "those of any new file"
        for mode in (0o600, 0o664, 0o755):
            path.chmod(mode)
            write(path, "new")
            assert path.stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_nothing_is_left_of_a_write_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    store.save(tmp_path, "net.json", "old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - of each kind
        store.save(tmp_path, "net.json", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"net.json": "old"}


def test_a_text_that_is_no_text_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "net.json", "\ud800")
    assert list(tmp_path.iterdir()) == []


@posix
def test_a_planted_link_at_an_update(project: pytest.Pytester, command: Callable[..., Printed]) -> None:
    (project.path / "pyproject.toml").write_text(SETTINGS + ENTRY)
    folder, victim = project.path / "ckpt_snapshots", project.path / "victim"
    folder.mkdir()
    victim.write_text("precious")
    (folder / ".net-v1.json.tmp").symlink_to(victim)
    (folder / "accepted.toml").symlink_to(project.path / "nothing")
    (folder / "accepted.toml").unlink()
    assert command("update").code == 0
    save(project.path / "net.pt", classes=5)
    (folder / "net-v1.json").unlink()
    (folder / "net-v1.json").symlink_to(victim)
    command("update", "net-v1")
    assert victim.read_text() == "precious"
    assert not (folder / "net-v1.json").is_symlink()


@pytest.mark.parametrize("runner", ["command", "pytest"])
def test_an_update_that_changes_nothing(
    project: pytest.Pytester, command: Callable[..., Printed], runner: str
) -> None:
    (project.path / "pyproject.toml").write_text(SETTINGS + ENTRY)
    assert command("update").code == 0
    before = {path: path.stat().st_mtime_ns for path in (project.path / "ckpt_snapshots").rglob("*")}
    if runner == "command":
        for argv in (["update"], ["update", "net-v1"]):
            assert command(*argv) == Printed(0, "every snapshot is up to date\n", "")
    else:
        for argv in (["--ckpt-update"], ["--ckpt-update", "--ckpt-rewrite", "net-v1"]):
            project.runpytest_inprocess(*argv).stdout.fnmatch_lines(["every snapshot is up to date"])
    assert {path: path.stat().st_mtime_ns for path in (project.path / "ckpt_snapshots").rglob("*")} == before


def test_another_process_was_quicker(tmp_path: Path) -> None:
    text = '{"tensors": {"a": "float32[2]"}}'
    assert update.write(tmp_path, "net.json", text) != []
    before = (tmp_path / "net.json").stat().st_mtime_ns
    assert update.write(tmp_path, "net.json", text) == []
    assert (tmp_path / "net.json").stat().st_mtime_ns == before


REGISTERED = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"
"""


@pytest.fixture
def registered(project: pytest.Pytester) -> pytest.Pytester:
    file = project.path / "pyproject.toml"
    file.write_text(file.read_text() + REGISTERED)
    return project


def test_one_snapshot_that_cannot_be_written(
    registered: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    folder = registered.path / "ckpt_snapshots"
    folder.mkdir()
    (folder / "definitions").write_text("no folder")
    done = command("update")
    assert done.code == 2
    assert "recorded  ckpt_snapshots/net-v1.json: 6 tensors" in done.out
    assert "models.Net.json: cannot be written (" in done.out
    assert (folder / "net-v1.json").exists()


@pytest.mark.parametrize("number", [2, 5])
def test_many_snapshots_that_cannot_be_written(
    registered: pytest.Pytester,
    command: Callable[..., Printed],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """On a full disk, all of them fail alike."""
    entry = '[[tool.ckpt_compat.checkpoint]]\npath = "net.pt"\nmodel = "models:Net"\nid = "more-{}"\n'
    file = registered.path / "pyproject.toml"
    file.write_text(file.read_text() + "".join(map(entry.format, range(number - 2))))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    done = command("update")
    assert done.code == 2
    failed = [line for line in done.out.splitlines() if line.startswith("failed ")]
    assert len(failed) == (number if number < 4 else 1)
    assert ("definitions/models.Net.json and 4 more: cannot" in failed[0]) is (number == 5)


def test_a_snapshot_that_cannot_be_removed(registered: pytest.Pytester) -> None:
    registered.runpytest_inprocess("--ckpt-update")
    (registered.path / "ckpt_snapshots" / "old.json").mkdir()
    result = registered.runpytest_inprocess("--ckpt-prune")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["failed *old.json: cannot be removed (*); check the folder"])
    assert "please report" not in result.stdout.str()


@pytest.mark.parametrize("classes", [4, 5])
def test_a_report_that_cannot_be_written(
    registered: pytest.Pytester, command: Callable[..., Printed], classes: int
) -> None:
    registered.runpytest_inprocess("--ckpt-update")
    models = registered.path / "models.py"
    models.write_text(models.read_text().replace("classes=4", f"classes={classes}"))
    shutil.rmtree(registered.path / "__pycache__", ignore_errors=True)  # of the same second and size
    done = command("check", "--report", "net.pt/report.json")
    assert done.code == (2 if classes == 4 else 1)
    assert "compared  1 checkpoint, 6 tensors" in done.out
    assert "report.json: cannot be written (" in done.out


def test_each_report_that_cannot_be_written_is_named(
    registered: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    registered.runpytest_inprocess("--ckpt-update")
    done = command("check", "--report", "net.pt/a.json", "--report", "net.pt/b.md", "--report", "c.json")
    assert done.code == 2
    assert "net.pt/a.json, net.pt/b.md: cannot be written (" in done.out
    assert (registered.path / "c.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [["show", "net.pt"], ["check"]])
def test_output_that_cannot_be_written(
    registered: pytest.Pytester, warm_python: str, words: list[str]
) -> None:
    registered.runpytest_inprocess("--ckpt-update")
    command = [warm_python, "-m", "pytest_ckpt_compat", *words]
    with open("/dev/full", "w") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "the output cannot be written (No space left on device)" in done.stderr
    assert "bug" not in done.stderr


def test_output_that_was_closed(registered: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_ckpt_compat._cli.main import main

    registered.runpytest_inprocess("--ckpt-update")
    monkeypatch.chdir(registered.path)
    monkeypatch.setattr("sys.stdout", None)
    assert main(["check"]) == 0
