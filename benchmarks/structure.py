"""What it costs to read the structure of one file, beside torch and safetensors, and its growth with size.

Files of 300 tensors, from 20 MB to 140 GB, as ``torch.save`` writes them, as safetensors, and as safetensors
in 75 shards, or in one. All are sparse: their numbers are holes, which take no disk. Each way runs in fresh
processes, in turns; seconds are of the processor, from the end of the imports. Bytes are those that the
process asked the system for; ``mmap`` asks for none. Then ``ckpt-compat show`` of 10,000 keys, a whole
process beside one that does nothing.

    python -m benchmarks.structure            # --write puts the table into README.md

Exit code: 0 if all targets are met, 1 if not.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.big_checkpoint import cached_bytecode

KEYS, SHARDS = 300, 75
SIZES = {"20 MB": 20e6, "2 GB": 2e9, "140 GB": 140e9}
#: Bytes that may be read, times of ``json.loads`` of a header, and seconds that ``show`` may take.
BYTES, JSON, SHOW = 2e6, 3.0, 0.3
#: How much more a file may cost than one of 20 MB and still be called flat.
FLAT = 1.5

_SHOW = "import sys; from pytest_ckpt_compat._cli.main import main; sys.exit(main())"


def _header(keys: range, count: int) -> bytes:
    item = 4 * count
    entries = {
        f"model.layers.{key}.weight": {
            "dtype": "F32",
            "shape": [count],
            "data_offsets": [at * item, (at + 1) * item],
        }
        for at, key in enumerate(keys)
    }
    text = json.dumps(entries).encode()
    return text + b" " * (-len(text) % 8)


def _safetensors(path: Path, keys: range, count: int) -> None:
    header = _header(keys, count)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 4 * count * len(keys))


def write_zip(path: Path, keys: int, count: int) -> None:
    """A file of ``torch.save``, whose numbers are a hole."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        state = {f"model.layers.{key}.weight": torch.empty(count) for key in range(keys)}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(state, path)


def write_safetensors(path: Path, keys: int, count: int) -> None:
    """A safetensors file, whose numbers are a hole."""
    _safetensors(path, range(keys), count)


def write_shards(path: Path, keys: int, count: int) -> None:
    """Safetensors files in a folder, as many whatever their size; ``path`` is their index."""
    _shards(path, keys, count, SHARDS)


def write_one_shard(path: Path, keys: int, count: int) -> None:
    """An index, and a single file that it names."""
    _shards(path, keys, count, 1)


def _shards(path: Path, keys: int, count: int, number_of_files: int) -> None:
    each = math.ceil(keys / number_of_files)
    parts = [range(begin, min(begin + each, keys)) for begin in range(0, keys, each)]
    weights: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        name = f"model-{number:05}-of-{len(parts):05}.safetensors"
        _safetensors(path.parent / name, part, count)
        weights |= {f"model.layers.{key}.weight": name for key in part}
    path.write_text(json.dumps({"metadata": {"total_size": 4 * count * keys}, "weight_map": weights}))


def _ours(path: str) -> int:
    import pytest_ckpt_compat

    return len(pytest_ckpt_compat.read(path).tensors)


def _full(path: str) -> int:
    import torch

    return len(torch.load(path, weights_only=True))


def _mapped(path: str) -> int:
    import torch

    return len(torch.load(path, weights_only=True, mmap=True))


def _meta(path: str) -> int:
    import torch

    return len(torch.load(path, weights_only=True, map_location="meta"))


def _json(path: str) -> int:
    with open(path, "rb") as file:
        return len(json.loads(file.read(int.from_bytes(file.read(8), "little"))))


def _safe_open(path: str) -> int:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return len([file.get_slice(key).get_shape() for key in file.keys()])  # noqa: SIM118


_IMPORTS = {
    "ours": "pytest_ckpt_compat",
    "json.loads": "json",
    "safe_open": "safetensors.torch",
    "torch.load": "torch",
    "torch.load, mmap": "torch",
    "torch.load, meta": "torch",
}
_RUN: dict[str, Callable[[str], int]] = {
    "ours": _ours,
    "json.loads": _json,
    "safe_open": _safe_open,
    "torch.load": _full,
    "torch.load, mmap": _mapped,
    "torch.load, meta": _meta,
}
#: Ways that ask the system for as much memory as the file is long, whether they use it or not.
_ASK_FOR_ALL = ("torch.load", "torch.load, mmap", "safe_open")
#: Kind of file -> name, what writes it, and the ways to read it.
FILES: dict[str, tuple[str, Callable[[Path, int, int], None], tuple[str, ...]]] = {
    "torch zip": ("a.pt", write_zip, ("ours", "torch.load", "torch.load, mmap", "torch.load, meta")),
    "safetensors": ("a.safetensors", write_safetensors, ("ours", "json.loads", "safe_open")),
    "shards": ("model.safetensors.index.json", write_shards, ("ours",)),
    "one shard": ("model.safetensors.index.json", write_one_shard, ("ours",)),
}


def _read() -> int:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def _child(way: str, path: str) -> None:
    """Runs one of the ways twice, and prints what each took: the second has nothing left to import."""
    __import__(_IMPORTS[way])
    if way == "ours":
        __import__("pytest_ckpt_compat").read  # noqa: B018
    found: dict[str, float] = {}
    for name in ("first", "again"):
        read, begin = _read(), time.process_time()
        keys = _RUN[way](path)
        found[name] = time.process_time() - begin
        found.setdefault("bytes", _read() - read)
    print(json.dumps({**found, "keys": keys}))


def _run(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.structure", "--child", way, str(path)]
    done = subprocess.run(command, check=True, env=cached_bytecode(), stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each kind of file, size and way, with medians."""
    for kind, (name, write, ways) in FILES.items():
        for size, total in SIZES.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / name
                write(path, KEYS, int(total / 4 / KEYS))
                large = total > 1e10  # more than there is memory
                used = [way for way in ways if not (large and way in _ASK_FOR_ALL)]
                runs: dict[str, list[dict[str, float]]] = {way: [] for way in used}
                for number in range(rounds):
                    for way in used if number % 2 else reversed(used):
                        runs[way].append(_run(way, path))
            for way, each in runs.items():
                middle = {what: statistics.median(run[what] for run in each) for what in each[0]}
                yield {"kind": kind, "size": size, "way": way, "rounds": rounds, **middle}


def _cpu(command: list[str]) -> float:
    """Seconds of the processor of a whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=cached_bytecode(), stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def show(rounds: int) -> Iterator[dict[str, Any]]:
    """What ``ckpt-compat show`` of 10,000 keys takes beyond a process that does nothing."""
    for kind, (name, write, _) in FILES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            write(path, 10_000, 64)
            found = []
            for _ in range(rounds):
                nothing = _cpu([sys.executable, "-c", "pass"])
                found.append(_cpu([sys.executable, "-c", _SHOW, "show", str(path)]) - nothing)
        yield {"kind": kind, "seconds": statistics.median(found), "low": min(found), "high": max(found)}


HEAD = (
    "| file        | size   | way              | ms, first | ms, again | kB read |\n|---|---|---|---|---|---|"
)


def line(row: dict[str, Any]) -> str:
    """One row of the table, in Markdown."""
    times = f"{1e3 * row['first']:9.2f} | {1e3 * row['again']:9.2f}"
    return f"| {row['kind']:11} | {row['size']:6} | {row['way']:16} | {times} | {row['bytes'] / 1e3:9,.1f} |"


def judged(rows: list[dict[str, Any]], shown: list[dict[str, Any]]) -> list[tuple[str, bool | None]]:
    """What was to be reached, with the figures, and whether it was; None where nothing was to be."""
    by = {(row["kind"], row["size"], row["way"]): row for row in rows}
    found: list[tuple[str, bool | None]] = []
    small, large = next(iter(SIZES)), list(SIZES)[-1]
    for kind in FILES:
        ours = [by[kind, size, "ours"] for size in SIZES]
        most, growth = max(row["bytes"] for row in ours), ours[-1]["again"] / ours[0]["again"]
        found.append(
            (f"{kind}: {most / 1e3:,.0f} kB read at most, to reach {BYTES / 1e3:,.0f}", most <= BYTES)
        )
        text = f"{kind}: {large} takes {growth:.2f} of {small}, to reach {FLAT}"
        found.append((text, growth <= FLAT))
    for size in SIZES:
        many, one = by["shards", size, "ours"]["again"], by["one shard", size, "ours"]["again"]
        each = 1e3 * (many - one) / (SHARDS - 1)
        text = f"shards, {size}: {SHARDS} files take {many / one:.2f} of one, {each:.3f} ms for each more"
        found.append((text, None))
    for size in SIZES:
        first, second = by["safetensors", size, "ours"], by["safetensors", size, "json.loads"]
        ratio = first["again"] / second["again"]
        found.append((f"safetensors, {size}: {ratio:.2f} of json.loads, to reach {JSON:.0f}", ratio <= JSON))
    for row in shown:
        spread = f"{row['low']:.2f} to {row['high']:.2f}"
        text = f"show of 10,000 keys, {row['kind']}: {row['seconds']:.2f} s ({spread}), to reach {SHOW}"
        found.append((text, row["seconds"] <= SHOW))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="What it costs to read the structure of one file.")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each way (default: 5)")
    parser.add_argument("--json", default="structure.json", help="where the table goes as JSON")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(*arguments.child)
        return 0
    print(HEAD)
    rows = []
    for row in measure(arguments.rounds):
        rows.append(row)
        print(line(row), flush=True)
    shown = list(show(arguments.rounds))
    targets = judged(rows, shown)
    words = {True: ": met", False: ": MISSED", None: ""}
    ends = [f"- {text}{words[met]}" for text, met in targets]
    print("", *ends, sep="\n")
    Path(arguments.json).write_text(json.dumps({"files": rows, "show": shown}, indent=1) + "\n")
    if arguments.write:
        tables.write("structure", [HEAD, *map(line, rows), "", *ends])
    return 1 if any(met is False for _, met in targets) else 0


if __name__ == "__main__":
    sys.exit(main())
