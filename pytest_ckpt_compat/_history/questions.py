"""What is asked of a definition as some code has it, and what is answered: plain data in between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._premerge import wire
from pytest_ckpt_compat._snapshots.fingerprint import dumps, loads


@dataclass(frozen=True)
class Model:
    """A definition by its name.

    Attributes:
        address: ``"package.module:attr"``.
        kwargs: keyword arguments for the class or factory.
    """

    address: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """What the definition is to load.

    Attributes:
        structure: as its snapshot has it; None if it is read from the file.
        file: the checkpoint, which is read again for this definition, or "".
        key: dotted path of the state_dict in the file, or None.
        strip_prefix: taken off the keys that begin with it, or None.
        strict: as in ``load_state_dict``.
        unlike: whether nothing is loaded where the definition has this structure itself.
    """

    structure: Structure | None
    file: str = ""
    key: str | None = None
    strip_prefix: str | None = None
    strict: bool = True
    unlike: bool = False

    @property
    def data(self) -> dict[str, Any]:
        """The question, as JSON holds it."""
        found = {name: getattr(self, name) for name in ("file", "key", "strip_prefix", "strict", "unlike")}
        return found | {"structure": self.structure and dumps(self.structure, self.structure.values)}


@dataclass(frozen=True)
class Answer:
    """What some code makes of a definition.

    Attributes:
        definition: its structure, or None where it could not be built.
        verdict: what a load found, if one was asked for and made.
        absent: why the definition is not there, or "".
        problem: why it cannot be built, or "".
        own: whether the definition is in the code that was asked, and not in other code that uses it.
    """

    definition: Structure | None = None
    verdict: Verdict | None = None
    absent: str = ""
    problem: str = ""
    own: bool = True


def read(data: Mapping[str, Any]) -> Answer:
    """The answer in what the process answered. Raises SnapshotError for what is no answer."""
    if "definition" not in data:
        return Answer(absent=data.get("absent", ""), problem=data.get("error", ""))
    definition = loads(data["definition"], "the definition")
    found = data.get("verdict")
    verdict = None
    if found is not None:
        old, new = (found[side] and loads(found[side], "the answer") for side in ("old", "new"))
        changes = tuple(map(wire.from_data, found["changes"]))
        verdict = Verdict(changes, old=old, new=new, where=found["where"], notes=tuple(found["notes"]))
    return Answer(definition, verdict, own=data.get("own", True))


def as_data(definition: Structure, verdict: Verdict | None) -> dict[str, Any]:
    """The answer that ``read`` reads."""
    found = None
    if verdict is not None:
        found = {
            "old": verdict.old and dumps(verdict.old),
            "new": verdict.new and dumps(verdict.new),
            "changes": [wire.as_data(each) for each in verdict.changes],
            "where": verdict.where,
            "notes": list(verdict.notes),
        }
    return {"definition": dumps(definition, whole=False), "verdict": found}
