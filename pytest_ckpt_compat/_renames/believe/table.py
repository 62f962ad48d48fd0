"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -15.46

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 1.96,
        "modules": 0.71,
        "blocks": 2.21,
        "roles": 2.82,
        "whole": 9.55,
        "rarity": 4.87,
        "distinct": 0.73,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.505
