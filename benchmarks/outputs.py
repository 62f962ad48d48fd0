"""How far what a definition computes with drawn values moves by itself, and how far by the smallest edit.

``python -m benchmarks.outputs`` runs models with other numbers of threads, other kernels and another dtype,
and says how much their digests differ. ``--write FILE`` keeps the digests; ``--beside FILE`` compares with
those of another machine, or of another version of torch. These two need nothing but torch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from pytest_ckpt_compat._core.outputs import Digest
from pytest_ckpt_compat._core.structure import Structure, TensorSpec
from pytest_ckpt_compat._definition.digests import digest, tensors_by_path
from pytest_ckpt_compat._definition.drawn import draw
from pytest_ckpt_compat._definition.filling import drawn_state, fill

Model = tuple[Callable[[], nn.Module], Callable[[], Mapping[str, Any]]]


class Residual(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width, eps=eps)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width, eps=eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images to images of the same size."""
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(x + y)


class Recurrent(nn.Module):
    """An LSTM between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, 64)
        self.lstm = nn.LSTM(64, 96, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(192, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Numbers of words to ten numbers each."""
        found: torch.Tensor = self.head(self.lstm(self.embed(tokens))[0])
        return found


def convolutions(eps: float = 1e-5) -> nn.Module:
    """A residual network of 16 blocks."""
    blocks = [Residual(48, eps) for _ in range(16)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 100)]
    return nn.Sequential(nn.Conv2d(3, 48, 7, stride=2), *blocks, *head)


def encoder(eps: float = 1e-5, activation: str = "relu") -> nn.Module:
    """A transformer encoder of 12 layers."""
    layer = nn.TransformerEncoderLayer(
        128, 8, 512, activation=activation, batch_first=True, layer_norm_eps=eps
    )
    return nn.TransformerEncoder(layer, 12)


def rows(*shape: int) -> torch.Tensor:
    """Numbers that are the same in every version."""
    number = 1
    for size in shape:
        number *= size
    return draw("rows", number).reshape(shape)


def tokens() -> torch.Tensor:
    """Two rows of numbers of words."""
    return (torch.arange(64).reshape(2, 32) * 7) % 1000


PLAIN: Mapping[str, Model] = {
    "residual network": (convolutions, lambda: {"input": rows(2, 3, 64, 64)}),
    "transformer encoder": (encoder, lambda: {"src": rows(2, 32, 128)}),
    "LSTM": (Recurrent, lambda: {"tokens": tokens()}),
}


def library() -> Iterator[tuple[str, Model]]:
    """Models of transformers, small ones."""
    import transformers as t

    size: Any = {
        "num_hidden_layers": 8,
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_attention_heads": 8,
    }
    images: Any = {"image_size": 64, "patch_size": 8}
    words = lambda: {"input_ids": tokens()}  # noqa: E731
    pixels = lambda: {"pixel_values": rows(2, 3, 64, 64)}  # noqa: E731
    yield "BERT", (lambda: t.BertModel(t.BertConfig(**size)), words)
    yield "GPT-2", (lambda: t.GPT2Model(t.GPT2Config(n_layer=8, n_embd=128, n_head=8)), words)
    yield "ViT", (lambda: t.ViTModel(t.ViTConfig(**size, **images)), pixels)
    yield "Llama", (lambda: t.LlamaModel(t.LlamaConfig(**size, vocab_size=1000)), words)
    yield "T5 encoder", (lambda: t.T5EncoderModel(t.T5Config(num_layers=8, d_model=128)), words)
    yield "ResNet", (lambda: t.ResNetModel(t.ResNetConfig()), pixels)


def filled(make: Callable[[], nn.Module], dtype: torch.dtype | None) -> nn.Module:
    """A model with drawn values."""
    torch.set_default_dtype(dtype or torch.float32)
    module = make().eval()
    specs = {
        key: TensorSpec(str(value.dtype).rpartition(".")[2], tuple(value.shape))
        for key, value in module.state_dict().items()
    }
    with torch.no_grad():
        fill(module, drawn_state(Structure(specs)), None, dtype)
    return module


def results(model: Model, dtype: torch.dtype | None = torch.float64) -> dict[str, Digest]:
    """The digests of what a model computes."""
    make, inputs = model
    module = filled(make, dtype)
    default = torch.get_default_dtype()
    given = {
        name: value.to(default) if value.is_floating_point() else value for name, value in inputs().items()
    }
    with torch.no_grad():
        found = tensors_by_path(module(**given))
    torch.set_default_dtype(torch.float32)
    return {path: digest(tensor.double()) for path, tensor in found.items()}


def furthest(one: Mapping[str, Digest], other: Mapping[str, Digest]) -> float:
    """The largest relative difference."""
    assert one.keys() == other.keys()
    return max(one[path].distance(other[path]) for path in one)


def moved(model: Model) -> tuple[float, float, float]:
    """How far a model's digests move: with threads, with kernels, and in float32."""
    torch.set_num_threads(1)
    known = results(model)
    threads = 0.0
    for number in (2, 3, 4, 8):
        torch.set_num_threads(number)
        threads = max(threads, furthest(known, results(model)))
    with torch.backends.mkldnn.flags(enabled=False):
        kernels = furthest(known, results(model))
    return threads, kernels, furthest(known, results(model, None))


def edits() -> Iterator[tuple[str, float]]:
    """How far the smallest edits move the digests."""
    for name, make, other, inputs in (
        ("epsilon 1e-5 -> 1e-6", convolutions, lambda: convolutions(1e-6), PLAIN["residual network"][1]),
        ("epsilon 1e-5 -> 1e-6", encoder, lambda: encoder(1e-6), PLAIN["transformer encoder"][1]),
        (
            "ReLU -> GELU",
            encoder,
            lambda: encoder(activation="gelu"),
            PLAIN["transformer encoder"][1],
        ),
    ):
        yield f"{name} ({make.__name__})", furthest(results((make, inputs)), results((other, inputs)))


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", metavar="FILE")
    parser.add_argument("--beside", metavar="FILE")
    args = parser.parse_args()
    if args.write or args.beside:
        known = {
            name: {path: str(each) for path, each in results(model).items()} for name, model in PLAIN.items()
        }
        if args.write:
            with open(args.write, "w", encoding="utf-8") as stream:
                json.dump({"torch": torch.__version__, "models": known}, stream, indent=1)
            return
        with open(args.beside, encoding="utf-8") as stream:
            other = json.load(stream)
        print(f"torch {torch.__version__} beside {other['torch']}")
        for name, texts in other["models"].items():
            before = {path: Digest.parse(text) for path, text in texts.items()}
            after = {path: Digest.parse(text) for path, text in known[name].items()}
            print(f"  {name:24}{furthest(before, after):.1e}")
        return
    print(f"{'model':26}{'threads':>10}{'kernels':>10}{'float32':>10}")
    for name, model in (*PLAIN.items(), *library()):
        print(f"{name:26}" + "".join(f"{each:10.1e}" for each in moved(model)))
        sys.stdout.flush()
    for name, size in edits():
        print(f"{name:46}{size:10.1e}")


if __name__ == "__main__":
    main()
