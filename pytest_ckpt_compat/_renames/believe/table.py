"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -9.57

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 2.13,
        "modules": 1.35,
        "blocks": 1.85,
        "roles": 1.80,
        "whole": 4.34,
        "rarity": 4.35,
        "distinct": 0.92,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.500
