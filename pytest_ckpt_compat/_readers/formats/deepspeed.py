"""Checkpoint directories of DeepSpeed ZeRO, read as DeepSpeed's ``zero_to_fp32.py`` joins them.

``param_shapes`` in ``*_model_states.pt`` has the shapes of whole parameters. The data are in pieces
in ``*_optim_states.pt``, which are never opened.
"""

from __future__ import annotations

import re
from typing import Any

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers.formats.single_file import load_single
from pytest_ckpt_compat._readers.limits import Budget, RefusalError, damaged
from pytest_ckpt_compat._readers.pickle.inert import Tensor
from pytest_ckpt_compat._readers.shapes import shape
from pytest_ckpt_compat._readers.source.folders import Folder, naming_part
from pytest_ckpt_compat._readers.state_dict.assemble import Loaded, assemble, structure_of
from pytest_ckpt_compat._readers.state_dict.containers import mapping_of, require_top
from pytest_ckpt_compat._readers.state_dict.plain_values import plain_values

FORMAT = "DeepSpeed"
_STATES = re.compile(r"(?:zero_pp_rank_(\d{1,6})_)?mp_rank_(\d{2,6})_model_states\.pt")
_PARTS = re.compile(r"layer_.*model_states\.pt", re.DOTALL)
_JOIN = "join the parts first, with the zero_to_fp32.py that DeepSpeed saved with them"


def model_states(names: frozenset[str]) -> str | None:
    """Returns the file that describes the model; None in a directory that is not DeepSpeed's.

    Refuses a directory in which no single file describes the whole model.
    """
    found = sorted(match.groups() for name in names if (match := _STATES.fullmatch(name)))
    if not found:
        return None
    if any(_PARTS.fullmatch(name) for name in names):
        raise RefusalError("it is a DeepSpeed checkpoint split by layer or expert", _JOIN)
    models = {int(model) for _, model in found}
    if models != {0}:
        raise RefusalError(f"it is a DeepSpeed checkpoint in {len(models)} tensor-parallel parts", _JOIN)
    single = next((name for name in names if name.startswith("mp_rank_") and _STATES.fullmatch(name)), None)
    if single:
        return single
    ranks = sorted(
        (int(rank), f"zero_pp_rank_{rank}_mp_rank_{model}_model_states.pt") for rank, model in found
    )
    if [rank for rank, _ in ranks] != list(range(len(ranks))):
        raise RefusalError("the model states of some of its ranks are missing", "fetch the whole directory")
    return ranks[0][1]


def read_deepspeed(path: str, folder: Folder, name: str, key: str | None, budget: Budget) -> Structure:
    """Reads the structure of what ``get_fp32_state_dict_from_zero_checkpoint`` returns."""
    with naming_part(name), folder.open(name) as blob:
        loaded = load_single(blob, budget)
        facts = mapping_of(loaded.value)
        if facts is None:
            raise damaged("its content is not a dictionary")
        shapes = facts.get("param_shapes")
        if shapes is None:  # without ZeRO, the file holds the whole state_dict
            return assemble(Loaded(loaded.value, path, FORMAT), key or "module")
        require_top(key)
        entries = _entries(facts, shapes)
        values = plain_values({name: facts[name] for name in _VALUES if name in facts})
        return structure_of(entries, Loaded(None, path, FORMAT), values=values)


#: The entries kept as plain values.
_VALUES = ("ds_version", "ds_config", "global_steps", "global_samples", "dp_world_size", "mp_world_size")


def _entries(facts: dict[Any, Any], shapes: Any) -> dict[str, Tensor]:
    """Returns key -> tensor in the order of DeepSpeed's script: buffers, frozen parameters, parameters."""
    module = mapping_of(facts.get("module")) or {}
    entries: dict[str, Tensor] = {}
    for name in _names(facts.get("buffer_names"), "buffer_names"):
        buffer = module.get(name)
        if type(buffer) is Tensor:
            fraction = "float" in buffer.dtype
            entries[name] = Tensor("float32" if fraction else buffer.dtype, buffer.size)
    fragments = mapping_of(facts.get("frozen_param_fragments")) or {}
    for name, size in _table(facts.get("frozen_param_shapes") or {}, "frozen_param_shapes").items():
        fragment = fragments.get(name)
        entries[name] = Tensor(fragment.dtype if type(fragment) is Tensor else "float32", shape(size))
    for group in shapes if isinstance(shapes, list) else [shapes]:
        for name, size in _table(group, "param_shapes").items():
            if name in entries:
                raise damaged(f"it has the parameter {name!r} twice")
            entries[name] = Tensor("float32", shape(size))
    for name, source in _table(facts.get("shared_params") or {}, "shared_params").items():
        if type(source) is str and source in entries:
            entries[name] = entries[source]
    return entries


def _table(value: Any, what: str) -> dict[Any, Any]:
    items = mapping_of(value)
    if items is None or any(type(name) is not str for name in items):
        raise damaged(f"its {what} is not a dictionary of names")
    return items


def _names(value: Any, what: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or any(type(name) is not str for name in value):
        raise damaged(f"its {what} is not a list of names")
    return list(value)
