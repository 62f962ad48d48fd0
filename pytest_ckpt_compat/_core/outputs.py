"""What a definition computes with values drawn for it, as a few numbers, and how two such differ."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

#: Lowest dtype that a run computes in -> relative difference of two runs that count as one. Measured:
#: threads, kernels and versions of torch differ by far less, an edit by far more.
TOLERANCES: Mapping[str, float] = MappingProxyType(
    {"float64": 1e-9, "float32": 1e-4, "bfloat16": 2e-2, "float16": 2e-2}
)
#: Separates the path of a module from the number of its call, where it is not the first.
CALL = "#"

_DIGEST = re.compile(r"(?P<dtype>[a-z][a-z0-9_]*)\[(?P<shape>(?:\d+(?:, \d+)*)?)\](?P<numbers>(?: \S+)+)")


@dataclass(frozen=True, slots=True)
class Digest:
    """A tensor as a few numbers.

    Attributes:
        dtype: torch's name without ``torch.``; "" for several tensors taken together.
        shape: the size of each dimension.
        norm: the square root of the sum of its squares.
        projections: its dot products with vectors that are drawn from their own numbers, divided by the norm.
    """

    dtype: str
    shape: tuple[int, ...]
    norm: float
    projections: tuple[float, ...]

    def __str__(self) -> str:
        """``float64[2, 10] 3.14159265359 0.1234567890 ...``; the numbers alone where there is no dtype."""
        numbers = " ".join([f"{self.norm:.12g}", *(f"{each:.10f}" for each in self.projections)])
        return f"{self.dtype}{list(self.shape)} {numbers}" if self.dtype else numbers

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parses the output of ``str``. Raises ValueError for anything else."""
        match = _DIGEST.fullmatch(text)
        sizes = match["shape"] if match else ""
        norm, *projections = map(float, (match["numbers"] if match else text).split())
        if not all(map(math.isfinite, (norm, *projections))):
            raise ValueError(f"not the digest of a tensor: {text[:100]!r}")
        shape = tuple(int(n) for n in sizes.split(",")) if sizes else ()
        return cls(match["dtype"] if match else "", shape, norm, tuple(projections))

    def distance(self, other: Digest) -> float:
        """The relative difference of two tensors; infinite where dtype or shape is another."""
        alike = (self.dtype, self.shape) == (other.dtype, other.shape)
        if not alike or len(self.projections) != len(other.projections):
            return math.inf
        largest = max(self.norm, other.norm)
        if not largest:
            return 0.0
        apart = abs(self.norm - other.norm) / largest
        return max(apart, *(abs(a - b) for a, b in zip(self.projections, other.projections, strict=True)))


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a module.

    Attributes:
        given: the tensors that it was given, taken together.
        gave: the tensors that it gave, taken together.
    """

    given: Digest
    gave: Digest

    def __str__(self) -> str:
        """What it was given, then what it gave."""
        return f"{self.given} {self.gave}"

    @classmethod
    def parse(cls, text: str) -> Call:
        """Parses the output of ``str``. Raises ValueError for anything else."""
        numbers = text.split()
        if len(numbers) != 4:
            raise ValueError(f"not a call of a module: {text[:100]!r}")
        return cls(Digest.parse(" ".join(numbers[:2])), Digest.parse(" ".join(numbers[2:])))


@dataclass(frozen=True)
class Outputs:
    """What one forward of a definition computes.

    Attributes:
        precision: the lowest dtype that it computes in.
        inputs: path in the inputs -> the tensor there.
        results: path in what ``forward`` returns ("" for a tensor alone) -> the tensor there.
        calls: path of each module, with ``#2`` for its second call -> the call, in the order in which they
            ended.
    """

    precision: str
    inputs: Mapping[str, Digest] = field(default_factory=dict)
    results: Mapping[str, Digest] = field(default_factory=dict)
    calls: Mapping[str, Call] = field(default_factory=dict)

    @property
    def tolerance(self) -> float:
        """The relative difference up to which another run computes the same."""
        return TOLERANCES.get(self.precision, TOLERANCES["float16"])


@dataclass(frozen=True)
class Drift:
    """How what a definition computes differs from what it computed.

    Attributes:
        size: the largest relative difference of a result; infinite where shapes, dtypes or paths differ.
        result: the path of the result that differs most.
        module: path of the first module, in the order of execution, that gives something else, or of the
            outermost one around it that is given something else; None where every module that both have gives
            the same.
        given: whether that module is given something else, so that the cause lies around it.
    """

    size: float
    result: str = ""
    module: str | None = None
    given: bool = False


def drift(old: Outputs, new: Outputs, places: Mapping[str, str] | None = None) -> Drift | None:
    """How new outputs differ from old ones; None if they are the same.

    Args:
        old: as recorded.
        new: as computed now.
        places: old path -> new path of modules; None if each has the path that it had.
    """
    tolerance = min(old.tolerance, new.tolerance)
    distances = _distances(old.results, new.results)
    result = max(distances, key=distances.__getitem__, default="")
    if not distances or distances[result] <= tolerance:
        return None
    before = old.calls if places is None else _moved(old.calls, places)
    for path, call in new.calls.items():
        if path in before and before[path].gave.distance(call.gave) > tolerance:
            given = before[path].given.distance(call.given) > tolerance
            module = (
                _outermost_given(path, before, new.calls, tolerance) if given else path.partition(CALL)[0]
            )
            return Drift(distances[result], result, module, given)
    return Drift(distances[result], result)


def _outermost_given(
    path: str, before: Mapping[str, Call], calls: Mapping[str, Call], tolerance: float
) -> str:
    """The outermost module around a call that is given something else, or the call's own."""
    later = list(calls)
    later = later[later.index(path) :]
    found = around = path.partition(CALL)[0]
    while around:
        around = around.rpartition(".")[0]
        # Calls stand in the order in which they end: the next one of a module around it contains it.
        call = next((each for each in later if each.partition(CALL)[0] == around), None)
        if call is None or call not in before:
            continue
        if before[call].given.distance(calls[call].given) <= tolerance:
            break
        found = around
    return found


def same_inputs(old: Outputs, inputs: Mapping[str, Digest]) -> bool:
    """Whether inputs are those that outputs were recorded for."""
    tolerance = TOLERANCES["float64"]
    return old.inputs.keys() == inputs.keys() and all(
        old.inputs[path].distance(each) <= tolerance for path, each in inputs.items()
    )


def _distances(old: Mapping[str, Digest], new: Mapping[str, Digest]) -> dict[str, float]:
    """New path -> the relative difference. Results under other paths are compared in their order."""
    if old.keys() == new.keys():
        return {path: old[path].distance(each) for path, each in new.items()}
    if len(old) == len(new):
        pairs: Iterable[tuple[Digest, str]] = zip(old.values(), new, strict=True)
        return {path: before.distance(new[path]) for before, path in pairs}
    return {next((path for path in new if path not in old), next(iter(new), "")): math.inf}


def _moved(calls: Mapping[str, Call], places: Mapping[str, str]) -> dict[str, Call]:
    found: dict[str, Call] = {}
    for name, call in calls.items():
        path, sign, number = name.partition(CALL)
        if path in places:
            found[f"{places[path]}{sign}{number}"] = call
    return found
