"""Loads a structure into a definition, and finds the prefix that stops a load."""

from __future__ import annotations

from dataclasses import replace

from pytest_ckpt_compat._check import wrapper as wrappers
from pytest_ckpt_compat._check.wrapper import Wrapper
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition import confirm, lightning
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.observation import Outcome


def load(structure: Structure, definition: Definition, policy: Policy) -> tuple[Structure, Outcome]:
    """The definition's structure, and what its load finds.

    Raises: as ``check``.
    """
    as_lightning = definition.lightning and lightning.is_checkpoint(structure)
    try:
        new, outcome = confirm.load(structure, definition, policy.strict, policy.memory_budget)
    except BuildError:
        if as_lightning:
            lightning.require_read(definition.target, definition.kwargs, structure)
        raise
    if as_lightning and (outcome.raised or outcome.missing or outcome.unexpected):
        lightning.require_read(definition.target, definition.kwargs, structure)
    return new, outcome


def on_meta(policy: Policy) -> Policy:
    """The policy for a load that must not take the memory of real weights."""
    return replace(policy, memory_budget=0)


def find_wrapper(
    structure: Structure, new: Structure, outcome: Outcome, definition: Definition, policy: Policy
) -> tuple[Wrapper | None, Outcome]:
    """Finds the prefix that stops a load, and what the load finds without it.

    A hook may rename keys, so that names alone explain nothing; then a second load decides.
    """
    named = wrappers.by_names(structure, new)
    if named:
        return named, load(named.unwrap(structure), definition, policy)[1]
    if outcome.prefixes:  # it would find its base model's own keys without their prefix, too
        return None, outcome
    for wrapper in wrappers.possible(structure, new):
        bare = wrapper.unwrap(structure)
        # On meta alone first: as a rule the prefix explains nothing.
        found = load(bare, definition, on_meta(policy))[1]
        if 2 * len(found.missing) < len(outcome.missing):
            return wrapper, load(bare, definition, policy)[1]
    return None, outcome
