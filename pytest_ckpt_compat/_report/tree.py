"""A structure as a tree of modules: what ``ckpt-compat show`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pytest_ckpt_compat._core.adapters import CONFIG, config_of, described
from pytest_ckpt_compat._core.display import count, visible
from pytest_ckpt_compat._core.structure import ITEM_SIZES, Structure, TensorSpec

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_WIDEST = 60
#: Classes named in full.
_SHOWN = 12
#: Modules of what tensors are made of, and plain classes, which tell nothing about a file.
_TENSORS = frozenset(
    {
        *("torch", "torch._utils", "torch._tensor", "torch.serialization", "torch.storage"),
        *("torch.nn.parameter", "_codecs", "copyreg", "copy_reg"),
    }
)
_PLAIN = frozenset(
    {"OrderedDict", "set", "frozenset", "bytes", "bytearray", "complex", "dict", "list", "object"}
)
#: Levels of modules; a path below them stays one name.
_DEEPEST = 50


@dataclass
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    spec: TensorSpec | None = None
    nbytes: int | None = 0


def render(structure: Structure) -> str:
    """The file, one line for each module and tensor with its size, and the totals.

    Consecutive numbered siblings that are equal, such as the blocks of a network, share one line.
    """
    sizes = {key: _known(spec) for key, spec in structure.tensors.items()}
    lines = list(_lines(_tree(structure, sizes), 0))
    width = min(_WIDEST, max((len(name) for name, _, _ in lines), default=0))
    middle = max((len(spec) for _, spec, _ in lines), default=0)
    body = [f"{name:<{width}}  {spec:<{middle}}  {size:>9}".rstrip() for name, spec, size in lines]
    return "\n".join([*_head(structure), "", *body, "", *_foot(structure, sizes)])


def _tree(structure: Structure, sizes: Mapping[str, int | None]) -> _Node:
    root = _Node()
    for key, spec in structure.tensors.items():
        node, nbytes = root, sizes[key]
        for part in key.split(".", _DEEPEST):
            node.nbytes = _sum((node.nbytes, nbytes))
            child = node.children.get(part)
            if child is None:
                child = node.children[part] = _Node()
            node = child
        node.spec = spec
        node.nbytes = _sum((node.nbytes, nbytes))
    return root


def _lines(node: _Node, depth: int) -> Iterator[tuple[str, str, str]]:
    for names, child in _alike(node):
        spec = visible(str(child.spec)) if child.spec else ""
        name = visible(names[0]) if len(names) == 1 else f"{{{names[0]}..{names[-1]}}}"
        times = f" x {len(names)}" if len(names) > 1 else ""
        yield "  " * depth + name + times, spec, _size(_sum([child.nbytes] * len(names)))
        yield from _lines(child, depth + 1)


def _alike(node: _Node) -> Iterator[tuple[list[str], _Node]]:
    """The children; consecutive numbers with equal subtrees share one entry."""
    names: list[str] = []
    for name, child in node.children.items():
        first = node.children[names[0]] if names else None
        if first is not None and _follows(names[-1], name) and child == first:
            names.append(name)
            continue
        if first is not None:
            yield names, first
        names = [name]
    if names:
        yield names, node.children[names[0]]


def _follows(before: str, name: str) -> bool:
    return before.isdecimal() and name.isdecimal() and int(name) == int(before) + 1


def _head(structure: Structure) -> Iterator[str]:
    source = structure.source
    inside = f", state_dict at {source.container}" if source.container else ""
    yield visible(f"{source.path}: {source.format}{inside}")
    config = config_of(structure)
    if config is not None:
        yield visible(f"{CONFIG}: {described(config)}")
    first = source.container.split(".")[0]
    tied = _saved_once(structure)
    if tied:
        yield visible(f"saved once: {', '.join(f'{name} as {kept}' for name, kept in tied.items())}")
    values = [str(name) for name in structure.values if name != CONFIG and name not in tied]
    others = [name for name in values if name.split(".")[0] != first]
    if others:
        yield visible(f"also holds {', '.join(others)}")
    named = _classes(structure)
    if named:
        more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        yield visible(f"names {', '.join(named[:_SHOWN])}{more}")


def _saved_once(structure: Structure) -> dict[str, str]:
    """Tied key that is not in the file -> the one that is, as safetensors' ``save_model`` notes them."""
    notes = structure.values.items() if structure.source.format == "safetensors" else ()
    keys = structure.tensors.keys()
    return {name: kept for name, kept in notes if name not in keys and isinstance(kept, str) and kept in keys}


def _classes(structure: Structure) -> list[str]:
    """The classes and functions that the file names, without those that make up tensors and plain data."""
    names = structure.pickled.names if structure.pickled else ()
    return [f"{module}.{name}" for module, name in names if module not in _TENSORS and name not in _PLAIN]


def _foot(structure: Structure, sizes: Mapping[str, int | None]) -> Iterator[str]:
    specs = structure.tensors.values()
    tied = {key for _, *others in structure.aliases for key in others}
    unique = _sum(nbytes for key, nbytes in sizes.items() if key not in tied)
    dtypes = ", ".join(dict.fromkeys(spec.dtype for spec in specs))
    numbers = sum(spec.numel for key, spec in structure.tensors.items() if key not in tied)
    held = "unknown size" if unique is None else size(unique)
    yield visible(f"{count(len(specs), 'tensor')}, {count(numbers, 'element')}, {held} ({dtypes})")
    for group in structure.aliases:
        yield visible(f"tied: {' = '.join(group)}")


def _known(spec: TensorSpec) -> int | None:
    """The bytes of a tensor; None where its dtype has no known size (DTensor, sparse, torchao's)."""
    return spec.nbytes if spec.dtype in ITEM_SIZES or not spec.numel else None


def _sum(sizes: Iterable[int | None]) -> int | None:
    """The sum; None where one is not known."""
    total = 0
    for each in sizes:
        if each is None:
            return None
        total += each
    return total


def _size(nbytes: int | None) -> str:
    return "unknown" if nbytes is None else size(nbytes)


def size(nbytes: int) -> str:
    """``340 B``, ``1.7 kB``, ``2.0 GB``, in powers of 1,000."""
    amount, unit = float(nbytes), _UNITS[0]
    for unit in _UNITS:
        if amount < 1000 or unit == _UNITS[-1]:
            break
        amount /= 1000
    return f"{nbytes} B" if unit == "B" else f"{amount:.1f} {unit}"
