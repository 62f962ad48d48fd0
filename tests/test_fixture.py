"""The ``ckpt_compat`` fixture."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from tests.conftest import save

MARKED = """
import pytest
import torch
from models import Net

@pytest.mark.checkpoint("net.pt", model=Net)
def test_net(ckpt_compat):
    net = ckpt_compat.load()
    wanted = torch.load("net.pt", weights_only=True)
    assert all(torch.equal(value, wanted[key]) for key, value in net.state_dict().items())
    assert net(torch.zeros(1, 3)).shape == (1, 4)
"""


def test_load_gives_the_model_with_its_real_weights(project: pytest.Pytester) -> None:
    project.makepyfile(MARKED)
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)


def test_load_skips_where_only_the_snapshot_is_there(project: pytest.Pytester) -> None:
    project.makepyfile(MARKED)
    project.runpytest_inprocess("--ckpt-update")
    (project.path / "net.pt").unlink()
    result = project.runpytest_inprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*net.pt is absent: there are no weights to load"])


def test_load_needs_a_marker(project: pytest.Pytester) -> None:
    project.makepyfile("def test_net(ckpt_compat):\n    ckpt_compat.load()")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*load() needs exactly one checkpoint marker on the test, there are 0; *"])


def test_check_works_without_a_marker_and_keeps_no_snapshot(project: pytest.Pytester) -> None:
    save(project.path / "wide.pt", classes=9)
    project.makepyfile(
        """
        import pytest
        from models import Net

        def test_fits(ckpt_compat):
            assert ckpt_compat.check("net.pt", model=Net).compatible

        def test_does_not_fit(ckpt_compat):
            ckpt_compat.check("wide.pt", model=Net)

        def test_is_not_there(ckpt_compat):
            ckpt_compat.check("nothing.pt", model=Net)

        def test_is_no_model(ckpt_compat):
            ckpt_compat.check("net.pt", model=3)
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(
        [
            "CK202 *wide.pt: head resized",
            "*nothing.pt: *",
            "3: is neither a class, a factory nor a module instance; *",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_ckpt_compat/*")
    assert not (project.path / "ckpt_snapshots").exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('check("gone.pt", model="models:Net")', "*gone.pt: there is no such file; check the path"),
        (
            'check("net.pt", model="models:Nope")',
            "models:Nope: models has no attribute Nope; *",
        ),
    ],
)
def test_a_failure_is_said_once(project: pytest.Pytester, call: str, message: str) -> None:
    project.makepyfile(f"def test_net(ckpt_compat):\n    ckpt_compat.{call}")
    result = project.runpytest_inprocess("-r", "N")
    lines = [line for line in result.outlines if fnmatch(line, message)]
    assert len(lines) == 1
    assert "another exception" not in result.stdout.str()
