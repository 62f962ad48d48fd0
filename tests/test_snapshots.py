"""Snapshots: recorded on demand, never otherwise, by one process, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._snapshots import fingerprint, store
from tests.conftest import Filled, Printed, save

TEST = """
import pytest
from models import Net

@pytest.mark.checkpoint("net.pt", model=Net)
def test_net():
    pass
"""


def stored(project: pytest.Pytester) -> dict[str, str]:
    """Every file in the snapshot folder and its text."""
    folder = project.path / "ckpt_snapshots"
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def recorded(project: pytest.Pytester, filled: Filled) -> None:
    """The test is there, and its snapshots are recorded."""

    def fill() -> None:
        project.makepyfile(TEST)
        project.runpytest_inprocess("--ckpt-update")

    filled("recorded with a test", fill)


def change_model(project: pytest.Pytester, old: str, new: str) -> None:
    """Edits the definition as a developer would."""
    path = project.path / "models.py"
    text, before = path.read_text(), path.stat().st_mtime
    assert old in text
    path.write_text(text.replace(old, new))
    later = (
        max(before, path.stat().st_mtime) + 5
    )  # bytecode of the same second and size would be taken for this
    os.utime(path, (later, later))


def test_nothing_is_written_without_the_flag_and_the_command_is_named(project: pytest.Pytester) -> None:
    project.makepyfile(TEST)
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "CK901 net.pt: loads, no snapshot of net.pt or of models.Net* has been recorded; "
            "run ckpt-compat update"
        ]
    )
    assert stored(project) == {}


def test_the_update_says_what_it_did_and_is_idle_the_second_time(project: pytest.Pytester) -> None:
    project.makepyfile(TEST)
    first = project.runpytest_inprocess("--ckpt-update")
    first.assert_outcomes(passed=1)
    first.stdout.fnmatch_lines(
        [
            "recorded  ckpt_snapshots/definitions/models.Net.json: 6 tensors",
            "recorded  ckpt_snapshots/net.pt.json: 6 tensors",
        ]
    )
    before = stored(project)
    project.runpytest_inprocess("--ckpt-update").stdout.fnmatch_lines(["every snapshot is up to date"])
    assert stored(project) == before
    assert set(before) == {"definitions/models.Net.json", "net.pt.json"}
    project.runpytest_inprocess().assert_outcomes(passed=1)


def test_the_folder_is_a_setting(project: pytest.Pytester) -> None:
    project.makepyfile(TEST)
    folder = ("-o", "ckpt_snapshot_dir=tests/prints")
    recorded = project.runpytest_inprocess("--ckpt-update", *folder)
    assert (project.path / "tests" / "prints" / "net.pt.json").exists()
    recorded.stdout.fnmatch_lines(["recorded  tests/prints/net.pt.json: 6 tensors"])
    save(project.path / "net.pt", classes=9)
    result = project.runpytest_inprocess(*folder)
    result.stdout.fnmatch_lines(["CK902 net.pt: net.pt differs from its snapshot tests/prints/net.pt.json *"])


@pytest.mark.usefixtures("recorded")
def test_a_changed_file_is_stale_until_it_is_recorded(project: pytest.Pytester) -> None:
    save(project.path / "net.pt", classes=9)
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["CK902 net.pt: net.pt differs from its snapshot ckpt_snapshots/net.pt.json (keys: 2 *"]
    )


@pytest.mark.usefixtures("recorded")
def test_a_frozen_snapshot_is_recorded_anew_only_by_name(project: pytest.Pytester) -> None:
    save(project.path / "net.pt", classes=9)
    before = stored(project)
    result = project.runpytest_inprocess("--ckpt-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["CK902 net.pt: *", "  record: ckpt-compat update net.pt", "no snapshot was written"]
    )
    assert stored(project)["net.pt.json"] == before["net.pt.json"]
    update = project.runpytest_inprocess("--ckpt-update", "--ckpt-rewrite", "net.pt")
    update.stdout.fnmatch_lines(
        [
            "updated   ckpt_snapshots/net.pt.json: keys: 2 changed",
            "  ! head.weight   float32[[]4, 8] -> float32[[]9, 8]   outputs 4 -> 9",
        ]
    )
    assert stored(project)["net.pt.json"] != before["net.pt.json"]


def test_an_update_of_a_checkpoint_that_is_not_there(project: pytest.Pytester) -> None:
    project.makepyfile(TEST)
    result = project.runpytest_inprocess("--ckpt-update", "--ckpt-rewrite", "nte.pt")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(
        ["failed    nte.pt: is not a registered checkpoint; nothing was written; known *"]
    )


@pytest.mark.usefixtures("recorded")
def test_a_model_change_never_rewrites_a_checkpoints_snapshot(project: pytest.Pytester) -> None:
    change_model(project, "classes=4", "classes=5")
    before = stored(project)
    result = project.runpytest_inprocess("--ckpt-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "updated   ckpt_snapshots/definitions/models.Net.json: keys: 2 changed",
            "  ! head.weight   float32[[]4, 8] -> float32[[]5, 8]   outputs 4 -> 5",
        ]
    )
    assert stored(project)["net.pt.json"] == before["net.pt.json"]


@pytest.mark.usefixtures("recorded")
def test_an_absent_file_is_checked_from_its_snapshot(project: pytest.Pytester) -> None:
    (project.path / "net.pt").unlink()
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["net.pt: net.pt is absent: checked from its snapshot ckpt_snapshots/net.pt.json"]
    )
    change_model(project, "classes=4", "classes=5")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK202 net.pt: head resized"])


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda text: "<<<<<<< ours\n" + text, "has conflict markers (line 1)"),
        (lambda text: text.replace("{", '{"aliases": [["a", "b"]],', 1), 'is not a fingerprint: "aliases" *'),
        (lambda text: text.replace('"version": 1', '"version": 2'), "is of version 2, newer than 1"),
        (lambda text: text[:50], "is not a fingerprint: *"),
        (lambda text: "[]", "is not a fingerprint: it is not a JSON object"),
        (lambda text: '{"a": 1, "a": 2}', "is not a fingerprint: 'a' is in it twice"),
        (lambda text: "{}", 'is not a fingerprint: it has no "tensors"'),
        (lambda text: '{"tensors": {"a": 3}}', "is not a fingerprint: *"),
        (lambda text: "\udcff", "*"),
    ],
)
@pytest.mark.parametrize("which", ["net.pt.json", "definitions/models.Net.json"])
def test_a_snapshot_that_cannot_be_used(
    project: pytest.Pytester, spoil: object, complaint: str, which: str
) -> None:
    assert callable(spoil)
    path = project.path / "ckpt_snapshots" / which
    path.write_bytes(spoil(path.read_text()).encode("utf-8", "surrogateescape"))
    before = stored_bytes(project)
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"CK905 net.pt: *{which}: {complaint}*; *"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert stored_bytes(project) == before
    named = ["--ckpt-rewrite", "net.pt"] if which == "net.pt.json" else []
    project.runpytest_inprocess("--ckpt-update", *named).assert_outcomes(passed=1)
    project.runpytest_inprocess().assert_outcomes(passed=1)


def stored_bytes(project: pytest.Pytester) -> dict[Path, bytes]:
    """As ``stored``, whatever is in the files."""
    return {p: p.read_bytes() for p in (project.path / "ckpt_snapshots").rglob("*") if p.is_file()}


@pytest.mark.usefixtures("recorded")
def test_a_definition_that_changed_harmlessly_is_a_warning(project: pytest.Pytester) -> None:
    change_model(project, "self.head = nn.Linear(8, classes)", "self.head = nn.Linear(8, classes).half()")
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["CK907 net.pt: loads, *the definition differs from its snapshot*"])
    project.runpytest_inprocess("--ckpt-update").stdout.fnmatch_lines(
        ["updated   ckpt_snapshots/definitions/models.Net.json: keys: 2 changed"]
    )
    project.runpytest_inprocess().stdout.no_fnmatch_line("*CK907*")


def test_dropping_a_layer_that_no_checkpoint_has_yet_still_shows(project: pytest.Pytester) -> None:
    """The checkpoint loads without the layer; what main trained meanwhile would not."""
    change_model(project, "extra=False", "extra=True")
    project.makepyfile(TEST.replace("model=Net", "model=Net, strict=False"))
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    change_model(project, "extra=True", "extra=False")
    project.makepyfile(TEST)
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "CK102 models.Net: 1 of 7 tensors unexpected",
            "*/definitions/models.Net.json (the definition as recorded) -> models.Net (models.py:*)",
            "*- scale*",
        ]
    )


def test_two_ways_to_build_a_definition_are_two_snapshots(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from models import Net

        @pytest.mark.checkpoint("net.pt", model=Net, kwargs={"classes": 4}, id="a")
        @pytest.mark.checkpoint("net.pt", model=lambda: Net(), id="b")
        def test_net():
            pass
        """
    )
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=2)
    assert set(stored(project)) == {
        "a.json",
        "b.json",
        "definitions/models.Net(classes=4).json",
        "definitions/b.json",
    }


def test_unused_snapshots_are_listed_and_pruned_only_after_a_complete_run(project: pytest.Pytester) -> None:
    project.makepyfile(TEST + TEST.replace("net.pt", "other.pt").replace("test_net", "test_other"))
    save(project.path / "other.pt")
    project.runpytest_inprocess("--ckpt-update")
    project.makepyfile(TEST)
    unused = (
        "unused    ckpt_snapshots/other.pt.json: no test uses it; "
        'remove it with ckpt-compat retire other.pt --reason "...", '
        "or by pytest --ckpt-prune if no commit that you compare with has it"
    )
    name = "test_unused_snapshots_are_listed_and_pruned_only_after_a_complete_run.py"
    for selection in (["-k", "net"], ["-m", "not slow"], [name], ["--deselect", "x"], ["--co"]):
        result = project.runpytest_inprocess("--ckpt-prune", *selection)
        result.stdout.no_fnmatch_line("removed*")
        project.runpytest_inprocess(*selection).stdout.no_fnmatch_line("unused*")
    project.runpytest_inprocess().stdout.fnmatch_lines([unused])
    assert "other.pt.json" in stored(project)
    result = project.runpytest_inprocess("--ckpt-prune", "-m", "checkpoint")
    result.stdout.fnmatch_lines(["removed   ckpt_snapshots/other.pt.json: no test uses it"])
    assert set(stored(project)) == {"net.pt.json", "definitions/models.Net.json"}


@pytest.mark.parametrize("options", [["{}"], ["--rootdir={}", "--confcutdir={}", "{}"]])
def test_a_run_below_a_link_covers_the_whole_project(project: pytest.Pytester, options: list[str]) -> None:
    project.makepyfile(TEST)
    project.runpytest_inprocess("--ckpt-update")
    shutil.copy(project.path / "ckpt_snapshots/net.pt.json", project.path / "ckpt_snapshots/old.json")
    link = project.path.with_name(f"{project.path.name}-link")
    link.symlink_to(project.path)
    result = project.runpytest_subprocess(*(each.format(link) for each in options), "--ckpt-prune")
    result.stdout.fnmatch_lines(["removed *old.json: no test uses it"])
    assert "net.pt.json" in stored(project)


@pytest.mark.parametrize(
    "option", ["--noconftest", "--confcutdir=below", "--setup-plan", "--setup-only", "--collect-only"]
)
@pytest.mark.parametrize("writes", ["--ckpt-prune", "--ckpt-update"])
def test_a_run_without_conftest_or_without_tests_removes_nothing(
    project: pytest.Pytester, option: str, writes: str
) -> None:
    project.makeconftest(
        "def pytest_ckpt_compat_checkpoints(config):\n"
        "    return [{'path': 'net.pt', 'id': 'net', 'model': 'models:Net'}]\n"
    )
    project.mkdir("below")
    project.runpytest_inprocess("--ckpt-update")
    project.makepyfile(TEST.replace("net.pt", "other.pt"))
    save(project.path / "other.pt")
    shutil.copy(project.path / "ckpt_snapshots/net.json", project.path / "ckpt_snapshots/old.json")
    before = stored(project)
    assert "net.json" in before
    result = project.runpytest_inprocess(option, writes)
    result.stdout.no_fnmatch_line("removed*")
    result.stdout.no_fnmatch_line("unused*")
    assert set(stored(project)) >= set(before)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("trouble", ["import", "unfindable", "stopped", "skipped", "module"])
def test_prune_keeps_what_it_cannot_tell_about(project: pytest.Pytester, trouble: str) -> None:
    bodies = {
        "import": "import nothing_of_that_name",
        "unfindable": TEST.replace("model=Net", "model='models:Gone'"),
        "stopped": "def test_a(): assert False\n" + TEST,
        "module": "import pytest\npytest.importorskip('nothing_of_that_name')\n" + TEST,
        "skipped": TEST.replace("@pytest", "@pytest.mark.skip(reason='x')\n@pytest", 1),
    }
    project.makepyfile(bodies[trouble])
    before = stored(project)
    project.runpytest_inprocess("--ckpt-prune", *(["-x"] if trouble == "stopped" else []))
    assert stored(project) == before


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize("workers", ["-n2", "-n0"])
def test_one_process_writes_under_xdist(project: pytest.Pytester, workers: str) -> None:
    for name in "abcd":
        save(project.path / "runs" / f"{name}.pt")
    project.makepyfile(TEST.replace("net.pt", "runs/*.pt"))
    result = project.runpytest_subprocess("--ckpt-update", workers)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [f"recorded  ckpt_snapshots/runs/{name}.pt.json: 6 tensors" for name in "abcd"]
    )
    assert len(stored(project)) == 5
    (project.path / "runs" / "d.pt").unlink()
    (project.path / "ckpt_snapshots" / "left.json").write_text(
        (project.path / "ckpt_snapshots/runs/a.pt.json").read_text()
    )
    result = project.runpytest_subprocess("--ckpt-prune", workers)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["removed   ckpt_snapshots/left.json: no test uses it"])
    assert "runs/d.pt.json" in stored(project), "the only record of a file that is not here"


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
def test_a_killed_worker_loses_no_snapshot(project: pytest.Pytester) -> None:
    for name in "ab":
        save(project.path / "runs" / f"{name}.pt")
    project.makepyfile(TEST.replace("net.pt", "runs/*.pt"))
    project.runpytest_subprocess("--ckpt-update")
    project.makepyfile(
        TEST.replace("net.pt", "runs/*.pt").replace(
            "    pass", "    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)"
        )
    )
    before = stored(project)
    result = project.runpytest_subprocess("--ckpt-update", "--ckpt-prune", "-n2", "--max-worker-restart=0")
    assert result.ret != 0
    assert stored(project) == before


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(tmp_path, "net.json", "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(SnapshotError, match=r"net\.json: cannot be written \(No space left on device\)"):
        store.save(tmp_path, "net.json", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"net.json": "old"}


def test_a_fingerprint_is_one_line_a_tensor_and_plain_ascii() -> None:
    structure = fingerprint.loads('{"tensors": {"a.\\u202eb": "float32[2, 3]", "c\\ud800": "int64[]"}}', "x")
    text = fingerprint.dumps(structure)
    assert text.isascii()
    assert '\n    "a.\\u202eb": "float32[2, 3]",\n    "c\\ud800": "int64[]"\n' in text
    assert fingerprint.loads(text, "x") == structure
    assert json.loads(text)["format"] == "ckpt-compat fingerprint"


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def test_a_git_lfs_pointer_is_checked_from_its_snapshot(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    project.makepyfile(TEST.replace("def test_net():", "def test_net(ckpt_compat):").replace("pass", LOAD))
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    (project.path / "net.pt").write_text(POINTER)
    result = project.runpytest_inprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["*it is a Git LFS pointer, * run: git lfs pull: there are no weights to load"]
    )
    done = command("check", "--report", "r.json")
    assert (done.code, done.out.splitlines()[0]) == (0, "OK net.pt: 6 tensors load")
    [note] = json.loads((project.path / "r.json").read_text())["checkpoints"][0]["notes"]
    assert note.startswith(
        "net.pt cannot be read here (it is a Git LFS pointer, not the file itself): checked"
    )
    assert command("update").code == 0
    named = command("update", "net.pt")
    assert named.code == 2
    assert "CK905 net.pt: " in named.out
    assert "git lfs pull" in named.out
    change_model(project, "classes=4", "classes=5")
    assert command("check").code == 1
    (project.path / "ckpt_snapshots" / "net.pt.json").unlink()
    assert command("check").code == 2


LOAD = "ckpt_compat.load()"


@pytest.mark.usefixtures("recorded")
def test_an_absent_checkpoint_cannot_be_recorded_anew(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    (project.path / "net.pt").unlink()
    assert command("update").code == 0
    done = command("update", "net.pt")
    assert done.code == 2
    assert "CK901 net.pt: net.pt: is absent, so it cannot be recorded anew; fetch the file first" in done.out


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("net.pt.json", "ckpt-compat update net.pt"),
        ("definitions/models.Net.json", "ckpt-compat update"),
        ("accepted.toml", ""),
    ],
)
@pytest.mark.parametrize("breaks", [False, True])
def test_a_file_that_cannot_be_used_costs_no_verdict(
    project: pytest.Pytester, command: Callable[..., Printed], name: str, again: str, breaks: bool
) -> None:
    """And the command that it names records it again."""
    (project.path / "ckpt_snapshots" / name).write_text("{")
    if breaks:
        change_model(project, "nn.Linear(8, classes)", "nn.Linear(8, classes + 1)")
    done = command("check")
    assert done.code == (1 if breaks else 2)
    assert "restore it from git" in done.out
    assert ("CK202" in done.out) is breaks
    if again:
        assert f"record it again: {again}" in done.out
        assert command(*again.split()[1:]).code == (1 if breaks else 0)
        assert "restore it" not in command("check").out
