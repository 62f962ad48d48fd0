"""Time and peak memory of rename inference on mixtures of experts of 1,000, 10,000 and 100,000 keys.

Every key is renamed, or every width is doubled; the old side stands in the order of its model, sorted by
name, or shuffled. With a prefix, the time is that of the whole ``diff``. Each size runs in a process of its
own, so that peaks do not mix.

    python benchmarks/renames_growth.py [KEYS ...]
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import sys
import time

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames import infer

EXPERTS, DENSE_LAYERS, HIDDEN, INNER, VOCABULARY = 256, 3, 7168, 2048, 129280
VARIANTS = (
    "renamed",
    "renamed, sorted",
    "renamed, shuffled",
    "wider",
    "prefix, renamed",
    "prefix, wider",
)

Specs = dict[str, TensorSpec]

OLD = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
NEW = {"gate": "w1", "up": "w3", "down": "w2"}


def weight(*shape: int) -> TensorSpec:
    return TensorSpec("bfloat16", shape)


def model(experts: int, layers: int, *, renamed: bool) -> Specs:
    """A language model of experts under its first names, or under its second."""
    names = NEW if renamed else OLD
    stem, block, attention = ("decoder", "blocks", "attn") if renamed else ("model", "layers", "self_attn")
    router = "moe.gate" if renamed else "mlp.gate"
    expert = "moe.expert" if renamed else "mlp.experts"
    specs = {f"{stem}.{'tokens' if renamed else 'embed_tokens'}.weight": weight(VOCABULARY, HIDDEN)}
    for layer in range(layers):
        base = f"{stem}.{block}.{layer}"
        for name in ("q", "k", "v", "o"):
            specs[f"{base}.{attention}.{name}{'' if renamed else '_proj'}.weight"] = weight(HIDDEN, HIDDEN)
        if layer < DENSE_LAYERS:
            paths = [f"{base}.{'moe' if renamed else 'mlp'}"]
        else:
            specs[f"{base}.{router}.weight"] = weight(experts, HIDDEN)
            paths = [f"{base}.{expert}.{number}" for number in range(experts)]
        for path in paths:
            for part, name in names.items():
                shape = (HIDDEN, INNER) if part == "down" else (INNER, HIDDEN)
                specs[f"{path}.{name}.weight"] = weight(*shape)
                specs[f"{path}.{name}.{'inv_scale' if renamed else 'scale'}"] = weight(
                    shape[0] // 128, shape[1] // 128
                )
        for number, name in enumerate(("input_layernorm", "post_attention_layernorm"), start=1):
            specs[f"{base}.{f'norm{number}' if renamed else name}.weight"] = weight(HIDDEN)
    specs[f"{stem}.{'final_norm' if renamed else 'norm'}.weight"] = weight(HIDDEN)
    specs["head.weight" if renamed else "lm_head.weight"] = weight(VOCABULARY, HIDDEN)
    return specs


def wider(specs: Specs) -> Specs:
    """The same keys with every width but that of the vocabulary doubled."""
    return {
        key: TensorSpec(spec.dtype, tuple(size if size == VOCABULARY else 2 * size for size in spec.shape))
        for key, spec in specs.items()
    }


def sides(keys: int, variant: str) -> tuple[Specs, Specs, dict[str, str]]:
    """The old and the new side, and the truth: old key -> new key."""
    experts = max(4, round(EXPERTS * min(1.0, keys / 91_000)))
    layers = max(DENSE_LAYERS + 1, round(keys / (experts * 6 + 7)) + DENSE_LAYERS)
    old = model(experts, layers, renamed=False)
    new = wider(old) if "wider" in variant else model(experts, layers, renamed=True)
    prefix = "module." if "prefix" in variant else ""
    truth = {prefix + ours: theirs for ours, theirs in zip(old, new, strict=True)}
    items = [(prefix + key, spec) for key, spec in old.items()]
    if "sorted" in variant:
        items.sort()
    if "shuffled" in variant:
        random.Random(0).shuffle(items)
    return dict(items), new, truth


def measure(keys: int, variant: str) -> tuple[int, int, float, float]:
    """Returns the number of keys, how many were told rightly, seconds, and the peak of memory in MB."""
    old, new, truth = sides(keys, variant)
    start = time.perf_counter()
    if "prefix" in variant:
        changes = ckpt.diff(ckpt.Structure(old), ckpt.Structure(new)).changes
    else:
        changes = infer(old, new)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {pair for change in changes for pair in zip(change.old, change.new, strict=False)}
    return len(old), len(told & truth.items()), seconds, peak


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [1_000, 10_000, 100_000]
    print(f"{'variant':18}{'keys':>9}{'right':>9}{'seconds':>9}{'MB':>6}  growth of keys and seconds")
    for variant in VARIANTS:
        before = None
        for size in sizes:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                keys, right, seconds, peak = pool.apply(measure, (size, variant))
            growth = f"  x {keys / before[0]:.1f}  x {seconds / before[1]:.1f}" if before else ""
            print(f"{variant:18}{keys:9,}{right:9,}{seconds:9.2f}{peak:6.0f}{growth}", flush=True)
            before = keys, seconds


if __name__ == "__main__":
    main()
