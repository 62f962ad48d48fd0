"""How runs of MLflow are named, and what is said of those that are deleted: a real store is the oracle."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_ckpt_compat import log_fingerprint
from pytest_ckpt_compat._core.training_runs import FILE, TAG, parsed
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import Net
from tests.test_training_runs import (  # noqa: F401
    Command,
    one_line,
    registered,
    store,
    trainings,
)

# ---- what is deleted


def test_a_deleted_run_could_not_be_checked(project: pytest.Pytester, command: Command, store: Any) -> None:  # noqa: F811
    first, second = trainings(store, 2)
    client = store.MlflowClient()
    client.create_registered_model("classifier")
    client.create_model_version("classifier", f"runs:/{first}/model", first)
    client.delete_run(first)
    said = (
        f"its run {first} is deleted in MLflow, which may remove it at any time; "
        f'restore it: mlflow.MlflowClient().restore_run("{first}"), or register another'
    )
    for path in (f"runs:/{first}", "models:/classifier/1", "models:/classifier"):
        assert said in one_line(project, command, path)
    registered(project, "mlflow:classifier")
    printed = command("check")
    assert printed.code == 0, printed.out
    assert second[:8] in printed.out
    assert first[:8] not in printed.out

    client.restore_run(first)
    registered(project, f"runs:/{first}")
    assert command("check").code == 0


def test_a_deleted_experiment(project: pytest.Pytester, command: Command, store: Any) -> None:  # noqa: F811
    (run,) = trainings(store, 1)
    client = store.MlflowClient()
    identifier = client.get_experiment_by_name("classifier").experiment_id
    client.delete_experiment(identifier)
    found = one_line(project, command, "mlflow:classifier")
    assert "the experiment 'classifier' is deleted in MLflow; restore it: " in found
    assert f'restore_experiment("{identifier}"), or register another' in found
    assert f"its run {run} is deleted in MLflow" in one_line(project, command, f"runs:/{run}")


# ---- names


@pytest.mark.parametrize("name", ["a/b c?d&e", "why?", "50%3F off", "é @ x", "two\nlines"])
def test_any_name_of_an_experiment(
    project: pytest.Pytester,
    command: Command,
    store: Any,  # noqa: F811
    name: str,
) -> None:
    store.set_experiment(name)
    for _ in range(2):
        with store.start_run() as run:
            log_fingerprint(run, Net())
    for path, expected in ((f"mlflow:{name}", 2), (f"mlflow:{name}?last=1", 1)):
        registered(project, path)
        printed = command("check")
        assert printed.code == 0, printed.out + printed.err
        assert f"compared  {expected} checkpoint" in printed.out


@pytest.mark.parametrize("name", ["net?", "a@b", "é v1"])
def test_any_name_of_a_model(project: pytest.Pytester, command: Command, store: Any, name: str) -> None:  # noqa: F811
    (run,) = trainings(store, 1)
    client = store.MlflowClient()
    client.create_registered_model(name)
    client.create_model_version(name, f"runs:/{run}/model", run)
    client.set_registered_model_alias(name, "production", "1")
    for path in (f"models:/{name}/1", f"models:/{name}@production"):
        registered(project, path)
        printed = command("check")
        assert printed.code == 0, printed.out + printed.err


def test_names_and_options_are_taken_as_they_are_written() -> None:
    found = parsed("mlflow:a?b&c?where=tags.a LIKE '%bad+%26 & ?x' and tags.b = 'y'&last=3")
    assert (found.name, found.last) == ("a?b&c", 3)
    assert found.where == "tags.a LIKE '%bad+%26 & ?x' and tags.b = 'y'"
    found = parsed("models:/a@b@prod")
    assert (found.name, found.alias) == ("a@b", "prod")
    found = parsed("models:/a@b/12")
    assert (found.name, found.version, found.alias) == ("a@b", "12", "")
    assert (parsed("models:/a?last=2").name, parsed("models:/a?last=2").last) == ("a", 2)


# ---- options


def test_a_filter_with_percent_signs(project: pytest.Pytester, command: Command, store: Any) -> None:  # noqa: F811
    trainings(store, 1, stage="good")
    (bad,) = trainings(store, 1, stage="a bad+one")
    registered(project, "mlflow:classifier?where=tags.stage LIKE '%bad+%'")
    printed = command("check")
    assert printed.code == 0, printed.out
    assert bad[:8] in printed.out
    assert "compared  1 checkpoint," in printed.out


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("tags.a = 5", "MLflow says: Expected a quoted string value for tag (e.g. 'my-value'). Got value 5"),
        ("bogus ==", "MLflow says: Invalid clause(s) in filter string: 'bogus', '=='"),
        ("foo.b = 'x'", "MLflow says: Invalid entity type 'foo'. Valid values are ["),
    ],
)
def test_a_filter_with_a_mistake(
    project: pytest.Pytester,
    command: Command,
    store: Any,  # noqa: F811
    where: str,
    said: str,
) -> None:
    trainings(store, 1)
    found = one_line(project, command, f"mlflow:classifier?where={where}")
    assert said in found
    assert found.endswith(f"; correct the filter, where={where}")


def test_any_number_of_runs(
    project: pytest.Pytester,
    command: Command,
    store: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store refuses to give too many at once: then it is asked again."""
    store.set_experiment("classifier")
    client = store.MlflowClient()
    text = fingerprint.dumps(fingerprint_of(), None)
    identifier = client.get_experiment_by_name("classifier").experiment_id
    for number in range(5):
        run = client.create_run(identifier, start_time=number, tags={TAG: FILE}).info.run_id
        client.log_text(run, text, FILE)
    registered(project, "mlflow:classifier?last=100000")
    assert "compared  5 checkpoints" in command("check").out
    monkeypatch.setattr("pytest_ckpt_compat._readers.source.mlflow_runs._PAGE", 2)
    assert "compared  5 checkpoints" in command("check").out
    registered(project, "mlflow:classifier?last=3")
    printed = command("check")
    assert "compared  3 checkpoints" in printed.out
    assert run[:8] in printed.out


def fingerprint_of() -> Any:
    """The structure of a trained ``Net``."""
    from pytest_ckpt_compat._definition.training import trained

    return trained(Net(), None)
