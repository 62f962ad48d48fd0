"""The shell that the action and the hook run, on real repositories, with a runner's variables."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_ckpt_compat._report import comment
from tests.conftest import Filled
from tests.repository import commit, edit, git, make_project
from tests.test_comment import CREATE, TOKEN, Answer, recorded, recorded_api

ROOT = Path(__file__).parent.parent
ACTION = (ROOT / ".github/actions/ckpt-compat/action.yml").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github/workflows/ckpt-compat.yml").read_text(encoding="utf-8")
HOOKS = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
#: Those of the action's steps: the check, and the comment.
SCRIPT, COMMENT_SCRIPT = (
    textwrap.dedent(block)
    for block in re.findall(r"^      run: \|\n((?: {8}.*\n|\n)+)", ACTION, re.MULTILINE)
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="the runner's bash is not that of Windows"),
]


@pytest.fixture
def pull_request(pytester: pytest.Pytester, tmp_path: Path, filled: Filled) -> Path:
    """A checkout of a pull request as the runner makes it: one commit, detached."""
    filled("origin of a pull request", lambda: _fill(pytester))
    clone = tmp_path / "clone"
    clone.mkdir()
    git(clone, "init", "-q")
    git(clone, "remote", "add", "origin", f"file://{pytester.path}")
    git(clone, "fetch", "-q", "--depth=1", "origin", "+refs/pull/7/merge:refs/remotes/pull/7/merge")
    git(clone, "checkout", "-q", "refs/remotes/pull/7/merge")
    return clone


def _fill(pytester: pytest.Pytester) -> None:
    origin = make_project(pytester.path)
    pytester.runpytest_inprocess("--ckpt-update", "-q").assert_outcomes(passed=1)
    commit(origin)
    git(origin, "switch", "-q", "-c", "work")
    edit(origin / "models.py", "classes=4", "classes=5")
    commit(origin)
    git(origin, "switch", "-q", "main")
    (origin / "notes.txt").write_text("meanwhile")
    commit(origin)
    git(origin, "switch", "-q", "--detach", "main")
    git(origin, "merge", "-q", "--no-ff", "-m", "merge", "work")
    git(origin, "update-ref", "refs/pull/7/merge", "HEAD")
    git(origin, "switch", "-q", "main")


def run(folder: Path, script: str = SCRIPT, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    environment |= {
        "AGAINST": "",
        "COMMENT": "false",
        "PYTHON": sys.executable,
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(folder),
        "XDG_CACHE_HOME": str(folder.parent / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_pull_request_that_breaks_is_red(pull_request: Path) -> None:
    summary = pull_request.parent / "summary.md"
    done = run(pull_request, GITHUB_BASE_REF="main", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("breaks introduced here: 1\n\nCK202 net-v1: head resized\n")
    before = (pull_request / "models.py").read_text(encoding="utf-8").partition("self.head =")[0]
    head = before.count("\n") + 1
    assert f"::error file=models.py,line={head},title=net-v1 checkpoint compatibility::CK202" in done.stdout
    assert "| ❌ | net-v1 | CK202 net-v1: head resized |" in summary.read_text()
    assert git(pull_request, "status", "--porcelain") == ""


@pytest.mark.usefixtures("warm_python")
def test_a_pull_request_that_breaks_nothing_is_green(pull_request: Path) -> None:
    edit(pull_request / "models.py", "classes=5", "classes=4")
    for _ in range(2):  # the second time there is nothing left to unshallow
        done = run(pull_request, GITHUB_BASE_REF="main")
        assert done.returncode == 0, done.stderr
        assert "compared  1 checkpoint, 6 tensors, with origin/main (merge base " in done.stdout


@pytest.mark.usefixtures("warm_python")
def test_a_comment_is_made_of_the_checks_report(pull_request: Path) -> None:
    """The check writes the report; the other step posts it, and imports nothing from the folder."""
    (pull_request.parent / "ckpt-compat.json").write_text("of an earlier step")
    (pull_request.parent / "event.json").write_text(
        '{"pull_request": {"number": 7, "head": {"sha": "' + "a" * 40 + '"}}}'
    )
    common = {"RUNNER_TEMP": str(pull_request.parent), "GITHUB_BASE_REF": "main"}
    assert run(pull_request, COMMENT="true", **common).returncode == 1
    (pull_request / "json.py").write_text("raise SystemExit('the folder of the pull request was imported')")
    with recorded_api() as server:
        server.pages([])
        server.answers.append(Answer("POST", CREATE, 201, recorded("ours")))
        done = run(
            pull_request,
            COMMENT_SCRIPT,
            NAME=".",
            MATRIX='{\n  "python": "3.12"\n}',
            GITHUB_WORKFLOW="CI",
            GITHUB_JOB="test",
            GITHUB_TOKEN=TOKEN,
            GITHUB_API_URL=server.address,
            GITHUB_REPOSITORY="acme/models",
            GITHUB_EVENT_PATH=str(pull_request.parent / "event.json"),
            **common,
        )
    assert (done.returncode, done.stdout) == (0, "comment   created\n"), done.stderr
    assert "CK202 net-v1: head resized" in server.bodies[0]
    marker = comment.marker('. {"python":"3.12"}', "CI/test")
    assert server.bodies[0].startswith(f"{marker}\n")


def test_the_comment_is_off_by_default_and_gets_the_token_alone() -> None:
    check, commented = ACTION.split("    - name: Comment on the pull request\n")
    assert "  comment:\n" in check
    assert check.partition("  comment:\n")[2].splitlines()[1] == '    default: "false"'
    assert "inputs.token" not in check.partition("runs:")[2]
    assert "github.event_name == 'pull_request' " in commented
    assert "continue-on-error: true" in commented
    assert '"$PYTHON" -I -m' in COMMENT_SCRIPT
    assert "        MATRIX: ${{ toJSON(matrix) }}\n" in commented
    assert "${{" not in COMMENT_SCRIPT


@pytest.mark.usefixtures("warm_python")
def test_a_push_is_checked_without_a_reference(pull_request: Path) -> None:
    done = run(pull_request)
    assert done.returncode == 1
    assert done.stdout.startswith("breaks: 1\n")


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize("against", ["origin/work", "v1.0", "HEAD~1"])
def test_a_given_reference(pull_request: Path, pytester: pytest.Pytester, against: str) -> None:
    git(pytester.path, "tag", "v1.0", "main")
    done = run(pull_request, AGAINST=against, GITHUB_BASE_REF="main")
    # The head of the pull request's own branch has the break already.
    assert done.returncode == (0 if against == "origin/work" else 1), done.stderr
    assert f"compared  1 checkpoint, 6 tensors, with {against} (merge base " in done.stdout


@pytest.mark.usefixtures("warm_python")
def test_a_reference_that_nobody_has(pull_request: Path) -> None:
    done = run(pull_request, AGAINST="v2.0", GITHUB_BASE_REF="main")
    assert done.returncode == 2
    assert "--against v2.0: is not known here; run: git fetch origin" in done.stderr


@pytest.mark.usefixtures("warm_python")
def test_a_branchs_name_is_never_run(pull_request: Path) -> None:
    for name in ("$(touch pwned)", '"; touch pwned; "', "-x --upload-pack=touch"):
        done = run(pull_request, GITHUB_BASE_REF=name)
        assert done.returncode not in (0, 1)
        assert not (pull_request / "pwned").exists()
    assert "${{" not in SCRIPT


@pytest.mark.usefixtures("warm_python")
def test_the_hook_needs_no_checkpoint_file(pull_request: Path) -> None:
    fields = dict(re.findall(r"^[- ] (\w+): (.*)$", HOOKS, re.MULTILINE))
    assert (fields["language"], fields["pass_filenames"]) == ("system", "false")
    words = shlex.split(fields["entry"])
    assert words[0] == "ckpt-compat"
    (pull_request / "net.pt").write_text("a pointer of a large file storage")
    command = shlex.join([sys.executable, "-m", "pytest_ckpt_compat", *words[1:]])
    done = run(pull_request, command)
    assert done.returncode == 1
    assert "CK202 net-v1: head resized" in done.stdout
    edit(pull_request / "models.py", "classes=5", "classes=4")
    assert run(pull_request, command).returncode == 0


def test_the_workflow_runs_the_action_on_the_example() -> None:
    assert "uses: ./.github/actions/ckpt-compat" in WORKFLOW
    assert "working-directory: example_project" in WORKFLOW
    assert "pull_request_target" not in WORKFLOW
