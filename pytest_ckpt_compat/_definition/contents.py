"""Makes tensors out of their parts: quantized and sparse ones, and those of subclasses."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.contents import DISTRIBUTED, PER_CHANNEL, Content, Named, subclass_of
from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._core.structure import TensorSpec

if TYPE_CHECKING:
    import torch

    from pytest_ckpt_compat._definition.weights import Files

_GATHER = (
    "gather it on every rank with torch.distributed.checkpoint.state_dict.get_model_state_dict("
    "model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)), and save that on rank 0"
)
#: Note on a checkpoint with tensors of which the file holds one rank's part.
ONE_RANK = f"the file is one rank's: its tensors are distributed; {_GATHER}"
_TORCHAO = "torchao."
_RESAVE = "save it dense, or check it where its class can be imported"


class Maker:
    """Makes the tensors of one checkpoint, each once.

    Args:
        path: the checkpoint, for messages.
        files: where the numbers come from; None makes zeros.
    """

    def __init__(self, path: str, files: Files | None) -> None:
        self._path = path
        self._files = files
        self._made: dict[int, Any] = {}

    def value(self, value: Any) -> Any:
        """Returns an object's value, with real tensors and dtypes in it.

        Raises:
            ReadError: a tensor in it cannot be made.
        """
        if isinstance(value, Named):
            return _dtype(value)
        if not isinstance(value, (Content, tuple, list, dict)):
            return value
        if id(value) not in self._made:
            self._made[id(value)] = self._value(value)
        return self._made[id(value)]

    def _value(self, value: Any) -> Any:
        if isinstance(value, Content):
            return self._tensor(value)
        if isinstance(value, dict):
            return {name: self.value(item) for name, item in value.items()}
        return type(value)([self.value(item) for item in value])

    def _tensor(self, content: Content) -> Any:
        makers: dict[str, Callable[[Content], Any]] = {
            "dense": self._dense,
            "number": self._number,
            "quantized": self._quantized,
            "sparse": self._sparse,
        }
        with warnings.catch_warnings():  # torch's own, about kinds of tensors that it deprecates
            warnings.simplefilter("ignore")
            try:
                return makers.get(content.kind, self._subclass)(content)
            except ReadError:
                raise
            except Exception as error:  # of a file whose parts do not fit together
                said = (str(error) or type(error).__name__).splitlines()[0]
                problem = f"it has a tensor {content.spec} that torch refuses ({said})"
                raise ReadError(self._path, problem, "fetch or save it again") from error

    def _number(self, content: Content) -> torch.Tensor:
        import torch

        return torch.tensor(content.parts["value"], dtype=_dtype(Named(content.spec.dtype)))

    def _dense(self, content: Content) -> torch.Tensor:
        import torch

        if self._files is not None and content.location is not None:
            return self._files.tensor(content.location, content.spec)
        return torch.zeros(content.spec.shape, dtype=_dtype(Named(content.spec.dtype)))

    def _quantized(self, content: Content) -> torch.Tensor:
        tensor = quantized(content.spec, {name: self.value(part) for name, part in content.parts.items()})
        if self._files is not None and content.location is not None and content.spec.numel:
            dtype = str(tensor.dtype).removeprefix("torch.")
            storage = self._files.storage(content.location, TensorSpec(dtype, content.spec.shape))
            tensor.set_(storage, 0, content.spec.shape, content.location.stride)
        return tensor

    def _sparse(self, content: Content) -> Any:
        import torch

        make_coo: Any = torch.sparse_coo_tensor
        make_compressed: Any = torch.sparse_compressed_tensor
        parts = [self.value(part) for part in content.parts.values()]
        layout = content.spec.dtype.removesuffix(f"_{str(parts[-1].dtype).removeprefix('torch.')}")
        # Without the file's numbers, the indices are all zero: as many as there are, which is what counts.
        check = self._files is not None
        if len(parts) == 2:
            return make_coo(*parts, content.spec.shape, check_invariants=check)
        return make_compressed(
            *parts, content.spec.shape, layout=getattr(torch, layout), check_invariants=check
        )

    def _subclass(self, content: Content) -> Any:
        import torch

        spec, name = content.spec, subclass_of(content.spec.dtype)
        if name == DISTRIBUTED:
            return self._distributed(spec)
        kind: Any = _imported(name)
        if kind is None:
            problem = f"it holds a tensor of the class {name}, which nothing here imports: none can be made"
            raise ReadError(self._path, problem, _RESAVE)
        restore = getattr(kind, "__setstate__", torch.Tensor.__setstate__)
        own = restore is not torch.Tensor.__setstate__
        if content.kind == "unknown" or (own and not name.startswith(_TORCHAO)):
            problem = f"it holds a tensor of the class {name}, whose parts are objects that are not read"
            raise ReadError(self._path, problem, "save its weights as ordinary dense tensors")
        dtype = _dtype(Named(spec.dtype.rpartition(".")[2]))
        parts = {attribute: self.value(part) for attribute, part in content.parts.items()}
        try:
            make: Any = torch.Tensor._make_wrapper_subclass
            tensor = make(kind, spec.shape, dtype=dtype, device="cpu")
            if own:
                restore(tensor, parts)
            for attribute in parts if not own else ():
                setattr(tensor, attribute, parts[attribute])
        except Exception as error:
            problem = f"it holds a tensor of the class {name}, which cannot be made ({error})"
            raise ReadError(self._path, problem, _RESAVE) from error
        return tensor

    def _distributed(self, spec: TensorSpec) -> Any:
        """Makes a distributed tensor of the global shape, whose mesh is this process alone."""
        import torch

        if self._files is not None:
            raise ReadError(self._path, f"it is one rank's file: it lacks the other parts of {spec}", _GATHER)
        try:
            from torch.distributed.device_mesh import DeviceMesh
            from torch.distributed.tensor import DTensor, Replicate
            from torch.distributed.tensor._dtensor_spec import DTensorSpec, TensorMeta

            if torch.distributed.is_initialized():
                raise RuntimeError("this process is part of a distributed run")
            mesh: Any = DeviceMesh("cpu", [0], _init_backend=False, _rank=0)
            local = torch.zeros((), dtype=_dtype(Named(spec.dtype.rpartition(".")[2]))).expand(spec.shape)
            meta = TensorMeta(local.shape, torch.empty(spec.shape, device="meta").stride(), local.dtype)
            make: Any = DTensor
            return make(local, DTensorSpec(mesh, (Replicate(),), meta), requires_grad=False)
        except (ImportError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            problem = f"it is one rank's file, and its distributed tensors cannot be made here ({error})"
            raise ReadError(self._path, problem, _GATHER) from error


def quantized(spec: TensorSpec, parts: Mapping[str, Any]) -> torch.Tensor:
    """Makes an empty quantized tensor.

    Args:
        spec: its dtype, which names the scheme unless it is per tensor, and its shape.
        parts: ``scale`` and ``zero_point``, or ``scales``, ``zero_points`` and ``axis``; a scale that is
            missing is 1, everything else 0.
    """
    import torch

    prefix = next((prefix for prefix in PER_CHANNEL if spec.dtype.startswith(prefix)), "")
    dtype = _dtype(Named(spec.dtype.removeprefix(prefix)))
    if not prefix:
        scale, zero_point = parts.get("scale", 1.0), parts.get("zero_point", 0)
        return torch._empty_affine_quantized(spec.shape, scale=scale, zero_point=zero_point, dtype=dtype)
    axis = parts.get("axis", 0)
    size = spec.shape[axis]
    real = "float_qparams" in prefix
    scales = torch.as_tensor(parts.get("scales", [1.0] * size))
    zero_points = torch.as_tensor(parts.get("zero_points", [0] * size))
    return torch._empty_per_channel_affine_quantized(
        spec.shape,
        scales=scales.to(torch.float32 if real else torch.float64),
        zero_points=zero_points.to(torch.float32 if real else torch.int64),
        axis=axis,
        dtype=dtype,
    )


def _dtype(named: Named) -> torch.dtype:
    """Returns a dtype by name; uint8 for one that this torch lacks: the shape still counts."""
    import torch

    found = getattr(torch, named.name, None)
    return found if isinstance(found, torch.dtype) else torch.uint8


def _imported(name: str) -> Any:
    """Returns a tensor class that something else imported; imports nothing that a file names.

    A checkpoint of torchao is of no use without torchao, so this imports it as a whole.
    """
    import torch

    if name.startswith(_TORCHAO):
        try:
            import torchao.quantization  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
        except Exception:
            return None
    module, _, attribute = name.rpartition(".")
    found = getattr(sys.modules.get(module), attribute, None)
    return found if isinstance(found, type) and issubclass(found, torch.Tensor) else None
