"""Loads a LightningModule as its ``load_from_checkpoint`` does.

Lightning builds the class from the hyper-parameters in the file, calls its ``configure_model`` and
``on_load_checkpoint``, and then ``load_state_dict`` with its ``strict_loading``. It is never imported
here: whoever defines a LightningModule has imported it.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pytest_ckpt_compat._core.errors import BuildError, NoBaselineError, UsageError
from pytest_ckpt_compat._core.records import Record
from pytest_ckpt_compat._core.structure import SNAPSHOT, Structure
from pytest_ckpt_compat._definition.given import own_arguments
from pytest_ckpt_compat._definition.names import brief, descends
from pytest_ckpt_compat._readers import Opaque

#: Names of its package.
_PACKAGES = ("lightning", "pytorch_lightning")
#: Lightning writes it into each checkpoint.
_VERSION = "pytorch-lightning_version"
#: Names that the hyper-parameters had in its first versions.
_OLD_NAMES = ("hparams", "module_arguments")
#: The part of a checkpoint that is loaded.
_STATE = "state_dict"
#: Parts that belong to a Trainer. They are large and hold paths of the machine that trained.
_TRAINERS = ("callbacks", "loops", "lr_schedulers", "optimizer_states")
#: What the hyper-parameters of LightningCLI name as their function, the only ones that Lightning calls.
_INSTANTIATORS = ("lightning.pytorch.cli.instantiate_module", "pytorch_lightning.cli.instantiate_module")
#: The argument of ``load_from_checkpoint`` that names a file of hyper-parameters.
_FILE = "hparams_file"
_SHOWN = 6
_LONGEST = 60


def is_lightning(kind: object) -> bool:
    """Whether a class is a LightningModule."""
    return inspect.isclass(kind) and descends(kind, "LightningModule", *_PACKAGES)


def is_checkpoint(structure: Structure) -> bool:
    """Whether a structure is the state_dict of a checkpoint that Lightning wrote."""
    return _VERSION in structure.values and structure.source.container in ("", _STATE)


def kept(values: Mapping[str, Any], resume: bool = False) -> dict[str, Any]:
    """The values of a checkpoint that a load needs, for its snapshot.

    Args:
        values: the checkpoint's.
        resume: whether to keep those that a Trainer restores as well: of callbacks and loops the names.
    """
    own = {name: value for name, value in values.items() if name not in _TRAINERS}
    if resume:
        own |= {name: values[name] for name in ("lr_schedulers",) if name in values}
        own |= {name: [] for name in ("optimizer_states",) if values.get(name) == []}
        own |= {name: dict.fromkeys(values.get(name) or {}) for name in ("callbacks", "loops")}
    return own


def without_file(kind: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Keyword arguments as ``load_from_checkpoint`` takes them -> those of the class, and ``hparams_file``.

    A class that has a parameter of this name gets it.
    """
    own = dict(given)
    file = own.pop(_FILE, None) if _FILE not in _names(kind) else None
    return own, "" if file is None else str(file)


def with_file(structure: Structure, kind: Any, file: str, path: str) -> Structure:
    """A checkpoint with the hyper-parameters of an ``hparams_file`` in place of its own, as Lightning has it.

    Args:
        structure: the checkpoint; another one than Lightning's stays as it is.
        kind: the class, whose library reads the file.
        file: the file, relative to the working directory or to the checkpoint's; "" for none.
        path: of the checkpoint.

    Raises:
        UsageError: there is no such file, or Lightning cannot read it.
    """
    if not file or not is_checkpoint(structure):
        return structure
    found = next(
        (each for each in (file, os.path.join(os.path.dirname(path), file)) if os.path.isfile(each)), ""
    )
    subject = f"kwargs, {_FILE} {file}"
    if not found:
        raise UsageError(subject, "is not there", "give its path from the working directory")
    home = next(base.__module__ for base in kind.__mro__ if base.__name__ == "LightningModule")
    library: Any = importlib.import_module(f"{home.rpartition('.')[0]}.saving")
    readers = {".csv": library.load_hparams_from_tags_csv, ".yml": library.load_hparams_from_yaml}
    suffix = os.path.splitext(found)[1].lower().replace(".yaml", ".yml")
    if suffix not in readers:
        raise UsageError(subject, "is neither .csv nor .yaml", "give the file that Lightning's logger wrote")
    try:
        loaded = readers[suffix](found)
    except Exception as error:
        raise UsageError(subject, f"cannot be read: {brief(error)}", "check the file") from error
    if not isinstance(loaded, Mapping):
        raise UsageError(subject, f"holds {type(loaded).__name__}, not names and values", "check the file")
    values = {**structure.values, kind.CHECKPOINT_HYPER_PARAMS_KEY: dict(loaded)}
    return replace(structure, values=values)


def construct(kind: Any, given: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """Builds a LightningModule from the hyper-parameters in a checkpoint.

    Args:
        kind: its class.
        given: keyword arguments, which come before the checkpoint's.
        values: the checkpoint's non-tensor values; {} if there is none.
    """
    arguments = dict(given)
    instantiator = None
    if _VERSION in values:
        arguments = _arguments(kind, given, values)
        instantiator = arguments.pop("_instantiator", None)
        if not _takes_any(kind):
            arguments = {name: value for name, value in arguments.items() if name in _names(kind)}
    if instantiator in _INSTANTIATORS:
        module, _, name = instantiator.rpartition(".")
        built = getattr(importlib.import_module(module), name)(kind, arguments)
    else:
        built = kind(**arguments)
    if hasattr(built, "configure_model"):  # since Lightning 2.1
        built.configure_model()
    return built


def _arguments(kind: Any, given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What the constructor is given, before the choice by its signature."""
    values = copy.deepcopy(dict(values))
    loaded: dict[str, Any] = {}
    for name in (*_OLD_NAMES, kind.CHECKPOINT_HYPER_PARAMS_KEY):
        if isinstance(values.get(name), dict):
            loaded |= values[name]
    loaded |= given
    whole = revived(Record(loaded, _type(kind, values)))
    name = values.get(kind.CHECKPOINT_HYPER_PARAMS_NAME)
    return {**({name: whole} if name and name in _names(kind) else whole), **given}


def _type(kind: Any, values: Mapping[str, Any]) -> str:
    """The class of the hyper-parameters as a whole, "" for a dictionary."""
    named = values.get(kind.CHECKPOINT_HYPER_PARAMS_TYPE)
    if isinstance(named, str):  # in files of Lightning before 1.0
        return "lightning.fabric.utilities.data.AttributeDict"
    return str(getattr(named, "name", ""))


def revived(value: Any) -> Any:
    """Makes the objects anew that hyper-parameters consist of, as far as their classes are known."""
    if isinstance(value, dict):
        items = {name: revived(item) for name, item in value.items()}
        name = value.name if isinstance(value, Record) else ""
        if name == "argparse.Namespace":
            return argparse.Namespace(**{str(each): item for each, item in items.items()})
        if name.startswith("omegaconf.") and (omegaconf := _imported("omegaconf")):
            return omegaconf.OmegaConf.create(items)
        if name.endswith(".AttributeDict"):
            return _Attributes(items)
        return Record(items, name) if name else items
    if isinstance(value, (list, tuple)):
        return type(value)([revived(item) for item in value])
    return value


class _Attributes(dict[str, Any]):
    """A dictionary whose items are attributes as well, as Lightning's own ``AttributeDict``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _names(kind: Any) -> tuple[str, ...]:
    """Names of the constructor's parameters, without those that take any."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return tuple(each.name for each in parameters if each.kind not in several)


def _takes_any(kind: Any) -> bool:
    parameters = inspect.signature(kind.__init__).parameters.values()
    return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


def has_hook(module: object) -> bool:
    """Whether a module's ``on_load_checkpoint`` does anything."""
    kind = type(module)
    if not is_lightning(kind):
        return False
    own = getattr(kind, "on_load_checkpoint", None)
    return getattr(own, "__module__", "").split(".")[0] not in _PACKAGES


def after_hook(module: Any, given: Mapping[str, Any], state: Mapping[str, Any], structure: Structure) -> Any:
    """Calls ``on_load_checkpoint`` with the checkpoint; returns the state_dict that it leaves in it.

    Args:
        module: the built module.
        given: the keyword arguments that were given, which Lightning puts among the hyper-parameters.
        state: the state_dict, which stays as it is.
        structure: the checkpoint.
    """
    checkpoint = whole(module, given, state, structure.values)
    module.on_load_checkpoint(checkpoint)
    return checkpoint[_STATE]


def require_values(name: str, error: BaseException, structure: Structure) -> None:
    """Raises NoBaselineError if a hook raised because a snapshot keeps nothing of a Trainer."""
    wanted = error.args[0] if isinstance(error, KeyError) and error.args else None
    if structure.source.format == SNAPSHOT and wanted in _TRAINERS and wanted not in structure.values:
        problem = f"{name} reads {wanted!r}, which a snapshot does not keep"
        raise NoBaselineError(structure.source.path, problem, "check against the checkpoint file itself")


def whole(
    module: Any, given: Mapping[str, Any], state: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """The checkpoint that ``on_load_checkpoint`` gets; arguments as ``after_hook``, with its other values."""
    checkpoint = revived(copy.deepcopy(dict(values)))
    parameters = checkpoint.setdefault(type(module).CHECKPOINT_HYPER_PARAMS_KEY, {})
    if isinstance(parameters, dict):
        parameters.update(own_arguments(given))
    own = copy.copy(state)
    if hasattr(state, "_metadata"):
        own._metadata = state._metadata  # type: ignore[attr-defined]
    checkpoint[_STATE] = own
    return checkpoint  # type: ignore[no-any-return]


def strictness(module: Any, strict: bool) -> bool:
    """How strictly Lightning loads: as the registration says, unless the module's ``strict_loading`` is set.

    Raises:
        ValueError: the two contradict each other, which Lightning refuses.
    """
    own = getattr(module, "_strict_loading", None)  # since Lightning 2.2; None where nobody set it
    if own and not strict:
        kind = type(module).__name__
        raise ValueError(f"strict=False contradicts {kind}.strict_loading=True, and Lightning refuses that")
    return strict and own is not False


def unread(kind: Any, given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, str]:
    """Arguments whose class is not read -> that class; the constructor gets a stand-in for each."""
    found = {}
    for name, value in _used(kind, given, values).items():
        if name not in given and (opaque := _opaque(value)):
            found[name] = opaque
    return found


def _used(kind: Any, given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    arguments = _arguments(kind, given, values)
    return {
        n: v
        for n, v in arguments.items()
        if not str(n).startswith("_") and (_takes_any(kind) or n in _names(kind))
    }


def _opaque(value: Any) -> str:
    """The class of a value that has no plain form, or of one inside it; "" if there is none."""
    parts: Iterator[Any] = iter(())
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        parts = iter(value.values())
    elif isinstance(value, (list, tuple)):
        parts = iter(value)
    elif isinstance(value, Opaque):
        return value.name
    return next((found for part in parts if (found := _opaque(part))), "")


def remarks(kind: Any, given: Mapping[str, Any], structure: Structure) -> tuple[str, ...]:
    """Says that the checkpoint is loaded as Lightning does, and what the constructor got."""
    used = _used(kind, given, structure.values)
    shown = [f"{name}={_short(value)}" for name, value in list(used.items())[:_SHOWN] if name not in given]
    told = (
        f"built with its hyper-parameters {', '.join(shown)}" if shown else "no hyper-parameters of it used"
    )
    return (f"loaded as {kind.__name__}.load_from_checkpoint does: {told}",)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def require_read(kind: Any, given: Mapping[str, Any], structure: Structure) -> None:
    """Raises BuildError if a stand-in for a hyper-parameter may be why a load failed."""
    found = unread(kind, given, structure.values)
    if found:
        listed = ", ".join(f"{name} ({of})" for name, of in found.items())
        problem = f"needs a hyper-parameter of the checkpoint that is an object: {listed}"
        raise BuildError(kind.__name__, problem, f"give it in kwargs: {{{next(iter(found))!r}: ...}}")
