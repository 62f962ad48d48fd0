"""The README's two commands share an environment: an editable install after a plain one, whose files stay."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Without the path of this interpreter's environment: only what is in the given folder is installed.
IMPORTED = """
import site, sys
site.addsitedir(sys.argv[1])
import pytest_ckpt_compat
print(pytest_ckpt_compat.__file__)
"""


@pytest.mark.long
def test_what_pytest_compiled_in_an_earlier_install_does_not_hide_it(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    project, installed = tmp_path / "project", tmp_path / "site-packages"
    project.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    shutil.copytree(ROOT / "pytest_ckpt_compat", project / "pytest_ckpt_compat")
    left = installed / "pytest_ckpt_compat" / "_core" / "__pycache__"
    left.mkdir(parents=True)
    (left / "errors.cpython-311-pytest-9.2.0.pyc").touch()  # as pip leaves it: it did not write it

    build = "from setuptools import build_meta; build_meta.build_editable(__import__('sys').argv[1])"
    built = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=project, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(installed)

    command = [sys.executable, "-I", "-S", "-c", IMPORTED, str(installed)]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.strip() == str(project / "pytest_ckpt_compat" / "__init__.py"), found.stderr
