"""Every kind of adapter that peft has for the layers of a plain model: the verdict is peft's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_ckpt_compat import check
from tests.test_peft import Net, oracle, peft, save

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.long]

#: Kinds whose smallest configuration for layers of 8 to 8 is not that of the others.
SPECIAL: dict[str, dict[str, Any]] = {
    "ADALORA": {"init_r": 4, "target_r": 2, "total_step": 10},
    "BOFT": {"boft_block_size": 4},
    "C3A": {"block_size": 4},
    "FOURIERFT": {"n_frequency": 4},
    "IA3": {"feedforward_modules": []},
    "OFT": {"oft_block_size": 4},
    "ROAD": {"group_size": 4},
    "SUPERTUNING": {"sparsity": 0.5},
    "VBLORA": {"num_vectors": 8, "vector_length": 4},
    "WAVEFT": {"n_frequency": 4},
}
#: Not for the layers of a plain model: prompts and what needs the model of a library have tests of their own.
APART = {"ADAPTION_PROMPT", "LN_TUNING", "SHADOW", "XLORA"}
KINDS = {
    getattr(kind, "value", kind): config
    for kind, config in peft.PEFT_TYPE_TO_CONFIG_MAPPING.items()
    if "target_modules" in inspect.signature(config).parameters
}
CHANGES: dict[str, Callable[[], Any]] = {
    "same": Net,
    "renamed": lambda: Net(name="layers"),
    "wider": lambda: Net(width=12),
    "deeper": lambda: Net(depth=3),
}


def configured(name: str) -> Any:
    options = dict(SPECIAL.get(name, {}))
    if "r" in inspect.signature(KINDS[name]).parameters and not SPECIAL.get(name):
        options["r"] = 2
    return KINDS[name](target_modules=["query"], **options)


@pytest.mark.parametrize("name", sorted(KINDS.keys() - APART))
def test_every_kind(name: str, tmp_path: Path) -> None:
    try:
        folder = save(tmp_path / "adapter", Net(), configured(name))
    except ImportError as error:
        pytest.skip(f"peft cannot make it here: {error}")
    for change, today in CHANGES.items():
        raises, missing, unexpected = oracle(today(), folder)
        verdict, lenient = check(folder, today), check(folder, today, strict=False)
        nothing = any(each.kind == "nothing-loaded" for each in lenient.changes)
        assert verdict.compatible == (not raises and not missing and not unexpected), (change, str(verdict))
        assert lenient.compatible == (not raises and not nothing), (change, str(lenient))
