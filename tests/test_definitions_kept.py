"""A definition of several checkpoints is built once, unless it may be another each time."""

from __future__ import annotations

import builtins
import datetime
import functools
import importlib
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, overrides

from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._definition import confirm
from pytest_ckpt_compat._definition.comparable import OPAQUE, alike, plain
from pytest_ckpt_compat._definition.find import Definition, find
from pytest_ckpt_compat._definition.kept import Kept
from tests.conftest import SETTINGS

_HEAD = """
import functools, itertools, os, random, time
from pathlib import Path
import torch
from torch import nn
import torch.nn.functional as F
import kept_settings

"""
_OTHER = "WIDTH = 3\nNAMES = ['a', 'b']\n"

#: What is built once for all.
SAME = {
    "a class": "class Net(nn.Module):\n"
    "    def __init__(self, width=3):\n"
    "        super().__init__()\n"
    "        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(2))\n",
    "counters of torch's own": "class Net(nn.Sequential):\n"
    "    def __init__(self):\n"
    "        super().__init__(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.InstanceNorm1d(4))\n",
    "a factory and its helper": "def width():\n    return kept_settings.WIDTH\n"
    "def Net():\n    return nn.Sequential(nn.Linear(width(), 2), nn.ReLU())\n",
    "constants": "SIZES = {'small': [2, 3], 'large': (4,)}\n"
    "class Base(nn.Module):\n    WIDTH = 3\n"
    "class Net(Base):\n"
    "    def __init__(self, name='small'):\n"
    "        super().__init__()\n"
    "        for at, size in enumerate(SIZES[name]):\n"
    "            self.add_module(f'layer{at}', nn.Linear(self.WIDTH, size))\n",
    "attention": "class Net(nn.TransformerEncoderLayer):\n"
    "    def __init__(self):\n        super().__init__(4, 2, 8)\n",
    "a function with its arguments": "def make(width, norm=nn.LayerNorm):\n"
    "    return nn.Sequential(norm(width))\n"
    "Net = functools.partial(make, 4, norm=nn.BatchNorm1d)\n",
    "a method of a class": "class Base(nn.Sequential):\n    @classmethod\n"
    "    def small(cls):\n        return cls(nn.Linear(2, 2))\nNet = Base.small\n",
    "formatted names": "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        for at in range(2):\n"
    "            self.add_module('layer{}_{:.0f}'.format(at, at), nn.Linear(2, 2))\n",
    "norms given as classes": "class Net(nn.Module):\n"
    "    def __init__(self, norm=functools.partial(nn.LayerNorm, eps=1e-6)):\n"
    "        super().__init__()\n        self.norm = norm(4)\n        self.out = nn.Linear(4, 1)\n",
}

_NET = "class Net(nn.Module):\n    def __init__(self%s):\n        super().__init__()\n%s"


def net(body: str, before: str = "", arguments: str = "") -> str:
    """The code of a module with a layer of a width that ``body`` decides."""
    lines = "".join(f"        {line}\n" for line in [*body.splitlines(), "self.layer = nn.Linear(width, 2)"])
    return before + _NET % (arguments, lines)


#: What is built anew for each checkpoint, since it may be another each time, or its load may.
ANEW = {
    "a counter": net("global N\nN += 1\nwidth = N", "N = 0\n"),
    "a list that it appends to": net("SEEN.append(1)\nwidth = len(SEEN)", "SEEN = []\n"),
    "a counter of the class": net("type(self).made += 1\nwidth = self.made", "").replace(
        "    def __init__", "    made = 0\n    def __init__"
    ),
    "a default that it appends to": net("seen.append(1)\nwidth = len(seen)", arguments=", seen=[]"),
    "an iterator": net("width = next(NUMBERS)", "NUMBERS = itertools.count(1)\n"),
    "the clock": net("width = 1 + int(time.time()) % 7"),
    "random numbers": net("width = random.randint(1, 7)"),
    "random numbers of its own": net("width = random.Random().randint(1, 7)"),
    "random numbers of torch": net("width = int(torch.randint(1, 7, ()))"),
    "the environment": net("width = int(os.environ.get('WIDTH', 2))"),
    "the environment, by a function": net("width = int(os.getenv('WIDTH', 2))"),
    "a file": net("width = len(Path(__file__).read_text()) % 7 + 1"),
    "a file that is there": net("width = 2 + Path('width').exists()"),
    "a file of weights": net("width = len(torch.load(WEIGHTS)['w'])", "WEIGHTS = 'w.pt'\n"),
    "an object": net("width = SETTINGS.width", "class S: width = 2\nSETTINGS = S()\n"),
    "an import": net("from kept_settings import WIDTH as width"),
    "a name that it makes up": net("width = getattr(kept_settings, 'WID' + 'TH')"),
    "its globals": net("width = globals()['W']", "W = 2\n"),
    "what an earlier call gave": "@functools.lru_cache\ndef width_of():\n    return kept_settings.WIDTH\n"
    + net("width = width_of()"),
    "a closure": "def made(width):\n"
    "    def make():\n        return nn.Linear(width, 2)\n    return make\nmake = made(3)\n"
    "def Net():\n    return make()\n",
    "one module for all": "KEPT = nn.Linear(2, 2)\ndef Net():\n    return KEPT\n",
    "a module that it keeps": "KEPT = {}\ndef Net():\n"
    "    if not KEPT:\n        KEPT['it'] = nn.Linear(2, 2)\n    return KEPT['it']\n",
    "a load of its own": net("width = 2")
    + "    def load_state_dict(self, state, strict=True, assign=False):\n"
    "        self.extra = nn.Linear(2, 2)\n        return super().load_state_dict(state, strict=False)\n",
    "a part's load of its own": net("width = 2") + "    def _load_from_state_dict(self, *args):\n"
    "        self.seen = True\n        return super()._load_from_state_dict(*args)\n",
    "a hook before the load": net(
        "width = 2\nself.register_load_state_dict_pre_hook(lambda module, *_: setattr(module, 'seen', 1))"
    ),
    "a hook after the load": net(
        "width = 2\nadd = lambda module, keys: module.add_module('b', nn.Linear(1, 1))\n"
        "self.register_load_state_dict_post_hook(add)"
    ),
    "a hook on saving": net("width = 2\nself._register_state_dict_hook(lambda module, state, *_: state)"),
    "a state of its own": net("width = 2") + "    def get_extra_state(self):\n        return {'a': 1}\n"
    "    def set_extra_state(self, state):\n        self.x = state\n",
    "what depends on the device": net("width = 2 if torch.empty(1).is_meta else 2"),
}

#: What changes between two checks: name -> (code, how).
CHANGED: dict[str, tuple[str, Callable[[ModuleType, pytest.MonkeyPatch], None]]] = {
    "a global": (net("width = WIDTH", "WIDTH = 2\n"), lambda m, patch: patch.setattr(m, "WIDTH", 5)),
    "an item of a global": (
        net("width = SIZES['a']", "SIZES = {'a': 2}\n"),
        lambda m, patch: patch.setitem(m.SIZES, "a", 5),
    ),
    "a global of another module": (
        net("width = kept_settings.WIDTH"),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "a list of another module": (
        net("width = len(kept_settings.NAMES)"),
        lambda m, patch: patch.setattr(m.kept_settings, "NAMES", ["a"]),
    ),
    "an attribute of the class": (
        net("width = self.W").replace("    def __init__", "    W = 2\n    def __init__"),
        lambda m, patch: patch.setattr(m.Net, "W", 5),
    ),
    "an attribute of a class beside": (
        "class Config:\n    width = 2\n" + net("width = Config.width"),
        lambda m, patch: patch.setattr(m.Config, "width", 5),
    ),
    "a method": (
        net("width = self.size()") + "    def size(self):\n        return 2\n",
        lambda m, patch: patch.setattr(m.Net, "size", lambda self: 5),
    ),
    "a function": (
        "def size():\n    return 2\n" + net("width = size()"),
        lambda m, patch: patch.setattr(m, "size", lambda: 5),
    ),
    "the code of a function": (
        "def size():\n    return 2\n" + net("width = size()"),
        lambda m, patch: patch.setattr(m.size, "__code__", (lambda: 5).__code__),
    ),
    "a default": (
        net("pass", arguments=", width=2"),
        lambda m, patch: patch.setattr(m.Net.__init__, "__defaults__", (5,)),
    ),
    "a name that hides Python's own": (
        net("width = max(2, 1)"),
        lambda m, patch: patch.setattr(m, "max", lambda *_: 5, raising=False),
    ),
    "the constructor": (
        net("width = 2"),
        lambda m, patch: patch.setattr(m.Net, "__init__", lambda self: nn.Module.__init__(self)),
    ),
    "a layer of torch": (
        net("width = 2"),
        lambda m, patch: patch.setattr(nn, "Linear", functools.partial(nn.Linear, bias=False)),
    ),
    "the default dtype": (
        net("width = 2"),
        lambda m, patch: torch.set_default_dtype(torch.float64),
    ),
}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports code as a module of a file, beside one that it may read."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.zeros(2)}, "w.pt")
    (tmp_path / "kept_settings.py").write_text(_OTHER)

    def module(code: str) -> ModuleType:
        (tmp_path / "kept_models.py").write_text(_HEAD + code)
        importlib.invalidate_caches()
        return importlib.import_module("kept_models")

    yield module
    for name in ("kept_models", "kept_settings"):
        sys.modules.pop(name, None)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The definitions that were built on meta for a load."""
    found: list[str] = []
    build = vars(confirm)["build"]

    def noted(definition: Definition, *rest: Any) -> Any:
        found.append(definition.name)
        return build(definition, *rest)

    monkeypatch.setattr(confirm, "build", noted)
    return found


def kept(target: Any, **kwargs: Any) -> Definition:
    """A definition that is kept from now on."""
    return replace(find(target, kwargs), kept=Kept(target, alike(kwargs)))


@pytest.mark.parametrize("name", SAME)
def test_it_is_built_once(written: Callable[[str], ModuleType], builds: list[str], name: str) -> None:
    definition = kept(written(SAME[name]).Net)
    plainly = replace(definition, kept=None)
    own = confirm.defined(plainly)
    lacking = replace(own, tensors=dict(list(own.tensors.items())[1:]), aliases=())
    more = replace(own, tensors={**own.tensors, "more": TensorSpec("float32", (2,))})
    builds.clear()
    found = [confirm.load(each, definition) for each in (own, more, own, lacking, more, own)]
    assert len(builds) == 1
    for given, (new, outcome) in zip((own, more, own, lacking, more, own), found, strict=True):
        assert (new, outcome) == confirm.load(given, plainly)


@pytest.mark.parametrize("name", ANEW)
def test_it_is_built_anew(written: Callable[[str], ModuleType], builds: list[str], name: str) -> None:
    definition = kept(written(ANEW[name]).Net)
    own = Structure(
        {"layer.weight": TensorSpec("float32", (2, 2)), "layer.bias": TensorSpec("float32", (2,))}
    )
    for _ in range(4):
        confirm.load(own, definition)
    assert len(builds) == 4


@pytest.mark.parametrize("name", CHANGED)
def test_it_is_built_anew_after_a_change(
    written: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, builds: list[str], name: str
) -> None:
    code, change = CHANGED[name]
    module = written(code)
    definition = kept(module.Net)
    own = confirm.defined(replace(definition, kept=None))
    builds.clear()
    first = [confirm.load(own, definition) for _ in range(2)]
    assert len(builds) == 1
    assert first[0] == first[1]
    try:
        change(module, monkeypatch)
        fresh = confirm.defined(replace(definition, kept=None))
        found = [confirm.load(own, definition)[0] for _ in range(2)]
    finally:
        torch.set_default_dtype(torch.float32)
    assert fresh != own
    assert found == [fresh, fresh]


_SIZED = (
    "class Sized:\n    width = 2\n"
    "    def make(self):\n        return nn.Sequential(nn.Linear(self.width, 2))\n"
)

_AROUND = (
    "import contextlib\nwidth = 2\n"
    "class Around(contextlib.ContextDecorator):\n    width = 3\n"
    "    def __enter__(self):\n        global width\n        self.before, width = width, self.width\n"
    "    def __exit__(self, *_):\n        global width\n        width = self.before\n"
    "around = Around()\n"
)

#: What no note of names shows; whether it is kept or not, it is never what it was before the change.
HIDDEN: dict[str, tuple[str, Callable[[ModuleType, pytest.MonkeyPatch], object]]] = {
    "a class in a class": (
        "class Config:\n    class model:\n        width = 2\n" + net("width = Config.model.width"),
        lambda m, patch: patch.setattr(m.Config.model, "width", 5),
    ),
    "a class in a dictionary": (
        "class Small:\n    width = 2\nCONFIGS = {'small': Small}\n" + net("width = CONFIGS['small'].width"),
        lambda m, patch: patch.setattr(m.Small, "width", 5),
    ),
    "a module in a list": (
        "PLACES = [kept_settings]\n" + net("width = PLACES[0].WIDTH"),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "an attribute of a metaclass": (
        "class Meta(type):\n    width = 2\nclass Config(metaclass=Meta):\n    pass\n"
        + net("width = Config.width"),
        lambda m, patch: patch.setattr(m.Meta, "width", 5),
    ),
    "an attribute of a function": (
        "def size():\n    pass\nsize.width = 2\n" + net("width = size.width"),
        lambda m, patch: patch.setattr(m.size, "width", 5),
    ),
    "the dictionary of a module": (
        net("width = kept_settings.__dict__['WIDTH']"),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "an attribute by object's method": (
        net("width = object.__getattribute__(kept_settings, 'WIDTH')"),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "a getter": (
        "import operator\n" + net("width = operator.attrgetter('WIDTH')(kept_settings)"),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "a getter made before": (
        "import operator\nget = operator.attrgetter('WIDTH')\n" + net("width = get(kept_settings)"),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "the classes derived from another": (
        "class Base:\n    pass\nclass One(Base):\n    pass\n" + net("width = 1 + len(Base.__subclasses__())"),
        lambda m, patch: patch.setattr(m, "Two", type("Two", (m.Base,), {}), raising=False),
    ),
    "a method of a dictionary": (
        "SIZES = {'a': 2}\nlookup = SIZES.get\n" + net("width = lookup('a')"),
        lambda m, patch: patch.setitem(m.SIZES, "a", 5),
    ),
    "whether gradients are on": (
        net("width = 2 if torch.is_grad_enabled() else 5"),
        lambda m, patch: torch.set_grad_enabled(False),
    ),
    "a name that a module lacks": (
        net("try:\n    width = kept_settings.HEIGHT\nexcept AttributeError:\n    width = 2"),
        lambda m, patch: patch.setattr(m.kept_settings, "HEIGHT", 5, raising=False),
    ),
    "a name that a module makes up": (
        "kept_settings.__getattr__ = lambda name: {'HEIGHT': 2}[name]\n"
        + net("width = kept_settings.HEIGHT"),
        lambda m, patch: patch.setattr(m.kept_settings, "HEIGHT", 5, raising=False),
    ),
    "an object's method": (
        _SIZED + "sized = Sized()\nNet = sized.make\n",
        lambda m, patch: patch.setattr(m.sized, "width", 5),
    ),
    "an object that can be called": (
        _SIZED + "    __call__ = make\nNet = Sized()\n",
        lambda m, patch: patch.setattr(m.Net, "width", 5),
    ),
    "a list that is given once": (
        net("width = widths[0]", "WIDTHS = [2]\n", ", widths") + "Net = functools.partial(Net, WIDTHS)\n",
        lambda m, patch: m.WIDTHS.insert(0, 5),
    ),
    "an object that is given once": (
        _SIZED
        + net("width = sized.width", arguments=", sized")
        + "Net = functools.partial(Net, sized=Sized())\n",
        lambda m, patch: patch.setattr(m.Net.keywords["sized"], "width", 5),
    ),
    "an object that is a factory's default": (
        _SIZED + "def Net(sized=Sized()):\n    return sized.make()\n",
        lambda m, patch: patch.setattr(m.Net.__defaults__[0], "width", 5),
    ),
    "a module that is a factory's default": (
        "def Net(settings=kept_settings):\n    return nn.Linear(settings.WIDTH, 2)\n",
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "an attribute in a format": (
        net("width = int('{0.WIDTH}'.format(kept_settings))"),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "an attribute in a pattern": (
        net("match kept_settings:\n    case object(WIDTH=width):\n        pass"),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "a setting that torch computes": (
        net("width = 2 if torch.backends.cudnn.enabled else 5"),
        lambda m, patch: patch.setattr(torch.backends.cudnn, "enabled", False),
    ),
    "whether attention is fast": (
        net("width = 2 if torch.backends.mha.get_fastpath_enabled() else 5"),
        lambda m, patch: patch.setattr(torch.backends.mha, "_is_fastpath_enabled", False),
    ),
    "whether autocast is on": (
        net("width = 5 if torch.is_autocast_enabled('cpu') else 2"),
        lambda m, patch: torch.set_autocast_enabled("cpu", True),
    ),
    "the group of processes": (
        net("width = 5 if torch.distributed.is_initialized() else 2"),
        lambda m, patch: torch.distributed.init_process_group(
            "gloo", store=vars(torch.distributed)["HashStore"](), rank=0, world_size=1
        ),
    ),
    "a layer inside one of torch's": (
        "class Net(nn.TransformerEncoderLayer):\n"
        "    def __init__(self):\n        super().__init__(4, 2, 8)\n",
        lambda m, patch: patch.setattr(
            nn.modules.transformer, "LayerNorm", functools.partial(nn.LayerNorm, elementwise_affine=False)
        ),
    ),
    "a module that a class holds": (
        net("width = self.settings.WIDTH").replace(
            "    def __init__", "    settings = kept_settings\n    def __init__"
        ),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "a module that a function gives": (
        "def settings():\n    return kept_settings\n" + net("width = settings().WIDTH"),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "a module that a function gets": (
        "def width_of(settings):\n    return settings.WIDTH\n" + net("width = width_of(kept_settings)"),
        lambda m, patch: patch.setattr(m.kept_settings, "WIDTH", 5),
    ),
    "an attribute of its own metaclass": (
        "class Meta(type):\n    width = 2\n"
        + net("width = type(self).width").replace("(nn.Module)", "(nn.Module, metaclass=Meta)"),
        lambda m, patch: patch.setattr(m.Meta, "width", 5),
    ),
    "an attribute of an enum's member": (
        "import enum\nclass Size(enum.Enum):\n    SMALL = 1\nSize.SMALL.width = 2\n"
        + net("width = Size.SMALL.width"),
        lambda m, patch: patch.setattr(m.Size.SMALL, "width", 5),
    ),
    "the working directory, by a class": (
        net("width = len(self.place())").replace(
            "    def __init__", "    place = os.getcwd\n    def __init__"
        ),
        lambda m, patch: patch.chdir("/"),
    ),
    "the working directory, by a dictionary": (
        net("width = len(READ['place']())", "READ = {'place': os.getcwd}\n"),
        lambda m, patch: patch.chdir("/"),
    ),
    "the working directory, by a default": (
        "def Net(place=os.getcwd):\n    return nn.Linear(len(place()), 2)\n",
        lambda m, patch: patch.chdir("/"),
    ),
    "a method of a dictionary, in a class": (
        "SIZES = {'a': 2}\n"
        + net("width = self.lookup('a')").replace(
            "    def __init__", "    lookup = SIZES.get\n    def __init__"
        ),
        lambda m, patch: patch.setitem(m.SIZES, "a", 5),
    ),
    "what is around a factory": (
        _AROUND + "@around\ndef Net():\n    return nn.Linear(width, 2)\n",
        lambda m, patch: patch.setattr(m.around, "width", 5),
    ),
    "what is around a constructor": (
        _AROUND + net("global width").replace("    def __init__", "    @around\n    def __init__"),
        lambda m, patch: patch.setattr(m.around, "width", 5),
    ),
    "the bases of a class": (
        "class One(nn.Module):\n    width = 2\nclass Two(nn.Module):\n    width = 5\n"
        + net("width = self.width").replace("(nn.Module)", "(One)").replace("class Two(One)", ""),
        lambda m, patch: setattr(m.Net, "__bases__", (m.Two,)),
    ),
    "what a function says of itself": (
        "def size():\n    '2'\n" + net("width = int(size.__doc__)"),
        lambda m, patch: patch.setattr(m.size, "__doc__", "5"),
    ),
    "a name among Python's own": (
        net("try:\n    width = KEPT_WIDTH\nexcept NameError:\n    width = 2"),
        lambda m, patch: patch.setattr(builtins, "KEPT_WIDTH", 5, raising=False),
    ),
    "what autocast casts to": (
        net("width = 2 if torch.get_autocast_dtype('cuda') == torch.float16 else 5"),
        lambda m, patch: torch.set_autocast_dtype("cuda", torch.bfloat16),
    ),
    "whether autocast remembers": (
        net("width = 2 if torch.is_autocast_cache_enabled() else 5"),
        lambda m, patch: torch.set_autocast_cache_enabled(False),
    ),
    "a device that is a context": (
        net("width = 2 if torch.get_default_device().type == 'cpu' else 5"),
        lambda m, patch: torch.device("meta").__enter__(),
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_no_name_shows_is_never_what_it_was(
    written: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    code, change = HIDDEN[name]
    module = written(code)
    definition = kept(module.Net)
    own = confirm.defined(replace(definition, kept=None))
    stack = vars(overrides)["_get_current_function_mode_stack"]
    for _ in range(2):
        confirm.load(own, definition)
    try:
        change(module, monkeypatch)
        fresh = confirm.defined(replace(definition, kept=None))
        found = confirm.load(own, definition)[0]
    finally:
        torch.set_grad_enabled(True)
        torch.set_autocast_enabled("cpu", False)
        torch.set_autocast_cache_enabled(True)
        torch.set_autocast_dtype("cuda", torch.float16)
        if stack():
            vars(overrides)["_pop_mode"]()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert fresh != own
    assert found == fresh


def test_what_is_in_a_class_that_is_an_argument_is_never_what_it_was(
    written: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = written(
        "class Config:\n    width = 2\n"
        "class Net(nn.Module):\n    def __init__(self, config):\n"
        "        super().__init__()\n        self.layer = nn.Linear(config.width, 2)\n"
    )
    assert alike({"config": module.Config}) is OPAQUE
    assert alike({"norm": nn.LayerNorm}) is not OPAQUE
    assert plain([module.kept_settings]) is OPAQUE


@pytest.mark.parametrize("given", [np.float32, torch.float16, nn.LayerNorm, nn.init.zeros_, len, [float]])
def test_what_depends_on_its_arguments_alone_is_alike(given: object) -> None:
    assert alike({"given": given}) == alike({"given": given})
    assert alike({"given": given}) is not OPAQUE


@pytest.mark.parametrize("given", [getattr, os.getcwd, {}.get, random.random, time.time, [datetime.date]])
def test_what_an_argument_reads_from_around_it_is_never_what_it_was(given: object) -> None:
    assert alike({"given": given}) is OPAQUE


def test_nothing_is_kept_while_python_calls_are_traced(
    written: Callable[[str], ModuleType], builds: list[str]
) -> None:
    """A debugger has the only trace function that there can be, and keeps it."""
    definition = kept(written(SAME["a class"]).Net)
    own = confirm.defined(replace(definition, kept=None))
    builds.clear()
    before = sys.gettrace()
    sys.settrace(trace := lambda *_: None)
    try:
        for _ in range(2):
            confirm.load(own, definition)
        left = sys.gettrace()
    finally:
        sys.settrace(before)
    assert left is trace
    assert len(builds) == 2


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (1, 1, True),
        (1, True, False),
        (1, 1.0, False),
        (0.0, -0.0, False),
        (float("nan"), float("nan"), True),
        ([1, 2], [1, 2], True),
        ([1, 2], (1, 2), False),
        ({"a": [1]}, {"a": [1]}, True),
        ({"a": [1]}, {"a": [2]}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        ({1, 2}, {2, 1}, True),
        (nn.Linear, nn.Linear, True),
        (nn.Linear, nn.Bilinear, False),
        (functools.partial(nn.Linear, 2), functools.partial(nn.Linear, 2), True),
        (functools.partial(nn.Linear, 2), functools.partial(nn.Linear, 3), False),
        (torch.float32, torch.float32, True),
        (torch.float32, torch.float64, False),
    ],
)
def test_values_are_compared_by_what_they_hold(one: object, other: object, alike: bool) -> None:
    assert (plain(one) == plain(other)) is alike
    assert plain(one) is not OPAQUE


@pytest.mark.parametrize("make", [list, dict, set])
def test_one_collection_twice_is_not_two_that_are_equal(make: Callable[[], Any]) -> None:
    one = make()
    assert plain([one, one]) == plain([one] * 2)
    assert plain([one, one]) != plain([one, make()])
    assert alike({"a": one, "b": one}) == alike({"b": one, "a": one})
    assert alike({"a": one, "b": one}) != alike({"a": one, "b": make()})
    assert alike({"a": one, "b": make()}) == alike({"a": make(), "b": one})


@pytest.mark.parametrize(
    "value", [object(), [object()], nn.ReLU(), torch.zeros(1), iter([1]), list(range(2000))]
)
def test_of_other_values_nothing_is_said(value: object) -> None:
    assert plain(value) is OPAQUE


_MODELS = """
from torch import nn

WIDTH = 2

class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.layer = nn.Linear(WIDTH, classes)
"""
_TEST = """
import models
import pytest

@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setattr(models, "WIDTH", 5)

@pytest.mark.checkpoint("0.pt", model=models.Net, id="first")
def test_first(): ...

@pytest.mark.checkpoint("0.pt", model=models.Net, id="wide")
def test_wide(wide): ...

@pytest.mark.checkpoint("0.pt", model="models:Net", id="last")
def test_last(): ...

@pytest.mark.checkpoint("0.pt", model=models.Net, kwargs={"classes": 4}, id="other")
def test_other(): ...
"""
_HOOK = """
import models

def pytest_ckpt_compat_checkpoints(config):
    return [dict(path=f"{i}.pt", model=models.Net, id=f"c{i}") for i in range(4)]
"""


def test_a_run_builds_each_definition_once(
    pytester: pytest.Pytester, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a fixture changes for one test is seen by its check, and by no other."""
    pytester.makepyfile(models=_MODELS, test_them=_TEST)
    pytester.makeconftest(_HOOK)
    (pytester.path / "pyproject.toml").write_text(SETTINGS)
    state = {f"layer.{key}": value for key, value in nn.Linear(2, 3).state_dict().items()}
    for number in range(4):
        torch.save(state, pytester.path / f"{number}.pt")
    pytester.inline_run("--ckpt-update", "-k", "not wide")
    builds.clear()
    pytester.runpytest_inprocess("-k", "not wide and not other").assert_outcomes(passed=6)
    assert len(builds) == 1
    result = pytester.runpytest_inprocess("-v")
    result.assert_outcomes(passed=6, failed=2)
    result.stdout.fnmatch_lines(["*test_wide FAILED*", "*test_other FAILED*"])
    result.stdout.fnmatch_lines(["*layer.weight * float32[[]3, 2[]] -> float32[[]3, 5[]]"])
