"""What ``Trainer.fit(ckpt_path=...)`` restores besides the weights: optimizers and schedulers of the module.

Lightning pairs them with the states in the file by number, and passes over what is left on either side. Loops
and callbacks are a Trainer's, of which a check knows nothing.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_ckpt_compat._core.changes import Change
from pytest_ckpt_compat._core.display import count
from pytest_ckpt_compat._core.structure import SNAPSHOT, OptimizerState, Structure
from pytest_ckpt_compat._definition import lightning
from pytest_ckpt_compat._definition.empty_state import empty_state
from pytest_ckpt_compat._definition.find import Definition
from pytest_ckpt_compat._definition.optimizer_pairing import mismatch

if TYPE_CHECKING:
    import torch

#: Names in a checkpoint of Lightning.
_OPTIMIZERS, _SCHEDULERS, _LOOPS, _CALLBACKS = "optimizer_states", "lr_schedulers", "loops", "callbacks"
#: In the states of schedulers of some versions of torch alone.
_OF_A_VERSION = frozenset({"verbose"})
_WHOLE_SAVE = "it was saved with save_weights_only=True"


def restores(definition: Definition, structure: Structure) -> bool:
    """Whether a Trainer restores the optimizers of a definition from a checkpoint."""
    return definition.lightning and lightning.is_checkpoint(structure)


def kept(structure: Structure) -> bool:
    """Whether a checkpoint tells what a Trainer restores, which a snapshot does only if it was asked to."""
    return structure.source.format != SNAPSHOT or bool(structure.optimizers) or _LOOPS in structure.values


@dataclass
class Configured:
    """Makes what a LightningModule configures, and keeps its schedulers.

    Attributes:
        kind: the class of the module.
        schedulers: those of the last call.
    """

    kind: type
    schedulers: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Gives it the name that messages have for it."""
        self.__qualname__ = f"{self.kind.__name__}.configure_optimizers"

    def __call__(self, module: Any) -> list[torch.optim.Optimizer]:
        """Returns the module's optimizers."""
        try:
            made = module.configure_optimizers()
        except Exception:
            if not _attach(module):
                raise
            made = module.configure_optimizers()
        optimizers, self.schedulers = _configured(made)
        return optimizers


def _attach(module: Any) -> bool:
    """Gives a module a Trainer, of which its ``configure_optimizers`` may ask something."""
    if module._trainer is not None:
        return False
    home = next(base.__module__ for base in type(module).__mro__ if base.__name__ == "LightningModule")
    package = importlib.import_module(
        "lightning.pytorch" if home.startswith("lightning.") else home.split(".")[0]
    )
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module.trainer = package.Trainer(accelerator="cpu", devices=1, logger=False, **quiet)
    finally:
        logging.disable(before)
    return True


def _configured(made: Any) -> tuple[list[Any], list[Any]]:
    """The optimizers and schedulers in any form in which ``configure_optimizers`` may return them."""
    if made is None:
        return [], []
    if isinstance(made, Mapping):
        made = [made]
    if not isinstance(made, (list, tuple)):
        return [made], []
    if len(made) == 2 and isinstance(made[0], list):
        schedulers = made[1] if isinstance(made[1], list) else [made[1]]
        return list(made[0]), list(map(_scheduler, schedulers))
    if made and all(isinstance(each, Mapping) for each in made):
        schedulers = [each["lr_scheduler"] for each in made if "lr_scheduler" in each]
        return [each.get("optimizer") for each in made], list(map(_scheduler, schedulers))
    return list(made), []


def _scheduler(given: Any) -> Any:
    return given.get("scheduler") if isinstance(given, Mapping) else given


def paired(
    structure: Structure, module: Any, optimizers: Sequence[Any], configured: Configured
) -> tuple[list[OptimizerState], list[Change], list[str]]:
    """The saved states, one for each of the first optimizers; what does not fit; and what was not checked.

    Args:
        structure: the checkpoint.
        module: the module, whose ``on_load_checkpoint`` may drop what a Trainer would restore.
        optimizers: the module's.
        configured: made them.
    """
    found = _states(structure)
    if found and (note := _dropped(module, structure, len(found))):
        return [], [], [note]
    listed = structure.values.get(_OPTIMIZERS)
    if isinstance(listed, list) and len(listed) != len(found):
        return [], [], [f"the {_OPTIMIZERS} are not those of torch's optimizers: they were not checked"]
    numbers = len(found), len(optimizers)
    changes = []
    if not found and _OPTIMIZERS not in structure.values:
        raised = "Trainer.fit(ckpt_path=...) raises KeyError"
        changes.append(mismatch(f"the file has no {_OPTIMIZERS}: {_WHOLE_SAVE}, and {raised}"))
    elif numbers[0] != numbers[1]:
        left = "the others start anew" if numbers[0] < numbers[1] else "the other states are dropped"
        one, other = count(numbers[1], "optimizer"), count(numbers[0], "state")
        changes.append(mismatch(f"{configured.__qualname__} gives {one}, the file has {other}: {left}"))
    changes += _schedulers(structure, configured) if found else []
    return found[: len(optimizers)], changes, list(_notes(structure, bool(found)))


def _dropped(module: Any, structure: Structure, number: int) -> str:
    """What a module's hook does to the saved states of its optimizers, "" if they stay."""
    if not lightning.has_hook(module):
        return ""
    values = dict(structure.values)
    if not isinstance(values.get(_OPTIMIZERS), list):  # as a snapshot keeps it
        values[_OPTIMIZERS] = [{"state": {}, "param_groups": []} for _ in range(number)]
    before = values[_OPTIMIZERS]
    given = lightning.whole(module, {}, empty_state(structure, "meta"), values)
    try:
        module.on_load_checkpoint(given)
    except Exception:  # the load has told of it
        return ""
    after = given.get(_OPTIMIZERS)
    if after == [] or after is None:
        return f"on_load_checkpoint drops the {_OPTIMIZERS}: the optimizers start anew"
    if after != before:
        return f"on_load_checkpoint changes the {_OPTIMIZERS}: they were not checked"
    return ""


def _states(structure: Structure) -> list[OptimizerState]:
    """The states under ``optimizer_states``, in order. Others belong to callbacks."""
    start = f"{_OPTIMIZERS}."
    own = {path.removeprefix(start): state for path, state in structure.optimizers.items() if start in path}
    return [own[number] for number in sorted((each for each in own if each.isdigit()), key=int)]


def _schedulers(structure: Structure, configured: Configured) -> list[Change]:
    """What does not fit between the module's schedulers and the states in the file."""
    saved = structure.values.get(_SCHEDULERS)
    if not isinstance(saved, (list, tuple)):
        known = structure.source.format != SNAPSHOT or _LOOPS in structure.values
        raised = "Trainer.fit(ckpt_path=...) raises KeyError"
        return [mismatch(f"the file has no {_SCHEDULERS}: {_WHOLE_SAVE}, and {raised}")] if known else []
    changes = []
    now = configured.schedulers
    if len(saved) != len(now):
        left = "the others start anew" if len(saved) < len(now) else "the other states are dropped"
        one, other = count(len(now), "lr_scheduler"), count(len(saved), "state")
        changes.append(mismatch(f"{configured.__qualname__} gives {one}, the file has {other}: {left}"))
    for number, (state, scheduler) in enumerate(zip(saved, now, strict=False)):
        if isinstance(state, Mapping):
            changes += _other_scheduler(number, state, scheduler)
    return changes


def _other_scheduler(number: int, state: Mapping[str, Any], scheduler: Any) -> list[Change]:
    """Compares a scheduler with a saved state by names: torch takes over whatever is in it."""
    if not type(scheduler).load_state_dict.__module__.startswith("torch."):
        return []
    name = f"lr_scheduler {number} ({type(scheduler).__name__})"
    today = scheduler.state_dict()
    strange = [each for each in state if each[:1] != "_" and each not in {*today, *_OF_A_VERSION}]
    if strange:
        return [mismatch(f"{name}: the state is of another scheduler, with {', '.join(strange)}")]
    rates, wanted = state.get("base_lrs"), today.get("base_lrs")
    if isinstance(rates, list) and isinstance(wanted, list) and len(rates) != len(wanted):
        groups = f"{count(len(rates), 'parameter group')} -> {len(wanted)}"
        return [mismatch(f"{name}: {groups}")]
    return []


def _notes(structure: Structure, whole: bool) -> list[str]:
    """What is a Trainer's, and was not checked."""
    values, notes = structure.values, []
    if whole and structure.source.format == SNAPSHOT and _SCHEDULERS not in values and _LOOPS not in values:
        notes.append(f"the snapshot keeps no {_SCHEDULERS}: record it again by its id to check them")
    callbacks = values.get(_CALLBACKS)
    named = list(callbacks) if isinstance(callbacks, Mapping) else []
    if named:
        shown = ", ".join(str(name).partition("{")[0] for name in named)
        notes.append(f"the state of the callbacks {shown} was not checked: the Trainer has to be given them")
    if structure.source.format != SNAPSHOT and _LOOPS not in values:
        notes.append("the file has no state of the loops: training begins with epoch 0")
    return notes
