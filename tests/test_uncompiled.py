"""What is parametrized is built and loaded without torch's compiler, which is there for whoever wants it."""

from __future__ import annotations

import subprocess
import sys

_BEGIN = """
import sys, warnings
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from pytest_ckpt_compat._definition import confirm
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
warnings.simplefilter("ignore")
"""
#: How a layer is parametrized -> the entries of its state_dict.
KINDS = {
    "weight_norm": ["bias", "weight_g", "weight_v"],
    "spectral_norm": ["bias", "weight_orig", "weight_u", "weight_v"],
    "parametrizations.weight_norm": [
        "bias",
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    ],
    "parametrizations.spectral_norm": [
        "bias",
        "parametrizations.weight.0._u",
        "parametrizations.weight.0._v",
        "parametrizations.weight.original",
    ],
    "parametrizations.orthogonal": [
        "bias",
        "parametrizations.weight.0.base",
        "parametrizations.weight.original",
    ],
}
_LOADED = """
for kind in {kinds}:
    def made(width=8):
        return eval(kind)(nn.Linear(8, width))
    definition = find(made, {{}})
    state = made().state_dict()
    tensors = {{key: TensorSpec("float32", tuple(value.shape)) for key, value in state.items()}}
    new, found = confirm.load(Structure(tensors, versions={{}}), definition, budget=0)
    wider, other = confirm.load(Structure(tensors, versions={{}}), find(made, {{"width": 4}}), budget=0)
    print(kind, *sorted(new.tensors), found.raised, other.raised, bool(other.mismatched))
print("torch._dynamo" in sys.modules)
"""
#: A constructor that uses the compiler, which the process has not imported before.
_WANTED = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = weight_norm(nn.Linear(8, 8))
        self.depth = torch._dynamo.config.recompile_limit
        from torch._dynamo.eval_frame import OptimizedModule
        self.frame = OptimizedModule

new = confirm.defined(find(Net, {}))
from torch._dynamo.eval_frame import OptimizedModule
print(*new.tensors, type(sys.modules["torch._dynamo"]) is type(sys), OptimizedModule.__name__)
"""
#: A library that looks at every module, and the part of torch that does so while it is imported.
_LOOKED_AT = """
import inspect
from pytest_ckpt_compat._definition.uncompiled import uncompiled
with uncompiled():
    import torch.distributed._functional_collectives
    found = inspect.getmodule(compile("", "nowhere.py", "exec"))
print(found, "torch._dynamo" in sys.modules)
"""
#: What the compiler finds after a build without it.
_AFTER = """
confirm.defined(find(lambda: weight_norm(nn.Linear(8, 8)), {}))
import torch._refs.linalg
before = [name for name in dir(torch._refs) if hasattr(getattr(torch._refs, name), "__dynamo_disable")]
found = torch.compile(lambda x: torch.norm(x) + 1, backend="eager", fullgraph=True)(torch.ones(4))
print(before, float(found), hasattr(sys.modules["torch._dynamo"], "optimize"))
"""


def printed(code: str) -> list[str]:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", _BEGIN + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_parametrized_layers_are_built_and_loaded_without_the_compiler_until_it_is_wanted() -> None:
    *found, imported, wanted = printed(_LOADED.format(kinds=list(KINDS)) + _WANTED)
    assert found == [f"{kind} {' '.join(keys)} False True True" for kind, keys in KINDS.items()]
    assert imported == "False"
    assert wanted == "layer.bias layer.weight_g layer.weight_v True OptimizedModule"


def test_to_look_at_every_module_does_not_import_the_compiler() -> None:
    assert printed(_LOOKED_AT) == ["None False"]


def test_the_compiler_is_the_real_one_after_a_build_without_it() -> None:
    assert printed(_AFTER) == ["[] 3.0 True"]
