"""What a layer without a partner says of the others: it may be the one that one of them is taken for."""

from __future__ import annotations

from pytest_ckpt_compat._renames import infer

from .models import Specs, linear, merged


def by_name(specs: Specs) -> Specs:
    """The same in the order of a safetensors file."""
    return dict(sorted(specs.items()))


def confidences(old: Specs, new: Specs) -> dict[str, str]:
    """Old key -> confidence, of all that moved; the least one over both orders of the old file."""
    order = ("ambiguous", "likely", "certain")
    found: dict[str, str] = {}
    for side in (old, by_name(old)):
        for change in infer(side, new):
            moved = change.old if change.new and change.old != change.new else ()
            found |= {
                key: min(change.confidence, found.get(key, "certain"), key=order.index) for key in moved
            }
    return found


def in_model(specs: Specs) -> Specs:
    return {f"model.{key}": value for key, value in specs.items()}


# --- names -------------------------------------------------------------------------------------------------


def test_a_head_of_another_size_does_not_leave_its_block() -> None:
    def stack(path: str, blocks: int) -> Specs:
        sizes = ((32, 20), (32, 32), (32, 32))
        layers = (
            (linear(f"{path}.blocks.{block}.fc.{number}", *size) for number, size in enumerate(sizes))
            for block in range(blocks)
        )
        heads = (linear(f"{path}.blocks.{block}.cast", 20, 8) for block in range(blocks))
        return merged(*(layer for block in layers for layer in block), *heads)

    old, new = merged(stack("stacks.0", 3), stack("stacks.1", 3)), stack("stacks.0", 4)
    assert not [change for change in infer(old, new) if change.kind == "resized"]
    assert not [change for change in infer(new, old) if change.kind == "resized"]
