"""What a new checkpoint holds: its tensors, made when their turn comes, and all that surrounds them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pytest_ckpt_compat._convert.memory import Mapped, contiguous, joined
from pytest_ckpt_compat._convert.opened import Opened, replaced
from pytest_ckpt_compat._convert.optimizers import moved_optimizers
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.structure import TensorSpec, alias_groups
from pytest_ckpt_compat._definition.chain import Chain
from pytest_ckpt_compat._definition.entries import identity, spec_of, storage_identity, tensors_in
from pytest_ckpt_compat._definition.operations import carried_out
from pytest_ckpt_compat._definition.project_code import RemapError
from pytest_ckpt_compat._migrate.steps import COPY, MOVE, Step


class Contents:
    """What a new checkpoint holds. A tensor that is made of others has no memory until it is asked for.

    Args:
        source: the old checkpoint.
        steps: what becomes of it, every key of the new one in exactly one step.
        module_names: gives the new path of a module, for the versions of the modules.
        made: the new state_dict, where a function has made it; then the steps are only what it renamed.

    Raises:
        UsageError: an operation does not fit the shapes.
    """

    def __init__(
        self,
        source: Opened,
        steps: Sequence[Step],
        module_names: Callable[[str], str] = lambda name: name,
        made: Mapping[str, Any] | None = None,
    ) -> None:
        self._source = source
        self._makers: dict[int, tuple[Step, int]] = {}
        own = tensors_in((source.whole, source.state)) if source.mapped else ()
        self.mapped = Mapped(filter(_is_dense, own))
        self.state = OrderedDict(self._entries(steps) if made is None else made)
        metadata = getattr(source.state if made is None else made, "_metadata", None)
        if metadata is not None:
            moved = {module_names(name): versions for name, versions in metadata.items()}
            kept: Any = self.state
            kept._metadata = OrderedDict({**metadata, **moved})
        self.metadata = source.metadata
        self.whole, self.notes = self._around(steps)
        self.specs: Mapping[str, TensorSpec] = {key: spec_of(value) for key, value in self.state.items()}
        tensors = {key: value for key, value in self.state.items() if self.specs[key].numel}
        self.aliases = alias_groups({key: identity(value) for key, value in tensors.items()})

    def _entries(self, steps: Iterable[Step]) -> Iterable[tuple[str, Any]]:
        import torch

        state = self._source.state
        for step in steps:
            if step.op in (MOVE, COPY):
                yield step.new[0], state[step.old[0]]
                continue
            # Without numbers first: the shapes have to fit before anything is written.
            meta = {key: _on_meta(state[key]) for key in step.old}
            try:
                made = carried_out(step, meta.__getitem__)
            except (RuntimeError, IndexError) as error:
                what = f"{step.op.name} of {', '.join(step.old)}"
                reason = str(error).strip().splitlines()[0]
                raise UsageError(what, f"does not fit its shapes ({reason})", "correct the rules") from error
            for index, (key, value) in enumerate(made.items()):
                # Memory that nothing touches takes no place.
                stand_in = torch.empty(value.shape, dtype=value.dtype)
                self._makers[storage_identity(stand_in)] = step, index
                yield key, stand_in

    def _around(self, steps: Sequence[Step]) -> tuple[Any, tuple[str, ...]]:
        """The object to be saved, with the new state_dict and the optimizers' new names in it."""
        whole, notes = moved_optimizers(self._source, steps)
        if not self._source.path:
            return self.state, notes
        return replaced(whole, self._source.path, self.state), notes

    def storage(self, storage: Any) -> Any:
        """The storage whose bytes are to be written for one in ``whole``."""
        maker = self._makers.get(storage._cdata)
        return storage if maker is None else self._made(*maker).untyped_storage()

    def tensor(self, key: str) -> Any:
        """The tensor of a key, contiguous and alone in its storage."""
        value = self.state[key]
        maker = self._makers.get(storage_identity(value))
        return contiguous(value, self.mapped) if maker is None else self._made(*maker)

    def _made(self, step: Step, index: int) -> Any:
        """One result of a step; the others of one that only divides or arranges are views, made in turn."""
        given = [self._source.state[key] for key in step.old]
        if step.op.name == "cat" and len({each.dtype for each in given}) == 1:
            return joined(given, step.op.numbers[0], self.mapped)
        if step.op.name == "stack" and step.op.numbers[1] == 1 and len({each.dtype for each in given}) == 1:
            dim = step.op.numbers[0]
            return joined([each.unsqueeze(dim) for each in given], dim, self.mapped)
        made = list(carried_out(step, self._source.state.__getitem__).values())[index]
        return contiguous(made, self.mapped)

    def left_behind(self) -> tuple[str, ...]:
        """What a file that holds nothing but tensors leaves behind, a line each."""
        found = []
        if self._source.path and isinstance(self._source.whole, Mapping):
            others = [str(name) for name in self._source.whole if name != self._source.path[0]]
            if others:
                found.append(f"left behind, for safetensors holds tensors alone: {', '.join(others)}")
        if self.aliases:
            tied = " and ".join(self.aliases[0])
            found.append(f"safetensors ties no tensors: {tied} are stored each")
        return tuple(found)


def by_migrations(source: Opened, chain: Chain, module: Any = None, prefix: str = "") -> Contents:
    """What migrations make of the state_dict, with tensors that they compute in memory.

    Args:
        source: the old checkpoint.
        chain: the migrations.
        module: for migrations that take it.
        prefix: taken off the keys that begin with it, first.

    Raises:
        UsageError: one raises, or returns no state_dict.
    """
    try:
        made = chain(_stripped(source.state, prefix), module, source.structure)
    except RemapError as error:
        raise UsageError(source.structure.source.path, str(error), "correct the migration") from error
    strange = next((key for key in made if not isinstance(key, str)), None)
    if strange is not None:
        raise UsageError(chain.name, f"gives the key {strange!r}", "give text for keys")
    origins = {id(value): key for key, value in source.state.items()}
    steps = [Step(MOVE, (origins[id(value)],), (key,)) for key, value in made.items() if id(value) in origins]
    return Contents(source, steps, made=made)


def _stripped(state: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
    """A state_dict without a prefix on its keys, and on the modules whose versions it keeps."""
    if not prefix:
        return state
    bare: Any = OrderedDict((key.removeprefix(prefix), value) for key, value in state.items())
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:
        names = {name: f"{name}.".removeprefix(prefix).removesuffix(".") for name in metadata}
        bare._metadata = OrderedDict((names[name], each) for name, each in metadata.items())
    return bare  # type: ignore[no-any-return]


def _is_dense(tensor: Any) -> bool:
    import torch

    return tensor.layout is torch.strided and not tensor.is_quantized


def _on_meta(value: Any) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        raise RuntimeError("it is no tensor")
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
