"""Against a git reference: what this branch breaks fails, what was broken before is listed."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from tests.conftest import Filled, Printed, save
from tests.repository import ENTRY, commit, edit, git, make_branch, make_project

Command = Callable[..., Printed]

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("earlier_code")]


@pytest.fixture
def branch(pytester: pytest.Pytester, filled: Filled) -> pytest.Pytester:
    """A branch that left ``main``, where all is recorded."""
    filled("branch", lambda: make_branch(pytester))
    return pytester


def test_nothing_changed(branch: pytest.Pytester, command: Command) -> None:
    printed = command("check", "--against", "main")
    short = git(branch.path, "rev-parse", "main")[:8]
    assert (printed.code, printed.err) == (0, "")
    assert printed.out.splitlines() == [
        "OK net-v1: 6 tensors load",
        f"compared  1 checkpoint, 6 tensors, with main (merge base {short})",
    ]
    result = branch.runpytest_inprocess("--ckpt-against", "main")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"compared  1 checkpoint, 6 tensors, with main (merge base {short})"])


def test_a_break_of_this_branch_fails(branch: pytest.Pytester, command: Command) -> None:
    edit(branch.path / "models.py", "classes=4", "classes=5")
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert printed.out.startswith("breaks introduced here: 1\n\nCK202 net-v1: head resized\n")
    assert "already" not in printed.out
    branch.runpytest_inprocess("--ckpt-against", "main").assert_outcomes(failed=1)


def test_a_break_that_main_has_is_listed(branch: pytest.Pytester, command: Command) -> None:
    edit(branch.path / "models.py", "classes=4", "classes=5")
    branch.runpytest_inprocess("--ckpt-update", "-q")
    commit(branch.path)
    git(branch.path, "switch", "-q", "main")
    git(branch.path, "merge", "-q", "work")
    git(branch.path, "switch", "-q", "-c", "next")
    printed = command("check", "--against", "main")
    assert printed.code == 0
    assert printed.out.startswith(
        "breaks already on main: 1\n\nCK202 net-v1: already on main, head resized\n"
    )
    result = branch.runpytest_inprocess("--ckpt-against", "main")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["CK202 net-v1: already on main, head resized", "*already on main*"])
    edit(branch.path / "models.py", "extra=False", "extra=True")
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert "= head.weight" in printed.out
    assert "+ scale" in printed.out


def test_a_layer_that_only_main_has_trained(branch: pytest.Pytester, command: Command) -> None:
    """Main gains a layer, which no released checkpoint has; a branch drops it and records that."""
    git(branch.path, "switch", "-q", "main")
    edit(branch.path / "models.py", "extra=False", "extra=True")
    edit(branch.path / "pyproject.toml", 'model = "models:Net"', 'model = "models:Net"\nstrict = false')
    branch.runpytest_inprocess("--ckpt-update", "-q")
    commit(branch.path)
    git(branch.path, "switch", "-q", "-c", "drop")
    edit(branch.path / "models.py", "extra=True", "extra=False")
    edit(branch.path / "pyproject.toml", "strict = false", "strict = true")
    assert command("check").code == 1
    branch.runpytest_inprocess("--ckpt-update", "-q")
    assert command("check").code == 0
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert "CK102 models.Net: 1 of 7 tensors unexpected" in printed.out
    assert "models.Net as main (merge base " in printed.out
    line = next(line for line in printed.out.splitlines() if "ckpt-compat accept" in line)
    words = shlex.split(line.partition("ckpt-compat ")[2])
    assert words[-4:] == ["--reason", "...", "--against", "main"]
    accepted = command(*(word.replace("...", "never released") for word in words))
    assert accepted.code == 0, accepted.err
    assert command("check", "--against", "main").code == 0


def test_a_definition_that_changed_must_be_recorded(branch: pytest.Pytester, command: Command) -> None:
    edit(branch.path / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes).half()")
    assert command("check").code == 0
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert printed.out.splitlines()[2].startswith("CK907 net-v1: the definition differs from its snapshot")
    branch.runpytest_inprocess("--ckpt-update", "-q")
    assert command("check", "--against", "main").code == 0


def test_without_a_snapshot_the_old_definition_is_built(branch: pytest.Pytester, command: Command) -> None:
    git(branch.path, "switch", "-q", "main")
    shutil.rmtree(branch.path / "ckpt_snapshots" / "definitions")
    commit(branch.path)
    git(branch.path, "switch", "-q", "-c", "late")
    edit(branch.path / "models.py", "nn.Linear(8, 8)", "nn.Linear(8, 8, bias=False)")
    edit(branch.path / "pyproject.toml", 'model = "models:Net"', 'model = "models:Net"\nstrict = false')
    branch.runpytest_inprocess("--ckpt-update", "-q")
    before = git(branch.path, "status", "--porcelain", "--ignored")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    edit(branch.path / "pyproject.toml", "strict = false", "strict = true")
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert "CK102 net-v1" in printed.out
    assert git(branch.path, "status", "--porcelain", "--ignored") == before


def test_the_old_code_is_asked_once_in_a_run_and_anew_in_the_next(
    branch: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_ckpt_compat._premerge.process import Process

    edit(branch.path / "models.py", "nn.Linear(8, classes)", "nn.Linear(8, classes).half()")
    second = ENTRY.replace("net-v1", "net-v2").replace("model =", "strict = false\nmodel =")
    edit(branch.path / "pyproject.toml", ENTRY, ENTRY + second)
    branch.runpytest_inprocess("--ckpt-update", "-q")
    edit(branch.path / "models.py", ".half()", ".double()")
    runs: list[str] = []
    start, ask = Process.__init__, Process.ask

    def counted_start(process: Process, *args: Any) -> None:
        runs.append("process")
        start(process, *args)

    def counted(process: Process, request: Mapping[str, Any]) -> dict[str, Any]:
        runs.append(request["ids"][0])
        return ask(process, request)

    monkeypatch.setattr(Process, "__init__", counted_start)
    monkeypatch.setattr(Process, "ask", counted)
    for _ in range(2):
        command("check", "--against", "main")
        assert runs == ["process", "net-v1", "net-v2"]
        runs.clear()


def test_a_rewritten_snapshot_hides_nothing(branch: pytest.Pytester, command: Command) -> None:
    edit(branch.path / "models.py", "classes=4", "classes=5")
    save(branch.path / "net.pt", classes=5)
    branch.runpytest_inprocess("--ckpt-update", "--ckpt-rewrite", "net-v1", "-q").assert_outcomes(passed=1)
    assert command("check").code == 0
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert "net.pt as main (merge base " in printed.out


def test_a_snapshot_that_is_missing_or_renamed(branch: pytest.Pytester, command: Command) -> None:
    edit(branch.path / "pyproject.toml", '"net-v1"', '"net-one"')
    shutil.move(branch.path / "ckpt_snapshots/net-v1.json", branch.path / "ckpt_snapshots/net-one.json")
    printed = command("check", "--against", "main")
    assert printed.code == 0
    assert "renamed   ckpt_snapshots/net-v1.json of main" in printed.out
    save(branch.path / "net.pt", body="trunk")
    edit(branch.path / "models.py", 'body="body"', 'body="trunk"')
    branch.runpytest_inprocess("--ckpt-update", "--ckpt-rewrite", "net-one", "-q").assert_outcomes(passed=1)
    printed = command("check", "--against", "main", "-v")
    assert "CK901 net-v1: main (merge base " in printed.out
    assert "nothing registered here uses it" in printed.out


def test_a_definition_on_one_side_only(branch: pytest.Pytester, command: Command) -> None:
    edit(branch.path / "models.py", "class Net", "class Network(nn.Module): pass\n\n\nclass Net")
    path = branch.path / "models.py"
    path.write_text(path.read_text().replace("class Network(nn.Module): pass", "").replace("Net", "Network"))
    edit(branch.path / "pyproject.toml", "models:Net", "models:Network")
    edit(branch.path / "models.py", "super().__init__()", "super().__init__()  #")
    branch.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out
    assert "renamed   ckpt_snapshots/definitions/models.Net.json" in printed.out


def test_a_base_that_cannot_be_imported(branch: pytest.Pytester, command: Command) -> None:
    git(branch.path, "switch", "-q", "main")
    edit(branch.path / "models.py", "import torch\n", "import torch\nimport nothing_of_that_name\n")
    commit(branch.path)
    git(branch.path, "switch", "-q", "-c", "fixed")
    edit(branch.path / "models.py", "import nothing_of_that_name\n", "")
    assert command("check", "--against", "main").code == 0, "snapshots answer without the old code"
    edit(branch.path / "models.py", "classes=4", "classes=5")
    printed = command("check", "--against", "main")
    assert printed.code == 2
    assert "CK906 net-v1: models.Net at main (merge base " in printed.out
    assert (
        "importing models raised ModuleNotFoundError: No module named 'nothing_of_that_name'" in printed.out
    )
    assert "Traceback" not in printed.out + printed.err


def bad(command: Command, ref: str, complaint: str) -> str:
    printed = command("check", "--against", ref)
    assert printed.code == 2
    assert printed.out == ""
    assert fnmatchcase(printed.err.strip(), f"ckpt-compat: --against {ref}: {complaint}"), printed.err
    return printed.err.strip()


def test_references_that_cannot_be_used(branch: pytest.Pytester, command: Command) -> None:
    git(branch.path, "remote", "add", "origin", "https://example.com/x.git")
    bad(
        command,
        "origin/main",
        "is not known here; run: git fetch origin +refs/heads/main:refs/remotes/origin/main",
    )
    fetch = "is not known here; run: git fetch origin "
    bad(command, "deadbeef", fetch + "'+refs/heads/[*]:refs/remotes/origin/[*]'")
    bad(command, "0" * 40, fetch + "0" * 40)
    bad(command, "FETCH_HEAD", fetch + "'+refs/heads/[*]:refs/remotes/origin/[*]'")
    bad(command, "refs/tags/v1", fetch + "+refs/tags/v1:refs/tags/v1")
    bad(command, "a;b", fetch + "'+refs/heads/a;b[*]:refs/heads/a;b[*]' '+refs/tags/a;b[*]:refs/tags/a;b[*]'")
    git(branch.path, "switch", "-q", "--orphan", "alone")
    git(branch.path, "checkout", "-q", "work", "--", ".")
    bad(command, "main", "this repository has no commits; commit first")
    commit(branch.path, "alone")  # else, within one second, it is the very commit of main
    bad(command, "main", "has no commit in common with HEAD; give the branch that this one left")
    git(branch.path, "switch", "-q", "--detach", "work")
    assert command("check", "--against", "main").code == 0, "a detached head is as good as a branch"
    shutil.rmtree(branch.path / ".git")
    bad(command, "main", "* is not in a git repository; run it in a clone of the project that git trusts")


@pytest.mark.parametrize(
    "ref", ["--upload-pack=x", "main..HEAD", "HEAD:models.py", "HEAD^{tree}", "@{upstream}", "a b"]
)
def test_a_reference_that_is_no_reference(branch: pytest.Pytester, command: Command, ref: str) -> None:
    printed = command("check", f"--against={ref}")
    assert printed.code == 2
    assert "is not a reference; give a branch, a tag or a commit" in printed.err


def test_a_repository_that_is_damaged(branch: pytest.Pytester, command: Command) -> None:
    """Git says it in several lines, of which the last is the reason."""
    blob = git(branch.path, "rev-parse", "HEAD^{tree}")
    file = branch.path / ".git" / "objects" / blob[:2] / blob[2:]
    file.chmod(0o644)
    file.write_bytes(b"")
    printed = command("check", "--against", "HEAD")
    assert printed.code == 2
    assert "\\x0a" not in printed.out + printed.err


def test_pytest_stops_at_once(branch: pytest.Pytester) -> None:
    result = branch.runpytest_inprocess("--ckpt-against", "origin/main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --against origin/main: is not known here; run: git fetch *"])
    branch.runpytest_inprocess("--ckpt-against", "main", "-k", "nothing").stdout.fnmatch_lines(
        ["could not check: no checkpoint was compared, with main *"]
    )


def test_nothing_compared_is_no_pass(branch: pytest.Pytester, command: Command) -> None:
    edit(branch.path / "pyproject.toml", ENTRY, "")
    printed = command("check", "--against", "main")
    assert printed.code == 2
    assert "no checkpoint is registered" in printed.err
    branch.makepyfile("def test_other(): pass")
    result = branch.runpytest_inprocess("--ckpt-against", "main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("depth", ["1", "2"])
def test_a_shallow_clone_says_what_to_fetch(
    branch: pytest.Pytester, command: Command, tmp_path: Path, depth: str
) -> None:
    for number in range(3):
        (branch.path / "notes.txt").write_text(str(number))
        commit(branch.path)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", depth, "-b", "work", f"file://{branch.path}", str(clone))
    origin, path = branch.path, clone
    branch._path = path
    error = bad(command, "origin/main", "is not known here; run: git fetch --unshallow origin *")
    git(path, *shlex.split(error.partition("run: ")[2])[1:])
    printed = command("check", "--against", "origin/main")
    assert printed.code == 0, printed.err
    assert "compared  1 checkpoint, 6 tensors, with origin/main" in printed.out
    branch._path = origin


def test_a_shallow_clone_that_knows_the_branch(
    branch: pytest.Pytester, command: Command, tmp_path: Path
) -> None:
    commit(branch.path)
    commit(branch.path)
    clone = tmp_path / "clone"
    url = f"file://{branch.path}"
    git(tmp_path, "clone", "-q", "--depth", "1", "--no-single-branch", "-b", "work", url, str(clone))
    branch._path = clone
    error = bad(command, "origin/main", "this clone is shallow *; run: git fetch --unshallow origin *")
    git(clone, *shlex.split(error.partition("run: ")[2])[1:])
    assert command("check", "--against", "origin/main").code == 0


def test_a_project_below_the_top_and_one_in_a_submodule(
    pytester: pytest.Pytester, command: Command, tmp_path: Path
) -> None:
    top = tmp_path / "top"
    project = make_project(top / "sub")
    shutil.rmtree(project / ".git")
    git(top, "init", "-q", "-b", "main")
    pytester._path = project
    pytester.chdir()
    assert command("update", "-q").code == 0
    commit(top)
    git(top, "switch", "-q", "-c", "work")
    edit(project / "models.py", "classes=4", "classes=5")
    printed = command("check", "--against", "main")
    assert (printed.code, printed.out.splitlines()[0]) == (1, "breaks introduced here: 1")
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q", "-b", "main")
    git(outer, "submodule", "add", "-q", f"file://{top}", "inner")
    pytester._path = outer / "inner" / "sub"
    assert command("check", "--against", "origin/main").code == 0


def test_an_old_snapshot_that_cannot_be_used(branch: pytest.Pytester, command: Command) -> None:
    path = branch.path / "ckpt_snapshots" / "definitions" / "models.Net.json"
    good = path.read_text()
    git(branch.path, "switch", "-q", "main")
    path.write_text("<<<<<<< ours\n" + good)
    commit(branch.path)
    git(branch.path, "switch", "-q", "-c", "repaired")
    path.write_text(good)
    printed = command("check", "--against", "main")
    assert printed.code == 0
    why = "ckpt_snapshots/definitions/models.Net.json has conflict markers (line 1)"
    why += "; the comparison skips this snapshot"
    assert f"  note: in main (merge base {git(branch.path, 'rev-parse', 'main')[:8]}), {why}" in printed.out
    edit(branch.path / "models.py", "nn.Linear(8, 8)", "nn.Linear(8, 8, bias=False)")
    printed = command("check", "--against", "main")
    assert printed.code == 1, "its code answers instead"


def test_it_runs_under_xdist(branch: pytest.Pytester) -> None:
    edit(branch.path / "models.py", "classes=4", "classes=5")
    result = branch.runpytest_subprocess("--ckpt-against", "main", "-n2")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["compared  1 checkpoint, 6 tensors, with main *"])


def test_no_git_at_all(branch: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    bad(command, "main", "git is not installed; install git")


def test_a_definition_that_meta_tensors_get_wrong_is_the_same_on_both_sides(
    pytester: pytest.Pytester, command: Command
) -> None:
    project = make_project(pytester.path)
    made = "nn.utils.parametrizations.orthogonal(nn.Linear(3, 4))"
    edit(project / "models.py", "def broken", f"def net():\n    return {made}\n\n\ndef broken")
    edit(project / "pyproject.toml", "models:Net", "models:net")
    torch.save(orthogonal(nn.Linear(3, 4)).state_dict(), project / "net.pt")
    commit(project)
    git(project, "switch", "-q", "-c", "work")
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)

    printed = command("check", "--against", "main")

    assert (printed.code, printed.err) == (0, ""), printed.out
    assert printed.out.splitlines()[0] == "OK net-v1: 3 tensors load"


def test_a_class_that_moved_away_from_a_module_that_was_saved_whole(
    pytester: pytest.Pytester, command: Command
) -> None:
    folder = make_project(pytester.path, ENTRY.replace("models:Net", "models:Moved"))
    edit(folder / "models.py", "class Net", "class Moved")
    code = "import models, torch; torch.save(models.Moved(), 'net.pt')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    commit(folder)
    git(folder, "switch", "-q", "-c", "move")
    assert command("check").out.startswith("CK405 net-v1: loads, torch.load by default")
    git(folder, "mv", "models.py", "nets.py")
    edit(folder / "pyproject.toml", "models:Moved", "nets:Moved")
    printed = command("check", "--against", "main")
    assert printed.code == 1
    detail = "torch.load cannot open it: models.Moved cannot be imported here"
    assert f"CK405 net-v1: {detail}" in printed.out
    assert printed.out.startswith("breaks introduced here: ")
    pytester.runpytest_inprocess("--ckpt-update", "-q")
    accepted = command("accept", "net-v1", "--rule", "CK405", "--reason", "nobody opens it any more")
    assert accepted.code == 0, accepted.err
    (entry,) = (folder / "ckpt_snapshots" / "accepted").iterdir()
    assert f'"{detail}"' in entry.read_text()
    assert "CK405 net-v1: accepted, torch.load cannot open it" in command("check").out


def test_a_definition_of_the_merge_base_has_the_name_that_it_has_there(
    pytester: pytest.Pytester, command: Command
) -> None:
    """The branch registers another factory, which main does not have."""
    make_branch(pytester)
    edit(pytester.path / "pyproject.toml", '"models:Net"', '"wrap:wrapped"')
    code = "import torch, models\n\ndef wrapped():\n    return torch.nn.DataParallel(models.Net(5))\n"
    (pytester.path / "wrap.py").write_text(code)
    printed = command("check", "--against", "main")
    assert printed.code == 1
    assert "models.Net as main (merge base " in printed.out
    assert "wrap.wrapped as main" not in printed.out
