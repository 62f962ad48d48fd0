"""Runs of W&B are read by the library itself, from a server on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_ckpt_compat import log_fingerprint
from tests.conftest import Net
from tests.test_training_runs import registered
from tests.wandb_server import KEY, Run, WandB, running

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("warm_python")]

Check = Callable[..., subprocess.CompletedProcess[str]]
MISSING = "its run has no file ckpt_compat/fingerprint.json; log one in the training"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WandB]:
    pytest.importorskip("wandb", reason="the library itself is the oracle")
    text = Path(log_fingerprint(tmp_path / "run", Net())).read_text(encoding="utf-8")
    with running() as found:
        found.runs += [Run("new", text), Run("bare", ""), Run("old", text, ("production",))]
        found.runs += [Run(f"x{number}", "") for number in range(60)]  # more than a page
        found.runs.append(Run("oldest", text, ("production",)))
        yield found
        assert not found.strange


@pytest.fixture
def check(project: pytest.Pytester, server: WandB, tmp_path: Path) -> Check:
    """Checks a path in a process of its own: the library keeps what it read of the environment."""

    def run(path: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
        registered(project, path, more='id = "run"' if path.count("/") == 2 else "")
        places = {f"WANDB_{name}_DIR": str(tmp_path) for name in ("CACHE", "CONFIG", "DATA")}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        return subprocess.run(
            [sys.executable, "-m", "pytest_ckpt_compat", "check"],
            cwd=project.path,
            env=environment
            | places
            | {"WANDB_BASE_URL": server.address, "WANDB_API_KEY": key, "WANDB_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def test_runs_of_a_project(check: Check, server: WandB) -> None:
    done = check("wandb:team/classifier?last=3")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("new", "old", "oldest"):
        assert f"team_classifier/run_{name}-{name}: 6 tensors load" in done.stdout
    assert done.stdout.endswith("compared  3 checkpoints, 18 tensors\n")
    pages = [given for operation, given in server.asked if operation == "Runs"]
    assert {each["order"] for each in pages} == {"-created_at"}
    assert {each["cursor"] for each in pages} == {None, "50"}


def test_runs_with_a_tag(check: Check) -> None:
    done = check("wandb:team/classifier?last=1&tag=production")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run_old-old: " in done.stdout
    assert "compared  1 checkpoint," in done.stdout


@pytest.mark.parametrize("bare", [True, False], ids=["no entry", "an empty entry"])
def test_a_run_and_one_without_a_fingerprint(check: Check, server: WandB, bare: bool) -> None:
    server.bare = bare
    assert check("wandb:team/classifier/new").returncode == 0
    done = check("wandb:team/classifier/bare")
    assert done.returncode == 2
    assert MISSING in done.stdout


@pytest.mark.parametrize(
    ("path", "key", "said"),
    [
        ("wandb:team/classifier/gone", KEY, "W&B says: Could not find run"),
        ("wandb:team/nothing/gone", KEY, "W&B says: "),
        ("wandb:team/classifier/new", "9" * 40, "W&B says: Failed to verify credentials"),
    ],
    ids=["no run", "no project", "another key"],
)
def test_what_cannot_be_had_is_one_line(check: Check, path: str, key: str, said: str) -> None:
    done = check(path, key)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [each for each in done.stdout.splitlines() if each.startswith("CK905")]
    assert said in line
    assert line.endswith("; check the address, WANDB_API_KEY and the network")
    assert key not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
