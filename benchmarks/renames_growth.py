"""Time and peak memory of rename inference on mixtures of experts of 1,000, 10,000 and 100,000 keys.

Every key is renamed. Each size runs in a process of its own, so that peaks do not mix.

    python benchmarks/renames_growth.py [KEYS ...]
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time

from pytest_ckpt_compat._core.structure import TensorSpec
from pytest_ckpt_compat._renames import infer

EXPERTS, DENSE_LAYERS, HIDDEN, INNER = 256, 3, 7168, 2048
OLD = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
NEW = {"gate": "w1", "up": "w3", "down": "w2"}


def weight(*shape: int) -> TensorSpec:
    return TensorSpec("bfloat16", shape)


def model(experts: int, layers: int, *, renamed: bool) -> dict[str, TensorSpec]:
    """A language model of experts under its first names, or under its second."""
    names = NEW if renamed else OLD
    stem, block, attention = ("decoder", "blocks", "attn") if renamed else ("model", "layers", "self_attn")
    router = "moe.gate" if renamed else "mlp.gate"
    expert = "moe.expert" if renamed else "mlp.experts"
    specs = {f"{stem}.{'tokens' if renamed else 'embed_tokens'}.weight": weight(129280, HIDDEN)}
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
    specs["head.weight" if renamed else "lm_head.weight"] = weight(129280, HIDDEN)
    return specs


def measure(keys: int) -> None:
    """Prints one line of the table."""
    experts = max(4, round(EXPERTS * min(1.0, keys / 91_000)))
    layers = max(DENSE_LAYERS + 1, round(keys / (experts * 6 + 7)) + DENSE_LAYERS)
    old, new = (model(experts, layers, renamed=renamed) for renamed in (False, True))
    start = time.perf_counter()
    changes = infer(old, new)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    truth = dict(zip(old, new, strict=True))
    right = sum(change.kind == "renamed" and truth[change.old[0]] == change.new[0] for change in changes)
    print(f"{len(old):9,} keys  {right:9,} right  {seconds:7.2f} s  {peak:7.0f} MB peak")


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [1_000, 10_000, 100_000]
    context = multiprocessing.get_context("spawn")
    for size in sizes:
        process = context.Process(target=measure, args=(size,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
