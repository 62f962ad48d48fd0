"""Modules whose constructors seed, draw, catch, read, set defaults or start threads."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from tests.wide.hooks import Variant


def built(work: Callable[[Any, int], None]) -> Variant:
    def variant(size: int) -> nn.Module:
        module = nn.Module()
        work(module, size)
        return module

    return variant


def _seeds_and_draws(module: Any, size: int) -> None:
    torch.manual_seed(size)
    module.a = nn.Linear(4, 4)
    drawn = int(torch.randint(2, 9, (1,)))
    module.b = nn.Linear(drawn, drawn)


def _draws(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 4)
    module.b = nn.Linear(int(torch.randint(2, 5, (1,))), 1)


def _draws_first(module: Any, size: int) -> None:
    drawn = int(torch.randint(2, 5, (1,)))
    module.a = nn.Linear(size, drawn)


def _draws_in_python(module: Any, size: int) -> None:
    random.seed(size)
    module.a = nn.Linear(random.randint(1, 5), 2)


def _draws_in_numpy(module: Any, size: int) -> None:
    import numpy as np

    np.random.seed(size)
    module.a = nn.Linear(int(np.random.randint(1, 5)), 2)


def _draws_with_a_generator(module: Any, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    weight = torch.empty(4, 4)
    nn.init.normal_(weight, generator=generator)
    module.w = nn.Parameter(weight)
    module.a = nn.Linear(int(torch.randint(1, 5, (1,), generator=generator)), 2)


def _catches_item(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    try:
        module.register_buffer("scale", torch.tensor(float(module.a.weight.abs().max())))
    except Exception:
        module.scale = None


def _catches_numpy(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    with contextlib.suppress(Exception):
        module.b = nn.Linear(module.a.weight.detach().numpy().shape[0], 2)


def _asks_item(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    module.a.weight.data.fill_(2)
    module.b = nn.Linear(int(module.a.weight[0, 0].item()), 2)


def _asks_is_meta(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    module.b = nn.Linear(1 if module.a.weight.is_meta else 2, 2)


def _asks_under_a_device(module: Any, size: int) -> None:
    with torch.device("cpu"):
        module.a = nn.Linear(size, 2)
        module.b = nn.Linear(1 if module.a.weight.is_meta else 2, 2)


def _asks_device(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    module.b = nn.Linear(2, 2, device=module.a.weight.device)
    module.c = nn.Linear({"cpu": 3}.get(module.a.weight.device.type, 4), 2)


def _asks_data_ptr(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    module.b = nn.Linear(size, 2)
    if module.a.weight.data_ptr() == module.b.weight.data_ptr():
        del module.b


def _sets_dtype(module: Any, size: int) -> None:
    torch.set_default_dtype(torch.float64)
    module.a = nn.Linear(size, 2)


def _sets_grad(module: Any, size: int) -> None:
    torch.set_grad_enabled(False)
    module.a = nn.Linear(size, 2)


def _reads(module: Any, size: int) -> None:
    with open(__file__, encoding="utf-8") as file:
        module.a = nn.Linear(len(file.readline()) % 7 + size, 2)


def _threads(module: Any, size: int) -> None:
    def add() -> None:
        module.a = nn.Linear(size, 2)

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()


def _assigns(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    module.a.weight = nn.Parameter(torch.stack([module.a.weight[0].detach()] * size))


def _loads_itself(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    module.b = nn.Linear(size, 2)
    module.b.load_state_dict(module.a.state_dict())


def _decomposes(module: Any, size: int) -> None:
    module.a = nn.Linear(size, size)
    nn.init.orthogonal_(module.a.weight)
    values = torch.linalg.svdvals(module.a.weight.detach())
    module.register_buffer("rank", torch.ones(int((values > 0.5).sum())))


def _raises(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    raise ValueError("not built")


def _deletes(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    del module.a.bias
    module.a.register_parameter("bias", None)


def _chooses(module: Any, size: int) -> None:
    module.a = nn.Linear(2, 2)
    nn.init.constant_(module.a.weight, float(size))
    if bool((module.a.weight > 2).any()):
        module.b = nn.Linear(2, 2)


def _holds_a_lock(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    module.lock = threading.Lock()


def _holds_a_generator(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    module.lines = (number for number in range(size))


def _holds_a_result(module: Any, size: int) -> None:
    module.a = nn.Linear(size, 2)
    module.result = module.a(torch.ones(1, size))


KINDS: dict[str, tuple[Variant, ...]] = {
    f"constructor: {name}": tuple(built(work) for work in works)
    for name, works in {
        "seeds and draws": (_seeds_and_draws,),
        "draws": (_draws,),
        "draws first": (_draws_first,),
        "draws in Python": (_draws_in_python,),
        "draws in numpy": (_draws_in_numpy,),
        "draws with a generator": (_draws_with_a_generator,),
        "catches item": (_catches_item,),
        "catches numpy": (_catches_numpy,),
        "asks item": (_asks_item,),
        "asks is_meta": (_asks_is_meta,),
        "asks device": (_asks_device,),
        "asks under a device": (_asks_under_a_device,),
        "asks data_ptr": (_asks_data_ptr,),
        "sets dtype": (_sets_dtype,),
        "sets grad mode": (_sets_grad,),
        "reads a file": (_reads,),
        "starts a thread": (_threads,),
        "assigns": (_assigns, _deletes),
        "loads itself": (_loads_itself,),
        "decomposes": (_decomposes,),
        "chooses": (_chooses,),
        "holds a lock": (_holds_a_lock,),
        "holds a generator": (_holds_a_generator,),
        "holds a result": (_holds_a_result,),
        "raises": (_raises, _assigns),
    }.items()
}
