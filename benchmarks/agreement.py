"""Compares our verdict with torch's on random definitions of many kinds.

``python -m benchmarks.agreement N SEED`` runs N examples, from the seed on, and prints a table by kind.
Interrupted, it prints the table of those that it has run.

Exit code: 0 if every kind agrees but those that are known not to, and each of these does not.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from tests.wide.cases import KINDS, KNOWN, Found, case, compare

_WORDS = ("agreed", "disagreed", "unchecked", "crashed", "no numbers", "no case")
#: Examples of each failure that are printed.
_SHOWN = 2
#: Examples of a kind after which it is no chance that all of them agree.
_ENOUGH = 5_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("number", type=int, help="of examples, of all kinds together")
    parser.add_argument("seed", type=int, help="the first example of each kind")
    parser.add_argument("--kind", default="", help="only kinds with this in their name")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kinds = [kind for kind in KINDS if arguments.kind in kind]
    found: dict[str, list[Found]] = {kind: [] for kind in kinds}
    started = time.perf_counter()
    done = 0
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        for number in range(arguments.number):
            each = case(kinds[number % len(kinds)], arguments.seed + number // len(kinds))
            result = compare(each, Path(folder) / "model.pt")
            _print_failure(each.text, result, found.setdefault(result.kind, []))
            found[result.kind].append(result)
            done += 1
    wrong = _print_table(found)
    print(f"\n{done} examples, seed {arguments.seed}, {time.perf_counter() - started:.0f} s")
    return 1 if wrong else 0


def _print_failure(text: str, result: Found, before: list[Found]) -> None:
    fails = result.word in ("disagreed", "unchecked", "crashed")
    if fails and sum(each.word == result.word for each in before) < _SHOWN:
        print(f"{result.word}: {text}\n    {result.detail[:300]}", flush=True)


def _print_table(found: dict[str, list[Found]]) -> list[str]:
    """Prints a row for each kind; returns the kinds that are not as they are known to be."""
    print(f"\n{'kind':40}" + "".join(f"{word:>11}" for word in _WORDS))
    total: Counter[str] = Counter()
    wrong = []
    for kind, examples in found.items():
        counts = Counter[str](each.word for each in examples)
        total += counts
        fails = any(counts[word] for word in ("disagreed", "unchecked", "crashed"))
        remark = ""
        if (fails and kind not in KNOWN) or (not fails and kind in KNOWN and len(examples) >= _ENOUGH):
            wrong.append(kind)
            remark = "  not known" if fails else "  known, yet all agree: take it off the list"
        elif fails:
            remark = f"  known: {KNOWN[kind]}"
        print(f"{kind:40}" + "".join(f"{counts[word]:11}" for word in _WORDS) + remark)
    print(f"{'all':40}" + "".join(f"{total[word]:11}" for word in _WORDS))
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
