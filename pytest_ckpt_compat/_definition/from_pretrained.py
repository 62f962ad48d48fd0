"""Loads a checkpoint as the transformers library does: with ``PreTrainedModel.from_pretrained``."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.display import size
from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._core.structure import OBJECT, PLAIN_DTYPES, UNINITIALIZED, Structure, TensorSpec
from pytest_ckpt_compat._definition.chain import Chain
from pytest_ckpt_compat._definition.empty_state import empty_state
from pytest_ckpt_compat._definition.entries import structure_of
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._definition.observation import REPORT, Outcome, Shape, require_complete
from pytest_ckpt_compat._definition.pretrained_config import is_pretrained
from pytest_ckpt_compat._definition.project_code import RemapError
from pytest_ckpt_compat._definition.remap import Remapped, remapped
from pytest_ckpt_compat._definition.surroundings import untouched_globals
from pytest_ckpt_compat._definition.watch import watch_operators
from pytest_ckpt_compat._definition.weights import read_weights
from pytest_ckpt_compat._registry.options import TRANSFORMERS

if TYPE_CHECKING:
    import torch
    from torch import nn

#: What ``from_pretrained`` raises when it has compared checkpoint and model.
_VERDICTS = (REPORT, "We encountered some issues during automatic conversion")


class NotHereError(Exception):
    """``from_pretrained`` cannot be asked about this checkpoint and this definition."""


def applies(module: nn.Module, definition: Definition) -> bool:
    """Whether transformers loads a built definition.

    Raises:
        BuildError: the registration names transformers, and the definition is no model of its.
    """
    ours = is_pretrained(type(module))
    if definition.library == TRANSFORMERS and not ours:
        raise BuildError(
            definition.label,
            f"gave {type(module).__name__}, which is no transformers.PreTrainedModel",
            "leave load out, or name your own loader",
        )
    return ours


def load(
    module: nn.Module, structure: Structure, definition: Definition, strict: bool, budget: int
) -> tuple[Structure, Outcome]:
    """Loads a checkpoint with ``from_pretrained``. Returns the model's structure, and what it reported.

    The tensors are zeros that take no memory. What the checkpoint lacks is initialised, and takes some.

    Args:
        module: the built definition, from which class and config are taken.
        structure: the structure of the checkpoint.
        definition: the definition of ``module``.
        strict: whether missing and unexpected keys are breaks; ``from_pretrained`` itself only logs them.
        budget: bytes that initialised tensors may take.

    Raises:
        BuildError: what would be initialised or converted takes more than the budget.
        NotHereError: ``from_pretrained`` cannot be asked; the message says why.
    """
    built = structure_of(module, definition)
    done: Remapped | None = None
    if definition.remap is not None:
        try:
            done = _after_remap(definition.remap, module, structure)
        except RemapError as error:
            return built, Outcome(raised=True, strict=strict, errors=(str(error),))
        structure = done.structure
    given = _aligned(structure, built, getattr(module, "base_model_prefix", ""))
    lacking = _lacking(built, given)
    if lacking > budget:
        # Names alone cannot tell: the library may convert other keys into these.
        raise BuildError(
            definition.label,
            f"takes {size(lacking)} to load with from_pretrained, beside what the checkpoint has by name",
            f"raise memory_budget ({size(budget)}), or name your own loader with load",
        )
    try:
        loaded, info = _from_pretrained(module, _zeros(structure))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if words(error).startswith(_VERDICTS):
            return built, Outcome(
                raised=True, strict=strict, complete=False, errors=(brief(error),), remapped=done
            )
        raise NotHereError(f"from_pretrained raised {brief(error)}") from error
    new = structure_of(loaded, definition)
    if _shapes(new) != _shapes(built):
        raise NotHereError(
            f"from_pretrained builds another {type(module).__name__} from its config than {definition.label}"
        )
    return new, replace(_outcome(info, given, new, strict, structure), remapped=done)


def load_real(
    module: nn.Module, structure: Structure, definition: Definition, strict: bool, budget: int
) -> nn.Module:
    """Loads a checkpoint's real weights with ``from_pretrained``; arguments as ``load``.

    Raises:
        NotHereError: as ``load``.
        ReadError: a tensor's data cannot be read.
        RemapError: a migration raises, or returns no state_dict.
        RuntimeError: the load fails, or keys are missing or unexpected and ``strict`` is true.
    """
    outcome = load(module, structure, definition, strict, budget)[1]
    if strict:
        require_complete(outcome, module)
    state: Mapping[str, Any] = read_weights(structure)
    if definition.remap is not None:
        state = definition.remap(state, module, structure)
    return _from_pretrained(module, state, ignore_mismatched_sizes=False)[0]


def _after_remap(remap: Chain, module: nn.Module, structure: Structure) -> Remapped:
    """What the migrations make of the checkpoint, as ``from_pretrained(state_dict=...)`` gets it.

    Raises:
        NotHereError: what it makes of tensors without data may differ from what it makes of real ones.
        RemapError: it raises, or returns no state_dict.
    """
    _require_plain(structure)
    state, name = empty_state(structure, "meta"), remap.name
    with untouched_globals(), watch_operators(state, users=True) as watched:
        try:
            given, migrated = remap.watched(state, module, structure)
        except RemapError as error:
            if watched.refused or watched.doubts.asked:
                raise NotHereError(f"{name} needs the numbers of the checkpoint") from error
            raise
        done = replace(remapped(name, structure, state, given, watched), migrated=migrated)
    if watched.numbers or watched.refused or watched.doubts.reasons:
        raise NotHereError(f"{name} asks what tensors without numbers answer differently")
    return done


def _from_pretrained(
    module: nn.Module, state: Mapping[str, Any], ignore_mismatched_sizes: bool = True
) -> tuple[nn.Module, Mapping[str, Any]]:
    kind: Any = type(module)
    with untouched_globals(), _silent():
        loaded, info = kind.from_pretrained(
            None,
            config=copy.deepcopy(module.config),
            state_dict=dict(state),
            ignore_mismatched_sizes=ignore_mismatched_sizes,
            output_loading_info=True,
        )
    return loaded, info


def _outcome(
    info: Mapping[str, Any], given: Structure, new: Structure, strict: bool, structure: Structure
) -> Outcome:
    """What ``output_loading_info`` says, in the keys of both sides."""
    missing, unexpected = set(info["missing_keys"]), set(info["unexpected_keys"])
    mismatched = dict(_mismatch(entry, given, new) for entry in info["mismatched_keys"])
    errors = [str(message) for message in info["error_msgs"]]
    # Keys under which neither side is known: the library has converted them.
    errors += [f"from_pretrained lacks {key}" for key in sorted(missing - new.tensors.keys())]
    errors += [f"from_pretrained has no use for {key}" for key in sorted(unexpected - given.tensors.keys())]
    unloaded = {*missing, *mismatched}
    tied = {key: _tied_to(key, new, unloaded) for key in new.tensors if key not in given.tensors}
    unloaded |= {key for key in tied if _all_of_tie(key, new) <= {*unloaded, *tied}}
    return Outcome(
        raised=bool(mismatched or errors or (strict and (missing or unexpected))),
        strict=strict,
        missing=tuple(key for key in new.tensors if key in missing),
        unexpected=tuple(key for key in given.tensors if key in unexpected),
        mismatched={key: mismatched[key] for key in new.tensors if key in mismatched},
        errors=tuple(errors),
        nothing=bool(given.tensors) and new.tensors.keys() <= unloaded,
        given=None if given.tensors == structure.tensors else given,
        notes=(
            "loaded as transformers' from_pretrained does; where your code calls load_state_dict itself, "
            "name it with load=",
            *(f"{key}: tied to {other} by transformers" for key, other in tied.items() if other),
        ),
    )


def _mismatch(entry: Any, given: Structure, new: Structure) -> tuple[str, tuple[Shape, Shape]]:
    """The key and both shapes of a mismatch; transformers 4 gives the key alone."""
    if isinstance(entry, str):
        none = TensorSpec("any")
        return entry, (given.tensors.get(entry, none).shape, new.tensors.get(entry, none).shape)
    key, old, now = entry
    return key, (tuple(old), tuple(now))


def _tied_to(key: str, new: Structure, unloaded: set[str]) -> str:
    """The key with which one that the checkpoint lacks shares a tensor that is loaded; "" for none."""
    return next((each for each in _all_of_tie(key, new) if each != key and each not in unloaded), "")


def _all_of_tie(key: str, new: Structure) -> set[str]:
    return {key, *next((group for group in new.aliases if key in group), ())}


def _aligned(structure: Structure, new: Structure, prefix: str) -> Structure:
    """The checkpoint with the names of the model, which may have the base model's prefix more or less."""

    def own(key: str) -> str:
        others = (key, f"{prefix}.{key}", key.removeprefix(f"{prefix}."))
        return next((each for each in others if each in new.tensors), key)

    names = {key: own(key) for key in structure.tensors} if prefix else {}
    if len(set(names.values())) < len(structure.tensors) or all(a == b for a, b in names.items()):
        return structure
    return replace(
        structure,
        tensors={names[key]: spec for key, spec in structure.tensors.items()},
        aliases=tuple(tuple(names[key] for key in group) for group in structure.aliases),
        objects={},
        locations={},
        strides={},
        contents={},
        views=(),
    )


def _lacking(built: Structure, given: Structure) -> int:
    """Bytes of the model's tensors of which the checkpoint has no name."""
    tied = (group for group in built.aliases if not given.tensors.keys().isdisjoint(group))
    known = given.tensors.keys() | {key for group in tied for key in group}
    return sum(spec.nbytes for key, spec in built.tensors.items() if key not in known)


def _shapes(structure: Structure) -> dict[str, tuple[int, ...]]:
    return {key: spec.shape for key, spec in structure.tensors.items()}


def _zeros(structure: Structure) -> dict[str, torch.Tensor]:
    """Tensors of zeros like the checkpoint's: the system gives them memory only when they are written to."""
    _require_plain(structure)
    state = {key: _zero(spec) for key, spec in structure.tensors.items()}
    for first, *others in structure.aliases:
        state.update(dict.fromkeys(others, state[first]))
    return state


def _require_plain(structure: Structure) -> None:
    plain = PLAIN_DTYPES - {OBJECT, UNINITIALIZED}
    strange = next((key for key, spec in structure.tensors.items() if spec.dtype not in plain), None)
    if strange is not None:
        raise NotHereError(
            f"from_pretrained was not asked, because {strange} is {structure.tensors[strange]}"
        )


def _zero(spec: TensorSpec) -> torch.Tensor:
    import numpy
    import torch

    dtype: torch.dtype = getattr(torch, spec.dtype)
    length = max(1, math.prod(spec.shape)) * dtype.itemsize
    storage = torch.from_numpy(numpy.zeros(length, numpy.uint8)).untyped_storage()
    stride = torch.empty(spec.shape, device="meta").stride()
    return torch.empty(0, dtype=dtype).set_(storage, 0, spec.shape, stride)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hides the library's progress bar and its report of the load, which the verdict gives."""
    logger = logging.getLogger(TRANSFORMERS)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
