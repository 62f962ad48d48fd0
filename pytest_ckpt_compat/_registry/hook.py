"""Tables that the hook ``pytest_ckpt_compat_checkpoints`` returns -> registrations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytest_ckpt_compat._registry.paths import SearchPath
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._registry.tables import register_tables

_SUBJECT = "hook pytest_ckpt_compat_checkpoints"


def from_hook(tables: Iterable[Any], search: SearchPath) -> tuple[Registration, ...]:
    """The checkpoints that a project's own registry gives, in tables like those of its file."""
    return register_tables(_SUBJECT, tables, search, objects=True)
