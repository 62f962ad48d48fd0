"""CK405: whether today's torch.load opens a file. Torch itself is the oracle."""

from __future__ import annotations

import argparse
import collections
import datetime
import enum
import functools
import html.parser
import importlib
import os
import pathlib
import pickle
import subprocess
import sys
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.openable import unopenable
from pytest_ckpt_compat._core.changes import Acceptance, Policy, Severity
from pytest_ckpt_compat._core.pickled import Pickled
from pytest_ckpt_compat._definition.importable import is_importable
from pytest_ckpt_compat._definition.opening import Opening, opening


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.act = nn.GELU()


class Color(enum.Enum):
    RED = 1


class Options:
    def __init__(self) -> None:
        self.width = 3


class Slotted:
    __slots__ = ("width",)

    def __init__(self) -> None:
        self.width = 3


class Dictionary(dict[str, Any]):
    pass


class Listing(list[int]):
    pass


class Outer:
    class Inner:
        pass


class Wrapped(torch.Tensor):
    pass


def made() -> Options:
    return Options()


class ByFunction(Options):
    def __reduce__(self) -> Any:
        return made, (), {"width": 4}


def silently(make: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


WEIGHTS = {"up.weight": torch.zeros(4, 3), "up.bias": torch.zeros(4)}

#: What lies beside the weights.
BESIDE: dict[str, Any] = {
    "nothing": None,
    "plain": {"epoch": 3, "name": "a", "lr": 1e-3, "big": 1 << 70, "flags": (True, None), "raw": b"\x00\xff"},
    "counter": collections.Counter("abca"),
    "set": {1, 2},
    "frozenset": frozenset({1}),
    "complex": 1j,
    "bytearray": bytearray(b"abc"),
    "device": torch.device("cpu"),
    "dtype": torch.bfloat16,
    "size": torch.Size([1, 2]),
    "parameter": nn.Parameter(torch.zeros(2)),
    "buffer": nn.Buffer(torch.zeros(2)),
    "sparse": torch.eye(3).to_sparse(),
    "sparse csr": silently(lambda: torch.eye(3).to_sparse_csr()),
    "quantized": silently(lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)),
    "meta": torch.zeros(3, device="meta"),
    "subclass": torch.zeros(3).as_subclass(Wrapped),
    "generator state": torch.get_rng_state(),
    "namespace": argparse.Namespace(lr=0.1),
    "simple namespace": types.SimpleNamespace(lr=0.1),
    "enum": Color.RED,
    "options": Options(),
    "slots": Slotted(),
    "nested class": Outer.Inner(),
    "a class itself": Options,
    "a function": made,
    "made by a function": ByFunction(),
    "partial": functools.partial(made),
    "path": pathlib.PurePosixPath("a/b"),
    "datetime": datetime.datetime(2026, 1, 2),
    "timedelta": datetime.timedelta(1),
    "defaultdict": collections.defaultdict(int, a=1),
    "empty defaultdict": collections.defaultdict(int),
    "dict subclass": Dictionary(a=1),
    "list subclass": Listing([1, 2]),
    "deque": collections.deque([1]),
    "builtin function": len,
    "an exception": ValueError("a"),
    "a class of another name in Python 2": html.parser.HTMLParser,
    "slice": slice(1, 2),
    "range": range(3),
    "numpy float": np.float64(0.5),
    "numpy float32": np.float32(0.5),
    "numpy int": np.int64(3),
    "numpy bool": np.bool_(True),
    "numpy text": np.str_("abc"),
    "numpy array": np.zeros(3),
    "numpy object array": np.array([None, 1], dtype=object),
    "numpy structured": np.zeros(2, dtype=[("a", "f4")]),
    "numpy dtype": np.dtype("int16"),
    "numpy generator": np.random.default_rng(0),
    "two": {"a": argparse.Namespace(), "b": np.float64(1)},
}


def torch_opens(path: Path) -> bool:
    try:
        torch.load(path, weights_only=True)
    except Exception:
        return False
    return True


def look(path: Path, key: str | None = None) -> Opening:
    found = ckpt.read(path, key).pickled
    assert found is not None
    return opening(found)


@pytest.fixture(autouse=True)
def nothing_allowed() -> Iterator[None]:
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def allow(entries: tuple[str, ...]) -> None:
    """Runs the printed call in a namespace that has imported what it names."""
    names: dict[str, Any] = {"numpy": np, "torch": torch}
    for module in (argparse, collections, datetime, functools, html, pathlib, types):
        names[module.__name__] = module
    names["tests"] = sys.modules["tests"]
    code = f"torch.serialization.add_safe_globals([{', '.join(entries)}])"
    exec(compile(code, "<advice>", "exec"), names)


#: What no argument of add_safe_globals opens, as torch's unpickler is made.
ONLY_UNSAFE = {
    *("deque", "defaultdict", "dict subclass", "list subclass", "nested class"),
    *("made by a function", "numpy generator"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", [*BESIDE, "whole module"])
def test_the_verdict_is_torchs_and_the_advice_opens_the_file(tmp_path: Path, kind: str, legacy: bool) -> None:
    path = tmp_path / "net.pt"
    value = Net() if kind == "whole module" else {"model": WEIGHTS, "beside": BESIDE[kind]}
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    found = look(path)
    assert bool(found.refused) is not torch_opens(path), found
    assert not found.absent
    unsafe = kind in ONLY_UNSAFE or (kind == "whole module" and legacy)
    assert bool(found.entries) is (bool(found.refused) and not unsafe)
    if found.entries:
        allow(found.entries)
        assert torch_opens(path), found.entries
        assert look(path) == Opening()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_other_protocols(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "net.pt"
    torch.save({"model": WEIGHTS, "raw": b"abc"}, path, pickle_protocol=protocol)
    assert bool(look(path).refused) is not torch_opens(path)


def test_the_names_of_a_zip_file_are_those_that_torch_lists(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"model": WEIGHTS, "a": argparse.Namespace(), "b": Color.RED}, path)
    listed = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    assert {*look(path).refused} == {*listed} == {"argparse.Namespace", f"{__name__}.Color"}


def renamed(path: Path, old: str, new: str) -> None:
    """Writes a file as if another version had saved it: another name in its pickle."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            pickled = name.endswith("/data.pkl")
            archive.writestr(name, data.replace(old.encode(), new.encode()) if pickled else data)


def test_a_numpy_scalar_of_the_other_numpy(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"model": WEIGHTS, "loss": np.float64(0.5)}, path)
    here = "numpy._core" if "numpy._core" in sys.modules else "numpy.core"
    other = {"numpy._core": "numpy.core", "numpy.core": "numpy._core"}[here]
    renamed(path, f"c{here}.multiarray\n", f"c{other}.multiarray\n")
    found = look(path)
    assert f'({here}.multiarray.scalar, "{other}.multiarray.scalar")' in found.entries
    assert not torch_opens(path)
    allow(found.entries)
    assert torch_opens(path)


class Definition(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(3, 4)


def line(path: Path, model: Any = Definition, **options: Any) -> str:
    return str(ckpt.check(path, model=model, **options)).splitlines()[0]


def test_the_check_warns_in_one_line_and_says_what_opens_the_file(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"model": WEIGHTS, "args": argparse.Namespace(lr=1)}, path)
    verdict = ckpt.check(path, model=Definition)
    assert verdict.compatible
    (change,) = verdict.changes
    assert (change.rule, change.severity) == ("CK405", Severity.WARNING)
    assert str(verdict).splitlines()[0] == (
        f"CK405 {path}[model]: loads, torch.load by default (weights_only=True) refuses it because of "
        "argparse.Namespace"
    )
    assert str(verdict).splitlines()[-1] == (
        "  open:   torch.serialization.add_safe_globals([argparse.Namespace]), or "
        "torch.load(path, weights_only=False), if you trust the file"
    )
    torch.serialization.add_safe_globals([argparse.Namespace])
    assert ckpt.check(path, model=Definition).changes == ()


def test_torch_as_the_user_has_set_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pt"
    torch.save({"model": WEIGHTS, "args": argparse.Namespace(lr=1)}, path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    silently(lambda: torch.load(path))
    assert ckpt.check(path, model=Definition).changes == ()
    monkeypatch.delenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    monkeypatch.setattr(torch, "__version__", "2.5.1")
    assert ckpt.check(path, model=Definition).changes == ()


SOURCE = """
from torch import nn

class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(3, 4)

class RunOptions:
    pass
"""


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files of a package ``oldpkg`` that is gone, in a process that knows no more of it."""
    (tmp_path / "oldpkg").mkdir()
    (tmp_path / "oldpkg" / "__init__.py").touch()
    (tmp_path / "oldpkg" / "nets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    nets = importlib.import_module("oldpkg.nets")
    torch.save(nets.Detector(), tmp_path / "whole.pt")
    options = {"model": nets.Detector().state_dict(), "opt": nets.RunOptions()}
    torch.save(options, tmp_path / "options.pt")
    forget()
    (tmp_path / "oldpkg").rename(tmp_path / "newpkg")
    importlib.invalidate_caches()
    yield tmp_path
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("oldpkg", "newpkg")]:
        del sys.modules[name]


def test_a_whole_module_whose_package_is_gone(saved: Path) -> None:
    for weights_only in (True, False):
        with pytest.raises((ModuleNotFoundError, pickle.UnpicklingError)):
            torch.load(saved / "whole.pt", weights_only=weights_only)
    verdict = ckpt.check(saved / "whole.pt", model=Definition)
    assert (verdict.exit_code, verdict.changes[0].rule) == (1, "CK405")
    assert str(verdict).splitlines()[0] == (
        f"CK405 {saved / 'whole.pt'}: torch.load cannot open it: oldpkg.nets.Detector cannot be imported here"
    )
    assert "make oldpkg.nets.Detector importable again" in str(verdict)
    assert "oldpkg" not in sys.modules


def test_a_whole_module_whose_class_moved(saved: Path) -> None:
    path = saved / "whole.pt"
    verdict = ckpt.check(path, model="newpkg.nets:Detector")
    assert verdict.exit_code == 1
    assert verdict.changes[0].detail.endswith("oldpkg.nets.Detector cannot be imported here")
    moved, (label, repair) = verdict.repairs
    assert moved == ("moved?", "oldpkg.nets.Detector: newpkg.nets has a class of this name")
    assert label == "open"
    assert '(newpkg.nets.Detector, "oldpkg.nets.Detector")' in repair
    exec(repair, {"torch": torch, "newpkg": sys.modules["newpkg"]})
    torch.load(path, weights_only=True)
    assert ckpt.check(path, model="newpkg.nets:Detector").changes == ()


def test_options_of_a_class_that_is_gone_warn(saved: Path) -> None:
    path = saved / "options.pt"
    verdict = ckpt.check(path, model=Definition)
    assert verdict.compatible
    assert verdict.changes[0].detail == (
        "torch.load cannot open it, whatever its weights_only: oldpkg.nets.RunOptions cannot be imported here"
    )
    (repair,) = verdict.repairs
    assert repair == (
        "open",
        "make oldpkg.nets.RunOptions importable again, open the file there with weights_only=False, "
        "and save model.state_dict() alone",
    )
    for weights_only in (True, False):
        with pytest.raises((ModuleNotFoundError, pickle.UnpicklingError)):
            torch.load(path, weights_only=weights_only)
    (saved / "newpkg").rename(saved / "oldpkg")
    importlib.invalidate_caches()
    assert ckpt.check(path, model=Definition).changes[0].detail.endswith("because of oldpkg.nets.RunOptions")
    assert "oldpkg" not in sys.modules, "nothing that a file names is imported"
    (saved / "oldpkg" / "nets.py").write_text("class Other: pass")
    assert "cannot be imported here" in line(path)


@pytest.mark.parametrize(
    ("function", "argument"), [(os.system, "exit 1"), (eval, "1"), (subprocess.run, "x"), (os.remove, "x")]
)
def test_a_pickle_that_does_harm(tmp_path: Path, function: Callable[..., Any], argument: str) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return function, (argument,)

    path = tmp_path / "net.pt"
    torch.save({"model": WEIGHTS, "x": Harm()}, path)
    printed = str(ckpt.check(path, model=Definition))
    named = f"its pickle names {function.__module__}.{function.__name__}, for which no checkpoint has a use"
    assert named in printed
    assert "weights_only=False" not in printed
    assert "add_safe_globals" not in printed


def test_data_of_a_module_that_torch_never_allows(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"model": WEIGHTS, "facts": os.stat(tmp_path)}, path)
    verdict = ckpt.check(path, model=Definition)
    assert verdict.changes[0].detail.endswith("because of os.stat_result")
    assert verdict.repairs == (("open", "torch.load(path, weights_only=False), if you trust the file"),)
    torch.load(path, weights_only=False)


def test_what_torch_load_does_not_open_by_itself_is_not_judged(tmp_path: Path) -> None:
    scripted: Any = silently(lambda: torch.jit.script(nn.Linear(3, 4)))
    silently(lambda: torch.jit.save(scripted, tmp_path / "net.pt"))
    assert ckpt.read(tmp_path / "net.pt").pickled is None


def test_a_class_that_cannot_be_told_is_not_called_absent() -> None:
    assert is_importable("pytest_ckpt_compat", "check"), "a module that makes its names"
    assert is_importable("__main__", "Args")
    assert is_importable("os.path", "join")
    assert not is_importable("os.path", "no_such_name")
    assert not is_importable("argparse.inner", "Namespace"), "a module is no package"
    assert not is_importable("no_such_package.a.b", "C")
    assert is_importable("wsgiref.headers", "Headers")
    assert not is_importable("wsgiref.headers", "NoSuchName")


def test_a_class_of_a_whole_module_that_is_gone_can_be_accepted(saved: Path) -> None:
    detail = "torch.load cannot open it: oldpkg.nets.Detector cannot be imported here"
    allowed = Policy(accepted=(Acceptance("CK405", "*", "opened by a loader of its own"),))
    (change,), _ = unopenable(ckpt.read(saved / "whole.pt").pickled, allowed)
    assert (change.detail, change.severity) == (detail, Severity.ACCEPTED)


def test_a_file_with_very_many_names_takes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile one: the work is bounded, the verdict is torch's all the same."""
    names = tuple((f"gone{number}.nets", "Net") for number in range(100_000))
    looked_for: list[str] = []

    class Finder:
        @staticmethod
        def find_spec(name: str, *_: Any) -> None:
            looked_for.append(name)

    monkeypatch.setattr(sys, "meta_path", [Finder])
    found = opening(Pickled(names))
    assert len(found.refused) == 100_000
    assert found.entries == ()
    assert len(looked_for) <= 1_000
