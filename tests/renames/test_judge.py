"""Confidence: each weight and each obstacle is needed, and nothing certain of the corpus is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import rename_fit
from benchmarks.rename_corpus import corpus
from benchmarks.rename_fit import Row, rows_of
from pytest_ckpt_compat._renames import infer
from pytest_ckpt_compat._renames.believe import judge, table
from pytest_ckpt_compat._renames.believe.features import Features

from .models import linear, merged, spec

#: One case of so many is judged here.
_EVERY = 5


@pytest.fixture(scope="module")
def judged() -> list[Row]:
    """The matches of some cases of every kind, with the old side in every second one sorted by name."""
    return [row for n, case in enumerate(corpus.read()[::_EVERY]) for row in rows_of(case, sort=n % 2 == 1)]


def test_what_is_certain_is_true(judged: list[Row]) -> None:
    certain = [
        row
        for row in judged
        if judge.probability_of(row.evidence) >= table.CERTAIN and not judge.forbids_certainty(row.evidence)
    ]
    assert sum(row.keys for row in certain) > 2000
    assert not [row for row in certain if not row.right]


def test_a_probability_is_the_share_that_is_true(judged: list[Row]) -> None:
    for low, high in ((0.0, 0.3), (0.5, 0.9), (0.9, 1.01)):
        inside = [row for row in judged if low <= judge.probability_of(row.evidence) < high]
        keys = sum(row.keys for row in inside)
        claimed = sum(row.keys * judge.probability_of(row.evidence) for row in inside) / keys
        true = sum(row.keys for row in inside if row.right) / keys
        assert abs(claimed - true) < 0.2


def test_a_part_of_the_corpus_needs_every_weight_and_about_as_large(judged: list[Row]) -> None:
    """What is true surprises hardly more than with the part's own weights, which differ from part to part."""
    import numpy as np

    values = np.array([[getattr(row.evidence, name) for name in rename_fit.NAMES] for row in judged])
    right, keys = (np.array([getattr(row, name) for row in judged], float) for name in ("right", "weight"))

    def surprise(intercept: float, weights: Any) -> float:
        odds = intercept + values @ weights
        return float(np.logaddexp(0, np.where(right > 0, -odds, odds)) @ keys / keys.sum())

    least = surprise(*rename_fit.fitted(values, right, keys))
    weights = np.array([table.WEIGHTS[name] for name in rename_fit.NAMES])
    told = surprise(table.INTERCEPT, weights)
    assert told < 1.25 * least
    for place, name in enumerate(rename_fit.NAMES):
        without, larger = weights.copy(), weights.copy()
        without[place], larger[place] = 0, 5 * weights[place]
        assert surprise(table.INTERCEPT, without) > told, name
        assert surprise(table.INTERCEPT, larger) > 1.25 * least, name


#: Evidence that makes a match certain.
SURE = Features(
    name=1.0,
    modules=1.0,
    blocks=1.0,
    roles=1.0,
    whole=1.0,
    rarity=0.5,
    distinct=1.0,
    complete=1.0,
    cost=4.0,
    dimensions=2,
    between=True,
    vouched=True,
)


@pytest.mark.parametrize(
    ("change", "obstacle"),
    [
        ({}, None),
        ({"complete": 0.96}, None),
        ({"complete": 0.95}, "part replaced"),
        ({"distinct": 0.0}, "siblings alike"),
        ({"blocks": 0.5}, "numbers"),
        ({"roles": 0.9}, "roles"),
        ({"other_form": True}, "roles"),
        ({"vouched": False}, "name"),
        ({"cost": 0.4}, None),
        ({"cost": 0.39}, "alternative"),
        ({"reused": (1,)}, "name reused"),
        ({"opposed": True}, "opposed"),
        ({"several": True}, "one of several"),
        ({"torn": True}, "torn"),
        ({"other_class": True}, "other class"),
    ],
)
def test_what_forbids_certainty(change: dict[str, float], obstacle: str | None) -> None:
    assert judge.forbids_certainty(replace(SURE, **change)) == obstacle  # type: ignore[arg-type]


@pytest.mark.parametrize("obstacle", ["part replaced", "name"])
def test_no_obstacle_is_idle(judged: list[Row], obstacle: str) -> None:
    """Some match of the corpus is wrong, and this alone keeps it from being called certain."""
    lifted = {
        "part replaced": {"complete": 1.0},
        "name": {"vouched": True},
    }[obstacle]
    assert any(
        not row.right
        and judge.forbids_certainty(row.evidence)
        and not judge.forbids_certainty(replace(row.evidence, **lifted))  # type: ignore[arg-type]
        for row in judged
    )


def test_a_parameter_in_another_form_costs_no_probability_and_makes_nothing_certain() -> None:
    """fc1 was pruned or has weight norm: it has the biases that layer1 has, and more than its tensors."""
    kept = linear("fc2", 4, 16)
    plain = merged(linear("fc1", 16, 8), kept)
    masked = {"fc1.weight_mask": spec(16, 8), "fc1.weight_orig": spec(16, 8), "fc1.bias": spec(16), **kept}
    after = merged(linear("layer1", 16, 8), kept)
    found = [{c.confidence for c in infer(old, after)} for old in (plain, masked)]
    assert found == [{"likely"}, {"likely"}]
