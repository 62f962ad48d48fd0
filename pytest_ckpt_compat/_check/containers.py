"""Chooses among the state_dicts in a file: the check knows the definition, so it takes the one that fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from pytest_ckpt_compat._check import wrapper as wrappers
from pytest_ckpt_compat._core import prefixes
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.errors import BuildError, ChoiceError, CkptCompatError, ReadError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition import confirm, lightning
from pytest_ckpt_compat._definition.find import Definition

#: Most state_dicts of one file that are compared with the definition, and most that a note names.
_MOST = 16
_SHOWN = 4

#: How well a state_dict fits: tensors of equal key and shape; tensors of equal shape; keys that the
#: definition has, whatever their shapes; fewer of others.
_Score = tuple[int, int, int, int]


def fitting(
    read: Callable[[str | None], Structure],
    definition: Definition,
    strip_prefix: str | None = None,
    recorded: str | None = None,
) -> tuple[Structure, tuple[str, ...]]:
    """Reads the state_dict of a file that fits a definition, and notes which others the file holds.

    Where none fits better than the others, the usual names and the depth decide, as in ``read``.

    Args:
        read: reads the state_dict at a dotted path; None searches for it.
        definition: what it is to be loaded into.
        strip_prefix: taken off the keys first.
        recorded: the path that an earlier check has chosen, which stays.

    Raises:
        ReadError: the file cannot be read.
        ChoiceError: several fit equally well, and by name none goes first.
    """
    first: Structure | None = None
    refusal: ChoiceError | None = None
    try:
        first = read(None)
        ranked: tuple[str, ...] = (first.source.container,)
        paths = (*ranked, *first.source.others)
    except ChoiceError as error:
        refusal, ranked, paths = error, error.equal, error.keys
    if first is not None and len(paths) == 1:
        return first, ()
    if recorded in paths:
        chosen = first if first is not None and recorded == ranked[0] else read(recorded)
        return chosen, _note(chosen, paths)
    tied = _best(_readable(read, paths, first), definition, strip_prefix)
    if not tied and refusal is not None:
        raise refusal
    going_first = [each for each in tied if each.source.container in ranked] or tied
    if len(going_first) > 1:
        raise _asked(going_first, definition)
    chosen = going_first[0] if going_first or first is None else first
    return chosen, _note(chosen, paths, [each.source.container for each in tied])


def _readable(
    read: Callable[[str | None], Structure], paths: Sequence[str], first: Structure | None
) -> list[Structure]:
    """The state_dicts of a file that can be read."""
    found = []
    for path in paths[:_MOST]:
        if first is not None and path == first.source.container:
            found.append(first)
            continue
        try:
            found.append(read(path))
        except ReadError:
            continue
    return found


def _best(candidates: list[Structure], definition: Definition, strip_prefix: str | None) -> list[Structure]:
    """Those that fit best; none if the definition cannot be built, or nothing in them fits."""
    if definition.lightning:
        own = [each for each in candidates if lightning.is_checkpoint(each)]
        if own:
            return own[:1]
    try:
        new = confirm.defined(definition, candidates[0].values if candidates else None)
    except BuildError:
        return []
    scores = [_score(each, new, definition, strip_prefix) for each in candidates]
    top = max(scores, default=(0, 0, 0, 0))
    if not any(top[:2]):
        return []
    return [each for each, score in zip(candidates, scores, strict=True) if score == top]


def _score(structure: Structure, new: Structure, definition: Definition, strip_prefix: str | None) -> _Score:
    if strip_prefix:
        structure = prefixes.strip(structure, strip_prefix)
    if definition.remap is not None:
        structure = _after_remap(structure, definition)
    wrapper = wrappers.by_names(structure, new)
    tensors = (wrapper.unwrap(structure) if wrapper else structure).tensors
    same = sum(key in new.tensors and new.tensors[key].shape == spec.shape for key, spec in tensors.items())
    shapes = Counter(spec.shape for spec in tensors.values()) & Counter(
        spec.shape for spec in new.tensors.values()
    )
    return same, shapes.total(), sum(key in new.tensors for key in tensors), -len(tensors)


def _after_remap(structure: Structure, definition: Definition) -> Structure:
    """What the migrations make of a state_dict; the state_dict itself where it raises."""
    try:
        done = confirm.load(structure, definition, budget=0)[1].remapped
    except CkptCompatError:
        return structure
    return done.structure if done else structure


def _note(chosen: Structure, paths: Sequence[str], tied: Sequence[str] = ()) -> tuple[str, ...]:
    """What the file holds besides the chosen one."""
    own = chosen.source.container
    others = [path for path in paths if path != own]
    shown = [f"{_shown(path)} (fits as well)" if path in tied else _shown(path) for path in others[:_SHOWN]]
    more = ", ..." if len(others) > _SHOWN else ""
    return (f"checked {_shown(own)}; the file also holds {', '.join(shown)}{more}: key= chooses",)


def _shown(path: str) -> str:
    return path or "tensors at its top level"


def _asked(tied: Sequence[Structure], definition: Definition) -> ChoiceError:
    paths = [each.source.container for each in tied]
    listed = ", ".join(f"{each.source.container!r} ({count(len(each.tensors), 'tensor')})" for each in tied)
    return ChoiceError(
        tied[0].source.path,
        f"it holds {len(tied)} state_dicts that fit {definition.name or 'the model'} equally well: {listed}",
        "choose one with " + " or ".join(f'key="{path}"' for path in paths),
        tuple(paths),
    )
