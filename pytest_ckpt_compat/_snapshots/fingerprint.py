"""Structure <-> canonical text and digest: the file that stands in for a checkpoint's weights."""

from __future__ import annotations

import ast
import json
import math
import operator
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.records import marked, unmarked
from pytest_ckpt_compat._core.structure import (
    OBJECT,
    SNAPSHOT,
    OptimizerState,
    Source,
    Structure,
    TensorSpec,
)
from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._registry.names import UPDATE
from pytest_ckpt_compat._snapshots import (
    migrated_data,
    module_classes,
    module_lines,
    optimizer_data,
    output_lines,
    pickled_names,
)
from pytest_ckpt_compat._snapshots.conflicts import line_of_marker
from pytest_ckpt_compat._snapshots.optimizer_data import plain

FORMAT = "ckpt-compat fingerprint"
VERSION = 1
#: ``Source.format`` of a structure that comes from a snapshot.
SOURCE = SNAPSHOT

#: How often signs may stand in the text. A tensor takes one colon, and a comma for each dimension.
_MOST = {
    "brackets": ("[{", 12 * limits.KEYS),
    "colons": (":", 6 * limits.KEYS),
    "commas": (",", 24 * limits.KEYS),
}
#: Characters of a tensor's dtype and shape; each dimension has 19 digits at most.
_LONGEST_SPEC = 100 + 21 * limits.DIMENSIONS
#: What to do about a fingerprint of a newer version.
NEWER = "update pytest-ckpt-compat"
#: Characters of an entry that is no tensor. A longer one is left out, and the check says so.
_LONGEST_OBJECT = 10_000


def digest(structure: Structure, optimizers: bool = False) -> str:
    """``sha256:...`` over keys in order, specs, aliases and versions: what a load depends on.

    Never over prose, source, the classes and settings of modules, or outputs, on which no load depends.

    Args:
        structure: what to digest.
        optimizers: whether to include the states of optimizers.
    """
    of = (structure.tensors, structure.aliases, structure.versions, structure.optimizers)
    known, found = structure.digests.get(optimizers, ((), ""))
    if len(known) == len(of) and all(map(operator.is_, known, of)):
        return found
    found = _digest(structure, optimizers)
    structure.digests[optimizers] = (of, found)
    return found


def _digest(structure: Structure, optimizers: bool) -> str:
    import hashlib  # with OpenSSL

    facts: dict[str, Any] = {
        "tensors": [[key, str(spec)] for key, spec in structure.tensors.items()],
        "aliases": [list(group) for group in structure.aliases],
        "versions": None if structure.versions is None else sorted(structure.versions.items()),
    }
    if optimizers:
        facts["optimizers"] = {
            path: optimizer_data.as_data(state) for path, state in structure.optimizers.items()
        }
    text = json.dumps(facts, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def same(one: Structure, other: Structure, optimizers: bool = False) -> bool:
    """Whether two fingerprints say the same: equal digests, modules in equal order, names, migrations."""
    names = [pickled_names.as_data(each.pickled) for each in (one, other)]
    equal = digest(one, optimizers) == digest(other, optimizers) and names[0] == names[1]
    return equal and one.migrated == other.migrated and same_modules(one, other)


def same_modules(one: Structure, other: Structure) -> bool:
    """Whether two fingerprints have modules of the same classes and settings, in the same order."""
    return list(one.modules.items()) == list(other.modules.items()) and one.settings == other.settings


def dumps(
    structure: Structure,
    values: Mapping[str, Any] | None = None,
    optimizers: bool = False,
    whole: bool = True,
) -> str:
    """A fingerprint: one line per tensor, ASCII, Unix line ends.

    Args:
        structure: what to write down.
        values: non-tensor values to keep with it, for a factory that takes ``checkpoint``, without
            those that JSON cannot hold.
        optimizers: whether to keep the states of optimizers with it, for level ``resume``.
        whole: whether it counts as a whole, as the content of one file does, and gets a digest. Otherwise
            there is no line in which two changes of different tensors meet, so that git merges them.
    """
    source = {
        "path": structure.source.path,
        "container": structure.source.container,
        "parts": dict(structure.source.parts),
        "recorded": structure.source.recorded,
    }
    fields = [
        ("format", json.dumps(FORMAT)),
        ("version", json.dumps(VERSION)),
        *([("digest", json.dumps(digest(structure, optimizers)))] if whole else []),
        ("source", json.dumps({name: value for name, value in source.items() if value})),
        ("tensors", _block("{}", [f"{_q(key)}: {_q(str(spec))}" for key, spec in structure.tensors.items()])),
    ]
    if structure.aliases:
        fields.append(("aliases", _block("[]", [json.dumps(group) for group in structure.aliases])))
    if structure.strides:
        lines = [f"{_q(key)}: {json.dumps(stride)}" for key, stride in structure.strides.items()]
        fields.append(("strides", _block("{}", lines)))
    if structure.versions is not None:
        lines = [f"{_q(name)}: {version}" for name, version in sorted(structure.versions.items())]
        fields.append(("versions", _block("{}", lines)))
    if kept := {key: text for key, each in structure.objects.items() if (text := _literal(each))}:
        fields.append(("objects", _block("{}", [f"{_q(key)}: {_q(text)}" for key, text in kept.items()])))
    if modules := module_classes.fold(module_lines.joined(structure)):
        lines = [f"{_q(path)}: {_q(text)}" for path, text in modules.items()]
        fields.append(("modules", _block("{}", lines)))
    if structure.outputs:
        fields.append(("outputs", output_lines.dumps(structure.outputs)))
    if named := pickled_names.as_data(structure.pickled):
        lines = [f"{_q(name)}: {json.dumps(value)}" for name, value in named.items()]
        fields.append(("pickled", _block("{}", lines)))
    if values is not None:
        fields.append(("values", json.dumps(plain(marked(values)), sort_keys=True)))
    if optimizers:
        lines = [f"{_q(path)}: {_optimizer(state)}" for path, state in structure.optimizers.items()]
        fields.append(("optimizers", _block("{}", lines)))
    text = "{\n" + ",\n".join(f"  {_q(name)}: {text}" for name, text in fields) + "\n}\n"
    return migrated_data.with_migrated(text, structure.migrated, structure.tensors)


def loads(text: str, path: str, again: str = UPDATE) -> Structure:
    """Reads a fingerprint. ``tensors`` alone is required, so that other programs can write one.

    Args:
        text: the file's text.
        path: where the text comes from, for messages.
        again: the command that records it again, for messages.

    Raises:
        SnapshotError: the text is not a fingerprint, was edited by hand, or is of a newer version.
    """
    fields = _parse(text, path, again)
    redo = redo_advice(again)
    version = fields.get("version", VERSION)
    if not isinstance(version, int) or version > VERSION:
        raise SnapshotError(path, f"is of version {version!r}, newer than {VERSION}", NEWER)
    if fields.get("format", FORMAT) != FORMAT or not isinstance(fields.get("tensors"), dict):
        raise SnapshotError(path, 'is not a fingerprint: it has no "tensors"', redo)
    try:
        structure = _structure(fields, path)
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise SnapshotError(path, f"is not a fingerprint: {error}", redo) from error
    found = digest(structure, "optimizers" in fields)
    if fields.get("digest", found) != found:
        raise SnapshotError(path, "was changed by hand: its digest does not match", redo)
    return structure


def path_in(text: str) -> str:
    """The path in a fingerprint that ``dumps`` has written, from its first lines; "" in any other text."""
    head, found, _ = text.partition(',\n  "tensors": {')
    try:
        fields = json.loads(head + "}") if found else {}
        path = fields["source"]["path"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return path if isinstance(path, str) and fields.get("format") == FORMAT else ""


def _structure(fields: Mapping[str, Any], path: str) -> Structure:
    source = fields.get("source", {})
    versions = fields.get("versions")
    if len(fields["tensors"]) > limits.KEYS:
        raise ValueError(f"it has more than {limits.KEYS:,} tensors, the limit for reading it")
    long = next((key for key, spec in fields["tensors"].items() if len(spec) > _LONGEST_SPEC), None)
    if long is not None:
        raise ValueError(f"{long[:100]!r} has too many dimensions")
    tensors = {key: TensorSpec.parse(spec) for key, spec in fields["tensors"].items()}
    aliases = tuple(tuple(group) for group in fields.get("aliases", ()))
    if sum(map(len, aliases)) > len(tensors):
        raise ValueError('"aliases" names a key twice')
    modules = fields.get("modules", {})
    if not all(isinstance(kind, str) for kind in modules.values()):
        raise ValueError('"modules" holds something that is not the name of a class')
    unknown = [key for group in aliases for key in group if key not in tensors]
    if unknown:
        raise ValueError(f'"aliases" names {unknown[0]!r}, which is not in "tensors"')
    unlike = [
        (group[0], key) for group in aliases for key in group if tensors[key].shape != tensors[group[0]].shape
    ]
    if unlike:
        raise ValueError(f'"aliases" ties {unlike[0][0]!r} to {unlike[0][1]!r}, which has another shape')
    strides = {key: tuple(stride) for key, stride in fields.get("strides", {}).items()}
    odd = [key for key, stride in strides.items() if not _can_be_the_stride_of(stride, tensors.get(key))]
    if odd:
        raise ValueError(f'"strides" has {odd[0]!r} with what cannot be its stride')
    if any(tensors.get(key) != TensorSpec(OBJECT) for key in fields.get("objects") or {}):
        raise ValueError('"objects" has a key that is no object in "tensors"')
    if versions is not None and not all(type(number) is int for number in versions.values()):
        raise ValueError('"versions" holds something that is not a whole number')
    classes, settings = module_lines.separated(module_classes.unfold(modules))
    return Structure(
        tensors=tensors,
        aliases=aliases,
        versions=versions,
        modules=classes,
        settings=settings,
        source=Source(
            path=str(source.get("path", path)),
            format=SOURCE,
            container=str(source.get("container", "")),
            parts=tuple((str(name), str(place)) for name, place in source.get("parts", {}).items()),
            recorded=str(source.get("recorded", "")),
        ),
        values=dict(unmarked(fields.get("values") or {})),
        objects={key: _value(text) for key, text in fields.get("objects", {}).items()},
        strides=strides,
        pickled=pickled_names.read(fields.get("pickled")),
        outputs=output_lines.read(fields.get("outputs")),
        migrated=migrated_data.read(fields.get("migrated"), tensors),
        optimizers={
            path: optimizer_data.read(data) for path, data in (fields.get("optimizers") or {}).items()
        },
    )


def _literal(value: Any) -> str:
    """An entry that is no tensor, as a literal of Python; "" if it is long, or has no literal."""
    try:
        text = repr(value)
        exact = len(text) <= _LONGEST_OBJECT and ast.literal_eval(text) == value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""
    return text if exact else ""


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text[: _LONGEST_OBJECT + 1])
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f'"objects" has {text[:100]!r}, which is no literal') from error


def _can_be_the_stride_of(stride: tuple[Any, ...], spec: TensorSpec | None) -> bool:
    if spec is None or len(stride) != len(spec.shape):
        return False
    sound = all(type(step) is int and step >= 0 for step in stride)
    return sound and sum(map(math.prod, zip(spec.shape, stride, strict=True))) <= limits.ELEMENTS


def redo_advice(again: str) -> str:
    """What to do with an unusable snapshot that the command ``again`` records again."""
    return f"restore it from git, or record it again: {again}"


def _parse(text: str, path: str, again: str) -> dict[str, Any]:
    redo = redo_advice(again)
    if line := line_of_marker(text):
        problem = f"has conflict markers (line {line})"
        raise SnapshotError(path, problem, f"merge it: keep one side, or record it again: {again}")
    for name, (signs, most) in _MOST.items():
        if sum(map(text.count, signs)) > most:  # counted first, so that the parser never builds them
            problem = f"cannot be read: it has more than {most:,} {name}, the limit for reading it"
            raise SnapshotError(path, problem, redo)
    try:
        fields = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(path, f"is not a fingerprint: {error}", redo) from error
    if not isinstance(fields, dict):
        raise SnapshotError(path, "is not a fingerprint: it is not a JSON object", redo)
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        numbers = Counter(name for name, _ in pairs)
        twice = next(name for name, number in numbers.items() if number > 1)
        raise ValueError(f"{twice!r} is in it twice")
    return fields


def _optimizer(state: OptimizerState) -> str:
    parts = optimizer_data.as_data(state).items()
    lines = [f"{_q(name)}: {_block('[]', [json.dumps(e) for e in entries], 6)}" for name, entries in parts]
    return _block("{}", lines, 4)


def _block(brackets: str, lines: list[str], indent: int = 2) -> str:
    if not lines:
        return brackets
    before = "\n" + " " * indent
    return f"{brackets[0]}{before}  {f',{before}  '.join(lines)}{before}{brackets[1]}"


def _q(text: str) -> str:
    return json.dumps(text)
