"""Snapshots that the merge base has and that no registered checkpoint uses any more."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from pytest_ckpt_compat._core import files
from pytest_ckpt_compat._core.changes import Change, Policy
from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.rules import judge
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._premerge import git
from pytest_ckpt_compat._snapshots import fingerprint, store
from pytest_ckpt_compat._snapshots.shown import shown_folder


def missing(base: git.Base, folder: Path, used: Iterable[str]) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Finds the merge base's snapshots that no registered checkpoint uses.

    Args:
        base: the merge base.
        folder: the snapshot folder.
        used: names of all snapshots that registered checkpoints use.

    Returns:
        A verdict for each of them, and a line for each that only has another name here.
    """
    used = set(used)
    before = [name for name in git.files(base, folder) if name.endswith(".json")]
    unmatched: dict[tuple[bool, str], list[str]] = {}
    for name in sorted(used - set(before)):
        structure = store.load(folder, name)
        if structure is not None:
            key = store.is_definition(name), fingerprint.digest(structure)
            unmatched.setdefault(key, []).append(name)
    replaced = store.replaced((name for name in before if name not in used), used - set(before))
    verdicts: list[Verdict] = []
    lines = [] if before else [f"{base.label} has no snapshots in {shown_folder(folder)}"]
    for name in before:
        if name in used:
            continue
        stored, _ = stored_at(base, folder, name)
        digest = fingerprint.digest(stored) if stored is not None else ""
        same = unmatched.get((store.is_definition(name), digest))
        if same:
            old, new = store.shown(folder, name), store.shown(folder, same.pop(0))
            lines.append(f"renamed   {old} of {base.label} is {new} here")
        elif name in replaced:
            # Whether today's loads what the earlier one saved is judged with its registration.
            old, new = store.shown(folder, name), store.shown(folder, replaced[name])
            lines.append(f"replaced  {old} of {base.label} is {new} here: other arguments of the model")
        else:
            verdicts.append(_verdict(name, base, store.exists(folder, name)))
    return tuple(verdicts), tuple(lines)


def stored_at(base: git.Base, folder: Path, name: str) -> tuple[Structure | None, str]:
    """Reads a snapshot at the commit; returns it, or None and, if it cannot be used, why not."""
    shown = store.shown(folder, name)
    try:
        text = git.read(base, store.path_of(folder, name), files.SNAPSHOT_BYTES)
        if text is None:
            return None, ""
        parse = store.of_definition if store.is_definition(name) else fingerprint.loads
        return parse(text, shown), ""
    except ValueError as error:
        return None, f"in {base.label}, {shown} cannot be read: {error}; the comparison skips this snapshot"
    except SnapshotError as error:
        return None, f"in {base.label}, {error.subject} {error.problem}; the comparison skips this snapshot"


def _verdict(name: str, base: git.Base, there: bool) -> Verdict:
    """A checkpoint whose snapshot is still there can be retired; with it goes its definition."""
    identifier = store.identifier(name)
    detail = f"{base.label} has its snapshot, and nothing registered here uses it"
    advice = "register it again, or say why it was removed"
    changes = judge([Change("no-baseline", old=(identifier,), detail=detail, advice=advice)], Policy())
    command = f'ckpt-compat retire {shlex.quote(visible(identifier))} --reason "..."'
    repairs = (("retire", command),) if there and not store.is_definition(name) else ()
    return Verdict(changes, name=identifier, repairs=repairs)
