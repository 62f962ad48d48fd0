"""The checkpoint whose history is asked for: a file, a snapshot, or a registered one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_ckpt_compat import _readers as readers
from pytest_ckpt_compat._core import addresses
from pytest_ckpt_compat._core.errors import ChoiceError, UsageError
from pytest_ckpt_compat._history.questions import Load
from pytest_ckpt_compat._registry import ids
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._snapshots import lone_file, store


def checkpoint(
    name: str, registrations: Iterable[Registration], folder: Path
) -> tuple[Load, Mapping[str, Any] | None]:
    """What a name stands for, and the keyword arguments that it is registered with, or None.

    Args:
        name: the id of a registered checkpoint, a file, or the id of a snapshot.
        registrations: all that are known.
        folder: the snapshot folder.

    Raises:
        CkptCompatError: it is none of these, or cannot be read.
    """
    known = {each.id: each for each in registrations}
    if name in known:
        return _registered(known[name], folder), known[name].kwargs
    if addresses.is_url(name):
        return Load(readers.read(name)), None
    if os.path.exists(name):
        return _file(name, None), None
    stored = None if ids.problem_of(name) else store.load(folder, store.checkpoint_name(name))
    if stored is None:
        problem = "is neither a file, nor a snapshot, nor the id of a registered checkpoint"
        raise UsageError(name, problem, f"registered are {', '.join(known) or 'none'}")
    return Load(stored), None


def _registered(registration: Registration, folder: Path) -> Load:
    if registration.problem is not None:
        raise registration.problem
    stored = store.load(folder, store.checkpoint_name(registration.id))
    if registration.address or not registration.path.exists():
        address = registration.address or str(registration.path)
        found = Load(stored if stored is not None else readers.read(address, registration.key))
    else:
        container = stored.source.container or None if stored is not None else None
        key = registration.key if registration.key is not None else container
        found = _file(str(registration.path), key)
    return replace(found, strip_prefix=registration.strip_prefix, strict=registration.policy.strict)


def _file(path: str, key: str | None) -> Load:
    stored = lone_file.read_file(path)
    if stored is not None:
        return Load(stored)
    with contextlib.suppress(ChoiceError):  # which of its state_dicts is meant, the definition decides
        readers.read(path, key)
    return Load(None, os.path.abspath(path), key)
