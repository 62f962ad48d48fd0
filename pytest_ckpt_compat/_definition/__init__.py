"""Model definitions as the code has them now: finds them, builds them without weights, loads into them.

The only room that imports torch, and only inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_ckpt_compat._core.structure import Structure


def define(model: Any, kwargs: Mapping[str, Any] | None = None) -> Structure:
    """Returns the structure of a model as its code defines it now.

    Args:
        model: a class, a factory, a module instance, or ``"package.module:attr"``.
        kwargs: keyword arguments for the class or factory.

    Raises:
        BuildError: the definition cannot be imported, or raises while it is built.
        UsageError: ``model`` is none of the above.
    """
    from pytest_ckpt_compat._definition.confirm import defined
    from pytest_ckpt_compat._definition.find import find

    return defined(find(model, kwargs))
