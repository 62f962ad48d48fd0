"""Which of torch's optimizers a saved state is of: by the names that each keeps for a parameter."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.structure import OptimizerState

if TYPE_CHECKING:
    import torch

#: Settings with which some optimizers keep more for a parameter.
_MORE: Mapping[str, Any] = {"momentum": 0.9, "amsgrad": True, "centered": True}
#: What optimizers of other packages keep for a parameter -> their names.
_ELSEWHERE: Mapping[frozenset[str], str] = {
    frozenset({"state1", "absmax1", "qmap1"}): "8-bit, of bitsandbytes",
    frozenset({"state1"}): "of bitsandbytes",
    frozenset({"exp_avg_sq_row", "exp_avg_sq_col"}): "Adafactor of transformers",
    frozenset({"exp_avg"}): "Lion",
}
#: Settings of a group that no optimizer has by itself.
_OF_GROUPS = frozenset({"params", "param_names", "initial_lr", "swa_lr", "max_lr", "min_lr", "max_momentum"})


@dataclass(frozen=True)
class _Make:
    """One class of optimizers.

    Attributes:
        name: the class.
        kept: names that it keeps for a parameter after a step.
        possible: these, and those that some of its settings add.
        settings: names of the settings of its groups.
    """

    name: str
    kept: frozenset[str]
    possible: frozenset[str]
    settings: frozenset[str]

    def saved(self, names: frozenset[str], settings: frozenset[str]) -> bool:
        """Whether it saves these names, in groups with these settings; its later versions may have more."""
        return (not names or self.kept <= names <= self.possible) and settings <= self.settings


def of_another(state: OptimizerState, optimizer: torch.optim.Optimizer) -> list[Change]:
    """The change that says of which other optimizer a state is; none if it may be of this one."""
    fields = (*state.states.values(), *state.values.values())
    names = frozenset(name for each in fields for name in each)
    settings = frozenset(name for each in state.options for name in each) - _OF_GROUPS
    torchs = type(optimizer).__module__.startswith("torch.optim")
    if not (names or settings) or (not torchs and settings <= optimizer.defaults.keys()):
        return []
    makes = [make for make in _makes() if make.saved(names, settings)]
    mine = {kind.__name__ for kind in type(optimizer).__mro__}
    if not makes:
        return _of_nobody(names, optimizer)
    if mine.intersection(make.name for make in makes):
        return []
    listed = " or ".join(make.name for make in makes)
    told = ", ".join(sorted(names - {"step"} or names or settings - optimizer.defaults.keys()))
    if not told:
        return []
    return [
        _another(told, f"another optimizer ({listed})", f"the optimizer that was saved ({listed})", optimizer)
    ]


def _another(told: str, which: str, saved: str, optimizer: torch.optim.Optimizer) -> Change:
    name = type(optimizer).__name__
    return Change(
        "optimizer-mismatch",
        detail=f"the file holds {told}: {which} than {name}",
        advice=f"make {saved}, or start {name} anew",
    )


def _of_nobody(names: frozenset[str], optimizer: torch.optim.Optimizer) -> list[Change]:
    """The same for a state that none of torch's optimizers saves."""
    own = names - {"step"}
    mine = next((make for make in _makes() if make.name == type(optimizer).__name__), None)
    if mine is None or mine.kept <= names or (own <= mine.possible and names not in _ELSEWHERE):
        return []
    named = next((words for kept, words in _ELSEWHERE.items() if kept <= names), "")
    which = f"another optimizer ({named})" if named else "another optimizer"
    saved = f"the optimizer that was saved{f' ({named})' if named else ''}"
    return [_another(", ".join(sorted(own)), which, saved, optimizer)]


@functools.cache
def _makes() -> tuple[_Make, ...]:
    """Torch's optimizers, by what each keeps after a step on a small parameter."""
    import torch

    kinds = [each for each in vars(torch.optim).values() if isinstance(each, type)]
    own = [each for each in kinds if issubclass(each, torch.optim.Optimizer)]
    return tuple(make for each in own for make in _make(each))


def _make(kind: type[torch.optim.Optimizer]) -> Iterator[_Make]:
    plain = _after_a_step(kind, {})
    if plain is None:
        return
    kept, settings = plain
    more = [_after_a_step(kind, {name: value}) for name, value in _MORE.items() if name in settings]
    possible = kept.union(*(each[0] for each in more if each is not None))
    if possible:
        yield _Make(kind.__name__, kept, possible, settings)


def _after_a_step(
    kind: type[torch.optim.Optimizer], settings: Mapping[str, Any]
) -> tuple[frozenset[str], frozenset[str]] | None:
    """The names that an optimizer keeps for a parameter, and of its settings; None if none can be made."""
    import torch

    with contextlib.suppress(Exception):
        parameter = torch.nn.Parameter(torch.zeros(2, 2))
        optimizer: Any = kind([parameter], **settings)
        parameter.grad = torch.zeros(2, 2)
        optimizer.step()
        return frozenset(optimizer.state[parameter]), frozenset(optimizer.defaults)
    return None
