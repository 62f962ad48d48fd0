"""Adapters of PEFT: the configuration beside the weights, without which they cannot be loaded."""

from __future__ import annotations

from dataclasses import replace

from pytest_ckpt_compat._core.adapters import CONFIG
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError, over_limit
from pytest_ckpt_compat._readers.source.folders import Folder, naming_part
from pytest_ckpt_compat._readers.source.strict_json import parse_object

#: Names of the weights, the preferred first, as in peft.
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


def with_config(structure: Structure, folder: Folder) -> Structure:
    """Adds the configuration beside an adapter's weights to a structure, if there is one.

    Raises:
        RefusalError: it cannot be read.
    """
    names = folder.names()
    if names is not None and CONFIG not in names:
        return structure
    try:
        with naming_part(CONFIG), folder.open(CONFIG) as blob:
            if blob.size > limits.JSON_BYTES:
                raise over_limit("bytes of JSON", limits.JSON_BYTES)
            config = parse_object(blob.read_at(0, blob.size), "it", fractions=True)
    except RefusalError:
        if names is None:  # a folder that cannot be listed need not have one
            return structure
        raise
    return replace(structure, values={**structure.values, CONFIG: config})
