"""Checkpoint compatibility testing: does today's model code still load the checkpoints you have?

Names load on first use: importing the package costs nothing.
"""

import typing as _typing

if _typing.TYPE_CHECKING:
    from pytest_ckpt_compat._check.check import check as check
    from pytest_ckpt_compat._check.check import diff as diff
    from pytest_ckpt_compat._core.changes import Change as Change
    from pytest_ckpt_compat._core.changes import Severity as Severity
    from pytest_ckpt_compat._core.errors import CkptCompatError as CkptCompatError
    from pytest_ckpt_compat._core.structure import Structure as Structure
    from pytest_ckpt_compat._core.structure import TensorSpec as TensorSpec
    from pytest_ckpt_compat._core.verdict import Verdict as Verdict
    from pytest_ckpt_compat._definition import define as define
    from pytest_ckpt_compat._pytest_plugin.fixture import CkptCompat as CkptCompat
    from pytest_ckpt_compat._readers import read as read
    from pytest_ckpt_compat._snapshots.training_log import log_fingerprint as log_fingerprint

_HOMES = {
    "Change": "_core.changes",
    "CkptCompat": "_pytest_plugin.fixture",
    "CkptCompatError": "_core.errors",
    "Severity": "_core.changes",
    "Structure": "_core.structure",
    "TensorSpec": "_core.structure",
    "Verdict": "_core.verdict",
    "check": "_check.check",
    "define": "_definition",
    "diff": "_check.check",
    "log_fingerprint": "_snapshots.training_log",
    "read": "_readers",
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
    "log_fingerprint",
    "read",
]


def __dir__() -> list[str]:
    return list(__all__)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from pytest_ckpt_compat._core.garbage import garbage_collection_paused

    with garbage_collection_paused():  # beside torch, its scans would take as long as the import
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
