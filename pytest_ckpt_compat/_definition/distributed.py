"""Reads real weights from a directory of ``torch.distributed.checkpoint``, with torch's own loader."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

from pytest_ckpt_compat._core.errors import ReadError, UnreachableError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.empty import empty
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._readers.source.files import is_pointer


def read_distributed(structure: Structure) -> dict[str, Any]:
    """Reads every tensor of a structure, in one process and without a process group.

    Torch unpickles ``.metadata``: the reader has located the tensors only where it names nothing but what
    torch itself writes there. Torch loads the data files with ``weights_only=True``.

    Raises:
        ReadError: the data is not on this machine, cannot be read, or an entry is no tensor.
        UnreachableError: a pointer of Git LFS lies in the place of data (a kind of ReadError).
    """
    path = structure.source.path
    lost = next((key for key in structure.tensors if key not in structure.locations), None)
    if lost is not None:
        problem = f"the numbers of {lost} ({structure.tensors[lost]}) cannot be read"
        raise ReadError(
            path, problem, "give the directory on this machine, as torch.distributed.checkpoint wrote it"
        )
    files = {os.path.dirname(location.file) for location in structure.locations.values()}
    wanted = {structure.locations[key].record: empty(spec, "cpu") for key, spec in structure.tensors.items()}
    for folder in files:
        _load(folder, wanted, path)
    return {key: wanted[structure.locations[key].record] for key in structure.tensors}


def _load(folder: str, wanted: dict[str, Any], path: str) -> None:
    data = (name for name in sorted(os.listdir(folder or os.curdir)) if name.endswith(".distcp"))
    pointer = next((name for name in data if is_pointer(os.path.join(folder, name))), None)
    if pointer is not None:
        problem = f"in its part {pointer!r}, it is a Git LFS pointer, not the file itself"
        raise UnreachableError(path, problem, "run: git lfs pull")
    try:
        from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
        from torch.distributed.checkpoint.filesystem import FileSystemReader
        from torch.distributed.checkpoint.state_dict_loader import load
    except ImportError as error:
        raise ReadError(
            path, f"torch cannot read it here ({brief(error)})", "install a torch with distributed"
        ) from error
    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    logger = logging.getLogger("torch.distributed.checkpoint")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is one process, which is meant
            load(wanted, storage_reader=FileSystemReader(folder or os.curdir), planner=planner)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ReadError(
            path, f"torch.distributed.checkpoint raised {brief(error)}", "save it again"
        ) from error
    finally:
        logger.setLevel(before)
