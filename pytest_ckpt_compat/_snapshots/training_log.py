"""The hook for training code: stores a fingerprint with a training run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.training_runs import FILE, SUMMARY, TAG
from pytest_ckpt_compat._snapshots import fingerprint
from pytest_ckpt_compat._snapshots.writing import write

if TYPE_CHECKING:
    from torch import nn


def log_fingerprint(
    run: Any, model: nn.Module, optimizer: Any = None, values: Mapping[str, Any] | None = None
) -> str:
    """Stores the fingerprint of a model with a training run: a text of a line a tensor, no weights.

    Call it in one process, at the beginning: an error then costs nothing. The state of an optimizer is there
    after its first step.

    Args:
        run: of MLflow the module ``mlflow``, for its active run, or what ``mlflow.start_run()`` or
            ``MlflowClient.get_run()`` gives; of W&B the module ``wandb``, for its active run, or what
            ``wandb.init()`` gives; a logger of Lightning for one of the two; or the path of a folder. MLflow
            gets an artifact by ``MlflowClient.log_text(run_id, text, artifact_file)`` and a tag, W&B a file
            by ``Run.save(path, base_path, policy="now")`` and an entry of the summary.
        model: as it is trained. A wrapper, such as DistributedDataParallel, counts as it is saved: give its
            ``module`` where the checkpoint has that one's keys.
        optimizer: a ``torch.optim.Optimizer``, or a list of them, for the level ``resume``.
        values: plain values that the checkpoint will have beside the weights, for a factory that takes
            ``checkpoint``. Those of a LightningModule are its hyper-parameters, unless given.

    Returns:
        What names it as the ``path`` of a registered checkpoint: ``runs:/RUN_ID``,
        ``wandb:ENTITY/PROJECT/RUN_ID``, or the path of the file in the folder. Of an offline run of W&B,
        which has no entity before ``wandb sync``, the word ``ENTITY`` stands in its place.

    Raises:
        UsageError: ``run`` cannot store a fingerprint, or ``model`` or ``optimizer`` is none.
        BuildError: ``state_dict()`` raises.
        SnapshotError: the folder cannot be written to.
        Exception: the tracker's own.
    """
    from pytest_ckpt_compat._definition.training import trained, values_of

    structure = trained(model, optimizer)
    beside = values_of(model) if values is None else values
    text = fingerprint.dumps(structure, beside or None, optimizer is not None)
    if isinstance(run, (str, os.PathLike)):
        return _in_folder(Path(run), text)
    return _in_tracker(run, text)


def _in_folder(folder: Path, text: str) -> str:
    path = folder / FILE
    write(path, text)
    return str(path)


def _in_tracker(run: Any, text: str) -> str:
    inner = getattr(run, "experiment", None)  # of a logger of Lightning
    if _can(inner, "log_text", "set_tag") and isinstance(getattr(run, "run_id", None), str):
        return _in_mlflow(inner, run.run_id, text)
    if _can(run, "log_text", "active_run", "set_tag"):  # the module mlflow
        run.log_text(text, FILE)  # starts a run, if none is active
        run.set_tag(TAG, FILE)
        return f"runs:/{run.active_run().info.run_id}"
    identifier = getattr(getattr(run, "info", None), "run_id", None)
    if isinstance(identifier, str):
        client: Any = sys.modules["mlflow"].MlflowClient()
        return _in_mlflow(client, identifier, text)
    for each in (run, inner, getattr(run, "run", None)):  # the last: of the module wandb
        if _can(each, "save") and isinstance(getattr(each, "dir", None), str):
            return _in_wandb(each, text)
    problem = f"cannot store a fingerprint in {type(run).__name__}"
    advice = "give a run of MLflow or W&B, one of the modules with an active run, a logger of Lightning for "
    raise UsageError("log_fingerprint", problem, f"{advice}them, or the path of a folder")


def _can(run: Any, *names: str) -> bool:
    return all(callable(getattr(run, name, None)) for name in names)


def _in_mlflow(client: Any, run: str, text: str) -> str:
    client.log_text(run, text, FILE)
    client.set_tag(run, TAG, FILE)
    return f"runs:/{run}"


def _in_wandb(run: Any, text: str) -> str:
    path = _in_folder(Path(run.dir), text)  # where W&B keeps what it uploads: the file stays
    run.save(path, base_path=run.dir, policy="now")
    run.summary[SUMMARY] = FILE
    return f"wandb:{run.entity or 'ENTITY'}/{run.project}/{run.id}"
