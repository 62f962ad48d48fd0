"""Runs a definition once with drawn values, and says what every module and the whole computes."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.display import count, size
from pytest_ckpt_compat._core.errors import BuildError
from pytest_ckpt_compat._core.outputs import CALL, Call, Digest, Outputs
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.build import build_real
from pytest_ckpt_compat._definition.digests import digest, tensors_by_path, together
from pytest_ckpt_compat._definition.drawn import draw
from pytest_ckpt_compat._definition.filling import (
    NotRunError,
    Way,
    drawn_state,
    fill,
    lowest,
    lowest_as_built,
)
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.inputs import Inputs, copied, seeded
from pytest_ckpt_compat._definition.intercept import intercept
from pytest_ckpt_compat._definition.names import brief
from pytest_ckpt_compat._definition.surroundings import untouched_globals

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Seconds of processor time that a run may take, which another program's load leaves alone; they are
#: looked at before each module.
SECONDS = 60.0
#: Calls of one module, and of all, that are noted.
_CALLS, _ALL_CALLS = 3, 5_000


@dataclass(frozen=True)
class Setup:
    """What all runs of one definition have in common.

    Attributes:
        definition: what is run.
        checkpoint: the checkpoint's non-tensor values, for a factory that takes them.
        inputs: of the forward.
        budget: bytes that its parameters and buffers, and the values for them, may take as float64.
        seconds: of processor time that one run may take.
        clock: gives the processor time in seconds.
    """

    definition: Definition
    checkpoint: Mapping[str, Any]
    inputs: Inputs
    budget: int
    seconds: float = SECONDS
    clock: Callable[[], float] = time.process_time


def run(setup: Setup, structure: Structure, way: Way | None = None, seed: int = 0) -> Outputs:
    """Builds the definition, fills it with drawn values, and runs it once in eval mode on the CPU.

    It computes in float64; where its own code insists on another dtype and raises, in the dtypes that it is
    built in.

    Args:
        setup: the definition and its inputs.
        structure: whose keys the values are drawn from.
        way: makes of them what the definition loads; None if the keys are its own.
        seed: of the random numbers that it is built and run with.

    Raises:
        BuildError: the definition cannot be built, or its forward raises or gives no tensor.
        NotFilledError: values do not reach every parameter and persistent buffer.
        NotRunError: it is beyond the budget, or cannot be filled.
    """
    import torch

    elements = sum(spec.numel for spec in structure.tensors.values())
    needed = 2 * 8 * elements
    if needed > setup.budget:
        problem = f"its {count(elements, 'element')} and the values for them take {size(needed)} as float64"
        raise NotRunError(f"{problem}, memory_budget is {size(setup.budget)}")
    ends = setup.clock() + setup.seconds
    failed: BuildError | None = None
    for dtype in (torch.float64, None):
        with untouched_globals(), torch.no_grad(), _quiet():
            if dtype is not None:
                torch.set_default_dtype(dtype)
            seeded(seed)
            module = build_real(setup.definition, setup.checkpoint).eval()
            built = lowest_as_built(module)
            fill(module, drawn_state(structure), way, dtype)
            seeded(seed)
            try:
                found = forward(module, setup.inputs, dtype, lambda: _in_time(setup, ends))
                return replace(found, precision=lowest((found.precision, built)))
            except (KeyboardInterrupt, NotRunError):
                raise
            except BaseException as error:
                problem = (
                    error.problem if isinstance(error, BuildError) else f"its forward raised {brief(error)}"
                )
                advice = "make it run on what inputs gives, or correct inputs"
                failed = BuildError(setup.definition.label, problem, advice)
    assert failed is not None  # noqa: S101 - both runs raised
    raise failed


def exercised(setup: Setup, structure: Structure, way: Way | None) -> frozenset[str]:
    """Paths of the modules with a parameter that changes the outputs, by their derivatives.

    Empty where they have none, as under ``torch.no_grad``.

    Args: as ``run``.
    """
    import torch

    with untouched_globals(), torch.enable_grad(), _quiet():
        torch.set_default_dtype(torch.float64)
        seeded(0)
        module = build_real(setup.definition, setup.checkpoint).eval()
        with torch.no_grad():
            fill(module, drawn_state(structure), way, torch.float64)
        args, kwargs = copied(setup.inputs, torch.float64)
        try:
            found = tensors_by_path(module(*args, **kwargs), detached=False).values()
            real = [torch.view_as_real(each) if each.is_complex() else each for each in found]
            sums = [
                (each.reshape(-1) * draw(f"projection {number}", each.numel())).sum()
                for number, each in enumerate(real)
                if each.requires_grad
            ]
            torch.stack(sums).sum().backward()  # type: ignore[no-untyped-call]
        except KeyboardInterrupt:
            raise
        except BaseException:  # some code cannot be run with derivatives
            return frozenset()
        return frozenset(
            path
            for path, part in module.named_modules()
            if any(p is not None and p.grad is not None and p.grad.any() for p in part._parameters.values())
        )


def _in_time(setup: Setup, ends: float) -> None:
    if setup.clock() > ends:
        raise NotRunError(f"it takes more than {setup.seconds:g} seconds of processor time")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def forward(
    module: nn.Module,
    inputs: Inputs,
    dtype: torch.dtype | None = None,
    look: Callable[[], None] = lambda: None,
) -> Outputs:
    """Runs a module and notes each call in it.

    Args:
        module: in eval mode.
        inputs: of the forward.
        dtype: of the floating-point inputs; None for the default.
        look: is called before each module; it may raise.

    Raises: whatever the module raises, and BuildError where it gives no tensor.
    """
    import torch

    notes = _Notes(look)
    lowest = _Lowest()
    args, kwargs = copied(inputs, dtype or torch.get_default_dtype())
    with notes.attached(module), intercept(lowest):
        given = module(*args, **kwargs)
    found = tensors_by_path(given)
    if not found:
        problem = f"its forward gave {type(given).__name__}, and no tensor in it"
        raise BuildError(type(module).__name__, problem, "")
    if all(map(_is_lost, found.values())):
        raise NotRunError("with drawn values, its outputs are NaN or infinite throughout")
    results = {path: digest(tensor) for path, tensor in found.items()}
    return Outputs(lowest.precision, inputs.digests, results, notes.calls)


def _is_lost(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds no finite number."""
    import torch

    dense = tensor.layout is torch.strided and tensor.is_floating_point()
    return dense and bool(tensor.numel()) and not bool(torch.isfinite(tensor).any())


class _Lowest:
    """Runs operators, and notes the lowest dtype that one of them gives."""

    def __init__(self) -> None:
        self.precision = "float64"

    def __call__(self, operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        import torch

        found = operator(*args, **kwargs)
        for each in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(each, torch.Tensor) and each.is_floating_point() and each.dtype != torch.float64:
                self.precision = lowest((self.precision, str(each.dtype).rpartition(".")[2]))
        return found


class _Notes:
    """Notes what each module is given and gives."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.calls: dict[str, Call] = {}
        self._look = look
        self._open: list[tuple[str, Digest]] = []
        self._numbers: dict[str, int] = {}

    @contextlib.contextmanager
    def attached(self, module: nn.Module) -> Iterator[None]:
        """Attaches hooks to every module but the outermost one, whose results are kept in full."""
        from torch.jit import ScriptModule

        handles: list[Any] = []
        for path, part in module.named_modules():
            if path and not isinstance(part, ScriptModule):
                handles += self._attach(path, part)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _attach(self, path: str, part: nn.Module) -> Iterator[Any]:
        def before(_part: nn.Module, args: Any, kwargs: Any = None) -> None:
            self._look()
            self._open.append((path, together(tensors_by_path((args, kwargs or {})).values())))

        def after(_part: nn.Module, _args: Any, found: Any) -> None:
            while self._open:  # a call that raised, and was caught, has left its own
                name, given = self._open.pop()
                if name == path:
                    self._note(path, given, together(tensors_by_path(found).values()))
                    break

        yield part.register_forward_pre_hook(before, with_kwargs=True)
        yield part.register_forward_hook(after)

    def _note(self, path: str, given: Digest, gave: Digest) -> None:
        number = self._numbers[path] = self._numbers.get(path, 0) + 1
        if number <= _CALLS and len(self.calls) < _ALL_CALLS:
            self.calls[path if number == 1 else f"{path}{CALL}{number}"] = Call(given, gave)
