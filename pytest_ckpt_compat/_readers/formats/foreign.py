"""Recognises files of unsupported formats, to refuse them with advice."""

from __future__ import annotations

from pytest_ckpt_compat._readers.formats.archives import is_tar, refuse_tar
from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.state_dict.nothing import SKORCH

_CONVERT = "set its weights in a PyTorch model and save model.state_dict() with torch.save"
_UNPACK = "unpack it first"
_AGAIN = "download it again"

#: First bytes, what the file is, and what to do instead.
_KNOWN = (
    (b"\x89HDF\r\n\x1a\n", "it is an HDF5 (Keras) file, which is not read", _CONVERT),
    (b"\x93NUMPY", "it is a NumPy array, not a checkpoint", "save a state_dict with torch.save"),
    (b"\x1f\x8b", "it is compressed with gzip", _UNPACK),
    (b"BZh", "it is compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "it is compressed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd", _UNPACK),
    (b"<!doctype html", "it is an HTML page, probably from a failed download", _AGAIN),
    (b"<html", "it is an HTML page, probably from a failed download", _AGAIN),
    (b"<?xml", "it is XML, probably from a failed download", _AGAIN),
)

_WEIGHTS = "give the file with the weights, or the directory of both"
_JSON_HEAD = 64 << 10
#: What only a file of this kind has among its names, what the file is, and what to do instead.
_JSON = (
    (
        b'"ckpt-compat fingerprint"',
        "it is a snapshot, not a checkpoint",
        "give the checkpoint of the snapshot",
    ),
    (b'"peft_type"', "it is the configuration of a PEFT adapter, which has no weights", _WEIGHTS),
    (b'"model_type"', "it is the configuration of a model, which has no weights", _WEIGHTS),
    (b'"architectures"', "it is the configuration of a model, which has no weights", _WEIGHTS),
)


def unsupported(blob: Blob, head: bytes) -> RefusalError:
    """Makes the refusal of a file whose format is not supported."""
    if not head:
        return RefusalError("it is empty", "fetch or save it again")
    for magic, problem, advice in _KNOWN:
        if head.lower().startswith(magic) or head.startswith(magic):
            return RefusalError(problem, advice)
    if is_tar(head):
        return refuse_tar(blob)
    if head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0:
        return RefusalError(
            "it is compressed with zlib, as joblib writes",
            "load it with joblib and save its weights with torch.save",
        )
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _pickle(head)
    if _is_msgpack_table(head):
        return RefusalError("it is a msgpack file, as Flax writes, which is not read", _CONVERT)
    if _is_text(head) and head.lstrip()[:1] == b"{":
        return _json(blob)
    if _is_text(head):
        return RefusalError(
            "it is a text file, not a checkpoint", "give a file that torch.save or safetensors wrote"
        )
    return RefusalError(
        f"its format is unknown: it has {blob.size:,} bytes and begins with {head[:8].hex(' ')}",
        "give a file that torch.save or safetensors wrote",
    )


def _pickle(head: bytes) -> RefusalError:
    """Makes the refusal of a pickle that torch.save did not write."""
    if b"skorch." in head:  # the module of the class that it begins with
        return RefusalError("it is a pickled net of skorch", SKORCH)
    return RefusalError(
        "it is a plain pickle, not a file that torch.save wrote", "save its weights with torch.save"
    )


def _json(blob: Blob) -> RefusalError:
    """Makes the refusal of JSON text that is no index of shards."""
    text = blob.head(_JSON_HEAD)
    return next(
        (RefusalError(problem, advice) for mark, problem, advice in _JSON if mark in text),
        RefusalError(
            "it is JSON, and neither a snapshot nor an index of shards", "give the checkpoint itself"
        ),
    )


def _is_msgpack_table(head: bytes) -> bool:
    """Whether a file begins with a msgpack map whose first key is printable text."""
    skip = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else 0)
    key = head[skip : skip + 1]
    if not skip or not key:
        return False
    if 0xA1 <= key[0] <= 0xBF:
        begin, size = skip + 1, key[0] & 0x1F
    elif key[0] == 0xD9:
        begin, size = skip + 2, head[skip + 1] if len(head) > skip + 1 else 0
    else:
        return False
    name = head[begin : begin + size]
    return len(name) == size > 0 and name.isascii() and name.decode("ascii").isprintable()


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return all(ch.isprintable() or ch.isspace() for ch in text)
