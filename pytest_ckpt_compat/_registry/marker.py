"""Arguments of ``@pytest.mark.checkpoint`` -> registrations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._registry import options
from pytest_ckpt_compat._registry.paths import SearchPath
from pytest_ckpt_compat._registry.registration import Registration, register


def from_marker(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], search: SearchPath
) -> tuple[Registration, ...]:
    """The registrations of one marker: one, or one for each file of its glob.

    Raises:
        UsageError: an argument is unknown, missing or invalid.
    """
    subject = f"checkpoint marker {args[0]}" if args else "checkpoint marker"
    if len(args) != 1 or not isinstance(args[0], (str, os.PathLike)) or "path" in kwargs:
        usage = 'write @pytest.mark.checkpoint("path/to/file.pt", model=MyModel)'
        raise UsageError(subject, "needs one path, as its first argument", usage)
    values = options.named(subject, {"path": os.fspath(args[0]), **kwargs})
    options.check(subject, values, objects=True)
    return register(subject, values, search)
