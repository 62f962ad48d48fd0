"""Checkpoints registered in ``pyproject.toml`` or ``ckpt_compat.toml``, or by a project's own hook."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SETTINGS, Printed, save
from tests.readers.test_remote import Server, server  # noqa: F401

ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "net-v1"
path = "net.pt"
model = "models:Net"
"""
BROKEN = ENTRY.replace("net-v1", "net-v2") + "kwargs = { classes = 7 }\n"


def declare(project: pytest.Pytester, text: str, file: str = "pyproject.toml", more: str = "") -> None:
    """Registers checkpoints in a file of the project."""
    settings = SETTINGS.replace("[tool", f"{more}\n[tool", 1) if more else SETTINGS
    (project.path / "pyproject.toml").write_text(settings)
    path = project.path / file
    path.write_text((path.read_text() if path.exists() else "") + text)


@pytest.mark.parametrize("file", ["pyproject.toml", "ckpt_compat.toml"])
@pytest.mark.parametrize("testpaths", [False, True])
def test_each_is_an_item_of_its_own(project: pytest.Pytester, file: str, testpaths: bool) -> None:
    declare(project, ENTRY + BROKEN, file)
    if testpaths:
        project.mkdir("tests").joinpath("test_other.py").write_text("def test_other(): pass")
        text = (project.path / "pyproject.toml").read_text()
        changed = text.replace("addopts", 'testpaths = ["tests"]\naddopts')
        (project.path / "pyproject.toml").write_text(changed)
    project.runpytest_inprocess("--ckpt-update", "-q")
    result = project.runpytest_inprocess("-v")
    result.assert_outcomes(passed=2 if testpaths else 1, failed=1)
    result.stdout.fnmatch_lines_random([f"{file}::net-v1 PASSED*", f"{file}::net-v2 FAILED*"])
    result.stdout.fnmatch_lines(["CK202 net-v2: head resized"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_the_budget_reaches_the_check(project: pytest.Pytester) -> None:
    declare(project, BROKEN)
    note = "*note: not confirmed with real tensors: they take *, memory_budget is 7 bytes"
    project.runpytest_inprocess().stdout.no_fnmatch_line("*memory_budget*")
    text = (project.path / "pyproject.toml").read_text().replace(BROKEN, "")
    (project.path / "pyproject.toml").write_text(f"{text}[tool.ckpt_compat]\nmemory_budget = 7\n{BROKEN}")
    project.runpytest_inprocess().stdout.fnmatch_lines([note])


@pytest.mark.parametrize(
    "selection", [["-k", "net-v1"], ["pyproject.toml::net-v1"], ["-m", "checkpoint", "-k", "v1"]]
)
def test_it_can_be_selected(project: pytest.Pytester, selection: list[str]) -> None:
    declare(project, ENTRY + BROKEN)
    project.makepyfile("def test_other(): assert False")
    project.runpytest_inprocess("--ckpt-update", *selection).assert_outcomes(
        passed=1, deselected=0 if "::" in selection[0] else 2
    )


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
def test_it_runs_under_xdist(project: pytest.Pytester) -> None:
    declare(project, ENTRY + BROKEN)
    result = project.runpytest_subprocess("--ckpt-update", "-n2")
    result.assert_outcomes(passed=1, failed=1)
    assert (project.path / "ckpt_snapshots" / "net-v1.json").exists()


def test_the_failure_is_that_of_a_marker(project: pytest.Pytester) -> None:
    declare(project, BROKEN)
    project.makepyfile(
        """
        import pytest

        @pytest.mark.checkpoint("net.pt", model="models:Net", kwargs={"classes": 7}, id="net-v3")
        def test_net():
            pass
        """
    )
    project.runpytest_inprocess("--ckpt-update", "-q")
    text = project.runpytest_inprocess().stdout.str()
    reports = [part.partition("\n_")[0].partition("\n=")[0] for part in text.split("CK202 net-v")[1:3]]
    assert reports[0].replace("2: head", "3: head").replace("net-v2", "net-v3") == reports[1]


def test_a_glob_and_settings(project: pytest.Pytester) -> None:
    for name in "ab":
        save(project.path / "runs" / f"{name}.pt")
    entry = '[tool.ckpt_compat]\nsnapshot_dir = "prints"\n[[tool.ckpt_compat.checkpoint]]\n'
    declare(project, entry + 'path = "runs/*.pt"\nmodel = "models:Net"\n')
    result = project.runpytest_inprocess("--ckpt-update", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["pyproject.toml::runs/a.pt PASSED*", "pyproject.toml::runs/b.pt PASSED*"])
    assert (project.path / "prints" / "runs" / "b.pt.json").exists()


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
def test_a_remote_checkpoint_is_recorded_and_then_checked_without_a_network(
    project: pytest.Pytester,
    server: Server,  # noqa: F811
) -> None:
    save(server.folder / "net.pt")
    host = server.url.removeprefix("http://")
    address = f"http://user:secret@{host}/net.pt?token=secret"
    declare(project, ENTRY.replace('"net.pt"', f'"{address}"'))
    recorded = project.runpytest_subprocess("--ckpt-update")
    recorded.assert_outcomes(passed=1)
    project.runpytest_subprocess().assert_outcomes(passed=1)
    (server.folder / "net.pt").unlink()
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [f"*http://{host}/net.pt cannot be read here (*): checked from its snapshot *"]
    )
    stored = (project.path / "ckpt_snapshots" / "net-v1.json").read_text()
    assert f"http://{host}/net.pt" in stored
    assert "secret" not in stored + recorded.stdout.str() + result.stdout.str()


@pytest.mark.usefixtures("warm_python")
def test_a_remote_checkpoint_that_cannot_be_had_and_has_no_snapshot(project: pytest.Pytester) -> None:
    pytest.importorskip("aiohttp", reason="reads URLs")
    declare(project, ENTRY.replace('"net.pt"', '"http://127.0.0.1:9/net.pt"'))
    result = project.runpytest_subprocess("--ckpt-update")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK905 net-v1: http://127.0.0.1:9/net.pt: its server cannot be reached *"])
    assert not (project.path / "ckpt_snapshots").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "[tool.ckpt_compat]\nlevle = 1",
            "pyproject.toml [[]tool.ckpt_compat]: has no option 'levle'; options are *",
        ),
        ("[tool.ckpt_compat]\nlevel = 'up'", "*, option level: is 'up'; it must be backward, *"),
        (
            "[tool.ckpt_compat]\nmemory_budget = true",
            "*, option memory_budget: is True; it must be a number of bytes",
        ),
        (
            "[tool.ckpt_compat]\nmemory_budget = -1",
            "*, option memory_budget: is -1; it must be a number of bytes",
        ),
        ("[tool.ckpt_compat]\nsnapshot_dir = 3", "*, option snapshot_dir: is 3; it must be text, a folder"),
        ("[tool.ckpt_compat]\ncheckpoint = 'x'", "*, option checkpoint: is 'x'; *"),
        ("[tool]\nckpt_compat = 3", "pyproject.toml [[]tool.ckpt_compat]: is not a table; *"),
        (ENTRY + "[tool", "*pyproject.toml*"),
    ],
)
def test_mistakes_name_file_table_and_key(project: pytest.Pytester, text: str, complaint: str) -> None:
    declare(project, text)
    result = project.runpytest_inprocess()
    assert result.ret in (
        pytest.ExitCode.USAGE_ERROR,
        pytest.ExitCode.INTERRUPTED,
        pytest.ExitCode.TESTS_FAILED,
    )
    lines = [line.removeprefix("ERROR: ").strip() for line in (*result.errlines, *result.outlines)]
    from fnmatch import fnmatchcase

    assert any(fnmatchcase(line, complaint) for line in lines), lines
    assert not any("Traceback" in line or "INTERNALERROR" in line for line in lines)


OTHER = ENTRY.replace("net-v1", "other")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            ENTRY + "modle = 3",
            "CK906 net-v1: pyproject.toml [[][[]*]] net-v1: has no option 'modle'; options are path, *",
        ),
        (ENTRY + "kwargs = 3", "CK906 *checkpoint]] net-v1, option kwargs: is 3; it must be a table *"),
        (
            ENTRY + "strict = 'no'",
            "CK906 *checkpoint]] net-v1, option strict: is 'no'; it must be true or false",
        ),
        (ENTRY.replace("path", "#"), "CK906 *checkpoint]] net-v1, option path: is missing; *"),
        (
            ENTRY.replace("model", "#"),
            "CK906 *checkpoint]] net-v1, option model: is missing; it must be text, *",
        ),
        (
            ENTRY + "level = 'resume'",
            "CK906 net-v1: net.pt: has level resume and no optimizer; give *",
        ),
        (ENTRY + "level = 'up'", "CK906 *checkpoint]] net-v1, option level: is 'up'; it must be *"),
        (
            ENTRY + "allow = [['CK202', 'head.*', '']]",
            "CK906 *net-v1, option allow: accepts CK202 without a reason*",
        ),
        (ENTRY + ENTRY, "CK906 *checkpoint]] net-v1, option id: is registered twice, *; *"),
        (
            ENTRY.replace("net.pt", "gone.pt"),
            "CK901 net-v1: gone.pt: neither the file nor its snapshot * is there; fetch the file, *",
        ),
    ],
)
def test_a_mistake_in_one_table_fails_that_checkpoint_alone(
    project: pytest.Pytester, command: Callable[..., Printed], text: str, complaint: str
) -> None:
    declare(project, OTHER + text)
    project.runpytest_inprocess("--ckpt-update")
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([complaint])
    done = command("check")
    assert done.code == 2
    assert "OK other: 6 tensors load" in done.out


def test_what_is_no_table(project: pytest.Pytester) -> None:
    declare(project, "[tool.ckpt_compat]\ncheckpoint = [3]")
    result = project.runpytest_inprocess()
    result.stdout.fnmatch_lines(["CK906 number 1: *checkpoint]] number 1: is 3; it must be a table *"])


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
def test_a_mistake_shows_once_under_xdist(project: pytest.Pytester) -> None:
    declare(project, "[tool.ckpt_compat]\nlevle = 1")
    result = project.runpytest_subprocess("-n2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: pyproject.toml [[]tool.ckpt_compat]: has no option 'levle'*"])


def test_the_table_stands_in_one_file(project: pytest.Pytester) -> None:
    declare(project, ENTRY)
    (project.path / "ckpt_compat.toml").write_text(ENTRY)
    result = project.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*ckpt_compat.toml [[]tool.ckpt_compat]: is in pyproject.toml as well*"])


HOOK = """
from models import Net

def pytest_ckpt_compat_checkpoints(config):
    return [{"id": "from-registry", "path": "net.pt", "model": Net, %s}]
"""


def test_a_projects_own_registry_contributes(project: pytest.Pytester) -> None:
    declare(project, ENTRY)
    project.makeconftest(HOOK % "'kwargs': {'classes': 4}")
    result = project.runpytest_inprocess("--ckpt-update", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["pyproject.toml::from-registry PASSED*"])


def test_a_registry_alone_is_enough(project: pytest.Pytester) -> None:
    project.makeconftest(HOOK % "'strict': True")
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("'strict': 3", "hook pytest_ckpt_compat_checkpoints from-registry, option strict: is 3; *"),
        ("'id': 'net-v1'", "checkpoint net-v1, option id: is registered twice, *; *"),
    ],
)
def test_a_registrys_mistakes(project: pytest.Pytester, entry: str, complaint: str) -> None:
    declare(project, ENTRY)
    project.makeconftest(HOOK % entry)
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=2 if "strict" in entry else 1)
    result.stdout.fnmatch_lines([f"CK906 *{complaint}"])


def test_a_file_without_the_table_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_ckpt_compat._registry import project_file as settings

    (tmp_path / "pyproject.toml").write_text("this is [not toml, and nobody asks\n" * 100)
    for parser in ("tomllib", "tomli", "tomlkit"):
        monkeypatch.setitem(sys.modules, parser, None)  # to import it is an error
    assert settings.read(tmp_path) == settings.Settings()
