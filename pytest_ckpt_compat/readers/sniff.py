"""Which format a file has, from its first bytes."""

from __future__ import annotations

import os

from pytest_ckpt_compat.readers import safetensors, torch_legacy
from pytest_ckpt_compat.readers.assemble import assemble
from pytest_ckpt_compat.readers.files import Blob, open_blob
from pytest_ckpt_compat.readers.limits import Budget, RefusalError
from pytest_ckpt_compat.readers.torch_legacy import load_torch_legacy
from pytest_ckpt_compat.readers.torch_zip import read_torch_zip
from pytest_ckpt_compat.structure import Structure

_HEAD = 512
_RESAVE = "load it with torch and save it again: torch.save(torch.load(path), new_path)"
_CONVERT = "convert its weights to a PyTorch state_dict and save that with torch.save"

#: First bytes -> what the file is, and what to do instead.
_FOREIGN = (
    (b"\x89HDF\r\n\x1a\n", "it is an HDF5 (Keras) file, which is not read", _CONVERT),
    (b"GGUF", "it is a GGUF file, which is not read", "give the checkpoint it was converted from"),
    (b"\x93NUMPY", "it is a NumPy array, not a checkpoint", "save a state_dict with torch.save"),
    (b"\x1f\x8b", "it is compressed with gzip", "unpack it first"),
    (b"BZh", "it is compressed with bzip2", "unpack it first"),
    (b"\xfd7zXZ\0", "it is compressed with xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd", "unpack it first"),
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"<!doctype html", "it is an HTML page, as failed downloads leave it", "download it again"),
    (b"<html", "it is an HTML page, as failed downloads leave it", "download it again"),
)


def read_any(path: str, key: str | None) -> Structure:
    """Reads a checkpoint of whatever format it is. Raises RefusalError."""
    if _is_directory(path):
        raise RefusalError("it is a directory", "give the checkpoint file in it")
    budget = Budget()
    with open_blob(path) as blob:
        head = blob.head(_HEAD)
        if head.startswith(b"PK\x03\x04"):
            return read_torch_zip(blob, key, budget)
        if torch_legacy.looks_like(head):
            return assemble(load_torch_legacy(blob, budget), key)
        if safetensors.looks_like(head, blob.size):
            return safetensors.read_safetensors(blob, key, budget)
        raise _unread(blob, head)


def _is_directory(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:
        return False


def _unread(blob: Blob, head: bytes) -> RefusalError:
    if not head:
        return RefusalError("it is empty", "fetch or save it again")
    for magic, problem, advice in _FOREIGN:
        if head.lower().startswith(magic) or head.startswith(magic):
            return RefusalError(problem, advice)
    if head[257:262] == b"ustar":
        return RefusalError("it is a tar archive, as torch before 0.1.10 wrote and others still do", _RESAVE)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return RefusalError(
            "it is a plain pickle, not a file of torch.save", "save its weights with torch.save"
        )
    if _is_text(head):
        return RefusalError(
            "it is a text file, not a checkpoint", "give a file that torch.save or safetensors wrote"
        )
    return RefusalError(
        f"it has no known format, its first bytes are {head[:8].hex(' ')} ({blob.size:,} bytes)",
        "give a file that torch.save or safetensors wrote",
    )


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return all(ch.isprintable() or ch.isspace() for ch in text)
