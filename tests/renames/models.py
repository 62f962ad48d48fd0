"""Small key lists in the manner of real models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames import infer

Specs = dict[str, TensorSpec]


def spec(*shape: int) -> TensorSpec:
    return TensorSpec("float32", shape)


def linear(path: str, out: int, inner: int) -> Specs:
    return {f"{path}.weight": spec(out, inner), f"{path}.bias": spec(out)}


def norm(path: str, width: int) -> Specs:
    return {f"{path}.weight": spec(width), f"{path}.bias": spec(width)}


def conv(path: str, out: int, inner: int, size: int = 3) -> Specs:
    return {f"{path}.weight": spec(out, inner, size, size)}


def batch_norm(path: str, width: int) -> Specs:
    names = ("weight", "bias", "running_mean", "running_var")
    specs = {f"{path}.{name}": spec(width) for name in names}
    return {**specs, f"{path}.num_batches_tracked": TensorSpec("int64")}


def merged(*parts: Mapping[str, TensorSpec]) -> Specs:
    return {key: value for part in parts for key, value in part.items()}


def transformer(depth: int = 4, width: int = 32, prefix: str = "", classes: int = 10) -> Specs:
    """A small vision transformer in timm's names."""
    parts: list[Specs] = [
        {f"{prefix}cls_token": spec(1, 1, width)},
        {
            f"{prefix}patch_embed.proj.weight": spec(width, 3, 4, 4),
            f"{prefix}patch_embed.proj.bias": spec(width),
        },
    ]
    for layer in range(depth):
        block = f"{prefix}blocks.{layer}"
        parts += [
            norm(f"{block}.norm1", width),
            linear(f"{block}.attn.qkv", 3 * width, width),
            linear(f"{block}.attn.proj", width, width),
            norm(f"{block}.norm2", width),
            linear(f"{block}.mlp.fc1", 4 * width, width),
            linear(f"{block}.mlp.fc2", width, 4 * width),
        ]
    parts += [norm(f"{prefix}norm", width), linear(f"{prefix}head", classes, width)]
    return merged(*parts)


def resnet(widths: Iterable[int] = (16, 32), blocks: int = 2, classes: int = 10) -> Specs:
    """A small residual network in torchvision's names."""
    parts = [conv("conv1", 16, 3, 7), batch_norm("bn1", 16)]
    inner = 16
    for stage, width in enumerate(widths, start=1):
        for block in range(blocks):
            path = f"layer{stage}.{block}"
            parts += [conv(f"{path}.conv1", width, inner), batch_norm(f"{path}.bn1", width)]
            parts += [conv(f"{path}.conv2", width, width), batch_norm(f"{path}.bn2", width)]
            if inner != width:
                parts += [
                    conv(f"{path}.downsample.0", width, inner, 1),
                    batch_norm(f"{path}.downsample.1", width),
                ]
            inner = width
    return merged(*parts, linear("fc", classes, inner))


def renamed(specs: Mapping[str, TensorSpec], *replacements: tuple[str, str]) -> Specs:
    """The same tensors with parts of their keys replaced."""
    result: Specs = {}
    for key, value in specs.items():
        for old, new in replacements:
            key = key.replace(old, new)
        result[key] = value
    return result


def by_name(specs: Mapping[str, TensorSpec]) -> Specs:
    """The same in the order of a safetensors file."""
    return dict(sorted(specs.items()))


def pairs(old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec]) -> dict[str, str]:
    """Old key -> new key of everything inferred that moved one to one, whatever became of its shape."""
    return {
        one: other
        for change in infer(old, new)
        if len(change.old) == len(change.new)
        for one, other in zip(change.old, change.new, strict=True)
        if one != other
    }


def kinds(old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec]) -> dict[str, int]:
    """How many changes of each kind are inferred."""
    counts: dict[str, int] = {}
    for change in infer(old, new):
        counts[change.kind] = counts.get(change.kind, 0) + 1
    return counts
