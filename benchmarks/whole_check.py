"""What a whole check costs next to the least that torch itself can do: a check costs what building costs.

The floor is plain torch: it reads the header, builds the definition under ``torch.device("meta")``, and calls
``load_state_dict(assign=True)`` with meta tensors. Ours is ``pytest_ckpt_compat.check`` and its report. Both
run in fresh processes, in turns, on the same sparse files, and count from the end of the imports: of torch,
and of ``pytest_ckpt_compat``, which is told in a column of its own since a process pays it once. What a check
imports besides is in its time. Ratios are of CPU time, within the run: wall-clock time on a busy machine says
little. The report alone is measured once a process, the first time, as its user gets it; so short a time is
judged by the worst of the rounds.

    python -m benchmarks.whole_check                      # all sizes, five rounds
    python -m benchmarks.whole_check --rounds 3 7B 70B    # some

Prints one table, and writes it as JSON (``--json``). Exit code: 0 if all targets are met, 1 if not.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.big_checkpoint import cached_bytecode

VARIANTS = ("same", "another dtype", "renamed", "resized")
WAYS = ("floor", "ours")
#: The whole check, in times of the floor.
RATIO = {"7B": 1.5, "70B": 1.5, "671B": 1.3}
#: The same where a key of every layer has another name; and for the rest.
RENAMED = {"7B": 3.0, "70B": 3.0, "671B": 3.0}
#: The report of every key in another dtype, alone, in times of the floor, in every round.
REPORT = 0.02
#: Bytes of peak memory beyond the floor's.
MEMORY = {"7B": 100e6, "70B": 100e6, "671B": 400e6}


@dataclass(frozen=True)
class Cost:
    """What one run took, from the end of the imports.

    Attributes:
        imports: seconds of the processor that the import of the package took; 0 of the floor.
        cpu: seconds of the processor.
        wall: seconds.
        report: seconds of the processor that the report took, which are among ``cpu``.
        peak: bytes, the largest resident size of the process.
        read: bytes that the process read, from files and caches.
    """

    imports: float
    cpu: float
    wall: float
    report: float
    peak: int
    read: int


def _floor(path: str, name: str, variant: str) -> float:
    import torch

    from benchmarks.language_models import define, header_of

    dtypes = {"F32": torch.float32, "BF16": torch.bfloat16}
    with torch.device("meta"):
        module = define(name, variant)()
        state = {
            key: torch.empty(entry["shape"], dtype=dtypes[entry["dtype"]])
            for key, entry in header_of(path).items()
        }
    try:
        module.load_state_dict(state, assign=True)
    except RuntimeError:
        assert variant in ("renamed", "resized"), variant
    else:
        assert variant in ("same", "another dtype"), variant
    return 0.0


def _ours(path: str, name: str, variant: str) -> float:
    import pytest_ckpt_compat
    from benchmarks.language_models import define

    verdict = pytest_ckpt_compat.check(path, define(name, variant))
    assert verdict.compatible == (variant in ("same", "another dtype")), verdict
    begin = time.process_time()
    text = str(verdict)
    seconds = time.process_time() - begin
    assert text
    return seconds


def _read() -> int:
    """Bytes that the process has read; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return int(dict(line.split(": ") for line in lines)["rchar"])


def _child(way: str, path: str, name: str, variant: str) -> None:
    """Runs one of the ways in this process, and prints its cost as JSON."""
    import benchmarks.language_models  # noqa: F401

    run = {"floor": _floor, "ours": _ours}[way]
    cpu = time.process_time()
    if way == "ours":
        import pytest_ckpt_compat

        pytest_ckpt_compat.check  # noqa: B018
    gc.collect(1)  # what an import leaves to the garbage collector is a part of what it costs
    imports = time.process_time() - cpu
    read, cpu, wall = _read(), time.process_time(), time.perf_counter()
    report = run(path, name, variant)
    cpu, wall, read = time.process_time() - cpu, time.perf_counter() - wall, _read() - read
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps(asdict(Cost(imports, cpu, wall, report, peak, read))))


def _run(way: str, path: str, name: str, variant: str) -> Cost:
    command = [sys.executable, "-m", "benchmarks.whole_check", "--child", way, path, name, variant]
    done = subprocess.run(command, check=True, env=cached_bytecode(), stdout=subprocess.PIPE, text=True)
    return Cost(**json.loads(done.stdout))


def _file(folder: str, name: str, variant: str) -> str:
    """Writes the checkpoint in a process of its own: this one must stay small, as its children inherit."""
    path = str(Path(folder) / f"{name}-{variant.replace(' ', '-')}.safetensors")
    code = (
        f"from benchmarks.language_models import write_sparse; write_sparse({path!r}, {name!r}, {variant!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=cached_bytecode())
    return path


def measure(names: Sequence[str], variants: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """A row for each size and variant, with medians and spreads."""
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for variant in variants:
                path = _file(folder, name, variant)
                costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
                for number in range(rounds):
                    for way in WAYS if number % 2 else reversed(WAYS):
                        costs[way].append(_run(way, path, name, variant))
                table.append(row(name, variant, costs))
                print(line(table[-1]), flush=True)
                Path(path).unlink()
    return table


def row(name: str, variant: str, costs: dict[str, list[Cost]]) -> dict[str, Any]:
    """The medians of one size and variant, the ratios round by round, and whether the targets are met."""
    found: dict[str, Any] = {"size": name, "variant": variant, "rounds": len(costs["ours"])}
    for way, each in costs.items():
        for what in ("imports", "cpu", "wall", "report", "peak", "read"):
            found[f"{way} {what}"] = statistics.median(getattr(cost, what) for cost in each)
    pairs = [*zip(costs["floor"], costs["ours"], strict=True)]
    for what, ratios in (
        ("ratio", [ours.cpu / floor.cpu for floor, ours in pairs]),
        ("report ratio", [ours.report / floor.cpu for floor, ours in pairs]),
    ):
        found[what], found[f"{what} low"], found[f"{what} high"] = (
            each(ratios) for each in (statistics.median, min, max)
        )
    found["memory beyond"] = found["ours peak"] - found["floor peak"]
    found["target"] = (RENAMED if variant == "renamed" else RATIO)[name]
    found["met"] = (
        found["ratio"] <= found["target"]
        and found["memory beyond"] <= MEMORY[name]
        and (variant != "another dtype" or name != "671B" or found["report ratio high"] <= REPORT)
    )
    return found


HEAD = (
    f"| {'size':4} | {'checkpoint':13} | floor s (wall) | ours s (wall)  | ratio (spread)      | to reach "
    "| report (spread)        | import s | MB beyond | MB read |         |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def line(found: dict[str, Any]) -> str:
    """One row of the table, in Markdown."""
    spread = f"{found['ratio']:5.2f} ({found['ratio low']:.2f} to {found['ratio high']:.2f})"
    report = "{report ratio:.3f} ({report ratio low:.3f} to {report ratio high:.3f})".format_map(found)
    seconds = (f"{found[f'{way} cpu']:6.2f} ({found[f'{way} wall']:.2f})" for way in WAYS)
    first, second = (f"{each:14}" for each in seconds)
    cells = (
        f"{found['size']:4}",
        f"{found['variant']:13}",
        first,
        second,
        f"{spread:19}",
        f"{found['target']:8}",
        report,
        f"{found['ours imports']:8.2f}",
        f"{found['memory beyond'] / 1e6:9.0f}",
        f"{found['ours read'] / 1e6:7.1f}",
        f"{'met' if found['met'] else 'MISSED':7}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="What a whole check costs next to torch's own floor.")
    parser.add_argument("sizes", nargs="*", help="7B, 70B, 671B (default: all)")
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each way (default: 5)")
    parser.add_argument("--json", default="whole_check.json", help="where the table goes as JSON")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(*arguments.child)
        return 0
    print(HEAD)
    table = measure(arguments.sizes or list(RATIO), arguments.variant or VARIANTS, arguments.rounds)
    Path(arguments.json).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0 if all(found["met"] for found in table) else 1


if __name__ == "__main__":
    sys.exit(main())
