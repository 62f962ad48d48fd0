"""Detects the format of a directory from the files in it."""

from __future__ import annotations

import os
import re
from dataclasses import replace

from pytest_ckpt_compat._core.adapters import CONFIG
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.formats import dcp
from pytest_ckpt_compat._readers.formats.deepspeed import model_states, read_deepspeed
from pytest_ckpt_compat._readers.formats.safetensors import is_part, unconsolidated
from pytest_ckpt_compat._readers.formats.shards import read_index
from pytest_ckpt_compat._readers.formats.single_file import HEAD, read_single
from pytest_ckpt_compat._readers.limits import Budget, RefusalError, UnreachableRefusalError, damaged
from pytest_ckpt_compat._readers.source.folders import LocalFolder, naming_part, plain_name
from pytest_ckpt_compat._readers.state_dict.adapters import WEIGHTS, with_config

_INDEX = ".index.json"
#: Names of a whole model in one file, the preferred first, as in transformers and diffusers.
_WHOLE = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    WEIGHTS[0],
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
    WEIGHTS[1],
)
#: The list of modules of sentence-transformers.
_MODULES, _MODULES_BYTES = "modules.json", 64 << 10
_LATEST = "latest"
_LATEST_BYTES = 1_000
_SHOWN = 5
_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".onnx", ".gguf", ".pt2")
_CONVERT = "restore it with the library that wrote it, and save its weights as a PyTorch state_dict"

#: A name in a directory of another library -> what the directory is.
_FOREIGN = (
    ("_CHECKPOINT_METADATA", "it is an Orbax (JAX) checkpoint, which is not read"),
    ("manifest.ocdbt", "it is an Orbax (JAX) checkpoint, which is not read"),
    ("saved_model.pb", "it is a TensorFlow SavedModel, which is not read"),
    ("keras_metadata.pb", "it is a Keras model, which is not read"),
    ("checkpoint", "it is a TensorFlow or Flax checkpoint, which is not read"),
)


def read_directory(folder: LocalFolder, key: str | None, budget: Budget) -> Structure:
    """Reads a checkpoint directory of any format. Raises RefusalError."""
    names = folder.names()
    if _MODULES in names and _is_of_modules(folder):
        return _of_modules(folder, names, key, budget)
    return _read_known(folder, names, key, budget)


def _read_known(folder: LocalFolder, names: frozenset[str], key: str | None, budget: Budget) -> Structure:
    """Reads a directory by the names of its files. Raises RefusalError."""
    if dcp.METADATA in names:
        with naming_part(dcp.METADATA), folder.open(dcp.METADATA) as blob:
            return _named(dcp.read_dcp(blob, folder, key, budget), folder)
    states = model_states(names)
    if states:
        return read_deepspeed(folder.path, folder, states, key, budget)
    index = _index(names)
    if index:
        with folder.open(index) as blob:
            found = read_index(blob, folder, key, budget)
        if found is None:
            raise damaged(f"its {index!r} has no weight_map")
        return _named(found, folder)
    whole = next((name for name in _WHOLE if name in names), None)
    if whole:
        _refuse_several(names, whole)
        with naming_part(whole), folder.open(whole) as blob:
            found = read_single(blob, blob.head(HEAD), key, budget)
        if found is not None:
            return _named(with_config(found, folder) if whole in WEIGHTS else found, folder)
    if _LATEST in names:
        return _read_latest(folder, key, budget)
    raise _inside(folder, names) or _unsupported(names)


def main_file(names: frozenset[str]) -> str:
    """The file of a directory that holds the model, or names the files that do. Raises RefusalError."""
    found = dcp.METADATA if dcp.METADATA in names else _index(names)
    found = found or next((name for name in _WHOLE if name in names), None)
    if found is None:
        raise _unsupported(names)
    return found


def _named(structure: Structure, folder: LocalFolder) -> Structure:
    """Returns the structure with the directory as its source, under the path that the user gave."""
    return replace(structure, source=replace(structure.source, path=folder.path))


def _index(names: frozenset[str]) -> str | None:
    """Returns the name of the shard index, preferring that of safetensors files. Refuses several."""
    found = sorted(name for name in names if name.endswith(_INDEX))
    preferred = [name for name in found if ".safetensors." in name] or found
    if len(preferred) > 1:
        raise RefusalError(
            f"it has {len(preferred)} shard indexes: {', '.join(map(repr, preferred[:_SHOWN]))}",
            "give the path of one of them",
        )
    return preferred[0] if preferred else None


def _read_latest(folder: LocalFolder, key: str | None, budget: Budget) -> Structure:
    """Reads the directory that DeepSpeed's file ``latest`` names: that of the last save."""
    with naming_part(_LATEST), folder.open(_LATEST) as blob:
        tag = plain_name(blob.head(_LATEST_BYTES).decode("utf-8", "replace").strip())
    inner = folder.enter(tag)
    states = model_states(inner.names())
    if states is None:
        raise RefusalError(
            f"its {_LATEST!r} names {tag!r}, which is not a DeepSpeed checkpoint",
            "give the path of a checkpoint",
        )
    return read_deepspeed(folder.path, inner, states, key, budget)


def _refuse_several(names: frozenset[str], whole: str) -> None:
    """Refuses a directory with files for several models, as accelerate numbers them."""
    stem, _, end = whole.rpartition(".")
    numbered = re.compile(rf"{re.escape(stem)}(_\d+)?\.{re.escape(end)}")
    found = sorted((name for name in names if numbered.fullmatch(name)), key=lambda name: (len(name), name))
    if len(found) > 1:
        raise RefusalError(f"it holds {len(found)} models, as accelerate saves them", _one_of(found))


def _parts_with_weights(folder: LocalFolder, names: frozenset[str]) -> list[str]:
    """The names of the folders in a directory that are checkpoints themselves."""
    return [name for name in sorted(names)[: limits.SHARDS] if _is_checkpoint(folder, name)]


def _is_checkpoint(folder: LocalFolder, name: str) -> bool:
    if not os.path.isdir(os.path.join(folder.path, name)):
        return False
    try:
        names = folder.enter(name).names()
    except RefusalError:  # a link that leads elsewhere
        return False
    known = (dcp.METADATA, CONFIG, *_WHOLE)
    return not names.isdisjoint(known) or any(each.endswith(_INDEX) for each in names)


def _is_of_modules(folder: LocalFolder) -> bool:
    """Whether sentence-transformers has written the list of modules in a directory."""
    with naming_part(_MODULES), folder.open(_MODULES) as blob:
        return b"sentence_transformers." in blob.head(_MODULES_BYTES)


def _of_modules(folder: LocalFolder, names: frozenset[str], key: str | None, budget: Budget) -> Structure:
    """Reads the only weights in a directory of sentence-transformers, a folder for each module.

    The keys are those of that module, as its own file has them.
    """
    parts = _parts_with_weights(folder, names)
    here = [name for name in _WHOLE if name in names][:1]
    if len(here) + len(parts) != 1:
        found = [*here, *parts]
        what = f"the weights of {count(len(found), 'module')}" if found else "no weights"
        problem = f"it is a directory of sentence-transformers with {what}"
        raise RefusalError(problem, _one_of(found) if found else "fetch or save it again")
    inner = folder if here else folder.enter(parts[0])
    return _named(_read_known(inner, inner.names() - {_MODULES}, key, budget), folder)


def _inside(folder: LocalFolder, names: frozenset[str]) -> RefusalError | None:
    """Makes the refusal of a directory with checkpoints in folders of their own; None if there are none."""
    found = _parts_with_weights(folder, names)
    if not found:
        return None
    adapters = all(os.path.isfile(os.path.join(folder.path, name, CONFIG)) for name in found)
    what = f"{count(len(found), 'adapter')} of PEFT" if adapters else count(len(found), "checkpoint")
    return RefusalError(f"it holds {what} in folders of their own", _one_of(found))


def _one_of(found: list[str]) -> str:
    if len(found) == 1:
        return f"give {found[0]!r} in it"
    more = ", ..." if len(found) > _SHOWN else ""
    return f"give one of them: {', '.join(map(repr, found[:_SHOWN]))}{more}"


def _unsupported(names: frozenset[str]) -> RefusalError:
    for name, problem in _FOREIGN:
        if name in names:
            return RefusalError(problem, _CONVERT)
    if any(map(is_part, names)):
        raise unconsolidated("it holds the parts")
    files = sorted(name for name in names if name.endswith(_SUFFIXES))
    if files:
        more = " ..." if len(files) > _SHOWN else ""
        return RefusalError(
            "it is a directory of an unknown checkpoint format",
            f"give a file in it: {', '.join(map(repr, files[:_SHOWN]))}{more}",
        )
    # It may hold the configuration alone, as a work tree does where the weights are not committed.
    return UnreachableRefusalError("it is a directory without a checkpoint", "check the path")
