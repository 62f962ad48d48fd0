"""What the commands of ``ckpt-compat`` take as whole processes, beside one that only imports torch.

They run in a copy of ``example_project``: three checkpoints of a small model, recorded. ``accept`` runs where
its head has been widened. Seconds are of the processor, of fresh processes in turns.

    python -m benchmarks.commands            # --write puts the table into README.md
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import tables
from benchmarks.big_checkpoint import cached_bytecode

_PROJECT = Path(__file__).parent.parent / "example_project"
_FILE = "checkpoints/shapes_v2.pt"
_TORCH = "import torch"
#: What a row is called -> the arguments of Python, and the code that it ends with.
_COMMANDS: dict[str, tuple[Sequence[str], int]] = {
    _TORCH: (("-c", "import torch"), 0),
    "show": (("-m", "pytest_ckpt_compat", "show", _FILE), 0),
    "diff": (("-m", "pytest_ckpt_compat", "diff", _FILE, "shapes.models:Classifier"), 0),
    "status": (("-m", "pytest_ckpt_compat", "status"), 0),
    "check": (("-m", "pytest_ckpt_compat", "check"), 0),
}
_ACCEPT = ("-m", "pytest_ckpt_compat", "accept", "shapes-v2", "--rule", "CK202", "--reason", "six shapes")
HEAD = "| process | s | times of `import torch` (spread) |\n|---|---|---|"


def _seconds(arguments: Sequence[str], folder: Path, expected: int) -> float:
    """Seconds of the processor that one process takes, and those that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=cached_bytecode(), capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != expected:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _accept(widened: Path) -> float:
    """``accept``, of a break that is not accepted yet."""
    shutil.rmtree(widened / "ckpt_snapshots" / "accepted", ignore_errors=True)
    return _seconds(_ACCEPT, widened, 0)


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each run of each process; the first of each, which compiles what it imports, counts not."""
    found: dict[str, list[float]] = {name: [] for name in (*_COMMANDS, "accept")}
    with tempfile.TemporaryDirectory() as place:
        plain, widened = Path(place, "plain"), Path(place, "widened")
        for folder in (plain, widened):
            shutil.copytree(_PROJECT, folder)
        models = widened / "shapes" / "models.py"
        models.write_text(models.read_text("utf-8").replace("num_classes: int = 4", "num_classes: int = 6"))
        for number in range(rounds + 1):
            for name in found if number % 2 else reversed(found):
                arguments, code = _COMMANDS.get(name, ((), 0))
                found[name].append(_seconds(arguments, plain, code) if arguments else _accept(widened))
    return {name: each[1:] for name, each in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="What the commands take, beside the import of torch.")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each (default: 7)")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    arguments = parser.parse_args()
    found = measure(arguments.rounds)
    torch = found[_TORCH]
    rows = []
    for name, each in found.items():
        ratios = sorted(one / other for one, other in zip(each, torch, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        rows.append(f"| `{name}` | {statistics.median(each):.2f} | {'' if name == _TORCH else spread} |")
    print(HEAD, *rows, sep="\n")
    if arguments.write:
        tables.write("commands", [HEAD, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
