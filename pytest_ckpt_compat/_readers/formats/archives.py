"""Archives of other programs with checkpoints in them, to refuse them by what they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.source.files import Blob

_BLOCK = 512
_MEMBERS = 1_000
_CONVERT = "set its weights in a PyTorch model and save model.state_dict() with torch.save"
_RESAVE = (
    "if you trust it, load and save it again: torch.save(torch.load(path, weights_only=False), new_path)"
)
_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
_SHOWN = 3


def refuse_zip(names: Collection[str]) -> RefusalError:
    """Makes the refusal of a zip archive that torch did not write, by the names of its records."""
    if "model.weights.h5" in names:
        return RefusalError("it is a Keras file, which is not read", _CONVERT)
    if names and all(name.endswith(".npy") for name in names):
        return RefusalError(
            "it is a NumPy archive, not a checkpoint",
            "convert it to a state_dict of tensors and save that with torch.save",
        )
    if any(name.endswith("/model.json") for name in names) and any("/tensors/" in name for name in names):
        return RefusalError(
            "it is a TorchScript archive of torch before 1.4, which is not read",
            "load and save it again: torch.jit.load(path).save(new_path)",
        )
    if any(name.endswith("/.data/extern_modules") for name in names):
        return RefusalError(
            "it is an archive of torch.package, which holds code",
            "load its module with torch.package.PackageImporter and save module.state_dict() with torch.save",
        )
    inside = _checkpoints(names)
    if inside:
        return RefusalError("it is a zip archive with checkpoints in it", _unpack(inside))
    return RefusalError(
        "it is a zip archive without data.pkl, not a torch file", "give a file that torch.save wrote"
    )


def is_tar(head: bytes) -> bool:
    """Whether a file is a tar archive."""
    return head[257:262] == b"ustar"


def refuse_tar(blob: Blob) -> RefusalError:
    """Makes the refusal of a tar archive, by the names of its first members."""
    names = [name for name, _, _ in members(blob)]
    if {"pickle", "storages"} <= {*names}:
        return RefusalError("it is a tar archive, as torch before 0.1.10 wrote", _RESAVE)
    whose = "of NeMo" if "model_config.yaml" in names else ""
    if "model_weights/.metadata" in names:
        return RefusalError(_tar(whose), _unpack(["model_weights"], "directory"))
    return RefusalError(_tar(whose), _unpack(_checkpoints(names)))


def _tar(whose: str) -> str:
    return f"it is a tar archive {whose}".rstrip()


def _checkpoints(names: Collection[str]) -> list[str]:
    return sorted(name for name in names if name.endswith(_SUFFIXES))


def _unpack(names: list[str], what: str = "file") -> str:
    if not names:
        return "unpack it, and give the checkpoint in it"
    if len(names) == 1:
        return f"unpack it, and give the {what} {names[0]!r} in it"
    more = ", ..." if len(names) > _SHOWN else ""
    return f"unpack it, and give one of its files: {', '.join(map(repr, names[:_SHOWN]))}{more}"


def members(blob: Blob) -> Iterator[tuple[str, int, int]]:
    """Yields name, offset and size of the first members of a tar archive, as far as they can be read."""
    position = 0
    for _ in range(_MEMBERS):
        if position + _BLOCK > blob.size:
            return
        head = blob.read_at(position, _BLOCK)
        if not is_tar(head):
            return
        name = head[:100].rstrip(b"\0").decode("utf-8", "replace")
        digits = head[124:136].rstrip(b"\0 ")
        if not digits or not all(digit in b"01234567" for digit in digits):
            return  # a size in another form
        position += _BLOCK
        yield name.removeprefix("./"), position, int(digits, 8)
        position += -(-int(digits, 8) // _BLOCK) * _BLOCK
