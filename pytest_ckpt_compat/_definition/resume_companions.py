"""What lies in a checkpoint beside the optimizer: schedules and scalers of gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.internal import words
from pytest_ckpt_compat._core.structure import Structure

if TYPE_CHECKING:
    import torch

#: Names in the state of every schedule of torch's, and of its scaler of gradients.
_SCHEDULE = frozenset({"last_epoch", "_step_count"})
_SCALER = frozenset({"growth_factor", "backoff_factor", "growth_interval"})
#: What a key of a scaler's state is called where the state itself does not show it.
_SCALER_NAMES = frozenset({"scaler", "grad_scaler", "amp_scaler"})


def companions(
    structure: Structure, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[list[Change], list[str]]:
    """Checks the schedules and the scalers of a checkpoint against today's optimizers.

    Returns: what prevents a resume, and what was not checked, a line each.
    """
    changes, left = [], []
    sizes = {len(optimizer.param_groups) for optimizer in optimizers}
    for path, state in _states(structure.values):
        if state.keys() >= _SCHEDULE:
            changes += _schedule(path, state, sizes)
            left.append(path)
        elif state.keys() >= _SCALER or (path.rpartition(".")[2] in _SCALER_NAMES and not state):
            changes += _scaler(path, state)
    notes = [f"{', '.join(left)}: settings of a schedule, which were not loaded"] if left else []
    return changes, notes


def _states(values: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping at the top of a checkpoint and one level below, as lists of schedules are kept."""
    for name, value in values.items():
        where = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            yield where, value
        elif isinstance(value, (list, tuple)) and not path:
            yield from _states({str(n): each for n, each in enumerate(value)}, where)


def _schedule(path: str, state: Mapping[str, Any], sizes: set[int]) -> list[Change]:
    rates = state.get("base_lrs")
    if not isinstance(rates, (list, tuple)) or len(rates) in sizes or len(sizes) != 1:
        return []
    (number,) = sizes
    return [
        Change(
            "optimizer-mismatch",
            detail=f"{path} has rates for {len(rates)} parameter groups, today's optimizer has {number}",
            advice="make the parameter groups of the file, or start the schedule anew",
        )
    ]


def _scaler(path: str, state: Mapping[str, Any]) -> list[Change]:
    """What torch's own scaler says of a state; it needs no GPU for that."""
    import torch

    try:
        torch.amp.GradScaler("cpu", enabled=True).load_state_dict(dict(state))
    except Exception as error:
        return [
            Change(
                "optimizer-mismatch",
                detail=f"{path}: GradScaler.load_state_dict raises {type(error).__name__}: {words(error)}",
                advice="load the scaler only where its state is not empty, or start it anew",
            )
        ]
    return []
