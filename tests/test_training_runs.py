"""A training logs its fingerprint, and CI checks it: with MLflow's and W&B's own libraries, and without."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from pytest_ckpt_compat import log_fingerprint
from pytest_ckpt_compat._core.errors import CkptCompatError, UsageError
from pytest_ckpt_compat._core.training_runs import FILE, SUMMARY, TAG, parsed
from pytest_ckpt_compat._snapshots import fingerprint
from tests.conftest import Net, Printed
from tests.repository import commit, git, make_project

with contextlib.suppress(ImportError):  # MLflow's: it takes out the finder of the standard library, and
    import importlib_metadata  # noqa: F401 - pytester would then take back its own, if a test imported it

Command = Callable[..., Printed]

#: No other plugin that has a word in what is printed.
ALONE = ("-p", "no:asyncio", "-p", "no:sugar")


def registered(project: pytest.Pytester, path: str, model: str = "models:Net", more: str = "") -> None:
    """Registers a path, and nothing else."""
    table = (
        f"\n[[tool.ckpt_compat.checkpoint]]\npath = {json.dumps(path)}\nmodel = {json.dumps(model)}\n{more}\n"
    )
    file = project.path / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8").partition("\n[[")[0] + table, encoding="utf-8")


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow, with an empty store of its own on this disk."""
    mlflow = pytest.importorskip("mlflow", reason="the tracker itself is the oracle")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = tmp_path_factory.mktemp("mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    yield mlflow
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)  # a logger of Lightning sets it for the process


def trainings(mlflow: Any, number: int, **tags: str) -> list[str]:
    """Ids of the runs of an experiment ``classifier``, the oldest first."""
    mlflow.set_experiment("classifier")
    found = []
    for _ in range(number):
        with mlflow.start_run(tags=tags) as run:
            log_fingerprint(run, Net())
            found.append(run.info.run_id)
    return found


# ---- what is logged


def test_a_folder_keeps_the_structure(tmp_path: Path) -> None:
    path = log_fingerprint(tmp_path / "run", Net())
    assert path == str(tmp_path / "run" / FILE)
    found = fingerprint.loads(Path(path).read_text(encoding="utf-8"), path)
    assert list(found.tensors) == list(Net().state_dict())
    assert found.modules["head"] == "torch.nn.Linear"
    assert not found.optimizers
    assert found.source.path == "tests.conftest.Net"
    assert b"values" not in Path(path).read_bytes()


def test_tied_weights_buffers_and_versions_are_kept(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    path = log_fingerprint(tmp_path, model.to(torch.float64))
    found = fingerprint.loads(Path(path).read_text(encoding="utf-8"), path)
    assert found.aliases == (("0.weight", "2.weight"),)
    assert str(found.tensors["1.running_mean"]) == "float64[3]"
    assert found.versions == {"1": 2}


def test_the_state_of_an_optimizer_is_that_of_its_file(tmp_path: Path) -> None:
    from pytest_ckpt_compat import read

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    path = log_fingerprint(tmp_path, model, optimizer)
    torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "net.pt")
    logged = fingerprint.loads(Path(path).read_text(encoding="utf-8"), path)
    saved = read(tmp_path / "net.pt", "state_dict")
    assert logged.optimizers == saved.optimizers
    assert fingerprint.digest(logged, optimizers=True) == fingerprint.digest(saved, optimizers=True)
    several = log_fingerprint(tmp_path, model, [optimizer, optimizer])
    logged = fingerprint.loads(Path(several).read_text(encoding="utf-8"), several)
    assert list(logged.optimizers) == ["optimizer_states.0", "optimizer_states.1"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ((object(), Net()), "cannot store a fingerprint in object; give a run of MLflow or W&B"),
        ((SimpleNamespace(run=None), Net()), "cannot store a fingerprint in SimpleNamespace"),
        (("run", {"a": 1}), "was given dict as model; give the module that is trained"),
        (("run", Net(), "adam"), "was given str as optimizer; give a torch.optim.Optimizer"),
    ],
)
def test_what_cannot_be_logged(given: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        log_fingerprint(*given)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_handle_of_mlflow_is_taken(store: Any) -> None:
    client = store.MlflowClient()
    store.set_experiment("classifier")
    with store.start_run() as active:
        assert log_fingerprint(store, Net()) == f"runs:/{active.info.run_id}"
    with store.start_run() as run:
        assert log_fingerprint(run, Net()) == f"runs:/{run.info.run_id}"
    with store.start_run() as third:
        pass
    assert log_fingerprint(client.get_run(third.info.run_id), Net()) == f"runs:/{third.info.run_id}"
    logger = SimpleNamespace(experiment=client, run_id=third.info.run_id)  # MLFlowLogger of Lightning
    assert log_fingerprint(logger, Net()) == f"runs:/{third.info.run_id}"
    for each in (active, run, third):
        assert [f.path for f in client.list_artifacts(each.info.run_id, "ckpt_compat")] == [FILE]
        assert client.get_run(each.info.run_id).data.tags[TAG] == FILE


def test_lightnings_loggers_are_what_the_hook_takes_them_for() -> None:
    loggers = pytest.importorskip("lightning.pytorch.loggers", reason="the library is the oracle")
    for name, needed in (("MLFlowLogger", ("experiment", "run_id")), ("WandbLogger", ("experiment",))):
        assert all(isinstance(getattr(getattr(loggers, name), each), property) for each in needed)


# ---- what is checked


def test_the_last_trainings_are_checked(project: pytest.Pytester, command: Command, store: Any) -> None:
    first, second, third = trainings(store, 3)
    registered(project, "mlflow:classifier?last=2")
    printed = command("check")
    assert printed.code == 0, printed.out + printed.err
    assert printed.out.endswith("compared  2 checkpoints, 12 tensors\n")
    assert third[:8] in printed.out
    assert second[:8] in printed.out
    assert first[:8] not in printed.out
    assert not (project.path / "ckpt_snapshots").exists()

    models = project.path / "models.py"
    models.write_text(models.read_text(encoding="utf-8").replace("self.head", "self.top"), encoding="utf-8")
    printed = command("check")
    assert printed.code == 1
    assert printed.out.count("~ head.* -> top.*") == 1, printed.out
    assert " and 1 more: 2 of 6 tensors possibly renamed" in printed.out
    assert "breaks: 2" in printed.out
    assert "Downloading" not in printed.out + printed.err


def test_a_run_and_a_version_in_production(project: pytest.Pytester, command: Command, store: Any) -> None:
    (run,) = trainings(store, 1)
    client = store.MlflowClient()
    client.create_registered_model("classifier")
    for _ in range(2):
        client.create_model_version("classifier", f"runs:/{run}/model", run)
    client.set_registered_model_alias("classifier", "production", "1")
    expected = {
        f"runs:/{run}": f"runs/{run}",
        f"runs:/{run}/{FILE}": f"runs/{run}",
        "models:/classifier@production": "classifier@production",
        "models:/classifier/2": "classifier/2",
    }
    for path, name in expected.items():
        registered(project, path)
        printed = command("check")
        assert printed.code == 0, printed.out + printed.err
        assert f"{name}: " in printed.out
    registered(project, "models:/classifier?last=1")
    printed = command("check")
    assert "classifier/2: " in printed.out
    assert "compared  1 checkpoint," in printed.out
    shown = command("show", f"runs:/{run}").out
    assert shown.startswith("tests.conftest.Net: fingerprint\n")
    assert "float32[4, 8]" in shown
    assert command("diff", "models:/classifier@production", "models:Net").code == 0


def test_runs_by_tag(project: pytest.Pytester, command: Command, store: Any) -> None:
    trainings(store, 1, stage="trial")
    (released,) = trainings(store, 1, stage="released")
    registered(project, "mlflow:classifier?where=tags.stage = 'released'")
    printed = command("check")
    assert released[:8] in printed.out
    assert "compared  1 checkpoint," in printed.out


def test_pytest_has_an_item_a_run(project: pytest.Pytester, store: Any) -> None:
    runs = trainings(store, 2)
    registered(project, "mlflow:classifier")
    project.makepyfile(
        test_net="""
        import pytest

        @pytest.mark.checkpoint("mlflow:classifier?last=1", model="models:Net", kwargs={"classes": 5})
        def test_last(ckpt_compat):
            ckpt_compat.load()

        @pytest.mark.checkpoint("mlflow:classifier?last=1", model="models:Net")
        def test_weights(ckpt_compat):
            ckpt_compat.load()
        """
    )
    result = project.runpytest_inprocess("-v", *ALONE, "--ckpt-prune")
    result.assert_outcomes(passed=2, failed=1, skipped=1)
    for run in runs:
        result.stdout.fnmatch_lines([f"*pyproject.toml::classifier/*-{run[:8]} PASSED*"])
    result.stdout.fnmatch_lines(["CK202 classifier/*-*: head resized"])
    result.stdout.no_fnmatch_line("*pruned nothing*")
    project.inline_run(*ALONE, "--ckpt-update")
    assert not (project.path / "ckpt_snapshots").exists()


def test_a_break_of_a_run_is_accepted_by_its_id(
    project: pytest.Pytester, command: Command, store: Any
) -> None:
    (run,) = trainings(store, 1)
    registered(project, f"runs:/{run}", more="kwargs = {classes = 5}")
    assert command("check").code == 1
    done = command("accept", f"runs/{run}", "--rule", "CK202", "--reason", "the new task has five classes")
    assert done.code == 0, done.out + done.err
    printed = command("check")
    assert printed.code == 0, printed.out
    assert "compared  1 checkpoint," in printed.out


def test_settings_that_changed_since_the_training_are_told(
    project: pytest.Pytester, command: Command, tmp_path: Path
) -> None:
    class Normed(nn.Module):
        def __init__(self, eps: float) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(4, eps=eps)

    project.makepyfile(
        normed="""
        from torch import nn

        class Normed(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm = nn.LayerNorm(4, eps=1e-3)
        """
    )
    log_fingerprint(project.path / "runs" / "first", Normed(1e-5))
    registered(project, "runs/*/ckpt_compat/fingerprint.json", "normed:Normed")
    printed = command("check")
    assert printed.code == 0
    assert "CK502 runs/first/ckpt_compat/fingerprint.json" in printed.out


def test_values_reach_a_factory_that_takes_the_checkpoint(project: pytest.Pytester, command: Command) -> None:
    log_fingerprint(project.path / "run", Net(classes=7), values={"settings": {"classes": 7}})
    registered(project, f"run/{FILE}", "models:from_checkpoint")
    assert command("check").code == 0


def test_a_training_goes_on_at_level_resume(project: pytest.Pytester, command: Command) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    log_fingerprint(project.path / "run", model, optimizer)
    project.makepyfile(
        make="""
        import torch

        def sgd(model):
            return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def reversed_sgd(model):
            return torch.optim.SGD(list(model.parameters())[::-1], lr=0.1, momentum=0.9)
        """
    )
    registered(project, f"run/{FILE}", more='level = "resume"\noptimizer = "make:sgd"')
    printed = command("check")
    assert printed.code == 0, printed.out
    registered(project, f"run/{FILE}", more='level = "resume"\noptimizer = "make:reversed_sgd"')
    printed = command("check")
    assert printed.code == 1
    assert "CK403" in printed.out


def test_hyper_parameters_of_a_lightning_module_are_logged_with_it(
    project: pytest.Pytester, command: Command
) -> None:
    pytest.importorskip("lightning", reason="the library is the oracle")
    project.makepyfile(
        lit="""
        import lightning
        from torch import nn

        class Lit(lightning.LightningModule):
            def __init__(self, hidden):
                super().__init__()
                self.save_hyperparameters()
                self.layer = nn.Linear(3, hidden)
        """
    )
    project.syspathinsert()
    import lit  # type: ignore[import-not-found]

    log_fingerprint(project.path / "run", lit.Lit(hidden=5))
    registered(project, f"run/{FILE}", "lit:Lit")
    printed = command("check")
    assert printed.code == 0, printed.out + printed.err


@pytest.mark.long
@pytest.mark.usefixtures("earlier_code")
def test_a_branch_answers_for_what_it_breaks_of_a_run(pytester: pytest.Pytester, command: Command) -> None:
    entry = f'\n[[tool.ckpt_compat.checkpoint]]\npath = "run/{FILE}"\nmodel = "models:Net"\nid = "run"\n'
    folder = make_project(pytester.path, entry)
    log_fingerprint(folder / "run", Net())
    commit(folder)
    git(folder, "checkout", "-q", "-b", "branch")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out + printed.err
    models = folder / "models.py"
    models.write_text(models.read_text(encoding="utf-8").replace("self.head", "self.top"), encoding="utf-8")
    printed = command("check", "--against", "main")
    assert printed.code == 1, printed.out + printed.err
    assert "breaks introduced here: 1" in printed.out
    assert "~ head.* -> top.*" in printed.out
    commit(folder)
    git(folder, "branch", "-f", "main")
    printed = command("check", "--against", "main")
    assert printed.code == 0, printed.out + printed.err
    assert "breaks already on main: 1" in printed.out


# ---- what goes wrong: one line, and what to do


def one_line(project: pytest.Pytester, command: Command, path: str) -> str:
    """What a check says of a registered path that cannot be checked."""
    registered(project, path, more='id = "run"')
    printed = command("check")
    assert printed.code == 2, printed.out
    assert "Traceback" not in printed.out + printed.err
    (line,) = [line for line in printed.out.splitlines() if re.match("CK90[56] run: ", line)]
    assert path.partition("?")[0] in printed.out
    return line


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("runs:/nowhere", "MLflow says: Run 'nowhere' not found; check the name, and MLFLOW_TRACKING_URI"),
        ("mlflow:nothing", "there is no experiment 'nothing'; check the name, and MLFLOW_TRACKING_URI"),
        ("mlflow:classifier?where=bogus ==", "MLflow says: Invalid clause(s) in filter string"),
        ("mlflow:classifier?where=tags.a = 'b'", "no run of the experiment that matches tags.a = 'b' has"),
        ("models:/net@production", "MLflow says: Registered Model with name=net not found"),
        ("models:/net/3", "MLflow says: Registered Model with name=net not found"),
        ("models:/net", "there is no version of a registered model 'net'"),
        ("mlflow:classifier?first=3", "it has the option 'first', and mlflow: takes last and where"),
        ("mlflow:classifier?last=0", "its option last is '0', not a number of runs"),
        ("runs:/a/model", "a fingerprint is a .json file: weights are not read"),
        ("models:/net/latest", "it is none of runs:/RUN_ID, models:/NAME@ALIAS"),
        ("runs:/abc?last=3", "it has the option 'last', and runs: takes none"),
    ],
)
def test_mistakes(project: pytest.Pytester, command: Command, store: Any, path: str, expected: str) -> None:
    trainings(store, 1)
    assert expected in one_line(project, command, path)


def test_a_run_without_a_fingerprint(project: pytest.Pytester, command: Command, store: Any) -> None:
    store.set_experiment("classifier")
    with store.start_run() as run:
        pass
    found = one_line(project, command, f"runs:/{run.info.run_id}")
    assert f"its run {run.info.run_id} has no artifact {FILE}; log one in the training" in found
    found = one_line(project, command, "mlflow:classifier")
    assert "no run of the experiment has logged a fingerprint; log one in the training" in found


def test_a_fingerprint_that_cannot_be_used(project: pytest.Pytester, command: Command, store: Any) -> None:
    (run,) = trainings(store, 1)
    client = store.MlflowClient()
    client.log_text(run, json.dumps({"format": fingerprint.FORMAT, "version": 9, "tensors": {}}), FILE)
    assert "is of version 9, newer than 1; update pytest-ckpt-compat" in one_line(
        project, command, f"runs:/{run}"
    )
    client.log_text(run, "weights", FILE)
    found = one_line(project, command, f"runs:/{run}")
    assert "is not a fingerprint" in found
    assert found.endswith("; log it again: pytest_ckpt_compat.log_fingerprint(run, model)")


def test_a_server_that_is_away(
    project: pytest.Pytester, command: Command, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        for path in ("runs:/abc", "mlflow:classifier"):
            found = one_line(project, command, path)
            assert (
                "the server of MLflow cannot be reached; check MLFLOW_TRACKING_URI, and the network" in found
            )
            assert "secret" not in found


def test_the_library_is_not_there(
    project: pytest.Pytester, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    expected = "reading the runs of MLflow needs mlflow; run: pip install mlflow-skinny"
    assert expected in one_line(project, command, "mlflow:classifier")
    expected = "reading the runs of W&B needs wandb; run: pip install wandb"
    assert expected in one_line(project, command, "wandb:team/classifier/abc")


def test_addresses_are_parsed() -> None:
    found = parsed("mlflow:vision/classifier v2?last=3&where=tags.stage = 'released'")
    assert (found.name, found.last, found.where) == ("vision/classifier v2", 3, "tags.stage = 'released'")
    assert parsed("wandb:team/project/run").run == "run"
    assert parsed("wandb:team/project?tag=prod").where == "prod"
    assert not parsed("models:/net@prod").several


# ---- Weights & Biases


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """W&B, writing to a folder of this machine alone."""
    wandb = pytest.importorskip("wandb", reason="the tracker itself is the oracle")
    for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    return wandb


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # those of wandb
def test_a_run_of_wandb_keeps_it_among_its_files(offline: Any) -> None:
    run = offline.init(entity="team", project="classifier")
    try:
        address = log_fingerprint(run, Net())
        assert log_fingerprint(offline, Net()) == address
        assert log_fingerprint(SimpleNamespace(experiment=run), Net()) == address  # WandbLogger of Lightning
        path = Path(run.dir) / FILE
        assert run.summary[SUMMARY] == FILE
    finally:
        run.finish()
    assert address == f"wandb:team/classifier/{run.id}"
    assert list(fingerprint.loads(path.read_text(encoding="utf-8"), "").tensors) == list(Net().state_dict())


class Recorded:
    """What the public API of W&B gives, without its server: the documented calls, and no other."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self.asked: list[tuple[Any, ...]] = []

    def runs(self, path: str, filters: Any = None, order: str = "+created_at") -> list[Any]:
        self.asked.append((path, filters, order))
        return [
            SimpleNamespace(id=name, name=f"run {name}", summary={SUMMARY: FILE} if text else {})
            for name, text in self.texts.items()
        ]

    def run(self, path: str) -> Any:
        name = path.rpartition("/")[2]
        if name not in self.texts:
            raise ValueError(f"Could not find run <Run {path} (not found)>")
        return SimpleNamespace(files=lambda names: [RecordedFile(each, self.texts[name]) for each in names])


class RecordedFile:
    """A file of a run."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text, self.size = name, text, len(text)

    def download(self, root: str = ".", replace: bool = False) -> Any:
        path = Path(root) / self.name
        path.parent.mkdir(parents=True)
        path.write_text(self.text, encoding="utf-8")
        return path.open(encoding="utf-8")


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorded:
    wandb = pytest.importorskip("wandb", reason="its signatures are the oracle")
    text = Path(log_fingerprint(tmp_path, Net())).read_text(encoding="utf-8")
    api = Recorded({"new": text, "bare": "", "old": text, "older": text})
    monkeypatch.setattr(wandb, "Api", lambda: api)
    return api


def test_the_recorded_api_is_that_of_wandb() -> None:
    wandb = pytest.importorskip("wandb", reason="its signatures are the oracle")
    from wandb.apis import public  # type: ignore[import-not-found, unused-ignore]

    for real, ours in (
        (wandb.Api.runs, Recorded.runs),
        (wandb.Api.run, Recorded.run),
        (public.File.download, RecordedFile.download),
        (public.Run.files, lambda self, names: None),
    ):
        names = inspect.signature(real).parameters
        assert set(inspect.signature(ours).parameters) <= set(names), real
    assert isinstance(inspect.getattr_static(public.File, "size"), property)
    assert {"glob_str", "base_path", "policy"} <= set(inspect.signature(wandb.Run.save).parameters)


def test_runs_of_wandb_are_checked(project: pytest.Pytester, command: Command, recorded: Recorded) -> None:
    registered(project, "wandb:team/classifier?last=2&tag=production")
    printed = command("check")
    assert printed.code == 0, printed.out + printed.err
    assert "team_classifier/run_new-new: " in printed.out
    assert "team_classifier/run_old-old: " in printed.out
    assert "compared  2 checkpoints, 12 tensors" in printed.out
    filters = {"tags": {"$in": ["production"]}}
    assert set(map(repr, recorded.asked)) == {repr(("team/classifier", filters, "-created_at"))}
    assert "Could not find run" in one_line(project, command, "wandb:team/classifier/gone")
    assert f"its run has no file {FILE}; log one" in one_line(project, command, "wandb:team/classifier/bare")


def test_errors_are_ours() -> None:
    with pytest.raises(CkptCompatError):
        log_fingerprint(cast(Any, 3), Net())


# ---- the page


def test_the_page_is_so(project: pytest.Pytester, command: Command, store: Any) -> None:
    page = (Path(__file__).parent.parent / "docs" / "training_runs.md").read_text(encoding="utf-8")
    code, table = re.findall(r"<!-- run: .*? -->\n```\w+\n(.*?)```", page, re.DOTALL)
    (shown,) = re.findall(r"<!-- output of check -->\n```text\n(.*?)```", page, re.DOTALL)
    project.syspathinsert()
    exec(code, {})
    client = store.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("classifier").experiment_id])
    client.create_registered_model("classifier")
    client.create_model_version("classifier", f"runs:/{run.info.run_id}/model", run.info.run_id)
    client.set_registered_model_alias("classifier", "production", "1")
    (project.path / "ckpt_compat.toml").write_text(table, encoding="utf-8")
    printed = command("check")
    assert printed.code == 0, printed.out + printed.err
    assert shown in printed.out
    assert "compared  2 checkpoints" in printed.out
    for path in re.findall(r"^\| `((?:mlflow|runs:|models|wandb)[^`*]+)`", page, re.MULTILINE):
        assert parsed(path)
    assert f"`{TAG}`" in page
    assert f"`{SUMMARY}`" in page
    assert page.count(f"`{FILE}`") == 3
