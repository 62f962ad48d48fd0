"""Lets peft load an adapter from a folder of tensors without data, and notes what it says.

``from_pretrained`` keeps to itself which keys were missing or unexpected; ``load_adapter``, which it calls,
returns them.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_ckpt_compat._core.adapters import CONFIG, config_of
from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._definition.entries import entries_of, identity, spec_of
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._definition.observation import quiet_copies
from pytest_ckpt_compat._definition.peft_settings import adapter_of, is_peft_model
from pytest_ckpt_compat._definition.surroundings import untouched_globals

_FILE = "adapter_model.bin"
#: The name that peft gives an adapter which it loads.
_DEFAULT = "default"
#: What peft puts before the keys of the model that it wraps.
_INSIDE = "base_model."


@dataclass
class Run:
    """One load by peft.

    Attributes:
        model: the PeftModel that weights were loaded into, or None if there was none.
        adapter: the name of its adapter.
        missing: keys of the adapter that peft found missing, as the model has them.
        unexpected: keys that it had no use for, as it gave them to the model.
        error: what was raised, or None.
        keys: key in the model -> key in a file, of what the adapter saves.
        saved: key in a file -> its spec, of what the adapter saves.
        prompt: whether it is a learnt prompt.
    """

    model: Any = None
    adapter: str = _DEFAULT
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    error: BaseException | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    saved: Mapping[str, TensorSpec] = field(default_factory=dict)
    prompt: bool = False


def run_peft(module: Any, structure: Structure, definition: Definition, folder: str, **more: Any) -> Run:
    """Lets peft load what lies in a folder."""
    peft, run = _library(), Run()
    with untouched_globals(), quiet_copies(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _noted(peft, run), contextlib.redirect_stderr(io.StringIO()):  # progress bars
                if is_peft_model(module):
                    run.adapter = adapter_of(module, structure)
                    module.load_adapter(folder, run.adapter, torch_device="cpu", **more)
                else:
                    peft.PeftModel.from_pretrained(module, folder, torch_device="cpu", **more)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            run.error = error
        if run.model is not None:
            _add_saved(run, structure, definition)
    return run


@contextlib.contextmanager
def _noted(peft: Any, run: Run) -> Iterator[None]:
    """Notes the model that ``load_adapter`` is called on, and what it returns, which peft keeps to itself."""
    original = peft.PeftModel.load_adapter

    def load_adapter(model: Any, *args: Any, **kwargs: Any) -> Any:
        run.model = model
        found = original(model, *args, **kwargs)
        run.missing, run.unexpected = tuple(found.missing_keys), tuple(found.unexpected_keys)
        return found

    peft.PeftModel.load_adapter = load_adapter
    try:
        yield
    finally:
        peft.PeftModel.load_adapter = original


def saved_by(model: Any, adapter: str, definition: Definition) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The entries of a PeftModel, and those that one of its adapters saves, under the keys of its file.

    Raises:
        NotImplementedError: it computes a prompt, and the numbers for that are not there.
    """
    entries = dict(entries_of(model, definition))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = _library().get_peft_model_state_dict(
            model, state_dict=entries, adapter_name=adapter, save_embedding_layers=False
        )
    return entries, saved


def of_adapters(
    model: Any, keys: Iterable[str], given: Container[str], definition: Definition
) -> tuple[str, ...]:
    """Those of some keys of a PeftModel that belong to the adapters which a load brings.

    peft loads an adapter into the whole model, for which torch reports every key of the base as missing.

    Args:
        model: the PeftModel.
        keys: what torch reports.
        given: the keys that are loaded.
        definition: the definition of ``model``.
    """
    own: set[str] = set()
    for adapter in model.peft_config:
        with contextlib.suppress(NotImplementedError):
            names = _names(*saved_by(model, adapter, definition))
            own |= names.keys() if any(name in given for name in names) else set()
    return tuple(key for key in keys if key in own)


def _names(entries: Mapping[str, Any], saved: Mapping[str, Any]) -> dict[str, str]:
    """Key in the model -> key in a file, of what an adapter saves."""
    names = {id(value): key for key, value in entries.items()}
    return {names[id(value)]: key for key, value in saved.items() if id(value) in names}


def _add_saved(run: Run, structure: Structure, definition: Definition) -> None:
    """Adds what the adapter saves, as far as that can be known."""
    run.prompt = run.model.peft_config[run.adapter].is_prompt_learning
    try:
        entries, saved = saved_by(run.model, run.adapter, definition)
    except NotImplementedError:
        entries, saved = {}, {}
    run.keys = _names(entries, saved)
    run.saved = {key: spec_of(value) for key, value in saved.items()}
    # A part of the adapter that several layers share is loaded once, and reported for the others.
    loaded = {identity(entries[key]) for key, own in run.keys.items() if own in structure.tensors}
    run.missing = tuple(
        key for key in run.missing if key not in entries or identity(entries[key]) not in loaded
    )
    if run.prompt:  # its parts belong to no module of the model, and peft loads them on its own
        parts = {key: spec for key, spec in structure.tensors.items() if not key.startswith(_INSIDE)}
        run.unexpected = tuple(key for key in run.unexpected if key not in parts)
        run.saved = {**run.saved, **(parts if run.error is None else {})}


@contextlib.contextmanager
def adapter_folder(structure: Structure, state: Mapping[str, Any]) -> Iterator[str]:
    """A folder that peft can load an adapter from, with the given tensors in it."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        config = config_of(structure)
        if config is not None:
            with open(os.path.join(folder, CONFIG), "w", encoding="utf-8") as file:
                json.dump(dict(config), file)
        torch.save(dict(state), os.path.join(folder, _FILE))
        yield folder


def _library() -> Any:
    try:
        return importlib.import_module("peft")
    except Exception as error:
        raise BuildError("peft", f"cannot be imported ({brief(error)})", "install it") from error
