"""What pytest pays for the plugin where no checkpoint is registered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ckpt_compat._registry import options
from pytest_ckpt_compat._registry.names import MARKER, SIGNATURE

_OURS = "pytest_ckpt_compat"
#: Tells, at the end of a run, which modules of the plugin are imported.
_TELL = f"""
import sys

def pytest_unconfigure(config):
    called = ("pytest_runtest_call", "pytest_runtest_makereport")
    found = [each for name in called for each in getattr(config.hook, name).get_hookimpls()]
    print("called", *sorted(each.plugin_name for each in found if "ckpt_compat" in each.plugin_name))
    reports = config.pluginmanager.get_plugin("ckpt_compat_reports")
    print("looked at", *dir(reports))
    print("imported", *sorted(name for name in sys.modules if name.startswith("{_OURS}.")))
"""


def test_the_marker_is_described_as_its_options_are() -> None:
    assert options.signature(MARKER) == SIGNATURE


@pytest.mark.parametrize("setting", ["", "[project]\nname = 'x'\n"])
def test_a_run_without_checkpoints_costs_next_to_nothing(tmp_path: Path, setting: str) -> None:
    if setting:
        (tmp_path / "pyproject.toml").write_text(setting)
    (tmp_path / "conftest.py").write_text(_TELL)
    (tmp_path / "test_it.py").write_text("def test_it(): ...\n")
    (tmp_path / "test_skipped.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "called" in done.stdout.splitlines()  # none of this plugin's on each test
    assert "looked at pytest_collectreport pytest_runtest_logreport" in done.stdout.splitlines()
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("imported "))
    needed = {"_pytest_plugin", "_pytest_plugin.hooks", "_pytest_plugin.keys", "_registry", "_registry.names"}
    if setting:  # whether it registers checkpoints
        needed |= {"_core", "_core.files"}
    assert set(line.split()[1:]) == {f"{_OURS}.{name}" for name in needed}
