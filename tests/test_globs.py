"""Globs over keys: what a printed command chooses is what is meant, and no other tensor."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pytest_ckpt_compat._core.globs import matches, narrowest
from tests.conftest import Printed

Command = Callable[..., Printed]

KEYS = [f"{name}.{end}" for name in ("trunk", "mid", "head", "norm") for end in ("weight", "bias")]
KEYS += [f"layers.{number}.{end}" for number in range(4) for end in ("q", "k")]


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("*", KEYS),
        ("head.*", ["head.weight", "head.bias"]),
        ("{head,norm}.*", ["head.weight", "head.bias", "norm.weight", "norm.bias"]),
        ("{head,norm}.bias", ["head.bias", "norm.bias"]),
        ("layers.*", KEYS[8:]),
        ("layers.{0..2}.*", KEYS[8:14]),
        ("layers.{0..3}.q", KEYS[8::2]),
        ("{head.*,layers.{0..3}.k}", ["head.weight", "head.bias", *KEYS[9::2]]),
        ("head.weight", ["head.weight"]),
    ],
)
def test_the_narrowest_glob_matches_what_is_meant_alone(pattern: str, meant: list[str]) -> None:
    assert narrowest(meant, KEYS) == pattern
    assert [key for key in KEYS if matches(key, pattern)] == meant


def test_too_many_names_are_not_worth_a_glob_of_their_own() -> None:
    meant = [f"{name * 9}.{name}{number}" for number, name in enumerate("abcdefghij")]
    assert narrowest(meant, [*meant, "other.x"]) == "*"


@pytest.mark.parametrize("key", ["a{b.c", "a{b}.c", "a{b,c}.d", "a}{.c", "{0..3}.w", "[x]{y}.z", "{.}"])
def test_braces_in_a_name_are_a_name_as_well(key: str) -> None:
    assert matches(key, narrowest([key], [key, "other"]))
    assert not matches("other", narrowest([key], [key, "other"]))


@given(st.text("{},.0123*ab", max_size=24), st.text("{},.0123ab", max_size=12))
def test_no_pattern_trips_it(pattern: str, key: str) -> None:
    matches(key, pattern)


def test_the_printed_command_names_the_groups_that_are_meant(
    pytester: pytest.Pytester, command: Command
) -> None:
    model = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.scale = nn.LayerNorm(3)
"""
    pytester.makepyfile(models=model)
    pytester.makepyprojecttoml(
        '[[tool.ckpt_compat.checkpoint]]\nid = "v1"\npath = "net.pt"\nmodel = "models:Net"\n'
    )
    torch.save(nn.ModuleDict({"trunk": nn.Linear(4, 4)}).state_dict(), pytester.path / "net.pt")
    printed = command("check")
    (line,) = (each for each in printed.out.splitlines() if each.startswith("  accept: "))
    assert '--rule CK101 --key "{head,scale}.*"' in line
    taken = command("accept", "v1", "--rule", "CK101", "--key", "{head,scale}.*", "--reason", "new layers")
    assert (taken.code, taken.out.splitlines()[0][:40]) == (0, "accepted  CK101 {head,scale}.* of v1 (4 ")
