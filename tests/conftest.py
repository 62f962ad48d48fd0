"""A small project on disk, for tests that run pytest or the command line on it."""

from __future__ import annotations

import gc
import importlib
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from _pytest import pytester
from torch import nn

from tests import warm
from tests.warm.inner_runs import shorten

# pytester takes back whatever a run in this process imports. Imported here, these modules stay, and
# with them the identity of their classes; numpy cannot be imported twice at all.
for _name in (
    "scipy.optimize",
    "pytest_ckpt_compat._check.offered",
    "pytest_ckpt_compat._check.run",
    "pytest_ckpt_compat._cli.main",
    "pytest_ckpt_compat._premerge.merge_base",
    "pytest_ckpt_compat._pytest_plugin.collection",
    "pytest_ckpt_compat._pytest_plugin.fixture",
    "pytest_ckpt_compat._pytest_plugin.merge_base_worker",
    "pytest_ckpt_compat._renames",
    "pytest_ckpt_compat._report.html.section",
    "pytest_ckpt_compat._report.json",
    "pytest_ckpt_compat._report.publish",
    "pytest_ckpt_compat._report.tree",
    "tomlkit",
    "torch.utils.serialization.config",
):
    importlib.import_module(_name)

pytest_plugins = ["pytester"]

#: Libraries that cannot be imported twice, as torch, which registers its operators, or that hold such ones,
#: or that such a one holds, as torch does sympy's classes.
_ONCE = {
    "accelerate",
    "google",  # protobuf, which wandb and mlflow hold: imported a second time, it ends the process
    "huggingface_hub",
    "lightning",
    "mlflow",
    "numpy",
    "peft",
    "safetensors",
    "sympy",
    "torch",
    "transformers",
    "wandb",
    "yaml",
}


class _Kept(pytester.SysModulesSnapshot):
    """Leaves in place what a run in this process imports late of these libraries."""

    def __init__(self, preserve: Callable[[str], bool] | None = None) -> None:
        super().__init__(preserve)
        self._before = dict(sys.modules)
        self._preserve = preserve

    def restore(self) -> None:
        """Asks only for modules that have changed whether they stay; there are thousands that have not."""
        now = dict(sys.modules)
        for name in now.keys() - self._before.keys():
            if not self._stays(name):
                del sys.modules[name]
        for name, module in self._before.items():
            if now.get(name) is not module and not (name in now and self._stays(name)):
                sys.modules[name] = module

    def _stays(self, name: str) -> bool:
        return name.partition(".")[0] in _ONCE or bool(self._preserve and self._preserve(name))


pytester.SysModulesSnapshot = _Kept  # type: ignore[misc]

#: What ``warm_libraries`` has imported.
_LARGE = ("transformers.models.gpt2.modeling_gpt2", "peft", "lightning.pytorch")

_MODULES = pytest.StashKey[int]()
_SERVERS = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """The servers of all workers are those of the run."""
    if sys.platform != "linux":  # elsewhere a fork may not do as much, and processes run Python itself
        return
    given = getattr(config, "workerinput", {}).get("servers")
    if given is None:
        place = ExitStack()
        config.add_cleanup(place.close)
        given = place.enter_context(warm.place())
    config.stash[_SERVERS] = Path(given)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker of pytest-xdist where the servers are."""
    if _SERVERS in node.config.stash:
        node.workerinput["servers"] = str(node.config.stash[_SERVERS])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: to look for garbage in it again and again is a fifth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """The runs that tests start come after what this run itself has collected."""
    shorten()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A run in this process ends with full collections of garbage; tests and their imports are none."""
    if len(sys.modules) > item.config.stash.get(_MODULES, 0) + 50:
        gc.collect()
        gc.freeze()
        item.config.stash[_MODULES] = len(sys.modules)


MODELS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=4, body="body", extra=False):
        super().__init__()
        self.add_module(body, nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8)))
        if extra:
            self.scale = nn.Parameter(torch.ones(1))
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.body(x))


def broken():
    raise ValueError("no such size")


def from_checkpoint(checkpoint):
    return Net(classes=checkpoint["settings"]["classes"])
"""

#: Hypothesis's own plugin would be imported anew in every run, and the order of tests is expected to stay.
SETTINGS = """
[tool.pytest.ini_options]
pythonpath = ["."]
addopts = ["-p", "no:hypothesispytest", "-p", "no:randomly"]
"""


class Net(nn.Module):
    """The same model as the project's own."""

    def __init__(self, classes: int = 4, body: str = "body") -> None:
        super().__init__()
        self.add_module(body, nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8)))
        self.head = nn.Linear(8, classes)


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with ``models.py`` and the checkpoint ``net.pt``."""
    pytester.makepyfile(models=MODELS)
    pytester.makepyprojecttoml(SETTINGS)
    save(pytester.path / "net.pt")
    return pytester


Filled = Callable[[str, Callable[[], object]], None]


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("filled")


@pytest.fixture
def filled(_filled: Path, pytester: pytest.Pytester) -> Filled:
    """Fills the project's folder by a function, which is called once in a run: later the result is copied."""

    def fill(name: str, function: Callable[[], object]) -> None:
        kept = _filled / name
        if kept.exists():
            shutil.copytree(kept, pytester.path, symlinks=True, dirs_exist_ok=True)
        else:
            function()
            shutil.copytree(pytester.path, kept, symlinks=True)

    return fill


@dataclass(frozen=True)
class Printed:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Printed]:
    """Runs ``ckpt-compat`` in the project's folder, in this process."""
    from pytest_ckpt_compat._cli import main as cli

    def run(*argv: str) -> Printed:
        before = set(sys.modules)
        monkeypatch.chdir(pytester.path)
        capsys.readouterr()
        try:
            code = cli.main(argv)
        finally:
            for name in set(sys.modules) - before:
                file = getattr(sys.modules[name], "__file__", None) or ""
                if file.startswith(str(pytester.path)):
                    del sys.modules[name]
        return Printed(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def _warm_python(pytestconfig: pytest.Config) -> str:
    run = pytestconfig.stash.get(_SERVERS, None)
    return warm.started(run, "python") if run else sys.executable


@pytest.fixture
def warm_python(_warm_python: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Python has imported torch already in the processes of this test; ``sys.executable`` is its path."""
    monkeypatch.setattr(sys, "executable", _warm_python)
    return _warm_python


@pytest.fixture(scope="session")
def _warm_libraries(pytestconfig: pytest.Config, _warm_python: str) -> str:
    run = pytestconfig.stash.get(_SERVERS, None)
    return warm.started(run, "libraries", *_LARGE, python=_warm_python) if run else sys.executable


@pytest.fixture
def warm_libraries(_warm_libraries: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """As ``warm_python``, of a Python that has imported the large libraries as well."""
    monkeypatch.setattr(sys, "executable", _warm_libraries)
    return _warm_libraries


def save(path: Path, classes: int = 4, body: str = "body", **others: object) -> Path:
    """Saves a checkpoint of ``Net``: its state_dict, or that and others."""
    state = Net(classes, body).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, **others} if others else state, path)
    return path


@pytest.fixture
def earlier_code(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, warm_python: str
) -> None:
    """What a check against a merge base needs: a cache of the run's own, and a Python that starts fast."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
