"""Makes a state_dict like a checkpoint's, with tensors whose numbers do not matter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from pytest_ckpt_compat._core.contents import Content, subclass_of
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import OBJECT, Structure, modules_of
from pytest_ckpt_compat._definition.contents import Maker
from pytest_ckpt_compat._definition.empty import empty
from pytest_ckpt_compat._definition.weights import files_of, separate

#: Compressed layouts. A copy needs equal numbers of non-zeros on both sides.
_COMPRESSED = ("sparse_csr_", "sparse_csc_", "sparse_bsr_", "sparse_bsc_")


def empty_state(structure: Structure, device: str) -> Mapping[str, Any]:
    """Makes a state_dict like the checkpoint's, with tensors whose numbers do not matter.

    Raises:
        ReadError: a tensor cannot be made: it is of a class that nothing imported, or compressed, and a
            snapshot does not keep how many numbers it holds.
    """
    state: dict[str, Any] = {}
    path = structure.source.path
    objects, contents = Maker(path, files_of(structure.objects)), Maker(path, None)
    for key, spec in structure.tensors.items():
        if spec.dtype == OBJECT:
            state[key] = objects.value(structure.objects.get(key))
        elif key in structure.contents:
            state[key] = contents.value(structure.contents[key])
        elif subclass_of(spec.dtype):
            state[key] = contents.value(Content(spec, "unknown"))
        elif spec.dtype.startswith(_COMPRESSED):
            raise ReadError(
                path,
                f"{key} ({spec}) is compressed: whether it loads depends on how many numbers it holds, which "
                "a snapshot does not keep",
                "check the file itself, or save it dense or as sparse_coo",
            )
        else:
            state[key] = empty(spec, device, structure.strides.get(key))
    for first, *others in structure.aliases:
        state.update(dict.fromkeys(others, state[first]))
    separate(state, structure)
    return with_metadata(state, structure)


def with_metadata(state: Mapping[str, Any], structure: Structure) -> Mapping[str, Any]:
    """Adds the checkpoint's ``_metadata``: the versions in it affect the load."""
    ordered: OrderedDict[str, Any] = OrderedDict((key, state[key]) for key in structure.tensors)
    if structure.versions is not None:
        names = {"", *structure.versions, *modules_of(structure)}
        metadata = {name: {"version": structure.versions.get(name, 1)} for name in names}
        ordered._metadata = metadata  # type: ignore[attr-defined]
    return ordered
