"""Files of the project itself that are too large, or no files at all: refused at once, by one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._core import files
from pytest_ckpt_compat._core.errors import SnapshotError, UsageError
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._registry import project_file
from pytest_ckpt_compat._snapshots import accepted, fingerprint, lone_file, store
from tests.conftest import SETTINGS, Printed
from tests.counting import calls
from tests.repository import ENTRY, commit, git

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sparse files and pipes are POSIX's")

SNAPSHOT = "cannot be read: it has more than 67,108,864 bytes, the limit for reading it; "
OTHER = "cannot be read: it has more than 16,777,216 bytes, the limit for reading it; "


def sparse(path: Path, begins: bytes = b"{") -> Path:
    """Makes a file of a terabyte that takes no room."""
    path.write_bytes(begins)
    os.truncate(path, 1 << 40)
    return path


@pytest.fixture
def recorded(project: pytest.Pytester, command: Callable[..., Printed]) -> pytest.Pytester:
    """A project with a checkpoint that is recorded."""
    project.makepyfile("def test_other(): pass")
    (project.path / "pyproject.toml").write_text(SETTINGS)
    (project.path / "ckpt_compat.toml").write_text(ENTRY)
    assert command("update").code == 0
    return project


@pytest.mark.parametrize("name", ["net-v1.json", "definitions/models.Net.json", "accepted.toml"])
def test_a_terabyte(recorded: pytest.Pytester, command: Callable[..., Printed], name: str) -> None:
    path = sparse(recorded.path / "ckpt_snapshots" / name)
    printed = command("check")
    assert printed.code == 2
    line = next(line for line in printed.out.splitlines() if line.startswith("CK905 net-v1: "))
    assert f"{name}: {OTHER if name == 'accepted.toml' else SNAPSHOT}" in line
    recorded.runpytest_inprocess().stdout.fnmatch_lines(
        [f"CK905 net-v1: *{name}: cannot be read: it has more *"]
    )
    if name != "accepted.toml":
        assert SNAPSHOT in command("show", str(path)).err
        assert SNAPSHOT in command("diff", str(path), "net.pt").err


def test_settings_of_a_terabyte(recorded: pytest.Pytester, command: Callable[..., Printed]) -> None:
    sparse(recorded.path / "ckpt_compat.toml", b"#")
    printed = command("check")
    assert (printed.code, printed.err) == (
        2,
        f"ckpt-compat: collection: ckpt_compat.toml: {OTHER}check the file; run pytest to see it all\n",
    )
    assert recorded.runpytest_inprocess().ret == pytest.ExitCode.USAGE_ERROR


def test_a_pyproject_of_a_terabyte(tmp_path: Path) -> None:
    """Whether it has the table is not known, so it is refused as if it had."""
    sparse(tmp_path / "pyproject.toml", b"#")
    with pytest.raises(UsageError, match="more than 16,777,216 bytes"):
        project_file.read(tmp_path)


def test_no_regular_files(tmp_path: Path) -> None:
    """To open a pipe that nobody writes to would take for ever."""
    for name in ("net.json", accepted.FILE):
        os.mkfifo(tmp_path / name)
    with pytest.raises(SnapshotError, match=r"net\.json: cannot be read: it is no regular file"):
        store.load(tmp_path, "net.json")
    assert lone_file.read_file(tmp_path / "net.json") is None
    with pytest.raises(SnapshotError, match="cannot be read: it is no regular file"):
        accepted.load(tmp_path)
    os.mkfifo(tmp_path / "pyproject.toml")
    assert project_file.read(tmp_path) == project_file.Settings()


def test_a_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    small = os.stat_result((0o100644, *[0] * 9))
    monkeypatch.setattr(os, "stat", lambda _: small)
    assert files.read_bytes(path, 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        files.read_bytes(path, 4)


def test_a_snapshot_that_could_not_be_read_back_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SNAPSHOT_BYTES", 10)
    with pytest.raises(SnapshotError, match="cannot be written: it has more than 10 bytes"):
        store.save(tmp_path, "net.json", "x" * 11)
    assert list(tmp_path.iterdir()) == []


MANY = 300_000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '{"tensors": {' + ",".join(f'"k{n}": ""' for n in range(MANY)) + ', "k7": ""}}',
            "'k7' is in it twice",
        ),
        (
            '{"tensors": {' + ",".join(f'"k{n}": "int8[]"' for n in range(MANY)) + "}}",
            "more than 250,000 tensors",
        ),
        ('{"tensors": {}, "values": {"a": [' + "[]," * 3_000_001 + "0]}}", "more than 3,000,000 brackets"),
        ('{"tensors": {}, "values": {"a": [' + "0," * 6_000_001 + "0]}}", "more than 6,000,000 commas"),
        ("{" + '"":0' * 1_500_001, "more than 1,500,000 colons"),
        ('{"tensors": {"a": "int8[' + "1, " * 1_000_000 + '1]"}}', "'a' has too many dimensions"),
        (
            '{"tensors": {"a": "int8[]"}, "aliases": [' + '["a"],' * 100 + '["a"]]}',
            '"aliases" names a key twice',
        ),
        ("\n" * 5_000_000 + "<<<<<<< ours", "has conflict markers (line 5000001)"),
        ("[" * 100_000, "is not a fingerprint: "),
    ],
    ids=range(9),
)
def test_texts_that_would_take_long(text: str, problem: str) -> None:
    """The work is that of reading once, whatever is in it."""
    with calls() as made, pytest.raises(SnapshotError) as caught:
        fingerprint.loads(text, "net.json")
    assert problem in str(caught.value)
    assert made() < 10 * MANY


def test_the_largest_checkpoint_has_a_snapshot() -> None:
    """At the readers' limit on keys, of which this is a hundredth, with names and shapes as in use."""
    spec = TensorSpec("bfloat16", (4096, 4096, 3, 3))
    keys = (f"model.layers.100{n}.self_attn.q_proj.weight" for n in range(2_500))
    text = fingerprint.dumps(Structure(dict.fromkeys(keys, spec)))
    assert len(text) * 100 < files.SNAPSHOT_BYTES / 2
    assert all(sum(map(text.count, signs)) * 100 < most for signs, most in fingerprint._MOST.values())


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
def test_a_snapshot_of_the_merge_base(
    recorded: pytest.Pytester, command: Callable[..., Printed], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = recorded.path
    git(root, "init", "-q", "-b", "main")
    path = root / "ckpt_snapshots" / "definitions" / "models.Net.json"
    good = path.read_text()
    path.write_text(good.rstrip() + " " * 5_000)
    commit(root)
    git(root, "switch", "-q", "-c", "work")
    path.write_text(good)
    monkeypatch.setattr(files, "SNAPSHOT_BYTES", 5_000)
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    why = "ckpt_snapshots/definitions/models.Net.json cannot be read: it has more than 5,000 bytes, the limit"
    assert why in printed.out
