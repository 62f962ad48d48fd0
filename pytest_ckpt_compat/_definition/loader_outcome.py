"""What the loads in a project's own loader say together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._core.structure import Source, Structure
from pytest_ckpt_compat._definition.doubts import Doubts
from pytest_ckpt_compat._definition.entries import registered, structure_of
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import brief, is_module
from pytest_ckpt_compat._definition.observation import REPORT, Outcome
from pytest_ckpt_compat._definition.project_code import Loader
from pytest_ckpt_compat._definition.watch import Watched, storage_of

if TYPE_CHECKING:
    from torch import nn

_KEYS = r'key\(s\) in state_dict: "[^"]*"(?:, "[^"]*")*'
#: What ``safetensors.torch.load_model`` raises by itself, of a load that was not strict, in torch's words.
_LISTED = re.compile(rf"{re.escape(REPORT)}\S+:(?: Missing {_KEYS}\.?)?(?: Unexpected {_KEYS}\.?)?")


@dataclass
class Call:
    """One ``load_state_dict``.

    Attributes:
        ours: whether it got tensors of the checkpoint, as far as that can be observed.
        module: what it was called on.
        given: key -> spec, what it got.
        aliases: groups of keys in it that share a tensor.
        outcome: what torch reported.
        error: what it raised, or None.
        path: of ``module`` in the module that the report is about.
    """

    ours: bool
    module: nn.Module
    given: Mapping[str, Any]
    aliases: tuple[tuple[str, ...], ...]
    outcome: Outcome
    error: BaseException | None
    path: str = ""


@dataclass
class Run:
    """One run of a loader.

    Attributes:
        result: what it returned.
        error: what it raised, or None.
        made: the loads in it, in order.
        watched: the operators that ran.
        doubts: why a run with real tensors may differ.
        served: whether it read the checkpoint through a function that stands in.
    """

    result: Any = None
    error: BaseException | None = None
    made: list[Call] = field(default_factory=list)
    watched: Watched = field(default_factory=Watched)
    doubts: Doubts = field(default_factory=Doubts)
    served: bool = False

    @property
    def observed(self) -> bool:
        """Whether it read the checkpoint where it is watched, and took nothing out of torch."""
        return self.served and not self.watched.doubts.read

    @property
    def calls(self) -> list[Call]:
        """The loads of the checkpoint; all of them where it cannot be observed which these are."""
        return [call for call in self.made if call.ours or not self.observed]

    @property
    def reads(self) -> bool:
        """Whether it asked tensors for numbers, or failed where tensors without numbers may be the cause."""
        read = any(storage_of(tensor) in self.watched.derived for tensor in self.watched.doubts.read)
        return self.watched.numbers or self.watched.refused or self.watched.doubts.asked or read


def judged(
    run: Run, structure: Structure, definition: Definition, loader: Loader
) -> tuple[Structure, Outcome]:
    """What the loads of a run say together, in the keys of the module that was returned."""
    final = run.error if any(call.error is run.error for call in run.calls) else None
    counted = [call for call in run.calls if call.error is None or call.error is final]
    swallowed = [call for call in run.calls if call not in counted]
    if not counted and run.error is None:
        counted, swallowed = swallowed, []
    whole = _whole(run, counted)
    names = {id(part): name for name, part in whole.named_modules()} if whole is not None else {}
    parts = [_named(call, names[id(call.module)]) for call in counted if id(call.module) in names]
    new = Structure({}, source=Source(definition.name, "definition"))
    if whole is not None:
        new = structure_of(whole, definition)
    errors = [error for part in parts for error in part.outcome.errors]
    listed = run.error is not None and final is None and _only_lists(run.error, parts)
    if run.error is not None and not listed and not (final is not None and counted[-1].outcome.complete):
        errors = [*dict.fromkeys(errors), f"load {loader.name} raised {brief(run.error)}"]
        errors = [error for error in errors if final is None or error != brief(final)]
    missing = _in_all(parts, new)
    outcome = Outcome(
        raised=run.error is not None or any(call.error for call in counted),
        strict=listed or any(part.outcome.strict for part in parts),
        complete=all(part.outcome.complete for part in parts),
        missing=missing,
        unexpected=tuple(dict.fromkeys(key for part in parts for key in part.outcome.unexpected)),
        mismatched={key: shapes for part in parts for key, shapes in part.outcome.mismatched.items()},
        errors=tuple(errors),
        untouched=_untouched(run, whole, new, parts) if run.error is None and whole is not None else (),
        nothing=run.error is None and reached_nothing(run, structure),
        given=_given(parts, structure),
        notes=tuple(_remarks(loader, swallowed, 0 if run.error else len(counted) - len(parts))),
    )
    return new, outcome


def _remarks(loader: Loader, swallowed: list[Call], others: int) -> Iterator[str]:
    yield f"loaded by {loader.name}"
    if others:
        yield f"{loader.name} also loads into {count(others, 'module')} that it does not return: not judged"
    for call in swallowed:
        kind, error = type(call.module).__name__, type(call.error).__name__
        yield f"{loader.name} went on after load_state_dict of {kind} had raised {error}"


def _whole(run: Run, calls: list[Call]) -> nn.Module | None:
    """The module that the report is about: what was returned, or else what was last loaded into."""
    result: nn.Module | None = run.result if is_module(run.result) else None
    if result is not None:
        parts = set(map(id, result.modules()))
        if not calls or any(id(call.module) in parts for call in calls):
            return result
    return calls[-1].module if calls else result


def _named(call: Call, path: str) -> Call:
    """A load with its keys as the whole module has them."""
    if not path:
        return call

    def own(keys: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{path}.{key}" for key in keys)

    found = call.outcome
    outcome = replace(
        found,
        missing=own(found.missing),
        unexpected=own(found.unexpected),
        untouched=own(found.untouched),
        mismatched={f"{path}.{key}": shapes for key, shapes in found.mismatched.items()},
    )
    given = {f"{path}.{key}": spec for key, spec in call.given.items()}
    aliases = tuple(map(own, call.aliases))
    return replace(call, given=given, aliases=aliases, outcome=outcome, path=path)


def _only_lists(error: BaseException, parts: list[Call]) -> bool:
    """Whether it says nothing but which keys are missing and unexpected, as the loads have said before."""
    text = words(error)
    known = {key for part in parts for key in (*part.outcome.missing, *part.outcome.unexpected)}
    return _LISTED.fullmatch(text) is not None and known.issuperset(re.findall(r'"([^"]*)"', text))


def _in_all(parts: list[Call], new: Structure) -> tuple[str, ...]:
    """The missing keys that no other load brought.

    One that is tied to a key that was brought has its tensor; only a strict load wants it twice.
    """
    brought = {key for part in parts for key in part.given}
    missing = dict.fromkeys(key for part in parts for key in part.outcome.missing)
    if not any(part.outcome.strict for part in parts):
        brought |= {key for group in new.aliases if not brought.isdisjoint(group) for key in group}
    return tuple(key for key in missing if key not in brought)


def _given(parts: list[Call], structure: Structure) -> Structure | None:
    """The checkpoint as the loads got it; None where there were none."""
    if not parts:
        return None
    tensors = {key: spec for part in parts for key, spec in part.given.items()}
    return replace(
        structure,
        tensors=tensors,
        aliases=tuple(group for part in parts for group in part.aliases),
        versions=None,
        objects={},
        locations={},
        strides={},
        contents={},
        views=(),
    )


def _untouched(run: Run, whole: nn.Module, new: Structure, parts: list[Call]) -> tuple[str, ...]:
    """The keys of the whole module that got nothing of the checkpoint, and are not reported as missing."""
    entries = registered(whole)
    touched = run.watched.reached | run.watched.derived.keys()
    storages = {key: storage_of(entries[key]) for key in new.tensors if key in entries}
    left = [key for key, storage in storages.items() if storage is not None and storage not in touched]
    # Where torch has loaded, it has said what is missing, and may have filled in a number of its own.
    said = {key for part in parts for key in part.outcome.untouched}
    inside = tuple(f"{part.path}." if part.path else "" for part in parts)
    return tuple(key for key in left if key in said or (run.observed and not key.startswith(inside)))


def reached_nothing(run: Run, structure: Structure) -> bool:
    """Whether the checkpoint has tensors, the module has some, and none of these got anything of those."""
    if not run.observed or not is_module(run.result):
        return False
    storages = {storage_of(value) for value in registered(run.result).values()} - {None}
    given = any(math.prod(spec.shape) and spec.dtype != "object" for spec in structure.tensors.values())
    touched = run.watched.reached | run.watched.derived.keys()
    return given and bool(storages) and storages.isdisjoint(touched)
