"""Verdicts for pages of HTML: a model with a rename, a split, a resized head and folded blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pytest_ckpt_compat import Structure, TensorSpec, Verdict, diff
from pytest_ckpt_compat._report import summary
from pytest_ckpt_compat._report.html import page

HOSTILE = "x</script><img src=x onerror=alert(1)>\u2028\u202e&amp;"


def structure(shapes: Mapping[str, tuple[int, ...]]) -> Structure:
    """A structure of float32 tensors."""
    return Structure({key: TensorSpec("float32", shape) for key, shape in shapes.items()})


def old_shapes(blocks: int = 12) -> dict[str, tuple[int, ...]]:
    """The checkpoint: ``blocks``, each with one ``qkv``, and a head of ten classes."""
    shapes: dict[str, tuple[int, ...]] = {"embed.weight": (100, 8)}
    for number in range(blocks):
        block = f"blocks.{number}"
        shapes |= {f"{block}.norm1.weight": (8,), f"{block}.norm1.bias": (8,)}
        shapes |= {f"{block}.attn.qkv.weight": (24, 8), f"{block}.attn.qkv.bias": (24,)}
        shapes |= {f"{block}.mlp.fc1.weight": (32, 8), f"{block}.mlp.fc2.weight": (8, 32)}
    return shapes | {"head.weight": (10, 8), "head.bias": (10,)}


def new_shapes(blocks: int = 12) -> dict[str, tuple[int, ...]]:
    """The model: ``layers``, each with ``q``, ``k`` and ``v``, and a head of twelve classes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for key, shape in old_shapes(blocks).items():
        name = key.replace("blocks.", "layers.").replace("norm1", "attn_norm")
        if ".qkv." not in name:
            shapes[name] = (12, *shape[1:]) if name.startswith("head.") else shape
            continue
        for part in "qkv":
            shapes[name.replace(".qkv.", f".{part}.")] = (8, *shape[1:])
    return shapes


def refactored(blocks: int = 12) -> Verdict:
    """The checkpoint compared with the model."""
    found = diff(structure(old_shapes(blocks)), structure(new_shapes(blocks)))
    return replace(found, name="vit-v1", old_label="vit_v1.pt", new_label="models.ViT (models.py:3)")


def hostile() -> Verdict:
    """A checkpoint whose names are markup."""
    shapes = old_shapes(2)
    found = diff(structure(shapes), structure(shapes | {f"{HOSTILE}.weight": (3,)}))
    return replace(found, name=HOSTILE, old_label=HOSTILE, new_label=HOSTILE, notes=(HOSTILE,), code=HOSTILE)


def loads() -> Verdict:
    """A checkpoint that loads."""
    return replace(diff(structure(old_shapes(3)), structure(old_shapes(3))), name="vit-v2")


def run_of(*verdicts: Verdict, label: str = "") -> summary.Run:
    """A run of some verdicts."""
    entries = tuple(summary.entry(each, paged=True) for each in verdicts)
    return summary.Run(entries, f"compared  {len(entries)} checkpoints", label)


def written(path: Path, *verdicts: Verdict, label: str = "") -> str:
    """Writes a page; returns its address."""
    path.write_text(page.render(run_of(*verdicts, label=label)), encoding="utf-8")
    return path.as_uri()
