"""A checkpoint whose test is skipped or expected to fail: pytest's marks hold for the commands too."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import Printed, save

Command = Callable[..., Printed]


@pytest.fixture
def marked(project: pytest.Pytester) -> Callable[[str], pytest.Pytester]:
    """A project whose only broken checkpoint is that of a test with this mark."""

    def make(mark: str, path: str = "wide.pt") -> pytest.Pytester:
        save(project.path / "wide.pt", classes=6)
        project.makepyfile(
            f"""
            import pytest
            from models import Net

            @pytest.mark.checkpoint("net.pt", model=Net)
            def test_net(): pass

            @{mark}
            @pytest.mark.checkpoint({path!r}, model=Net, id="marked")
            def test_marked(): pass
            """
        )
        project.runpytest_inprocess("--ckpt-update", "--runxfail")
        return project

    return make


def states(project: pytest.Pytester, name: str) -> dict[str, str]:
    data = json.loads((project.path / name).read_text())
    return {each["id"]: each["state"] for each in data["checkpoints"]} | {"all": str(data["compatible"])}


@pytest.mark.parametrize(
    ("mark", "path", "code", "state", "compatible"),
    [
        ("pytest.mark.skip('later')", "wide.pt", 0, "skipped", "True"),
        ("pytest.mark.skipif(True, reason='later')", "wide.pt", 0, "skipped", "True"),
        ("pytest.mark.skipif(False, reason='later')", "wide.pt", 1, "broken", "False"),
        ("pytest.mark.xfail(reason='later', strict=False)", "wide.pt", 0, "ok", "True"),
        ("pytest.mark.xfail(reason='later', strict=True)", "wide.pt", 0, "ok", "True"),
        ("pytest.mark.xfail(reason='later', run=False)", "wide.pt", 0, "skipped", "True"),
        ("pytest.mark.xfail(reason='later', strict=False)", "net.pt", 0, "ok", "True"),
        ("pytest.mark.xfail(reason='later', raises=OSError)", "wide.pt", 1, "broken", "False"),
    ],
)
def test_pytest_and_check_agree(
    marked: Callable[..., pytest.Pytester],
    command: Command,
    mark: str,
    path: str,
    code: int,
    state: str,
    compatible: str,
) -> None:
    project = marked(mark, path)
    assert project.runpytest_inprocess("--ckpt-report=p.json").ret == code
    done = command("check", "--report", "c.json")
    assert done.code == code, done.out
    expected = {"net.pt": "ok", "marked": state, "all": compatible}
    assert states(project, "p.json") == expected
    assert states(project, "c.json") == expected
    if state == "skipped":
        assert "skipped marked: " in done.out
        assert "later" in done.out


def test_a_strict_xfail_that_loads_fails(marked: Callable[..., pytest.Pytester], command: Command) -> None:
    project = marked("pytest.mark.xfail(reason='later', strict=True)", "net.pt")
    assert project.runpytest_inprocess().ret == 1
    done = command("check")
    assert done.code == 1
    assert "marked xfail(strict=True) (later): take the mark off" in done.out


def test_a_checkpoint_that_another_test_guards_is_not_skipped(
    project: pytest.Pytester, command: Command
) -> None:
    mark = '@pytest.mark.checkpoint("wide.pt", model=Net)'
    save(project.path / "wide.pt", classes=6)
    project.makepyfile(
        f"import pytest\nfrom models import Net\n@pytest.mark.skip\n{mark}\ndef test_one(): pass\n"
        f"{mark}\ndef test_two(): pass\n"
    )
    command("update")
    assert command("check").code == 1
