"""Detects the format of a directory from the files in it."""

from __future__ import annotations

import os
from dataclasses import replace

from pytest_ckpt_compat._core.adapters import CONFIG
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers.formats import dcp
from pytest_ckpt_compat._readers.formats.deepspeed import model_states, read_deepspeed
from pytest_ckpt_compat._readers.formats.safetensors import is_part, unconsolidated
from pytest_ckpt_compat._readers.formats.shards import read_index
from pytest_ckpt_compat._readers.formats.single_file import HEAD, read_single
from pytest_ckpt_compat._readers.limits import Budget, RefusalError, damaged
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
        with naming_part(whole), folder.open(whole) as blob:
            found = read_single(blob, blob.head(HEAD), key, budget)
        if found is not None:
            return _named(with_config(found, folder) if whole in WEIGHTS else found, folder)
    if _LATEST in names:
        return _read_latest(folder, key, budget)
    raise _adapters_inside(folder, names) or _unsupported(names)


def _named(structure: Structure, folder: LocalFolder) -> Structure:
    """Returns the structure with the directory as its source, under the path that the user gave."""
    return replace(structure, source=replace(structure.source, path=folder.path))


def _index(names: frozenset[str]) -> str | None:
    """Returns the name of the shard index, preferring that of safetensors files. Refuses several."""
    found = sorted(name for name in names if name.endswith(_INDEX))
    preferred = [name for name in found if ".safetensors." in name] or found
    if len(preferred) > 1:
        raise RefusalError(
            f"it has {len(preferred)} shard indexes: {', '.join(map(repr, preferred[:5]))}",
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


def _adapters_inside(folder: LocalFolder, names: frozenset[str]) -> RefusalError | None:
    """Makes the refusal of a directory with a folder for each adapter, as peft saves them; None if none."""
    found = [name for name in sorted(names) if os.path.isfile(os.path.join(folder.path, name, CONFIG))]
    if not found:
        return None
    more = ", ..." if len(found) > _SHOWN else ""
    return RefusalError(
        f"it holds {count(len(found), 'adapter')} of PEFT in folders of their own",
        f"give one of them: {', '.join(map(repr, found[:_SHOWN]))}{more}",
    )


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
    return RefusalError("it is a directory without a checkpoint", "check the path")
