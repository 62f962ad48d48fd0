"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -16.01

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 2.23,
        "modules": 0.57,
        "blocks": 3.14,
        "roles": 2.74,
        "whole": 9.28,
        "rarity": 5.08,
        "distinct": 0.40,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.500
