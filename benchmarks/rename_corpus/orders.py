"""The orders in which files keep their keys."""

from __future__ import annotations

import random

from benchmarks.rename_corpus.case import Specs

#: As the model has them; by name, as safetensors; by dtype and name; in sorted shards; in none.
ORDERS = ("model", "sorted", "dtype", "shards", "shuffled")


def ordered(specs: Specs, order: str, r: random.Random) -> Specs:
    """The same keys in one of ``ORDERS``."""
    items = list(specs.items())
    if order == "sorted":
        items.sort(key=lambda item: item[0])
    elif order == "dtype":
        items.sort(key=lambda item: (item[1].dtype, item[0]))
    elif order == "shuffled":
        r.shuffle(items)
    elif order == "shards":
        size = max(1, len(items) // r.randint(2, 5))
        items = [
            item
            for start in range(0, len(items), size)
            for item in sorted(items[start : start + size], key=lambda item: item[0])
        ]
    return dict(items)
