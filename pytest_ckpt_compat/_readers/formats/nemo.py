"""Archives of NeMo (``.nemo``): tar files with the state_dict of the model as a file of ``torch.save``."""

from __future__ import annotations

from dataclasses import replace

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers.formats.archives import is_tar, members
from pytest_ckpt_compat._readers.formats.single_file import ZIP, load_single
from pytest_ckpt_compat._readers.limits import Budget, damaged
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.folders import naming_part
from pytest_ckpt_compat._readers.state_dict.assemble import assemble

FORMAT = "NeMo"
_WEIGHTS = "model_weights.ckpt"


def read_nemo(blob: Blob, head: bytes, key: str | None, budget: Budget) -> Structure | None:
    """Reads the structure of the model in an archive; returns None if it is none, or has several parts."""
    if not is_tar(head):
        return None
    found = [(begin, size) for name, begin, size in members(blob) if name == _WEIGHTS]
    if not found:
        return None
    if len(found) > 1:
        raise damaged(f"it has two members named {_WEIGHTS!r}")
    with naming_part(_WEIGHTS):
        part = blob.part(*found[0])
        # Where an old file of torch.save keeps its tensors is counted from its own beginning.
        part = replace(part, locatable=blob.locatable and part.head(len(ZIP)) == ZIP)
        # NeMo opens the archive, torch.load does not.
        return assemble(replace(load_single(part, budget), format=FORMAT, pickled=None), key)
