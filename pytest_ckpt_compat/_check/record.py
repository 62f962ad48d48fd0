"""What a test's report carries to the process that writes: reports arrive even when a worker dies later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from pytest_ckpt_compat._report.summary import Entry


@dataclass(frozen=True)
class Record:
    """What one phase of one test says.

    Attributes:
        partial: whether some checkpoint is known not to have been collected.
        ids: the checkpoints that the test stands for.
        used: names of the snapshots that it stands for.
        writes: snapshot name -> text to write at the end of the run.
        compared: id -> number of tensors, of the checkpoints that were loaded.
        entries: the verdicts.
        unknown: whether the test failed because something could not be checked, and nothing broke.
    """

    partial: bool = False
    ids: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    writes: Mapping[str, str] = field(default_factory=dict)
    compared: Mapping[str, int] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    unknown: bool = False

    def dumps(self) -> str:
        """As text that a report can carry between processes."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Record:
        """The inverse of ``dumps``."""
        data = json.loads(text)
        data["entries"] = tuple(Entry(**entry) for entry in data["entries"])
        return cls(**data)
