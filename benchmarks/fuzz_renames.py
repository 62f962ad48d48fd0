"""Explains thousands of nasty pairs of key lists, and counts those that raise or name wrong keys.

    python benchmarks/fuzz_renames.py [LISTS] [SEED]

Interrupted, it reports on the lists that it has tried.

``tests/renames/test_any_keys.py`` tries a few hundred more of this kind. The exit code is 1 if any failed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import product

import pytest_ckpt_compat
from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import Source, Structure, TensorSpec
from pytest_ckpt_compat._renames import infer, rename_patterns

Specs = dict[str, TensorSpec]

NAMES = ["a", "b", "layers", "blocks", "attn", "norm", "mlp", "gate", "up", "down", "proj", "h.0", "x_y"]
LEAVES = [
    "weight",
    "bias",
    "gamma",
    "beta",
    "running_mean",
    "num_batches_tracked",
    "scale",
    "pos",
    "in_proj_weight",
]
NUMBERS = ["0", "1", "2", "3", "4", "5", "10", "00", "01", "007", "²", "٣", "1٣", "9" * 25, "-1"]
ODD = [
    "",
    "",
    " ",
    ".",
    "é",
    "日本",
    "{0,1}",
    "*",
    "{",
    "}",
    ",",
    "->",
    "\n",
    "\ud800",
    "parametrizations",
    "weight",
]
PARTS = [
    "q",
    "k",
    "v",
    "qkv",
    "q_proj",
    "k_proj",
    "v_proj",
    "kv",
    "query",
    "key",
    "value",
    "in_proj_weight",
    "q_bias",
]
STORED = [
    ("weight_g", "weight_v"),
    ("weight_orig", "weight_u", "weight_v"),
    ("weight_orig", "weight_mask"),
    ("bias_orig", "bias_mask"),
    ("weight_orig",),
    ("weight_g",),
    ("weight_v",),
    ("weight_hh_l0_g", "weight_hh_l0_v"),
    ("parametrizations.weight.original",),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ("parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v"),
    ("parametrizations.weight.original0",),
    ("parametrizations.X.original", "parametrizations.X.0.base"),
    ("parametrizations.bias.original0", "parametrizations.bias.original1", "parametrizations.bias.original2"),
]


def shape(r: random.Random, most: int = 5) -> tuple[int, ...]:
    return tuple(r.choice([0, 1, 1, 2, 2, 3, 4, 8]) for _ in range(r.randrange(most + 1)))


def specs(r: random.Random, keys: Iterable[str]) -> Specs:
    """Gives each key a shape; few shapes in all, so that many keys could be each other."""
    shapes = [shape(r) for _ in range(r.randint(1, 4))]
    dtypes = r.choice([["float32"], ["float32", "float16", "int64"]])
    return {key: TensorSpec(r.choice(dtypes), r.choice(shapes)) for key in keys}


def segment(r: random.Random) -> str:
    return r.choice(r.choice([NAMES, NAMES, LEAVES, NUMBERS, ODD, PARTS]))


def plain(r: random.Random) -> Specs:
    return specs(r, (".".join(segment(r) for _ in range(r.randint(1, 5))) for _ in range(r.randrange(14))))


def empty_segments(r: random.Random) -> Specs:
    names = ["", "", "a", "b", "0", "1", "x", "w"]
    return specs(
        r, (".".join(r.choice(names) for _ in range(r.randint(1, 5))) for _ in range(r.randrange(12)))
    )


def numbered(r: random.Random) -> Specs:
    """Repeated blocks, nested, some with a gap, a tensor of the same name, or another content."""
    found: Specs = {}
    for outer in r.sample([*NAMES, ""], r.randint(1, 2)):
        inner, tails = r.choice(["", ".experts.{}", ".parametrizations.weight.{}"]), [segment(r), segment(r)]
        sizes = [shape(r, 3) for _ in tails]
        for number, other in product(range(r.choice([2, 4, 5])), range(r.choice([1, 1, 4]))):
            for tail, size in zip(tails, sizes, strict=True):
                key = f"{outer}.{number}{inner.format(other)}.{tail}"
                found[key] = TensorSpec("float32", size)
                if r.random() < 0.03:
                    found[key.rpartition(".")[0] + r.choice(["", "_weight", "."])] = TensorSpec(
                        "float32", size
                    )
    return found


def stored(r: random.Random) -> Specs:
    """Parameters that are stored in other terms, and plain ones."""
    found: Specs = {}
    for number in range(r.randint(1, 5)):
        module = r.choice(
            ["", f"{number}.", f"net.{number}.", f"{r.choice(NAMES)}.", ".", "parametrizations."]
        )
        size = shape(r)
        forms = [("weight",), ("weight", "bias"), *STORED, r.choice(STORED) + r.choice(STORED), ("bias",)]
        for name in r.choice(forms):
            short = r.random() < 0.3
            found[module + name] = TensorSpec("float32", size[:1] if short else size)
    return found


def ranks(r: random.Random) -> Specs:
    """q, k, v, and their joint forms, of any ranks."""
    found: Specs = {}
    for module in r.sample(["", "a.", "0.", "1.", "l.0.", "l.1.", "."], r.randint(1, 3)):
        for part in r.sample(PARTS, r.randint(1, 6)):
            name = r.choice([".weight", ".weight", ".bias", "_weight", ""])
            ways = [(4, 2), (4, 2, 1), (8, 2), (12, 2), (12,), (4,), (2, 4), (2, 4, 2), ()]
            found[module + part + name] = TensorSpec("float32", r.choice(ways))
    return found


def deep(r: random.Random) -> Specs:
    depth = r.choice([40, 200, 1100])
    names = r.choice([["a"], ["0", "1"], ["", "a"], ["a", "0"]])
    trunk = [r.choice(names) for _ in range(depth)]
    keys = [".".join([*trunk[: r.randrange(depth)], r.choice(LEAVES)]) for _ in range(r.randint(1, 6))]
    return specs(r, keys)


def rewritten(r: random.Random, old: Specs) -> Specs:
    """Another side with much in common: names exchanged, numbers shifted, shapes and order changed."""
    table = {
        name: segment(r) for name in {part for key in old for part in key.split(".")} if r.random() < 0.4
    }
    prefix = r.choice(["", "", "", "module.", ".", "parametrizations.", "0."])
    found: Specs = {}
    for key, spec in old.items():
        if r.random() < 0.05:
            continue
        sizes = shape(r) if r.random() < 0.05 else spec.shape
        if r.random() < 0.1:
            sizes = tuple(reversed(sizes))
        found[prefix + ".".join(table.get(part, part) for part in key.split("."))] = TensorSpec(
            spec.dtype, sizes
        )
    items = list(found.items())
    if r.random() < 0.2:
        r.shuffle(items)
    return dict(items)


GENERATORS: tuple[Callable[[random.Random], Specs], ...] = (
    plain, empty_segments, numbered, stored, ranks, deep
)  # fmt: skip


def pair(r: random.Random) -> tuple[str, Specs, Specs]:
    kind = r.choices(GENERATORS, weights=[20, 20, 20, 20, 20, 2])[0]
    old = kind(r)
    new = rewritten(r, old) if r.random() < 0.7 else kind(r)
    if r.random() < 0.2:
        old, new = old | kind(r), new | r.choice(GENERATORS[:-1])(r)
    return kind.__name__, *((old, new) if r.random() < 0.5 else (new, old))


def wrong(changes: Iterable[Change], old: Specs, new: Specs) -> str:
    """Returns what is wrong with an explanation, or ""."""
    changes = list(changes)
    for side, name in ((old, "old"), (new, "new")):
        used = Counter(key for change in changes for key in getattr(change, name))
        if not used.keys() <= side.keys():
            return f"a key that the {name} side lacks"
        if used and max(used.values()) > 1:
            return f"a key twice on the {name} side"
    if any(not new.keys() >= set(change.candidates) for change in changes):
        return "a candidate that the new side lacks"
    return ""


def explain(old: Specs, new: Specs) -> str:
    """Explains one pair in every way; returns what is wrong, or ""."""
    changes = infer(old, new)
    rename_patterns(changes, old, new)
    verdict = pytest_ckpt_compat.diff(
        Structure(old, source=Source("old.pt")), Structure(new, source=Source("new.pt"))
    )
    str(verdict)
    if failed := [note for note in verdict.notes if "failed" in note]:
        return failed[0]
    moved = (c for c in verdict.changes if c.kind not in ("retyped", "retied"))
    return wrong(changes, old, new) or wrong(moved, old, new)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lists", type=int, nargs="?", default=20_000, help="how many pairs of lists")
    parser.add_argument("seed", type=int, nargs="?", default=0)
    arguments = parser.parse_args()
    tried: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    smallest: dict[str, tuple[int, str]] = {}
    start = time.perf_counter()
    for number in range(arguments.lists):
        kind, old, new = pair(random.Random(f"{arguments.seed} {number}"))
        tried[kind] += 1
        try:
            problem = explain(old, new)
        except KeyboardInterrupt:
            tried[kind] -= 1
            break
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            problem = f"{type(error).__name__} at {last.filename.rpartition('/')[2]}:{last.lineno}"
        if problem:
            failed[problem] += 1
            text = ascii([{key: spec.shape for key, spec in side.items()} for side in (old, new)])
            smallest[problem] = min(smallest.get(problem, (len(text), text)), (len(text), text))
    seconds = time.perf_counter() - start
    print(f"{tried.total()} pairs of lists, seed {arguments.seed}, {seconds:.0f} s")
    print("  ".join(f"{kind} {count}" for kind, count in sorted(tried.items())))
    print(f"failed: {failed.total()}")
    for problem, count in failed.most_common():
        print(f"{count:6} {problem}\n       {smallest[problem][1][:600]}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
