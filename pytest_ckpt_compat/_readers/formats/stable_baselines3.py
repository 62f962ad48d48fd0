"""Archives of Stable-Baselines3: the policy's state_dict is a file of ``torch.save`` in a zip file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.folders import naming_part
from pytest_ckpt_compat._readers.source.zip_directory import Archive
from pytest_ckpt_compat._readers.state_dict.assemble import Loaded, assemble

FORMAT = "Stable-Baselines3"
_VERSION = "_stable_baselines3_version"
_POLICY = "policy.pth"
_STORED = 0


def is_of_stable_baselines3(archive: Archive) -> bool:
    """Whether an algorithm of Stable-Baselines3 has saved itself in an archive."""
    return _VERSION in archive.records


def read_stable_baselines3(archive: Archive, key: str | None, load: Callable[[Blob], Loaded]) -> Structure:
    """Reads the structure of the policy in an archive. The optimizers and the other variables are left out.

    Args:
        archive: the archive.
        key: dotted path of the state_dict in the policy's file.
        load: a reader of files of ``torch.save``.

    Raises:
        RefusalError: it has no policy, or compresses it.
    """
    record = archive.records.get(_POLICY)
    if record is None:
        raise RefusalError("it is an archive of Stable-Baselines3 without a policy", "save it again")
    if record.method != _STORED:
        problem = f"it is an archive of Stable-Baselines3 that was compressed again, with {_POLICY!r} in it"
        raise RefusalError(problem, f"unpack it, and give the file {_POLICY!r} in it")
    with naming_part(_POLICY):
        loaded = load(archive.blob.part(archive.data_offset(record), record.packed, locatable=True))
        # Stable-Baselines3 opens the archive, torch.load does not.
        return assemble(replace(loaded, format=FORMAT, pickled=None), key)
