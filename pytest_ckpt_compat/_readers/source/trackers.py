"""Fingerprints that training runs have logged, in MLflow or W&B. Nothing else of a run is read."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from pytest_ckpt_compat._core.training_runs import LoggedRun, Runs, parsed
from pytest_ckpt_compat._readers.limits import RefusalError


def runs_at(address: str) -> Runs:
    """The runs that an address names. Raises RefusalError."""
    try:
        return parsed(address)
    except ValueError as error:
        raise RefusalError(str(error), "see the page on training runs in the documentation") from None


def list_runs(address: str) -> tuple[LoggedRun, ...]:
    """The runs of an experiment, a registered model or a project that have logged one, the newest first.

    Raises:
        RefusalError: there is none, or the tracker refuses.
        UnreachableRefusalError: the tracker cannot be reached at present.
    """
    runs = runs_at(address)
    if runs.kind == "wandb":
        from pytest_ckpt_compat._readers.source import wandb_runs

        return wandb_runs.listed(runs)
    from pytest_ckpt_compat._readers.source import mlflow_runs

    return mlflow_runs.listed(runs)


def logged_text(address: str) -> str:
    """The text of the fingerprint that a run has logged. Raises as ``list_runs``."""
    runs = runs_at(address)
    if runs.several:
        raise RefusalError("it names several runs", "register it, or name one of them")
    with TemporaryDirectory(prefix="ckpt-compat-") as folder:
        if runs.kind == "wandb":
            from pytest_ckpt_compat._readers.source import wandb_runs

            return wandb_runs.text_of(runs, folder)
        from pytest_ckpt_compat._readers.source import mlflow_runs

        return mlflow_runs.text_of(runs, folder)
