"""What checking a big checkpoint costs, next to really loading it.

Three ways of asking whether a checkpoint still loads into a model, each in a fresh process, in turns:

- ``torch``: ``torch.load`` and a strict ``load_state_dict``, with real weights;
- ``pytest-torch``: its ``assert_checkpoint_loads``;
- ``ckpt-compat``: ``pytest_ckpt_compat.check``.

Time counts from the end of ``import torch`` to the verdict: the import of the package that is asked
and the construction of the model are in it, for all three. Memory is the process's peak resident size.
The checkpoint is in the page cache, which is in favour of the two that read all of it.

    pip install pytest-torch
    python -m benchmarks.load
    python -m benchmarks.load --size-gb 0.2 --rounds 1     # a quick try

Exit code: 0 if both targets are met, 1 if not.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.big_checkpoint import cached_bytecode, layers_for, save, transformer

if TYPE_CHECKING:
    from torch import nn

#: Ours may take at most this part of the time, and of the peak memory, of either of the others.
TIME_TARGET = 1 / 20
MEMORY_TARGET = 1 / 5


@dataclass(frozen=True)
class Cost:
    """What one run took.

    Attributes:
        seconds: from the end of ``import torch`` to the verdict.
        build_seconds: the part of it spent in the model's constructor.
        peak: bytes, largest resident size of the process.
        beyond_torch: bytes, how much of it was not yet there after ``import torch``.
    """

    seconds: float
    build_seconds: float
    peak: int
    beyond_torch: int


class _Timed:
    """A factory of the model that notes how long it took."""

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self.seconds = 0.0

    def __call__(self) -> nn.Module:
        begin = time.perf_counter()
        module = transformer(self._layers)
        self.seconds += time.perf_counter() - begin
        return module


def _load_with_torch(path: str, make: _Timed) -> None:
    import torch

    make().load_state_dict(torch.load(path, weights_only=True))


def _load_with_pytest_torch(path: str, make: _Timed) -> None:
    importlib.import_module("pytest_torch").assert_checkpoint_loads(make, path)


def _check(path: str, make: _Timed) -> None:
    import pytest_ckpt_compat

    verdict = pytest_ckpt_compat.check(path, make)
    assert verdict.compatible, verdict


_OURS = "ckpt-compat"
_WAYS: dict[str, Callable[[str, _Timed], None]] = {
    "torch": _load_with_torch,
    "pytest-torch": _load_with_pytest_torch,
    _OURS: _check,
}


def _peak() -> int:
    """Bytes; ``ru_maxrss`` is in kilobytes, on macOS in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _child(way: str, path: str, layers: int) -> None:
    """Runs one of the ways in this process, and prints its cost as JSON."""
    import torch  # noqa: F401

    make = _Timed(layers)
    before = _peak()
    begin = time.perf_counter()
    _WAYS[way](path, make)
    seconds = time.perf_counter() - begin
    print(json.dumps(asdict(Cost(seconds, make.seconds, _peak(), _peak() - before))))


def _run(way: str, path: str, layers: int) -> Cost:
    command = [sys.executable, "-m", "benchmarks.load", "--child", way, path, str(layers)]
    done = subprocess.run(command, check=True, env=cached_bytecode(), stdout=subprocess.PIPE, text=True)
    return Cost(**json.loads(done.stdout))


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(cost.seconds for cost in costs),
        statistics.median(cost.build_seconds for cost in costs),
        int(statistics.median(cost.peak for cost in costs)),
        int(statistics.median(cost.beyond_torch for cost in costs)),
    )


def _measure(size_gb: float, rounds: int) -> dict[str, Cost]:
    """The median cost of each way."""
    layers = layers_for(size_gb)
    runs: dict[str, list[Cost]] = {way: [] for way in _WAYS}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "big.pt")
        size = save(path, layers)
        print(f"checkpoint of {size / 1e9:.2f} GB, {layers} layers; medians of {rounds}\n")
        for _ in range(rounds):
            for way in _WAYS:
                runs[way].append(_run(way, path, layers))
    return {way: _median(costs) for way, costs in runs.items()}


def _report(costs: dict[str, Cost]) -> bool:
    """Prints the table, and whether the targets are met."""
    print(f"{'':14}{'seconds':>9}{'of it building':>16}{'peak MB':>10}{'beyond torch MB':>17}")
    for way, cost in costs.items():
        times = f"{cost.seconds:>9.3f}{cost.build_seconds:>16.3f}"
        print(f"{way:14}{times}{cost.peak / 1e6:>10,.0f}{cost.beyond_torch / 1e6:>17,.0f}")
    print()
    ours, met = costs[_OURS], True
    for way, cost in costs.items():
        if way == _OURS:
            continue
        building = _ratio(ours.seconds - ours.build_seconds, cost.seconds - cost.build_seconds)
        beyond = _ratio(ours.beyond_torch, cost.beyond_torch)
        for what, part, whole, target, aside in (
            ("time", ours.seconds, cost.seconds, TIME_TARGET, f"without building {building}"),
            ("memory", ours.peak, cost.peak, MEMORY_TARGET, f"beyond torch {beyond}"),
        ):
            fits = part <= target * whole
            met = met and fits
            outcome = f"target 1/{1 / target:.0f}: {'met' if fits else 'MISSED'}"
            print(f"{what:7}{_ratio(part, whole)} of {way} ({aside}); {outcome}")
    return met


def _ratio(part: float, whole: float) -> str:
    return f"1/{whole / part:.1f}" if part else "0"


def main() -> int:
    parser = argparse.ArgumentParser(description="What checking a big checkpoint costs, next to loading it.")
    parser.add_argument("--size-gb", type=float, default=2.0, help="size of the checkpoint (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each way (default: 5)")
    parser.add_argument("--child", nargs=3, metavar=("WAY", "PATH", "LAYERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        way, path, layers = arguments.child
        _child(way, path, int(layers))
        return 0
    return 0 if _report(_measure(arguments.size_gb, arguments.rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
