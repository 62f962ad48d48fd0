"""Files of torch and safetensors: a whole checkpoint, or one part of a sharded one."""

from __future__ import annotations

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers.formats import safetensors, torch_legacy
from pytest_ckpt_compat._readers.formats.torch_zip import load_torch_zip, read_torch_zip
from pytest_ckpt_compat._readers.limits import Budget, RefusalError
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.state_dict.assemble import Loaded, assemble

ZIP = b"PK\x03\x04"
#: First bytes of a file that suffice to detect its format.
HEAD = 512


def read_single(blob: Blob, head: bytes, key: str | None, budget: Budget) -> Structure | None:
    """Reads the structure of a torch or safetensors file; returns None if it is neither."""
    if head.startswith(ZIP):
        return read_torch_zip(blob, key, budget)
    if torch_legacy.looks_like(head):
        return assemble(torch_legacy.load_torch_legacy(blob, budget), key)
    if safetensors.looks_like(head, blob.size):
        return safetensors.read_safetensors(blob, key, budget)
    return None


def load_single(blob: Blob, budget: Budget) -> Loaded:
    """Reads the whole value in a file of ``torch.save``. Raises RefusalError for another format."""
    head = blob.head(HEAD)
    if head.startswith(ZIP):
        return load_torch_zip(blob, budget)
    if torch_legacy.looks_like(head):
        return torch_legacy.load_torch_legacy(blob, budget)
    raise RefusalError("it is not a file that torch.save wrote", "fetch or save it again")
