"""Checks values before they become dictionary keys or set elements.

Hashing is a risk: Python hashes nested tuples recursively without a limit, and a file could choose
numbers whose hashes all collide. Text and bytes have randomised hashes, inert records hash by
identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import damaged, over_limit
from pytest_ckpt_compat._readers.pickle.inert import Global, Made, Skipped, Storage, Tensor

_BY_IDENTITY = frozenset({bool, type(None), Global, Made, Skipped, Storage, Tensor})
_SMALL = 1 << 32


class KeyCheck:
    """Checks the keys of one pickle, and counts those whose hashes the file could choose."""

    def __init__(self, spend: Callable[[int], None]) -> None:
        self._spend = spend
        self._chosen = 0

    def check(self, keys: Iterable[Any]) -> None:
        """Refuses keys that are unhashable, too long or too deep, or too many that could collide."""
        for key in keys:
            if type(key) is not str or len(key) > limits.NAME_LENGTH:
                self._check(key, 0)

    def _check(self, key: Any, depth: int) -> None:
        kind = type(key)
        if kind is str or kind is bytes:
            if len(key) > limits.KEY_LENGTH:
                raise over_limit("characters in a dictionary key", limits.KEY_LENGTH)
            self._spend(len(key) >> 6)
        elif kind is tuple:
            if depth >= limits.KEY_DEPTH:
                raise over_limit("tuples inside each other in a dictionary key", limits.KEY_DEPTH)
            self._spend(len(key))
            for item in key:
                self._check(item, depth + 1)
        elif kind is int and -_SMALL < key < _SMALL:
            return
        elif kind in (int, float, complex):
            self._chosen += 1
            if self._chosen > limits.CHOSEN_HASHES:
                raise over_limit("large or fractional numbers as dictionary keys", limits.CHOSEN_HASHES)
        elif kind not in _BY_IDENTITY:
            raise damaged(f"its pickle has a {kind.__name__} as a dictionary key")
