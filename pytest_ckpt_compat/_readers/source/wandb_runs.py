"""Runs of Weights & Biases, through its public API: ``wandb``, and WANDB_API_KEY."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files
from pytest_ckpt_compat._core.addresses import redacted_in
from pytest_ckpt_compat._core.training_runs import SUMMARY, LoggedRun, Runs
from pytest_ckpt_compat._readers.limits import RefusalError, UnreachableRefusalError

_LOG = "log one in the training: pytest_ckpt_compat.log_fingerprint(run, model)"
_CHECK = "check the address, WANDB_API_KEY and the network"


def listed(runs: Runs) -> tuple[LoggedRun, ...]:
    """The runs of a project, the newest first."""
    with _api() as api:
        filters = {"tags": {"$in": [runs.where]}} if runs.where else None
        every = api.runs(runs.name, filters=filters, order="-created_at")
        found = list(islice((each for each in every if each.summary.get(SUMMARY)), runs.last))
    if not found:
        tagged = f" with the tag {runs.where}" if runs.where else ""
        raise RefusalError(f"no run of the project{tagged} has logged a fingerprint", _LOG)
    return tuple(LoggedRun(f"wandb:{runs.name}/{each.id}", f"{each.name}-{each.id}") for each in found)


def text_of(runs: Runs, folder: str) -> str:
    """The text of the fingerprint of a run."""
    with _api() as api:
        run = api.run(f"{runs.name}/{runs.run}")
        file = next(iter(run.files([runs.file])), None)
        if (
            file is None or not file.size
        ):  # a server may give a file without content for one that is not there
            raise RefusalError(f"its run has no file {runs.file}", _LOG)
        try:
            files.require_size(file.size, files.SNAPSHOT_BYTES)
            file.download(root=folder, replace=True).close()
            return files.read_text(Path(os.path.join(folder, *runs.file.split("/"))), files.SNAPSHOT_BYTES)
        except ValueError as error:
            raise RefusalError(f"its file {runs.file} cannot be read: {error}", _LOG) from None


@contextmanager
def _api() -> Iterator[Any]:
    """The public API, whose errors become refusals of one line."""
    try:
        import wandb  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        advice = "run: pip install wandb"
        raise UnreachableRefusalError("reading the runs of W&B needs wandb", advice) from None
    try:
        yield wandb.Api()
    except RefusalError:
        raise
    except Exception as error:
        first = redacted_in(str(error).strip().partition("\n")[0]) or type(error).__name__
        raise UnreachableRefusalError(f"W&B says: {first}", _CHECK) from None
