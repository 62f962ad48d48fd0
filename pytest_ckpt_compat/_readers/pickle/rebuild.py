"""Interprets the calls in a pickle: as tensors and plain collections, or else as an inert ``Made``.

The known functions are those that ``torch.save`` writes, in torch 2.13 and earlier
(``torch/_utils.py``, ``torch/_tensor.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from pytest_ckpt_compat._core.contents import DISTRIBUTED, PER_CHANNEL
from pytest_ckpt_compat._core.structure import META, UNINITIALIZED
from pytest_ckpt_compat._readers.limits import damaged
from pytest_ckpt_compat._readers.pickle import dtypes
from pytest_ckpt_compat._readers.pickle.dict_keys import KeyCheck
from pytest_ckpt_compat._readers.pickle.inert import Global, Made, OrderedMapping, Skipped, Tensor
from pytest_ckpt_compat._readers.pickle.tensors import dense
from pytest_ckpt_compat._readers.shapes import shape, sizes

#: Signs of a class's name that a dtype cannot have.
_UNUSUAL = re.compile(r"[^A-Za-z0-9_.]")

_Args: TypeAlias = tuple[Any, ...]


class Rebuilder:
    """Turns a call into the value that it describes. ``spend`` counts the steps of copies."""

    def __init__(self, spend: Callable[[int], None], keys: KeyCheck) -> None:
        self._spend = spend
        self._keys = keys
        self._known: dict[Global, Callable[[_Args], Any]] = {}

    def reduce(self, maker: Any, args: Any) -> Any:
        """Returns the value that ``maker(*args)`` describes."""
        if type(args) is not tuple:
            raise damaged("its pickle makes a call whose arguments are not a tuple")
        if type(maker) is Global:
            known = self._known.get(maker) or self._look_up(maker)
            if known is not None:
                return known(args)
        return Made(maker, args)

    def _look_up(self, maker: Global) -> Callable[[_Args], Any] | None:
        """What turns the arguments of a call of ``maker`` into its value, if it is not just an object."""
        name = str(maker)
        known = _TENSORS.get(name)
        if known is None and name in _COLLECTIONS:
            known = partial(_COLLECTIONS[name], self)
        if known is None and name in _MODULES:
            known = partial(_module, maker)
        if known is not None:
            self._known[maker] = known
        return known

    def new(self, cls: Any, args: Any) -> Any:
        """Returns the value that ``cls.__new__(cls, *args)`` describes. Later opcodes may add items."""
        if type(args) is not tuple:
            raise damaged("its pickle makes an object whose arguments are not a tuple")
        if type(cls) is Global and str(cls) == "collections.OrderedDict":
            return OrderedMapping()
        return Made(cls, args)

    def ordered_dict(self, args: _Args) -> OrderedMapping:
        """Handles ``OrderedDict()``, or with a list of pairs as Python 2 wrote it."""
        if not args:
            return OrderedMapping()
        pairs = args[0].items() if isinstance(args[0], dict) else args[0]
        self._spend(4 * len(pairs))
        self._keys.check(key for key, _ in pairs)
        return OrderedMapping(pairs)

    def set(self, args: _Args) -> set[Any] | frozenset[Any]:
        """Handles ``set(list)``, as protocols below 4 write it."""
        items = args[0] if args else []
        self._spend(20 + 4 * len(items))
        self._keys.check(items)
        return set(items)

    def encode(self, args: _Args) -> Any:
        """Handles ``_codecs.encode(text, 'latin1')``: bytes, as protocol 2 writes them."""
        text = args[0]
        if type(text) is Skipped:
            return Skipped("bytes", text.length)
        self._spend(len(text) >> 4)
        return text.encode("latin-1")

    def bytes(self, args: _Args) -> Any:
        """Handles ``bytes()``, as protocols below 3 write empty bytes."""
        return Made(Global("builtins", "bytes"), args) if args else b""

    def complex(self, args: _Args) -> complex:
        """Handles ``complex(real, imaginary)``."""
        real, imaginary = args
        if type(real) is not float or type(imaginary) is not float:
            raise damaged("its pickle has a complex number whose parts are not two floats")
        return complex(real, imaginary)

    def size(self, args: _Args) -> tuple[int, ...]:
        """Handles ``torch.Size(tuple)``."""
        return shape(args[0])

    def reconstructed(self, args: _Args) -> Made:
        """Handles ``copyreg._reconstructor(cls, base, state)``, as protocols 0 and 1 write objects."""
        cls, _, state = args
        made = Made(cls, ())
        if isinstance(state, dict):
            made.entries = state
        elif isinstance(state, list):
            made.elements = state
        return made

    def new_object(self, args: _Args) -> Any:
        """Handles ``copyreg.__newobj__(cls, *args)``."""
        return self.new(args[0], args[1:])

    def from_type(self, args: _Args) -> Any:
        """Handles ``_rebuild_from_type_v2(function, type, args, state)``: a subclass, or attributes."""
        known = _TENSORS.get(str(args[0])) if type(args[0]) is Global else None
        made = known(args[2]) if known else Made(args[0], args[2])
        if type(made) is Tensor and made.kind == "subclass":
            # An object with __slots__ has a pair, which is not read.
            made.parts = args[3] if type(args[3]) is dict else {None: args[3]}
        return made


def _module(maker: Global, args: _Args) -> Made:
    return Made(maker, args, state=_MODULES[str(maker)](args))


def _tensor(args: _Args) -> Tensor:
    storage, offset, size, stride = args[:4]
    flags = args[6] if len(args) > 6 else None
    return dense(storage, offset, size, stride, storage.dtype, plain=not flags)


def _tensor_v3(args: _Args) -> Tensor:
    storage, offset, size, stride, _, _, dtype = args[:7]
    flags = args[7] if len(args) > 7 else None
    return dense(storage, offset, size, stride, dtypes.of_global(dtype), plain=not flags)


def _quantized(args: _Args) -> Tensor:
    storage, offset, size, stride, (scheme, *numbers) = args[:5]
    tensor = dense(storage, offset, size, stride, storage.dtype, plain=False)
    tensor.kind = "quantized"
    if str(scheme) == "torch.per_tensor_affine":
        tensor.parts = {"scale": numbers[0], "zero_point": numbers[1]}
        return tensor
    if str(scheme) not in ("torch.per_channel_affine", "torch.per_channel_affine_float_qparams"):
        raise damaged("it has a quantized tensor of an unknown scheme")
    # torch writes one name for both schemes: the numbers tell them apart.
    points = numbers[1]
    real = points.dtype.startswith("float") if type(points) is Tensor else float in map(type, points)
    tensor.dtype = PER_CHANNEL[0 if real else 1] + tensor.dtype
    tensor.parts = {"scales": numbers[0], "zero_points": numbers[1], "axis": numbers[2]}
    return tensor


def _parameter(args: _Args) -> Any:
    return args[0]


_SPARSE_LAYOUTS = tuple(f"torch.sparse_{kind}" for kind in ("coo", "csr", "csc", "bsr", "bsc"))


def _sparse(args: _Args) -> Tensor:
    layout, parts = args[:2]
    # COO: indices, values, size[, coalesced]; compressed: two index tensors, values, size
    values, size = (parts[2], parts[3]) if type(parts[2]) is Tensor else (parts[1], parts[2])
    kind = layout.args[0]  # torch.serialization._get_layout("torch.sparse_coo")
    if kind not in _SPARSE_LAYOUTS:
        raise damaged("it has a sparse tensor of an unknown layout")
    dtype = f"{kind.removeprefix('torch.')}_{values.dtype}"
    named = {str(number): part for number, part in enumerate(parts) if type(part) is Tensor}
    return Tensor(dtype, shape(size), kind="sparse", parts=named)


def _nested(args: _Args) -> Tensor:
    # The components' sizes are in a tensor, which is not read: only the buffer's shape is known.
    return Tensor(args[0].dtype, args[0].size)


def _meta(args: _Args) -> Tensor:
    dtype, size, stride = args[:3]
    return Tensor(META + dtypes.of_global(dtype), shape(size), stride=sizes(stride))


def _wrapper(args: _Args) -> Tensor:
    if type(args[0]) is not Global:
        raise damaged("it has a tensor of a class that it does not name")
    name = str(args[0])
    if name.startswith("torch.distributed.") and args[0].name == "DTensor":
        name = DISTRIBUTED
    dtype = f"{_UNUSUAL.sub('_', name)}.{dtypes.of_global(args[1])}"
    return Tensor(dtype, shape(args[2]), stride=sizes(args[3]), kind="subclass")


def _from_cpu(args: _Args) -> Tensor:
    return Tensor(dtypes.of_global(args[1]), args[0].size)


def _from_numpy(args: _Args) -> Tensor:
    return Tensor(dtypes.of_global(args[1]), shape(args[0].state[1]))


def _uninitialized(_: _Args) -> Tensor:
    return Tensor(UNINITIALIZED, ())


_TENSORS: Mapping[str, Callable[[_Args], Any]] = MappingProxyType(
    {
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_v3,
        "torch._utils._rebuild_qtensor": _quantized,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._utils._rebuild_sparse_tensor": _sparse,
        "torch._utils._rebuild_nested_tensor": _nested,
        "torch._utils._rebuild_meta_tensor_no_storage": _meta,
        "torch._utils._rebuild_wrapper_subclass": _wrapper,
        "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_cpu,
        "torch._utils._rebuild_device_tensor_from_numpy": _from_numpy,
        "torch._utils._rebuild_xla_tensor": _from_numpy,
        "torch.nn.parameter.Parameter": _parameter,
        "torch.nn.parameter.Buffer": _parameter,
        "torch.nn.parameter.UninitializedParameter": _uninitialized,
        "torch.nn.parameter.UninitializedBuffer": _uninitialized,
    }
)

#: Makers of modules that pickle names with arguments -> the attributes of the module.
_MODULES: Mapping[str, Callable[[_Args], Any]] = MappingProxyType(
    {
        "torch.fx.graph_module.reduce_graph_module": lambda args: args[0],
        "torch._dynamo.eval_frame.OptimizedModule": lambda args: {
            "_parameters": {},
            "_buffers": {},
            "_modules": {"_orig_mod": args[0]},
        },
    }
)

_COLLECTIONS: Mapping[str, Callable[[Rebuilder, _Args], Any]] = MappingProxyType(
    {
        "collections.OrderedDict": Rebuilder.ordered_dict,
        "builtins.set": Rebuilder.set,
        "builtins.frozenset": Rebuilder.set,
        "builtins.bytes": Rebuilder.bytes,
        "builtins.complex": Rebuilder.complex,
        "_codecs.encode": Rebuilder.encode,
        "torch.Size": Rebuilder.size,
        "torch._tensor._rebuild_from_type_v2": Rebuilder.from_type,
        "copyreg._reconstructor": Rebuilder.reconstructed,
        "copyreg.__newobj__": Rebuilder.new_object,
    }
)
