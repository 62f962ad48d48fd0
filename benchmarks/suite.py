"""What a suite of registered checkpoints costs, per checkpoint, and how that grows with their number.

Checkpoints of 300 keys over 40 definitions, registered by a hook; each run is a whole ``pytest``: from
snapshots, where the files are absent; from files; with ``-n 2``; compared with the commit that the branch
started from, where the branch breaks nothing, and where it breaks one definition. The cost of a checkpoint
is that of the run beyond one without any, divided by their number: it should not grow.

    python -m benchmarks.suite                     # 10, 100 and 1,000
    python -m benchmarks.suite 10 100 --profile    # and where the time of the last run goes

Exit code: 0 if a checkpoint costs at most 10 ms from snapshots, at the largest number; 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.big_checkpoint import cached_bytecode

DEFINITIONS = 40
#: Seconds of the processor for a checkpoint from its snapshot, all included.
TARGET = 0.010

_MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(150))
"""
#: What the branch adds where it breaks checkpoints: those of the first definition.
_BREAK = """        if width == 4:
            self.more = nn.Linear(2, 2)
"""
_SAVE = """
import sys, torch, models
for width in range(4, 4 + int(sys.argv[1])):
    torch.save(models.Net(width).state_dict(), f"{width}.pt")
"""
_HOOK = """
import models

def pytest_ckpt_compat_checkpoints(config):
    return [
        dict(path=f"checkpoints/{number}.pt", model=models.Net, kwargs=dict(width=4 + number % DEFINITIONS),
             id=f"c{number}")
        for number in range(NUMBER)
    ]
"""


_AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=branch")


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes:
        number: of checkpoints.
        way: from snapshots or files, and in how many processes.
        cpu: seconds of the processor, of all processes.
        wall: seconds.
        each: seconds of the processor for one checkpoint, beyond a run without any.
    """

    number: int
    way: str
    cpu: float
    wall: float
    each: float


def _project(folder: Path, number: int) -> None:
    """A project with ``number`` checkpoints; those of one definition are one file under more names."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "models.py").write_text(_MODELS)
    hook = _HOOK.replace("NUMBER", str(number)).replace("DEFINITIONS", str(DEFINITIONS))
    (folder / "conftest.py").write_text(hook)
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    command = [sys.executable, "-c", _SAVE, str(min(number, DEFINITIONS))]
    subprocess.run(command, cwd=folder, check=True, env=cached_bytecode() | {"PYTHONPATH": str(folder)})
    for each in range(number):
        os.link(folder / f"{4 + each % DEFINITIONS}.pt", folder / "checkpoints" / f"{each}.pt")


def _timed(folder: Path, *options: str, expected: int = 0) -> tuple[float, float]:
    """Seconds of the processor and of the clock that a run of pytest takes."""
    plugins = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:randomly")
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", *plugins, *options]
    done = subprocess.run(command, cwd=folder, env=cached_bytecode(), capture_output=True, text=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != expected:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall


def measure(number: int, profile: bool = False) -> list[Run]:
    """The runs of a project with ``number`` checkpoints; and those without any that they stand beside."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        _project(folder, number)
        _timed(folder, "--ckpt-update")
        one = _empty(Path(name) / "empty")
        ways = {"files": (), "files, -n 2": ("-n", "2")}
        ways |= {"snapshots": (), "snapshots, -n 2": ("-n", "2")}
        for way, options in ways.items():
            if way == "snapshots":
                for path in (folder / "checkpoints").iterdir():
                    path.unlink()
            cpu, wall = _timed(folder, *options)
            found.append(Run(number, way, cpu, wall, (cpu - one * (3 if options else 1)) / number))
            print(line(found[-1]), flush=True)
        found += _against(folder, number, one)
        if profile:
            code = "import cProfile, pytest, sys; cProfile.run('pytest.main(sys.argv[1:])', sort='cumtime')"
            plugins = ("-p", "no:asyncio", "-p", "no:randomly", "-p", "no:cacheprovider", "-q")
            subprocess.run([sys.executable, "-c", code, *plugins], cwd=folder, env=cached_bytecode())
    return found


def _against(folder: Path, number: int, one: float) -> Iterator[Run]:
    """Runs from snapshots that are compared with a commit: nothing is broken, then one definition."""
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "All of it"], ["tag", "main"]):
        subprocess.run(["git", "-C", folder, *_AUTHOR, *command], check=True)
    for way in ("against, none broken", f"against, {-(-number // DEFINITIONS)} broken"):
        broken = "none" not in way
        if broken:
            (folder / "models.py").write_text(_MODELS + _BREAK)
        cpu, wall = _timed(folder, "--ckpt-against", "main", expected=int(broken))
        yield Run(number, way, cpu, wall, (cpu - one) / number)
        print(line(Run(number, way, cpu, wall, (cpu - one) / number)), flush=True)


def _empty(folder: Path) -> float:
    """Seconds of the processor of a run without checkpoints that imports torch."""
    folder.mkdir()
    (folder / "test_nothing.py").write_text("import torch\n\ndef test_nothing(): ...\n")
    _timed(folder)
    return min(_timed(folder)[0] for _ in range(3))


HEAD = "| checkpoints | from                 | CPU s | wall s | ms each |\n|---|---|---|---|---|"


def line(run: Run) -> str:
    """One row of the table, in Markdown."""
    return f"| {run.number:11,} | {run.way:20} | {run.cpu:5.1f} | {run.wall:6.1f} | {1e3 * run.each:7.1f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="What a suite of registered checkpoints costs.")
    parser.add_argument("numbers", nargs="*", type=int, help="of checkpoints (default: 10 100 1000)")
    parser.add_argument("--profile", action="store_true", help="profile a run from snapshots")
    parser.add_argument("--json", default="suite.json", help="where the table goes as JSON")
    arguments = parser.parse_args()
    print(HEAD)
    found = [
        each for number in arguments.numbers or (10, 100, 1000) for each in measure(number, arguments.profile)
    ]
    Path(arguments.json).write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    largest = [each for each in found if each.way == "snapshots"][-1]
    return 0 if largest.each <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
