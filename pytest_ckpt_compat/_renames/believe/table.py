"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -16.04

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 2.14,
        "modules": 0.58,
        "blocks": 3.06,
        "roles": 2.66,
        "whole": 9.27,
        "rarity": 4.99,
        "distinct": 0.67,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.504
