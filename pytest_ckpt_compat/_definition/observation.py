"""Observes one ``load_state_dict``: what torch reports, and what the load wrote to."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._core.structure import EXTRA_STATE, OBJECT, Structure
from pytest_ckpt_compat._definition.beside import Beside, beside
from pytest_ckpt_compat._definition.entries import loadable_entries, registered, saves_with_hooks
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.lost import Lost, lost_again, unused
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._definition.reached import Entries, reached_nothing
from pytest_ckpt_compat._definition.remap import Remapped
from pytest_ckpt_compat._definition.walk import named_parts, parts_of
from pytest_ckpt_compat._definition.watch import Watched, storage_of

if TYPE_CHECKING:
    from torch import nn

_MISMATCH = re.compile(
    r"size mismatch for (?P<key>.+): copying a param with shape (?P<old>.+) from checkpoint, "
    r"the shape in current model is (?P<new>.+)\.",
    re.DOTALL,
)
_SIZES = re.compile(r"\[([\d, ]*)\]")
#: Start of the error that ``load_state_dict`` raises after it has visited every module.
REPORT = "Error(s) in loading state_dict for "
#: Start of the messages that ``strict=True`` adds. Their keys are also in torch's lists.
_LISTS = ("Missing key(s) in state_dict: ", "Unexpected key(s) in state_dict: ")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """The result of a load, as torch reported it.

    Attributes:
        raised: whether ``load_state_dict`` raised, which decides the verdict.
        missing: torch's list of missing keys.
        unexpected: torch's list of unexpected keys.
        mismatched: key -> (shape in the checkpoint, shape in the model).
        errors: all other reasons why the load raised, one line each.
        untouched: keys of the definition that the load did not write to, although torch does not
            report them as missing.
        unapplied: keys of extra state that ``set_extra_state`` did not receive, because the structure
            does not have the value.
        strict: whether missing and unexpected keys made the load raise. An override of
            ``load_state_dict`` may ignore ``strict=True``.
        complete: whether torch visited every module. If not, its lists are incomplete.
        nothing: whether the load raised nothing and yet brought no tensor of the checkpoint into any
            tensor of the definition, although both have some.
        read_weights: whether the load needed the real weights.
        unconfirmed: why the outcome could not be confirmed with real tensors, or "".
        unsaved: why the definition itself can save no checkpoint, or "".
        remapped: what migrations made of the checkpoint, or None if there is none.
        prefixes: whether the library that the definition is of adds and removes prefixes by itself.
        given: what the load got, where that is not the checkpoint as its file has it, or None.
        notes: remarks on how the load was made, a line each.
        beside: unexpected key -> what the definition has under it, outside of its state_dict.
        copied: key -> the dtype of what was copied into it, which a hook may have made of the checkpoint's.
        lost: key that the load filled from the checkpoint -> what took the place of that before it was over.
        left_out: keys of the checkpoint that code before torch's own load used for nothing.
        tied: groups of keys that share memory after the load and did not before it.
    """

    raised: bool
    strict: bool = False
    complete: bool = True
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: Mapping[str, tuple[Shape, Shape]] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    unapplied: tuple[str, ...] = ()
    nothing: bool = False
    read_weights: bool = False
    unconfirmed: str = ""
    unsaved: str = ""
    remapped: Remapped | None = None
    prefixes: bool = False
    given: Structure | None = None
    notes: tuple[str, ...] = ()
    beside: Mapping[str, Beside] = field(default_factory=dict)
    copied: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, Lost] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    tied: tuple[tuple[str, ...], ...] = ()


def require_complete(outcome: Outcome, module: object) -> None:
    """Raises RuntimeError, as a strict load does, where keys are missing or unexpected."""
    if outcome.missing or outcome.unexpected:
        lists = f"missing: {', '.join(outcome.missing)}; unexpected: {', '.join(outcome.unexpected)}"
        raise RuntimeError(f"{REPORT}{type(module).__name__}: {lists}")


class Observation:
    """One load of a module: what is known before it, and what torch reports of it.

    Args:
        module: the module, before the load.
        structure: the structure of the checkpoint.
        definition: the definition of ``module``.
        saves: whether its ``state_dict()`` may be called, which may run hooks of the user's.
        entries: those of its ``state_dict()`` before the load, where they are known.
        simple: whether the load does nothing but copy values into the entries.
    """

    def __init__(
        self,
        module: nn.Module,
        structure: Structure,
        definition: Definition,
        saves: bool = True,
        entries: Mapping[str, Any] | None = None,
        simple: bool = False,
    ) -> None:
        self._module, self._structure, self._definition, self._simple = module, structure, definition, simple
        # No hook of the user's on saving may change the module before or after the load.
        self._silent = not saves or (entries is None and saves_with_hooks(parts_of(module)))
        # The entries are kept: the identity of a storage that is freed may be given to another.
        self._entries_before, self._unsaved = self._entries() if entries is None else (entries, "")
        self._before = {key: storage_of(value) for key, value in self._entries_before.items()}
        self._recorder = _Recorder(module, simple)
        self._unapplied: tuple[str, ...] = ()

    def begins(self, structure: Structure) -> None:
        """Notes that the load begins, and what it is given."""
        self._structure = structure
        self._unapplied = _shield_extra_state(self._module, structure)

    def _entries(self) -> tuple[Mapping[str, Any], str]:
        if self._silent:
            return registered(self._module), ""
        return loadable_entries(self._module, self._definition)

    def _after(self) -> tuple[Mapping[str, Any], Mapping[str, int | None]]:
        """The entries after a load that raised nothing, and their storages."""
        if self._simple:
            return self._entries_before, self._before
        entries = self._entries()[0]
        return entries, {key: storage_of(value) for key, value in entries.items()}

    def outcome(
        self, raised: BaseException | None, state: Mapping[str, Any], strict: bool, watched: Watched
    ) -> Outcome:
        """What torch reported.

        Args:
            raised: what the load raised, or None.
            state: what it was given.
            strict: as in ``load_state_dict``.
            watched: the operators that ran meanwhile.
        """
        recorder, messages = self._recorder, self._recorder.messages
        recorder.leave()
        own = [m for m in messages if not m.startswith(_LISTS) and not _MISMATCH.fullmatch(m)]
        complete = raised is None or words(raised).startswith(REPORT)
        if raised is not None and not (complete and messages):
            own.append(brief(raised))
        after, storages = self._after() if raised is None else ({}, {})
        lost = lost_again(self._before, storages, watched)
        left_out = () if raised else unused(state, recorder.seen, watched)
        untouched = _untouched(self._before, storages, watched.written)
        missing = {*recorder.missing, *(key for key in untouched if _filled_by_torch(key, self._structure))}
        around = Entries(self._before, after, storages, recorder.missing, recorder.unexpected)
        return Outcome(
            raised=raised is not None,
            strict=any(m.startswith(_LISTS) for m in messages) or (strict and not complete),
            complete=complete,
            missing=recorder.missing,
            unexpected=recorder.unexpected,
            mismatched=_mismatches(messages),
            errors=tuple(own),
            untouched=tuple(key for key in untouched if key not in missing),
            unapplied=self._unapplied,
            nothing=raised is None and reached_nothing(self._module, around, state, watched),
            unsaved=self._unsaved,
            beside=beside(self._module, recorder.unexpected),
            copied={
                key: watched.copied[storage]
                for key, storage in self._before.items()
                if storage in watched.copied
            },
            lost=lost,
            left_out=left_out,
            tied=_newly_tied(self._before, storages),
        )


def _newly_tied(
    before: Mapping[str, int | None], after: Mapping[str, int | None]
) -> tuple[tuple[str, ...], ...]:
    """The keys of one storage after a load that had several before it, as where a hook ties them."""
    if after is before:
        return ()
    groups: dict[int, list[str]] = {}
    for key, storage in after.items():
        if storage is not None:
            groups.setdefault(storage, []).append(key)
    return tuple(tuple(keys) for keys in groups.values() if len({before.get(key) for key in keys}) > 1)


def _untouched(
    before: Mapping[str, int | None], after: Mapping[str, int | None], written: Container[int]
) -> list[str]:
    """The keys whose storage is the same before and after a load, and was not written to."""
    return [
        key
        for key, storage in after.items()
        if storage is not None and storage == before.get(key) and storage not in written
    ]


def _filled_by_torch(key: str, structure: Structure) -> bool:
    """Whether torch itself fills in a counter that files of its first versions lack."""
    module, _, name = key.rpartition(".")
    version = (structure.versions or {}).get(module, 1)
    return name == "num_batches_tracked" and key not in structure.tensors and version == 1


class _Recorder:
    """Keeps the lists that ``load_state_dict`` fills, whichever module's method runs."""

    def __init__(self, module: nn.Module, simple: bool) -> None:
        self._lists: dict[int, tuple[list[str], list[str], list[str]]] = {}
        self._hooks: list[Any] = []
        self._simple = simple
        #: Storages of what torch's own load was given; None before it began, and where nobody asks.
        self.seen: set[int] | None = None
        from torch.jit import ScriptModule

        for part in (module,) if simple else parts_of(module):
            if not isinstance(part, ScriptModule):  # does not accept hooks
                self._hooks.append(part._register_load_state_dict_pre_hook(self._note))  # type: ignore[no-untyped-call]
                if part is module and not simple:  # before a hook of the user's takes anything out
                    first = part._register_load_state_dict_pre_hook(self._begins)  # type: ignore[no-untyped-call]
                    hooks: Any = part._load_state_dict_pre_hooks
                    hooks.move_to_end(first.id, last=False)
                    self._hooks.append(first)

    def leave(self) -> None:
        """Takes its hooks off the modules."""
        for each in self._hooks:
            each.remove()

    def _begins(self, state: Mapping[str, Any], *_: Any) -> None:
        self.seen = (self.seen or set()) | {each for each in map(storage_of, state.values()) if each}

    def _note(
        self, state: Mapping[str, Any], prefix: str, _meta: Any, _strict: Any, *lists: list[str]
    ) -> None:
        if not prefix and not self._simple:  # without code of the user's, nothing is taken out before
            self._begins(state)
        missing, unexpected, messages = lists
        self._lists[id(missing)] = (missing, unexpected, messages)

    def _all(self, which: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for lists in self._lists.values() for key in lists[which]))

    @property
    def missing(self) -> tuple[str, ...]:
        return self._all(0)

    @property
    def unexpected(self) -> tuple[str, ...]:
        return self._all(1)

    @property
    def messages(self) -> tuple[str, ...]:
        return self._all(2)


def _mismatches(messages: tuple[str, ...]) -> dict[str, tuple[Shape, Shape]]:
    found = (_MISMATCH.fullmatch(message) for message in messages)
    return {match["key"]: (_shape(match["old"]), _shape(match["new"])) for match in found if match}


def mismatches(error: BaseException | None) -> dict[str, tuple[Shape, Shape]]:
    """Key -> (shape in the checkpoint, shape in the model), as an error of ``load_state_dict`` lists them."""
    text = "" if error is None else str(error)
    if not text.startswith(REPORT):
        return {}
    lines = text.split("\n")[1:]
    return _mismatches(tuple(line.strip().removesuffix(";") for line in lines))


def _shape(text: str) -> Shape:
    """``torch.Size([16, 3])`` -> (16, 3)."""
    match = _SIZES.search(text)
    return tuple(int(n) for n in match[1].split(",") if n.strip()) if match else ()


def _shield_extra_state(module: nn.Module, structure: Structure) -> tuple[str, ...]:
    """Disables ``set_extra_state`` for values that the structure does not have. Returns their keys."""
    objects = {key for key, spec in structure.tensors.items() if spec.dtype == OBJECT}
    unknown = {key for key in objects if key not in structure.objects}
    shielded: list[str] = []
    for name, part in named_parts(module) if unknown else ():
        key = f"{name}.{EXTRA_STATE}" if name else EXTRA_STATE
        if key in unknown:
            object.__setattr__(part, "set_extra_state", lambda _state: None)
            shielded.append(key)
    return tuple(shielded)


@contextlib.contextmanager
def quiet_copies() -> Iterator[None]:
    """Hides torch's warning about a copy of a real number to the meta device, which is harmless.

    BatchNorm adds such a number where an old checkpoint lacks it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")
        yield
