"""Proves a cause by another load: of what the definition itself saves, or with other arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_ckpt_compat._check.arguments import proposals, written
from pytest_ckpt_compat._check.arguments_of_file import of_file
from pytest_ckpt_compat._core.changes import Change, Kind
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.observation import Outcome

#: How the advice begins that arguments of the constructor make it load.
LOADS_WITH = "it loads with"
#: What a load of a structure into a definition reports.
Load = Callable[[Structure, Definition], Outcome]

#: Kinds of changes that a trial may explain.
_OF_A_LOAD: frozenset[Kind] = frozenset(
    {"missing", "unexpected", "resized", "head-resized", "load-raises", "renamed", "extra-state"}
)


#: What else helps where a load that a trial explains is not meant to work as before.
_ELSE: Mapping[Kind, str] = {
    "head-resized": ", or leave the head out of what is loaded",
    "missing": ", or give it a default in a load_state_dict pre-hook",
    "unexpected": ", or drop the key while loading (migrate=)",
}


@dataclass(frozen=True)
class Trial:
    """A load that raised, and what it takes to load something else in its place.

    Attributes:
        structure: what was loaded.
        new: the definition's own structure.
        definition: what it was loaded into.
        outcome: what the load reported.
        load: loads without real tensors.
        confirm: loads with real tensors, as far as the memory budget goes.
    """

    structure: Structure
    new: Structure
    definition: Definition
    outcome: Outcome
    load: Load
    confirm: Load

    def explain(self, changes: Sequence[Change]) -> tuple[Change, ...]:
        """The changes; with the cause that a further load proves, if one does."""
        if not self.outcome.raised or _is_loaded_otherwise(self.definition):
            return tuple(changes)
        for explained in (self._own, self._versions, self._arguments):
            with contextlib.suppress(CkptCompatError):
                if (found := explained(changes)) is not None:
                    return tuple(found)
        return tuple(changes)

    def _own(self, changes: Sequence[Change]) -> list[Change] | None:
        """A definition that does not load what it saves itself."""
        outcome, new = self.outcome, self.new
        suspect = {key for key in outcome.unexpected if key in new.tensors}
        suspect |= {key for key in outcome.missing if key in self.structure.tensors}
        alike = new.tensors.keys() == self.structure.tensors.keys()
        if not suspect and not (alike and outcome.errors):
            return None
        # Its migrations are for older files, so what they do to its own is no fault of it.
        own = replace(self.definition, remap=None)
        saved = replace(new, values=self.structure.values)
        # Loading code may take meta tensors for one another (data_ptr() of each is 0): real ones decide.
        for load in (self.load, self.confirm):
            found = load(saved, own)
            keys = suspect.intersection((*found.unexpected, *found.missing))
            errors = {*outcome.errors}.intersection(found.errors)
            if not keys and not errors:
                return None
        detail = "saved by the definition itself, which cannot load it"
        advice = "correct its code for saving or for loading: the definition cannot load what it saves itself"
        return [
            replace(each, detail=detail if each.kind != "load-raises" else each.detail, advice=advice)
            if keys.intersection((*each.old, *each.new))
            or (each.kind == "load-raises" and each.detail in errors)
            else each
            for each in changes
        ]

    def _versions(self, changes: Sequence[Change]) -> list[Change] | None:
        """A file without the versions of modules, with which it would load."""
        if self.structure.versions or not self.new.versions:
            return None
        if self.load(replace(self.structure, versions=self.new.versions), self.definition).raised:
            return None
        advice = (
            "keep _metadata where the state_dict is rebuilt (a dict comprehension loses it): "
            "with the versions of its modules, the checkpoint loads"
        )
        return self._all(changes, advice)

    def _arguments(self, changes: Sequence[Change]) -> list[Change] | None:
        """Arguments of the constructor with which the file loads; not where a trial costs more."""
        if self.definition.once.module is not None or self.outcome.read_weights:
            return None
        fitting: Mapping[str, Any] = {}
        given_by_file = of_file(self.structure, self.definition)
        guessed = proposals(changes, self.structure, self.new, self.definition)
        for given, where in (*given_by_file, *((each, "") for each in guessed)):
            said = f", which the file has in {where}" if where else ""
            kwargs = {**self.definition.kwargs, **given}
            with contextlib.suppress(CkptCompatError):
                found = self.load(self.structure, replace(self.definition, kwargs=kwargs))
                if not found.raised:
                    return self._all(
                        changes,
                        f"{LOADS_WITH} {written(given)}{said}: build the model so, and give this in kwargs",
                    )
                fitting = fitting or (given if self._fits(found) else {})
        return _of_sizes(changes, fitting) if fitting else None

    def _fits(self, found: Outcome) -> bool:
        """Whether a load with other arguments leaves no tensor of another size, and nothing new besides."""
        before = {*self.outcome.missing, *self.outcome.unexpected, *self.outcome.errors}
        after = {*found.missing, *found.unexpected, *found.errors}
        return bool(self.outcome.mismatched) and not found.mismatched and after <= before

    def _all(self, changes: Sequence[Change], advice: str) -> list[Change]:
        """The changes with the advice, and with what else helps if that helps with all of them, too."""
        of_load = [each for each in changes if each.kind in _OF_A_LOAD]
        others = {_or_else(each) for each in of_load}
        advice += others.pop() if len(others) == 1 else ""
        return [replace(each, advice=advice) if each.kind in _OF_A_LOAD else each for each in changes]


def _or_else(change: Change) -> str:
    """What helps besides, as the end of a piece of advice."""
    return f"; or {change.advice}" if change.advice else _ELSE.get(change.kind, "")


def _of_sizes(changes: Sequence[Change], given: Mapping[str, Any]) -> list[Change]:
    """The changes; those of sizes with arguments that give the file's, though the rest does not load."""
    advice = f"with {written(given)}, the sizes are the file's: build the model so, and give this in kwargs"
    return [
        replace(each, advice=advice + _or_else(each)) if each.kind in ("resized", "head-resized") else each
        for each in changes
    ]


def _is_loaded_otherwise(definition: Definition) -> bool:
    """Whether something other than the definition's own class and ``load_state_dict`` is in play."""
    return bool(definition.loader or definition.library or definition.parts or definition.configured)
