"""Parametrizations, norms, pruning masks and lazy modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import prune as untyped_prune

from tests.wide.hooks import Variant

prune: Any = untyped_prune  # some of its functions have no annotations


def _linear(size: int) -> nn.Module:
    return nn.Linear(size, 3)


def _on(wrap: Callable[[nn.Module], Any], make: Variant = _linear) -> Variant:
    def variant(size: int) -> nn.Module:
        module = make(size)
        wrap(module)
        return module

    return variant


def _old_weight_norm(module: nn.Module) -> nn.Module:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(module)


class Symmetric(nn.Module):
    """One tensor of the same shape."""

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value.abs()

    def right_inverse(self, value: torch.Tensor) -> torch.Tensor:
        return value


class LowRank(nn.Module):
    """Two tensors for one."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left @ right

    def right_inverse(self, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return value[:, :1], value[:1]


class Scaled(nn.Module):
    """Has a parameter and a buffer of its own."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size, 1))
        self.register_buffer("offset", torch.zeros(()))

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value * self.scale


def _parametrized(*parts: Callable[[], nn.Module]) -> Variant:
    def wrap(module: nn.Module) -> None:
        for part in parts:
            parametrize.register_parametrization(module, "weight", part())

    return _on(wrap)


def _orthogonal(map_name: str, trivialization: bool) -> Variant:
    return _on(
        lambda module: parametrizations.orthogonal(
            module, orthogonal_map=map_name, use_trivialization=trivialization
        )
    )


def _pruned_and_removed(module: nn.Module) -> None:
    prune.l1_unstructured(module, "weight", 0.5)
    prune.remove(module, "weight")


def _materialized(make: Callable[[], Any], dimensions: int) -> Variant:
    def variant(size: int) -> nn.Module:
        module: nn.Module = make()
        module(torch.zeros(2, size, *[4] * dimensions))
        return module

    return variant


_LAZY: dict[str, tuple[Callable[[], Any], int]] = {
    "linear": (lambda: nn.LazyLinear(2), 0),
    "conv": (lambda: nn.LazyConv1d(2, 1), 1),
    "batchnorm": (lambda: nn.LazyBatchNorm1d(), 0),
}


def _lazy(name: str) -> tuple[Variant, ...]:
    make, dimensions = _LAZY[name]
    return (lambda size: make(), _materialized(make, dimensions))


def _scripted(size: int) -> nn.Module:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.Linear(size, 3))


def _dynamic(size: int) -> nn.Module:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        float_model = nn.Sequential(nn.Linear(size, 2))
        quantization: Any = torch.ao.quantization
        made: nn.Module = quantization.quantize_dynamic(float_model, {nn.Linear}, torch.qint8)
        return made


class Observed(nn.Module):
    """A layer between the stubs that static quantization wants."""

    def __init__(self, size: int) -> None:
        super().__init__()
        quantization: Any = torch.ao.quantization
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv = nn.Conv1d(size, 4, 1)
        self.fc = nn.Linear(3, 2)

    def forward(self, value: torch.Tensor) -> Any:
        return self.dequant(self.fc(torch.relu(self.conv(self.quant(value)))))


def _static(stage: str) -> Variant:
    """A model on its way to static quantization: prepared, calibrated or converted."""

    def variant(size: int) -> nn.Module:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantization: Any = torch.ao.quantization
            model: Any = Observed(size).train(stage == "aware")
            aware = stage == "aware"
            model.qconfig = quantization.default_qat_qconfig if aware else quantization.default_qconfig
            (quantization.prepare_qat if stage == "aware" else quantization.prepare)(model, inplace=True)
            if stage in ("calibrated", "converted"):
                model(torch.ones(1, size, 3))
            if stage == "converted":
                quantization.convert(model, inplace=True)
            return model  # type: ignore[no-any-return]

    return variant


def _normed(wrap: Callable[[nn.Module], Any], after_a_pass: bool) -> Variant:
    """A norm of any age, before or after it has computed its weight once."""

    def variant(size: int) -> nn.Module:
        module = _on(wrap)(size)
        if after_a_pass:
            module(torch.ones(1, size))
        return module

    return variant


def _pruned_twice(module: nn.Module) -> None:
    prune.l1_unstructured(module, "weight", 0.5)
    prune.random_unstructured(module, "weight", 0.5)
    prune.identity(module, "bias")


KINDS: dict[str, tuple[Variant, ...]] = {
    "norm: old weight_norm": (_on(_old_weight_norm), _linear),
    "norm: weight_norm": (_on(parametrizations.weight_norm), _on(_old_weight_norm), _linear),
    "norm: old spectral_norm": (_on(nn.utils.spectral_norm), _linear),
    "norm: spectral_norm": (_on(parametrizations.spectral_norm), _on(nn.utils.spectral_norm), _linear),
    "norm: batch": (
        lambda n: nn.BatchNorm1d(n),
        lambda n: nn.BatchNorm1d(n, affine=False),
        lambda n: nn.BatchNorm1d(n, track_running_stats=False),
        lambda n: nn.InstanceNorm1d(n, affine=True, track_running_stats=True),
    ),
    "norm: others": (
        lambda n: nn.LayerNorm(n),
        lambda n: nn.LayerNorm(n, bias=False),
        lambda n: nn.GroupNorm(n, 2 * n),
        lambda n: nn.InstanceNorm1d(n),
    ),
    "parametrized: one tensor": (_parametrized(Symmetric), _linear),
    "parametrized: two tensors": (_parametrized(LowRank), _linear),
    "parametrized: own parameters": (_parametrized(Scaled), _parametrized(Scaled, Symmetric), _linear),
    "parametrized: orthogonal": (
        _orthogonal("matrix_exp", True),
        _orthogonal("cayley", False),
        _orthogonal("householder", False),
        _on(parametrizations.orthogonal),
        _linear,
    ),
    "pruned": (
        _on(lambda m: prune.l1_unstructured(m, "weight", 0.5)),
        _on(lambda m: prune.random_structured(m, "weight", 0.5, dim=0)),
        _on(_pruned_and_removed),
        _linear,
    ),
    "norm: of any age": tuple(
        _normed(wrap, after_a_pass)
        for wrap in (
            nn.utils.spectral_norm,
            _old_weight_norm,
            parametrizations.spectral_norm,
            parametrizations.weight_norm,
        )
        for after_a_pass in (False, True)
    ),
    "pruned: twice": (_on(_pruned_twice), _on(lambda m: prune.identity(m, "weight")), _linear),
    "pruned: and normed": (
        _on(lambda m: prune.l1_unstructured(_old_weight_norm(m), "weight_v", 0.5)),
        _on(_old_weight_norm),
    ),
    "lazy: linear": _lazy("linear"),
    "lazy: convolution": _lazy("conv"),
    "lazy: batch norm": _lazy("batchnorm"),
    "layer: recurrent": (lambda n: nn.LSTM(n, 2), lambda n: nn.GRU(n, 2), lambda n: nn.LSTM(n, 2, 2)),
    "layer: attention": (
        lambda n: nn.MultiheadAttention(2 * n, 1),
        lambda n: nn.MultiheadAttention(2 * n, 1, kdim=3, vdim=3),
    ),
    "layer: quantized": (
        lambda n: torch.ao.nn.quantized.Embedding(n, 4),
        lambda n: nn.Embedding(n, 4),
    ),
    "layer: dynamically quantized": (_dynamic, lambda n: nn.Sequential(nn.Linear(n, 2))),
    "layer: statically quantized": (_static("converted"), Observed),
    "layer: observed": tuple(map(_static, ("prepared", "calibrated", "converted", "aware"))),
    "layer: scripted": (_scripted, _linear),
}
