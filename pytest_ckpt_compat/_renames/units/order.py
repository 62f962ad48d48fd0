"""Whether the order of a list of keys is the model's, and an order by name for where it is not.

A state_dict lists every module's tensors together, in the order of registration, and that order is
evidence. safetensors sorts a file's keys by dtype and name, a sharded checkpoint is several such files
one after another, and a dict that was built anew may have any order: none of these says anything about
the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from operator import eq

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames.units.paths import home, modules_of, natural

#: A sorted list has one ascending run for each dtype and shard. The order of registration has one for
#: about every second tensor: a weight comes before its bias, and a layer before its norm.
_LONG_RUN = 8

#: Largest share of the places within modules at which a key of another module stands. Where keys are
#: shuffled, it is near 1.
_SCATTERED = 0.3


def is_registered(keys: Sequence[str]) -> bool:
    """Whether the keys can stand in the order in which a model registers them.

    Not if they are sorted by name, all or in long runs, and not if they are scattered.
    """
    descents = sum(a > b for a, b in pairwise(keys))
    if descents <= len(keys) // _LONG_RUN:
        return False
    entered = inside = 0
    modules: set[str] = set()
    before: tuple[str, ...] = ()
    for place, together in groupby(keys, home):
        around = modules_of(place)
        entered += len(around) - sum(map(eq, around, before))  # what both are in comes first
        inside += len(around) * sum(1 for _ in together)
        modules.update(around)
        before = around
    return entered - len(modules) <= _SCATTERED * (inside - len(modules))


def by_name(specs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """Returns the specs sorted by name, with numbers as numbers: ``layers.2`` before ``layers.10``."""
    return {key: specs[key] for key in sorted(specs, key=natural)}
