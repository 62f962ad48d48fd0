"""Adapters of peft: the verdict is what ``PeftModel.from_pretrained`` itself does with the real files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat import check

peft: Any = pytest.importorskip("peft", reason="its from_pretrained is the oracle")
transformers: Any = pytest.importorskip("transformers", reason="saves the bases")

pytestmark = pytest.mark.filterwarnings("ignore")


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)


class Net(nn.Module):
    """A model that is none of transformers'."""

    def __init__(self, width: int = 8, depth: int = 2, classes: int = 3, name: str = "blocks") -> None:
        super().__init__()
        self.embed = nn.Embedding(11, width)
        setattr(self, name, nn.ModuleList(Block(width) for _ in range(depth)))
        self.head = nn.Linear(width, classes)


class Leaf(Net):
    def __init__(self) -> None:
        super().__init__()
        for block in self.blocks:  # type: ignore[union-attr]
            block.q = block.query
            del block.query


class Headless(Net):
    def __init__(self) -> None:
        super().__init__()
        del self.head


class Tied(Net):
    def __init__(self) -> None:
        super().__init__(classes=11)
        self.head.weight = self.embed.weight


def gpt2(kind: Any = None, **changes: Any) -> Any:
    sizes = {"n_layer": 2, "n_embd": 8, "n_head": 2, "n_positions": 6, "vocab_size": 11}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return (kind or transformers.GPT2LMHeadModel)(transformers.GPT2Config(**(sizes | ends | changes)))


def classifier(**changes: Any) -> Any:
    return gpt2(transformers.GPT2ForSequenceClassification, **({"num_labels": 3} | changes))


def lora(**changes: Any) -> Any:
    return peft.LoraConfig(**({"r": 2, "target_modules": ["query", "value"]} | changes))


def of_gpt2(kind: str = "LoraConfig", task: str | None = "CAUSAL_LM", **options: Any) -> Any:
    return getattr(peft, kind)(task_type=task, **options)


PATTERN = r"blocks\.\d\.query"
C_ATTN: dict[str, Any] = {"target_modules": ["c_attn"]}
PROMPT: dict[str, Any] = {"num_virtual_tokens": 3}
LABELS: dict[str, Any] = {"target_modules": ["c_attn"], "modules_to_save": ["score"], "task": "SEQ_CLS"}

#: name -> what the adapter was trained on, its configuration, what it is loaded into.
CASES: dict[str, tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]] = {
    "same": (Net, lora, Net),
    "renamed": (Net, lora, lambda: Net(name="layers")),
    "a target renamed": (Net, lora, Leaf),
    "all targets renamed": (Net, lambda: lora(target_modules=["query"]), Leaf),
    "wider": (Net, lora, lambda: Net(width=12)),
    "deeper": (Net, lora, lambda: Net(depth=3)),
    "shallower": (Net, lora, lambda: Net(depth=1)),
    "shallower and wider": (Net, lora, lambda: Net(depth=1, width=12)),
    "another head": (Net, lora, lambda: Net(classes=5)),
    "saved head, same": (Net, lambda: lora(modules_to_save=["head"]), Net),
    "saved head resized": (Net, lambda: lora(modules_to_save=["head"]), lambda: Net(classes=5)),
    "saved head gone": (Net, lambda: lora(modules_to_save=["head"]), Headless),
    "target by pattern, deeper": (
        Net,
        lambda: lora(target_modules=PATTERN),
        lambda: Net(depth=3),
    ),
    "target by pattern, renamed": (
        Net,
        lambda: lora(target_modules=PATTERN),
        lambda: Net(name="layers"),
    ),
    "rank pattern": (Net, lambda: lora(rank_pattern={"blocks.0.query": 4}, alpha_pattern={"value": 3}), Net),
    "rank pattern, renamed": (
        Net,
        lambda: lora(rank_pattern={"blocks.0.query": 4}),
        lambda: Net(name="layers"),
    ),
    "DoRA": (Net, lambda: lora(use_dora=True), Net),
    "DoRA, wider": (Net, lambda: lora(use_dora=True), lambda: Net(width=12)),
    "biases of LoRA": (Net, lambda: lora(bias="lora_only"), Net),
    "all biases": (Net, lambda: lora(bias="all"), Net),
    "all biases, another head": (Net, lambda: lora(bias="all"), lambda: Net(classes=5)),
    "own biases": (Net, lambda: lora(lora_bias=True), Net),
    "embedding": (Net, lambda: lora(target_modules=["embed", "query"]), Net),
    "some tokens": (Net, lambda: lora(trainable_token_indices={"embed": [0, 3]}), Net),
    "tied": (Tied, lambda: lora(target_modules=["query", "head"]), Tied),
    "PiSSA": (Net, lambda: lora(init_lora_weights="pissa"), Net),
    "AdaLoRA": (
        Net,
        lambda: peft.AdaLoraConfig(target_modules=["query"], init_r=4, target_r=2, total_step=10),
        Net,
    ),
    "AdaLoRA, wider": (
        Net,
        lambda: peft.AdaLoraConfig(target_modules=["query"], init_r=4, target_r=2, total_step=10),
        lambda: Net(width=12),
    ),
    "IA3": (Net, lambda: peft.IA3Config(target_modules=["query"], feedforward_modules=[]), Net),
    "IA3, wider": (
        Net,
        lambda: peft.IA3Config(target_modules=["query"], feedforward_modules=[]),
        lambda: Net(width=12),
    ),
    "LoHa": (Net, lambda: peft.LoHaConfig(r=2, target_modules=["query"]), Net),
    "LoKr, renamed": (
        Net,
        lambda: peft.LoKrConfig(r=2, target_modules=["query"]),
        lambda: Net(name="layers"),
    ),
    "VeRA": (Net, lambda: peft.VeraConfig(r=2, target_modules=["query"]), Net),
    "OFT": (Net, lambda: peft.OFTConfig(oft_block_size=4, target_modules=["query"]), Net),
    "layer norms": (gpt2, lambda: of_gpt2("LNTuningConfig", target_modules=["ln_1"]), gpt2),
    "gpt2": (gpt2, lambda: of_gpt2(**C_ATTN), gpt2),
    "gpt2, no longer tied": (gpt2, lambda: of_gpt2(**C_ATTN), lambda: gpt2(tie_word_embeddings=False)),
    "gpt2 without its head": (gpt2, lambda: of_gpt2(**C_ATTN), lambda: gpt2(transformers.GPT2Model)),
    "gpt2, wider": (gpt2, lambda: of_gpt2(**C_ATTN), lambda: gpt2(n_embd=16)),
    "labels": (classifier, lambda: of_gpt2(**LABELS), classifier),
    "other labels": (classifier, lambda: of_gpt2(**LABELS), lambda: classifier(num_labels=5)),
    "prompt": (gpt2, lambda: of_gpt2("PromptTuningConfig", **PROMPT), gpt2),
    "prompt, wider": (gpt2, lambda: of_gpt2("PromptTuningConfig", **PROMPT), lambda: gpt2(n_embd=16)),
    "P-tuning": (gpt2, lambda: of_gpt2("PromptEncoderConfig", encoder_hidden_size=8, **PROMPT), gpt2),
    "prefix": (gpt2, lambda: of_gpt2("PrefixTuningConfig", **PROMPT), gpt2),
    "prefix, deeper": (gpt2, lambda: of_gpt2("PrefixTuningConfig", **PROMPT), lambda: gpt2(n_layer=3)),
    "prompt of a classifier": (
        classifier,
        lambda: of_gpt2("PromptTuningConfig", task="SEQ_CLS", **PROMPT),
        classifier,
    ),
}


def save(folder: Path, base: Any, config: Any, **options: Any) -> Path:
    torch.manual_seed(0)
    peft.get_peft_model(base, config).save_pretrained(folder, **options)
    return folder


def oracle(base: Any, folder: Path) -> tuple[bool, set[str], set[str]]:
    """Whether peft raises; else the keys that it warns of as missing, and those that find no place."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = peft.PeftModel.from_pretrained(base, folder)
        except Exception:
            return True, set(), set()
    told = [str(each.message) for each in caught if "Found missing adapter keys" in str(each.message)]
    missing = set(json.loads(told[0].partition(": ")[2].rstrip(".").replace("'", '"'))) if told else set()
    state = peft.load_peft_weights(str(folder), device="cpu")
    unexpected = set(peft.set_peft_model_state_dict(model, state).unexpected_keys)
    if model.peft_config["default"].is_prompt_learning:  # loaded into the prompt, and not by its key
        unexpected -= {"prompt_embeddings"}
    return False, missing, unexpected


@pytest.mark.parametrize("name", CASES)
def test_says_what_peft_says(name: str, tmp_path: Path) -> None:
    saved, config, today = CASES[name]
    folder = save(tmp_path / "adapter", saved(), config())
    raises, missing, unexpected = oracle(today(), folder)
    verdict = check(folder, today)
    assert verdict.notes[0].startswith("loaded as peft's PeftModel.from_pretrained does: ")
    assert verdict.compatible == (not raises and not missing and not unexpected), str(verdict)
    lenient = check(folder, today, strict=False)
    nothing = any(change.kind == "nothing-loaded" for change in lenient.changes)
    assert lenient.compatible == (not raises and not nothing), str(lenient)
    if not raises:
        without = [key.replace(".default", "") for key in (*missing, *unexpected)]
        changed = [key for change in verdict.changes for key in (*change.old, *change.new)]
        assert sorted(changed) == sorted(without)
