"""The settings that a definition has whenever it is built: no times, counters or random numbers."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.confirm import defined
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.surroundings import untouched_globals


def steady(
    structure: Structure, definition: Definition, checkpoint: Mapping[str, Any], budget: int
) -> Structure:
    """The structure of a definition, with those of its settings that a second build has, too.

    Args:
        structure: of the first build.
        definition: what was built.
        checkpoint: the checkpoint's non-tensor values, for a factory that takes them.
        budget: bytes that its real tensors may take.
    """
    try:
        with untouched_globals():
            _other_random_numbers()
            again = defined(definition, checkpoint, budget)
    except BuildError:  # it can be built only once
        return structure
    kept = {
        path: {name: text for name, text in own.items() if again.settings.get(path, {}).get(name) == text}
        for path, own in structure.settings.items()
    }
    return replace(structure, settings=kept)


def _other_random_numbers() -> None:
    import torch

    random.seed(random.getrandbits(64))
    torch.manual_seed(random.getrandbits(62))
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(random.getrandbits(32))
