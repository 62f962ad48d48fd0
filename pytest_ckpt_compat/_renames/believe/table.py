"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -15.79

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 2.13,
        "modules": 0.57,
        "blocks": 3.07,
        "roles": 2.61,
        "whole": 9.15,
        "rarity": 4.77,
        "distinct": 0.65,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.500
