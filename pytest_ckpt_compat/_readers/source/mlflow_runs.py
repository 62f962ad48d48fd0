"""Runs of MLflow, through its own client: ``mlflow`` or ``mlflow-skinny``, and MLFLOW_TRACKING_URI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files
from pytest_ckpt_compat._core.addresses import redacted_in
from pytest_ckpt_compat._core.training_runs import TAG, LoggedRun, Runs
from pytest_ckpt_compat._readers.limits import RefusalError, UnreachableRefusalError

_LOG = "log one in the training: pytest_ckpt_compat.log_fingerprint(run, model)"
_CHECK = "check the name, and MLFLOW_TRACKING_URI"
#: What its errors are about where the server itself is the trouble.
_AWAY = ("API request to ", "Max retries exceeded", "Connection refused", "timed out")
#: What is asked for at once: a server of MLflow may refuse more than 1000.
_PAGE = 1000
_DELETED = "deleted"
_BAR = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


def listed(runs: Runs) -> tuple[LoggedRun, ...]:
    """The runs of an experiment, or of the versions of a registered model, the newest first."""
    with _client() as client:
        return _versions(client, runs) if runs.kind == "models" else _experiment(client, runs)


def text_of(runs: Runs, folder: str) -> str:
    """The text of the fingerprint of a run, or of the run of a version of a registered model."""
    with _client() as client:
        run = runs.run or _run_of_version(client, runs)
        if client.get_run(run).info.lifecycle_stage == _DELETED:
            advice = f'restore it: mlflow.MlflowClient().restore_run("{run}"), or register another'
            raise RefusalError(f"its run {run} is deleted in MLflow, which may remove it at any time", advice)
        parent = runs.file.rpartition("/")[0]
        found = [each for each in client.list_artifacts(run, parent or None) if each.path == runs.file]
        if not found or found[0].is_dir:
            raise RefusalError(f"its run {run} has no artifact {runs.file}", _LOG)
        try:
            files.require_size(found[0].file_size or 0, files.SNAPSHOT_BYTES)
            return files.read_text(
                Path(client.download_artifacts(run, runs.file, folder)), files.SNAPSHOT_BYTES
            )
        except ValueError as error:
            raise RefusalError(f"its artifact {runs.file} cannot be read: {error}", _LOG) from None


def _experiment(client: Any, runs: Runs) -> tuple[LoggedRun, ...]:
    experiment = client.get_experiment_by_name(runs.name)
    if experiment is None:
        raise RefusalError(f"there is no experiment {runs.name!r}", _CHECK)
    identifier = experiment.experiment_id
    if experiment.lifecycle_stage == _DELETED:
        advice = f'restore it: mlflow.MlflowClient().restore_experiment("{identifier}"), or register another'
        raise RefusalError(f"the experiment {runs.name!r} is deleted in MLflow", advice)
    try:
        found = _newest(client, identifier, runs)
    except Exception as error:
        if runs.where and getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE":
            raise RefusalError(_said(error), f"correct the filter, where={runs.where}") from None
        raise
    if not found:
        matching = f" that matches {runs.where}" if runs.where else ""
        raise RefusalError(f"no run of the experiment{matching} has logged a fingerprint", _LOG)
    return tuple(
        LoggedRun(f"runs:/{each.info.run_id}", f"{each.info.run_name}-{each.info.run_id[:8]}")
        for each in found
    )


def _newest(client: Any, experiment: str, runs: Runs) -> list[Any]:
    """The last runs of an experiment that have logged a fingerprint, asked for by the page."""
    logged = f"tags.`{TAG}` != ''" + (f" and {runs.where}" if runs.where else "")
    found: list[Any] = []
    token = None
    while len(found) < runs.last:
        page = client.search_runs(
            [experiment],
            logged,
            max_results=min(runs.last - len(found), _PAGE),
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        found += page
        token = page.token
        if not token:
            break
    return found


def _versions(client: Any, runs: Runs) -> tuple[LoggedRun, ...]:
    name = runs.name.replace("'", "\\'")
    found = client.search_model_versions(f"name='{name}'")
    newest = sorted(found, key=lambda each: int(each.version), reverse=True)[: runs.last]
    if not newest:
        raise RefusalError(f"there is no version of a registered model {runs.name!r}", _CHECK)
    return tuple(LoggedRun(f"models:/{runs.name}/{each.version}", str(each.version)) for each in newest)


def _run_of_version(client: Any, runs: Runs) -> str:
    if runs.alias:
        version = client.get_model_version_by_alias(runs.name, runs.alias)
    else:
        version = client.get_model_version(runs.name, runs.version)
    if not version.run_id:
        raise RefusalError(
            f"version {version.version} of {runs.name!r} names no run, and so no fingerprint",
            'register its version from a run: mlflow.register_model("runs:/RUN_ID/model", name)',
        )
    return str(version.run_id)


@contextmanager
def _client() -> Iterator[Any]:
    """MLflow's client, whose errors become refusals of one line, and which draws no progress bar."""
    try:
        import mlflow  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        advice = "run: pip install mlflow-skinny"
        raise UnreachableRefusalError("reading the runs of MLflow needs mlflow", advice) from None
    before = os.environ.get(_BAR)
    os.environ[_BAR] = "false"
    try:
        yield mlflow.MlflowClient()
    except RefusalError:
        raise
    except Exception as error:
        raise _refusal(error) from None
    finally:
        if before is None:
            os.environ.pop(_BAR, None)
        else:
            os.environ[_BAR] = before


def _refusal(error: Exception) -> RefusalError:
    said = str(error)
    code = str(getattr(error, "error_code", ""))
    if isinstance(error, OSError) or any(words in said for words in _AWAY):
        return UnreachableRefusalError(
            "the server of MLflow cannot be reached", "check MLFLOW_TRACKING_URI, and the network"
        )
    if code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
        return UnreachableRefusalError(
            "the server of MLflow refuses access", "check MLFLOW_TRACKING_USERNAME, _PASSWORD or _TOKEN"
        )
    return RefusalError(_said(error), _CHECK)


def _said(error: Exception) -> str:
    first = redacted_in(str(error).strip().partition("\n")[0]).rstrip(".")
    return f"MLflow says: {first or type(error).__name__}"
