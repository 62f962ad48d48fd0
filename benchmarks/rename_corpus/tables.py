"""Renames that transformers itself undoes: its models load old files through tables, and can write them.

    python -m benchmarks.rename_corpus.tables FILE

For each type of model with a table: the keys of today's model, and those of an old file of it. The truth is
the identity of the tensors: one that the table only renames is the same object on both sides. What becomes of
the others (experts that are stacked, layers that are split) is not told.
"""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.rename_corpus.architectures import declare_operators
from benchmarks.rename_corpus.case import Case, Specs, Truth
from benchmarks.rename_corpus.corpus import write
from pytest_ckpt_compat import TensorSpec

#: The most that a setting of a model may be, for short lists. Two digits of layers, so that names sort badly.
_MOST = {
    "num_hidden_layers": 12,
    "num_layers": 12,
    "depth": 12,
    "n_routed_experts": 4,
    "num_experts": 4,
    "num_local_experts": 4,
}
#: Settings that hold one value a layer.
_PER_LAYER = ("layer_types", "mlp_layer_types")


def tables() -> Iterator[Case]:
    """One case a type of model, in the order of their names; the old keys in the order of the model."""
    declare_operators()
    import transformers
    from transformers import conversion_mapping

    known: Any = conversion_mapping._build_checkpoint_conversion_mapping
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call, unused-ignore]
    for kind in sorted(known()):
        if kind in transformers.CONFIG_MAPPING and (case := _case(kind)):
            yield case


def _case(kind: str) -> Case | None:
    """The case of one type of model; None if it cannot be built, or its table changes nothing."""
    import torch
    import transformers
    from transformers.core_model_loading import revert_weight_conversion

    auto: Any = transformers.AutoModel
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            config = _shortened(transformers.CONFIG_MAPPING[kind]())
            with torch.device("meta"):
                model = auto.from_config(config)
            new: dict[str, Any] = dict(model.state_dict())
            old: dict[str, Any] = dict(revert_weight_conversion(model, dict(new)))
        except Exception:  # whatever the library raises: this type is then no source
            return None
    owners: defaultdict[int, list[str]] = defaultdict(list)
    for key, tensor in new.items():
        owners[id(tensor)].append(key)
    became = {key: owners[id(tensor)][0] for key, tensor in old.items() if len(owners[id(tensor)]) == 1}
    renames = {one: other for one, other in became.items() if one not in new and other not in old}
    if not renames:
        return None
    place = {key: number for number, key in enumerate(new)}
    order = sorted(old, key=lambda key: place.get(became.get(key, ""), len(place)))
    untold = frozenset(key for key in old if key not in renames and key not in new)
    truth = Truth(renames, untold=untold)
    return Case(f"tables_{kind}", "tables", "refactor", _specs(old, order), _specs(new, list(new)), truth)


def _shortened(config: Any) -> Any:
    """The configuration with few layers and experts, in each part of the model."""
    for part in (config, getattr(config, "text_config", None), getattr(config, "vision_config", None)):
        if part is None or isinstance(part, dict):
            continue
        for name, most in _MOST.items():
            if isinstance(getattr(part, name, None), int):
                _set(part, name, min(most, getattr(part, name)))
        for name in _PER_LAYER:
            if isinstance(getattr(part, name, None), list):
                _set(part, name, getattr(part, name)[: _MOST["num_hidden_layers"]])
    return config


def _set(part: Any, name: str, value: Any) -> None:
    try:
        setattr(part, name, value)
    except Exception:  # a setting that is worked out from others stays as it is
        return


def _specs(tensors: dict[str, Any], order: list[str]) -> Specs:
    return {
        key: TensorSpec(str(tensors[key].dtype).removeprefix("torch."), tuple(tensors[key].shape))
        for key in order
    }


if __name__ == "__main__":
    write(Path(sys.argv[1]), tables())
