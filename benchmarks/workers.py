"""What ``-n 2`` gains, by the seconds of the processor that each process takes.

The clock says nothing on a machine that does other work. So each process tells what it took, and from that
follows what a run would take on two cores of its own: the controller alone until it starts the workers; then
the longer worker, or half of all that goes on, whichever is more; then the controller alone. What a process
takes to end is left out on both sides.

Beside the checkpoints stand as many tests that only spin as long, below a ``conftest.py`` that imports torch:
what pytest-xdist itself leaves to gain.

    python -m benchmarks.workers                # 1,000 checkpoints
    python -m benchmarks.workers 1000 4000      # and from which number on the target is met, by these two

Exit code: 0 if the target is met from files, at the largest number; 1 if not.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.suite import _project, _timed

#: How many times as quick two workers are as one process.
TARGET = 1.7

_CLOCK = """
import json
import os
import time

import pytest

_TIMES = []

@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    _TIMES.append(time.process_time())

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    _TIMES.append(time.process_time())

@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    name = os.environ.get("PYTEST_XDIST_WORKER", "first")
    (config.rootpath / f"{name}.clock").write_text(json.dumps([*_TIMES, time.process_time()]))
"""
_SPIN = """
import time

import pytest

@pytest.mark.parametrize("number", range(NUMBER))
def test_spin(number):
    end = time.process_time() + SECONDS
    while time.process_time() < end:
        pass
"""


@dataclass(frozen=True)
class Gain:
    """Seconds of the processor.

    Attributes:
        number: of checkpoints, or of tests.
        way: what they do.
        one: of one process.
        two: of a run with two workers, on two cores of its own.
        total: of all its processes.
        each: of one test in one process.
    """

    number: int
    way: str
    one: float
    two: float
    total: float
    each: float

    @property
    def ratio(self) -> float:
        """How many times as quick two workers are."""
        return self.one / self.two


def _clocks(folder: Path) -> dict[str, list[float]]:
    """Process -> its seconds at the start of its session, at the end of the tests, and at its own end."""
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.clock")}


def _gain(folder: Path, number: int, way: str) -> Gain:
    (folder / "clock.py").write_text(_CLOCK)
    _timed(folder, "-p", "clock")
    begun, ended, one = _clocks(folder)["first"]
    _timed(folder, "-p", "clock", "-n", "2")
    start, finish, end = _clocks(folder).pop("first")
    workers = [times[-1] for name, times in _clocks(folder).items() if name != "first"]
    beside = max(*workers, (sum(workers) + finish - start) / 2)
    two = start + beside + end - finish
    return Gain(number, way, one, two, end + sum(workers), (ended - begun) / number)


def measure(number: int) -> list[Gain]:
    """What two workers gain on ``number`` checkpoints from files, from snapshots, and on tests that spin."""
    with tempfile.TemporaryDirectory() as name:
        folder, spinning = Path(name) / "project", Path(name) / "spinning"
        _project(folder, number)
        _timed(folder, "--ckpt-update")
        found = [_gain(folder, number, "files")]
        for path in (folder / "checkpoints").iterdir():
            path.unlink()
        found.append(_gain(folder, number, "snapshots"))
        spinning.mkdir()
        (spinning / "pyproject.toml").write_text("")
        (spinning / "conftest.py").write_text("import torch\n")
        test = _SPIN.replace("NUMBER", str(number)).replace("SECONDS", str(found[0].each))
        (spinning / "test_spin.py").write_text(test)
        return [*found, _gain(spinning, number, "only spinning")]


HEAD = (
    "| number | what          | one process | -n 2, on two cores | of all processes | times as quick |\n"
    "|---|---|---|---|---|---|"
)


def line(gain: Gain) -> str:
    """One row of the table, in Markdown."""
    return (
        f"| {gain.number:6,} | {gain.way:13} | {gain.one:11.1f} | {gain.two:18.1f} | {gain.total:16.1f} "
        f"| {gain.ratio:14.2f} |"
    )


def reached(small: Gain, large: Gain) -> str:
    """From which number on the target is met, if both ways grow as between two measured numbers."""
    apart = large.number - small.number
    one, two = (large.one - small.one) / apart, (large.two - small.two) / apart
    most = f"{one / two:.2f} at most"
    if one <= TARGET * two:
        return f"{large.way}: never {TARGET}, {most}"
    fixed = TARGET * (small.two - two * small.number) - (small.one - one * small.number)
    return f"{large.way}: {TARGET} from {max(fixed / (one - TARGET * two), 0):,.0f} on, {most}"


def main() -> int:
    parser = argparse.ArgumentParser(description="What two workers gain.")
    parser.add_argument("numbers", nargs="*", type=int, help="of checkpoints (default: 1000)")
    numbers = sorted(parser.parse_args().numbers or [1000])
    print(HEAD)
    found: list[list[Gain]] = []
    for number in numbers:
        found.append(measure(number))
        print("\n".join(map(line, found[-1])), flush=True)
    if len(found) > 1:
        print()
        for small, large in zip(found[0], found[-1], strict=True):
            print(f"- {reached(small, large)}")
    return 0 if found[-1][0].ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
