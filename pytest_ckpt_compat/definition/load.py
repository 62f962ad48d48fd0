"""The real ``load_state_dict`` of a definition, on meta tensors of a checkpoint's shapes."""

from __future__ import annotations

import contextlib
import inspect
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat.definition.build import (
    build_real,
    entries_of,
    is_lazy,
    storage_identity,
    untouched_globals,
)
from pytest_ckpt_compat.definition.find import Definition, brief
from pytest_ckpt_compat.definition.intercept import intercept
from pytest_ckpt_compat.definition.weights import read_weights
from pytest_ckpt_compat.errors import NoBaselineError
from pytest_ckpt_compat.structure import EXTRA_STATE, OBJECT, PLAIN_DTYPES, Structure, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

_MISMATCH = re.compile(
    r"size mismatch for (?P<key>.+): copying a param with shape (?P<old>.+) from checkpoint, "
    r"the shape in current model is (?P<new>.+)\.",
    re.DOTALL,
)
_SIZES = re.compile(r"\[([\d, ]*)\]")
#: How the error begins that ``load_state_dict`` raises when it has gone through every module.
_REPORT = "Error(s) in loading state_dict for "
#: What strict adds to the messages; the keys are known from the lists themselves.
_LISTS = ("Missing key(s) in state_dict: ", "Unexpected key(s) in state_dict: ")


Shape = tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """What torch said to a load.

    Attributes:
        raised: whether ``load_state_dict`` raised: the verdict.
        missing: torch's list of missing keys.
        unexpected: torch's list of unexpected keys.
        mismatched: key -> (shape in the checkpoint, shape in the model).
        errors: everything else that made the load raise, a line each.
        untouched: keys of the definition into which the load wrote nothing, though torch does not
            call them missing.
        unapplied: keys of extra state that ``set_extra_state`` was not given, since the value is
            not known here.
        strict: whether missing and unexpected keys were among the reasons to raise. (An override of
            ``load_state_dict`` may be lenient whatever it is told.)
        complete: whether torch went through every module; if not, its lists stop half-way.
        read_weights: whether real weights had to be read.
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
    read_weights: bool = False


def try_load(module: nn.Module, structure: Structure, definition: Definition, strict: bool = True) -> Outcome:
    """Loads meta tensors of ``structure``'s shapes into ``module``, through its own ``load_state_dict``.

    ``module`` is used up: load into each built module once. A load that needs numbers (a hook that
    calls ``.item()``) is repeated with the real weights, in a module built for real.

    Args:
        module: a module as ``build`` gives it.
        structure: what the checkpoint holds.
        definition: where ``module`` comes from.
        strict: as in ``load_state_dict``.

    Raises:
        NoBaselineError: the load needs numbers, and the weights are not at hand.
    """
    if not _fits_on_meta(structure, module):
        # Quantized and sparse tensors copy by rules of their own, and do not exist on meta.
        real, state = build_real(definition, structure.values), _state(structure, "cpu")
        return _attempt(real, state, structure, definition, strict)[0]
    outcome, needs_numbers = _attempt(module, _state(structure, "meta"), structure, definition, strict)
    if not needs_numbers:
        return outcome
    lacking = [key for key, spec in structure.tensors.items() if spec.dtype != OBJECT]
    if any(key not in structure.locations for key in lacking):
        raise NoBaselineError(
            structure.source.path or definition.label,
            f"loading it into {definition.label} reads the values of tensors ({outcome.errors[0]})",
            "check against the checkpoint file itself, not a snapshot",
        )
    real = build_real(definition, structure.values)
    state = _with_metadata(read_weights(structure), structure)
    outcome, _ = _attempt(real, state, structure, definition, strict)
    return replace(outcome, read_weights=True)


def load_weights(definition: Definition, structure: Structure, strict: bool = True) -> nn.Module:
    """A real module with the checkpoint's real weights loaded.

    Raises:
        BuildError: the constructor raised.
        ReadError: a tensor's bytes cannot be read.
        RuntimeError: torch's own, where the load fails.
    """
    module = build_real(definition, structure.values)
    _call_load(module, _with_metadata(read_weights(structure), structure), strict)
    return module


def _attempt(
    module: nn.Module,
    state: Mapping[str, Any],
    structure: Structure,
    definition: Definition,
    strict: bool,
) -> tuple[Outcome, bool]:
    """The outcome of one load, and whether it failed only for want of numbers."""
    entries = entries_of(module, definition)
    before = {key: _storage(value) for key, value in entries.items()}
    recorder = _Recorder(module)
    unapplied = _shield_extra_state(module, structure)
    raised: Exception | None = None
    with untouched_globals(), warnings.catch_warnings(), _written_storages() as written:
        # BatchNorm fills in a real number where an old checkpoint has none: on meta a no-op, as it may be.
        warnings.filterwarnings("ignore", "for .*: copying from a non-meta parameter")
        try:
            _call_load(module, state, strict)
        except Exception as error:
            raised = error
    messages = recorder.messages
    own = [m for m in messages if not m.startswith(_LISTS) and not _MISMATCH.fullmatch(m)]
    complete = raised is None or str(raised).startswith(_REPORT)
    if raised is not None and not complete:
        own.append(brief(raised))
    after = {} if raised else {k: _storage(v) for k, v in entries_of(module, definition).items()}
    untouched = [
        key
        for key, storage in after.items()
        if storage is not None and storage == before.get(key) and storage not in written
    ]
    outcome = Outcome(
        raised=raised is not None,
        strict=any(m.startswith(_LISTS) for m in messages) or (strict and not complete),
        complete=complete,
        missing=recorder.missing,
        unexpected=recorder.unexpected,
        mismatched=_mismatches(messages),
        errors=tuple(own),
        untouched=tuple(key for key in untouched if key not in set(recorder.missing)),
        unapplied=unapplied,
    )
    return outcome, raised is not None and _wants_numbers(raised, own)


def _call_load(module: nn.Module, state: Mapping[str, Any], strict: bool) -> None:
    """Passes ``strict`` to overrides that take it."""
    parameters = inspect.signature(module.load_state_dict).parameters.values()
    takes_strict = any(p.name == "strict" or p.kind is p.VAR_KEYWORD for p in parameters)
    module.load_state_dict(state, **({"strict": strict} if takes_strict else {}))


def _fits_on_meta(structure: Structure, module: nn.Module) -> bool:
    """Whether every tensor on either side is one that the meta device can stand in for."""
    tensors = (*module.parameters(), *module.buffers())
    plain = all(spec.dtype in PLAIN_DTYPES for spec in structure.tensors.values())
    return plain and all(tensor.is_meta for tensor in tensors)


def _state(structure: Structure, device: str) -> Mapping[str, Any]:
    """A state_dict like the checkpoint's, with tensors whose numbers do not matter."""
    state: dict[str, Any] = {}
    for key, spec in structure.tensors.items():
        if spec.dtype == OBJECT:
            state[key] = structure.objects.get(key)
        else:
            state[key] = _empty(spec, device)
    for first, *others in structure.aliases:
        state.update(dict.fromkeys(others, state[first]))
    return _with_metadata(state, structure)


def _empty(spec: TensorSpec, device: str) -> torch.Tensor:
    import torch

    layout, _, dtype = spec.dtype.rpartition("_") if spec.dtype.startswith("sparse_") else ("", "", spec.dtype)
    kind = getattr(torch, dtype, torch.uint8)  # a dtype that this torch does not have: only its shape is known
    if kind in (torch.qint8, torch.quint8, torch.qint32):
        return torch._empty_affine_quantized(spec.shape, scale=1.0, zero_point=0, dtype=kind, device=device)
    return torch.empty(
        spec.shape, dtype=kind, device=device, layout=getattr(torch, layout) if layout else torch.strided
    )


def _with_metadata(state: Mapping[str, Any], structure: Structure) -> Mapping[str, Any]:
    """Adds ``_metadata`` as the checkpoint had it: versions decide what a load does."""
    ordered: OrderedDict[str, Any] = OrderedDict((key, state[key]) for key in structure.tensors)
    if structure.versions is not None:
        names = {"", *structure.versions}
        for key in structure.tensors:
            parts = key.split(".")[:-1]
            names.update(".".join(parts[: n + 1]) for n in range(len(parts)))
        metadata = {name: {"version": structure.versions.get(name, 1)} for name in names}
        ordered._metadata = metadata  # type: ignore[attr-defined]
    return ordered


class _Recorder:
    """Holds on to the lists that ``load_state_dict`` fills, whichever module's it is that runs."""

    def __init__(self, module: nn.Module) -> None:
        self._lists: dict[int, tuple[list[str], list[str], list[str]]] = {}
        for part in module.modules():
            part._register_load_state_dict_pre_hook(self._note)  # type: ignore[no-untyped-call]

    def _note(self, _state: Any, _prefix: Any, _meta: Any, _strict: Any, *lists: list[str]) -> None:
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


def _shape(text: str) -> Shape:
    """``torch.Size([16, 3])`` -> (16, 3)."""
    match = _SIZES.search(text)
    return tuple(int(n) for n in match[1].split(",") if n.strip()) if match else ()


def _wants_numbers(error: BaseException, messages: list[str]) -> bool:
    """Every way torch has of refusing numbers from a meta tensor says "meta"."""
    chain: BaseException | None = error
    texts = list(messages)
    while chain is not None:
        texts.append(str(chain))
        chain = chain.__cause__ or chain.__context__
    return any("meta" in text for text in texts)


def _shield_extra_state(module: nn.Module, structure: Structure) -> tuple[str, ...]:
    """Keeps ``set_extra_state`` from values that are not known here; returns their keys."""
    shielded = []
    for name, part in module.named_modules():
        key = f"{name}.{EXTRA_STATE}" if name else EXTRA_STATE
        spec = structure.tensors.get(key)
        if spec is not None and spec.dtype == OBJECT and key not in structure.objects:
            object.__setattr__(part, "set_extra_state", lambda _state: None)
            shielded.append(key)
    return tuple(shielded)


def _storage(value: object) -> int | None:
    import torch

    if not isinstance(value, torch.Tensor) or is_lazy(value) or not value.numel():
        return None
    try:
        return storage_identity(value)
    except (NotImplementedError, RuntimeError):
        return None


@contextlib.contextmanager
def _written_storages() -> Iterator[set[int]]:
    """The storages that operations write into meanwhile, through whatever view or ``.data``."""
    written: set[int] = set()

    def watch(operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        # A tensor copied onto itself is one that a lenient loader has put in for a missing one.
        source = _storage(args[1]) if operator._schema.name == "aten::copy_" else None
        arguments = operator._schema.arguments
        given = [
            *zip(arguments, args, strict=False),
            *((a, kwargs[a.name]) for a in arguments if a.name in kwargs),
        ]
        for argument, value in given:
            writes = argument.alias_info is not None and argument.alias_info.is_write
            if writes and _storage(value) not in (None, source):
                written.add(storage_identity(value))
        return operator(*args, **kwargs)

    with intercept(watch):
        yield written
