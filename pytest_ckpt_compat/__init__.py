"""Checkpoint compatibility testing: does today's model code still load the checkpoints you have?

Names load on first use: importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ckpt_compat.changes import Change as Change
    from pytest_ckpt_compat.changes import Severity as Severity
    from pytest_ckpt_compat.changes import Verdict as Verdict
    from pytest_ckpt_compat.checking import check as check
    from pytest_ckpt_compat.checking import diff as diff
    from pytest_ckpt_compat.definition import define as define
    from pytest_ckpt_compat.errors import CkptCompatError as CkptCompatError
    from pytest_ckpt_compat.fixture import CkptCompat as CkptCompat
    from pytest_ckpt_compat.readers import read as read
    from pytest_ckpt_compat.structure import Structure as Structure
    from pytest_ckpt_compat.structure import TensorSpec as TensorSpec

_HOMES = {
    "Change": "changes",
    "CkptCompat": "fixture",
    "CkptCompatError": "errors",
    "Severity": "changes",
    "Structure": "structure",
    "TensorSpec": "structure",
    "Verdict": "changes",
    "check": "checking",
    "define": "definition",
    "diff": "checking",
    "read": "readers",
}

__all__ = [
    "Change",
    "CkptCompat",
    "CkptCompatError",
    "Severity",
    "Structure",
    "TensorSpec",
    "Verdict",
    "check",
    "define",
    "diff",
    "read",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
