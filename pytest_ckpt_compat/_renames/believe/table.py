"""The weights of the evidence, fitted: ``python -m benchmarks.rename_fit --write`` makes this file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The log odds of a match without any evidence.
INTERCEPT = -15.26

#: Feature -> what it adds to the log odds, times its value.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "name": 2.03,
        "modules": 0.81,
        "blocks": 2.34,
        "roles": 2.52,
        "whole": 9.47,
        "rarity": 4.68,
        "distinct": 0.70,
    }
)

#: Least probability of a match that is told as certain, if nothing forbids it.
CERTAIN = 0.501
