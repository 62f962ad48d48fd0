"""What the plugin adds to the start of pytest, and how long a look at a big checkpoint takes.

- ``pytest --co -q`` in an empty folder, with the plugin and with ``-p no:ckpt_compat``, in turns. All
  other installed plugins are switched off on both sides, so that the two differ in nothing else; the
  plugin is found by its entry point, as on any machine it is installed on.
- ``ckpt-compat show FILE``, whole process, on a big file.

Seconds are of the processor. Bytecode is cached, as it is in daily use: one run of each that is not counted
comes first.

On a busy machine, two runs of one command differ by more than the target. ``--count`` runs each once below
valgrind, and prints how many instructions each takes: the same number every time.

    python -m benchmarks.startup
    python -m benchmarks.startup --count

Exit code: 0 if both targets are met, 1 if not.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from benchmarks.big_checkpoint import cached_bytecode, layers_for, save

_PLUGIN = "ckpt_compat"
#: Seconds.
START_TARGET = 0.005
SHOW_TARGET = 0.3

#: What the ``ckpt-compat`` script runs.
_SHOW = "import sys; from pytest_ckpt_compat._cli.main import main; sys.exit(main())"


def _pytest(others: Sequence[str], *more: str) -> list[str]:
    off = [f"-pno:{name}" for name in others]
    return [sys.executable, "-m", "pytest", "--co", "-q", *off, *more]


def _seconds(command: Sequence[str], folder: str, expected: int) -> float:
    """Seconds of the processor that one process takes, from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, env=cached_bytecode(), capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode != expected:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
    return seconds


def _in_turns(
    commands: dict[str, list[str]], folder: str, rounds: int, expected: int
) -> dict[str, list[float]]:
    """Seconds of each run of each command; the order turns round from one round to the next."""
    for command in commands.values():
        _seconds(command, folder, expected)
    runs: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds):
        for name in sorted(commands, reverse=bool(number % 2)):
            runs[name].append(_seconds(commands[name], folder, expected))
    return runs


def _line(name: str, seconds: list[float]) -> str:
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{name:28}{middle * 1e3:>8.1f} ms   (quartiles {low * 1e3:.1f} and {high * 1e3:.1f})"


def _instructions(command: Sequence[str], folder: str) -> float:
    """Millions of instructions that one process takes, without those of the system."""
    counted = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    environment = {**cached_bytecode(), "PYTHONHASHSEED": "0"}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True)
    done = subprocess.run([*counted, *command], cwd=folder, env=environment, capture_output=True, text=True)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if found is None:
        raise SystemExit(done.stderr)
    return int(found[1].replace(",", "")) / 1e6


def _count() -> None:
    """Prints how many instructions the start of pytest takes, with the plugin and without."""
    with tempfile.TemporaryDirectory() as folder:
        counts = [_instructions(command, folder) for command in _commands().values()]
    added = counts[0] - counts[1]
    print(f"millions of instructions: {counts[0]:.1f} with the plugin, {counts[1]:.1f} without")
    print(f"added: {added:.1f}, {added / counts[1]:.1%}")


def _commands() -> dict[str, list[str]]:
    """The start of pytest with the plugin, and without."""
    names = {point.name for point in entry_points(group="pytest11")}
    if _PLUGIN not in names:
        raise SystemExit("pytest-ckpt-compat is not installed")
    others = sorted(names - {_PLUGIN})
    return {"with the plugin": _pytest(others), "without": _pytest(others, f"-pno:{_PLUGIN}")}


def _start(rounds: int) -> bool:
    """Measures and prints the start of pytest; whether the target is met."""
    with tempfile.TemporaryDirectory() as folder:
        runs = _in_turns(_commands(), folder, rounds, expected=5)  # no tests collected
    print(f"pytest --co -q in an empty folder, medians of {rounds}\n")
    for name, seconds in runs.items():
        print(_line(name, seconds))
    added = statistics.median(runs["with the plugin"]) - statistics.median(runs["without"])
    met = added <= START_TARGET
    print(
        f"\nadded: {added * 1e3:.1f} ms; target {START_TARGET * 1e3:.0f} ms: {'met' if met else 'MISSED'}\n"
    )
    return met


def _show(size_gb: float, rounds: int) -> bool:
    """Measures and prints ``ckpt-compat show``; whether the target is met."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "big.pt")
        size = save(path, layers_for(size_gb))
        commands = {"ckpt-compat show": [sys.executable, "-c", _SHOW, "show", path]}
        runs = _in_turns(commands, folder, rounds, expected=0)
    seconds = runs["ckpt-compat show"]
    met = statistics.median(seconds) <= SHOW_TARGET
    print(f"ckpt-compat show of {size / 1e9:.2f} GB, median of {rounds}\n")
    print(_line("ckpt-compat show", seconds))
    print(f"\ntarget {SHOW_TARGET * 1e3:.0f} ms: {'met' if met else 'MISSED'}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description="What the plugin adds to the start of pytest.")
    parser.add_argument("--rounds", type=int, default=20, help="runs of each command (default: 20)")
    parser.add_argument("--size-gb", type=float, default=2.0, help="size of the file to show (default: 2)")
    parser.add_argument("--count", action="store_true", help="count instructions with valgrind instead")
    arguments = parser.parse_args()
    if arguments.count:
        _count()
        return 0
    if arguments.rounds < 2:
        parser.error("--rounds: at least 2")
    met = [_start(arguments.rounds), _show(arguments.size_gb, arguments.rounds)]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
