"""What one test or one check adds to its run. Plain data, since xdist's workers send it as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from pytest_ckpt_compat._check.checkpoint import Result, used_names
from pytest_ckpt_compat._check.update import Over, merged, over_all
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.internal import located
from pytest_ckpt_compat._registry.registration import Registration
from pytest_ckpt_compat._report import summary
from pytest_ckpt_compat._report.summary import Entry


@dataclass(frozen=True)
class Contribution:
    """What one phase of one test adds to its run.

    Attributes:
        partial: whether some checkpoint is known not to have been collected.
        gap: why the snapshots that are in use are not all known, or "".
        ids: the registered checkpoints.
        used: names of the snapshots that they use.
        writes: snapshot name -> text to write at the end of the run.
        entries: the verdicts.
        skipped: id -> why the test was skipped before its checkpoint was checked.
        over: snapshot name -> what outputs say of the definition that is written over.
        deselected: ids of checkpoints that were collected and are not going to be checked.
    """

    partial: bool = False
    gap: str = ""
    ids: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    writes: Mapping[str, str] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    over: Mapping[str, Over] = field(default_factory=dict)
    deselected: tuple[str, ...] = ()

    def dumps(self) -> str:
        """The text that a test report carries between processes."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Contribution:
        """The inverse of ``dumps``."""
        data = json.loads(text)
        data["entries"] = tuple(Entry(**entry) for entry in data["entries"])
        data["over"] = {
            name: Over(**{**each, "told": tuple(each["told"])}) for name, each in data["over"].items()
        }
        return cls(**data)


def of_registrations(registrations: Sequence[Registration]) -> Contribution:
    """What is known before a check: which checkpoints, and which snapshots they use."""
    ids = tuple(each.id for each in registrations)
    try:
        used = tuple(sorted({name for each in registrations for name in used_names(each)}))
    except Exception as error:  # the name of the definition's snapshot is unknown
        gap = str(error) if isinstance(error, CkptCompatError) else located(error)
        return Contribution(gap=gap, ids=ids)
    return Contribution(ids=ids, used=used)


def of_results(results: Sequence[Result], full: bool = False, paged: bool = False) -> Contribution:
    """What checks found.

    Args:
        results: one a checkpoint.
        full: whether texts list every key instead of folding.
        paged: whether the report has what a page of HTML shows.
    """
    texts: dict[str, list[str]] = {}
    for each in results:
        for name, text in each.writes.items():
            texts.setdefault(name, []).append(text)
    return Contribution(
        writes={name: merged(found) for name, found in texts.items()},
        entries=tuple(summary.entry(each, full, paged) for result in results for each in result.verdicts),
        over=over_all(each.over for each in results),
    )
