"""Models of transformers: the verdict is what ``from_pretrained`` itself says of the real files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pytest_ckpt_compat import check, read
from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import BuildError, UsageError
from pytest_ckpt_compat._definition import confirm
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.load import load_weights

transformers: Any = pytest.importorskip("transformers", reason="its from_pretrained is the oracle")

GPT2 = {"n_embd": 8, "n_head": 2, "n_positions": 6, "bos_token_id": 0, "eos_token_id": 0}


def gpt2(kind: Any = None, **changes: Any) -> Any:
    config = transformers.GPT2Config(**({"n_layer": 2, "vocab_size": 11} | GPT2 | changes))
    return (kind or transformers.GPT2LMHeadModel)(config)


def bert(kind: Any = None, **changes: Any) -> Any:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**(sizes | {"vocab_size": 11} | changes))
    return (kind or transformers.BertForSequenceClassification)(config)


def mixtral(**changes: Any) -> Any:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    more = {"vocab_size": 11, "num_key_value_heads": 2, "num_local_experts": 2, "head_dim": 4}
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**(sizes | more | changes)))


class Renamed(transformers.GPT2LMHeadModel):  # type: ignore[misc]
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.transformer.final = self.transformer.ln_f
        del self.transformer.ln_f


class Lenient(transformers.GPT2LMHeadModel):  # type: ignore[misc]
    _keys_to_ignore_on_load_missing = [r"scale"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [r"h\.1\."]  # noqa: RUF012

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(2))

    def _init_weights(self, module: nn.Module) -> None:
        pass


#: name -> what saved the checkpoint, what it is loaded into, options of save_pretrained.
CASES: dict[str, tuple[Callable[[], Any], Callable[[], Any], dict[str, Any]]] = {
    "same, tied": (gpt2, gpt2, {}),
    "same, not tied": (
        lambda: gpt2(tie_word_embeddings=False),
        lambda: gpt2(tie_word_embeddings=False),
        {},
    ),
    "no longer tied": (gpt2, lambda: gpt2(tie_word_embeddings=False), {}),
    "sharded": (gpt2, gpt2, {"max_shard_size": "2KB"}),
    "sharded, renamed": (gpt2, lambda: gpt2(Renamed), {"max_shard_size": "2KB"}),
    "renamed": (gpt2, lambda: gpt2(Renamed), {}),
    "vocabulary resized": (gpt2, lambda: gpt2(vocab_size=13), {}),
    "head resized": (bert, lambda: bert(num_labels=5), {}),
    "deeper": (gpt2, lambda: gpt2(n_layer=3), {}),
    "shallower": (gpt2, lambda: gpt2(n_layer=1), {}),
    "wider": (gpt2, lambda: gpt2(n_embd=16), {}),
    "base into head": (lambda: gpt2(transformers.GPT2Model), gpt2, {}),
    "head into base": (gpt2, lambda: gpt2(transformers.GPT2Model), {}),
    "another head": (bert, lambda: bert(transformers.BertForTokenClassification, num_labels=3), {}),
    "keys to ignore": (gpt2, lambda: gpt2(Lenient, n_layer=1), {}),
    "converted": (mixtral, mixtral, {}),
    "converted, other experts": (mixtral, lambda: mixtral(num_local_experts=3), {}),
    "another architecture": (bert, gpt2, {}),
    "half": (lambda: gpt2().half(), gpt2, {}),
}


def outcome_of(path: Path, model: Any, strict: bool = True) -> Any:
    return confirm.load(read(path), find(model, path=str(path)), strict)[1]


@pytest.mark.parametrize("name", CASES)
def test_says_what_from_pretrained_says(name: str, tmp_path: Path) -> None:
    saved, factory, options = CASES[name]
    saved().save_pretrained(tmp_path, **options)
    model = factory()
    arguments = {"config": model.config, "output_loading_info": True}
    try:
        type(model).from_pretrained(tmp_path, **arguments)
    except RuntimeError:
        raised = True
    else:
        raised = False
    outcome = outcome_of(tmp_path, factory)
    assert outcome_of(tmp_path, factory, strict=False).raised == raised
    assert outcome.notes[0].startswith("loaded as transformers' from_pretrained does")
    try:
        _, info = type(model).from_pretrained(tmp_path, ignore_mismatched_sizes=True, **arguments)
    except RuntimeError:
        assert outcome.errors
        return
    missing, mismatched = set(info["missing_keys"]), info["mismatched_keys"]
    told = {error.rpartition(" ")[2] for error in outcome.errors}
    prefix = f"{model.base_model_prefix}."
    unexpected = {key.removeprefix(prefix) for key in info["unexpected_keys"]}
    assert set(outcome.missing) == missing - told
    found = {key.removeprefix(prefix) for key in (*outcome.unexpected, *told)}
    assert found - missing == unexpected
    # transformers 4 names the keys alone
    shapes = {key: None if isinstance(key, str) else tuple(map(tuple, key[1:])) for key in mismatched}
    for key, expected in shapes.items():
        name = key if isinstance(key, str) else key[0]
        assert outcome.mismatched[name] == (expected or outcome.mismatched[name])
    assert len(outcome.mismatched) == len(shapes)
    clean = not (missing or unexpected or mismatched)
    assert check(tmp_path, factory).compatible == clean


def test_one_name_of_a_tie_is_enough_and_the_note_says_so(tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path)
    verdict = check(tmp_path / "model.safetensors", gpt2)
    assert verdict.compatible
    assert "lm_head.weight: tied to transformer.wte.weight by transformers" in verdict.notes


def test_a_directory_builds_its_own_model(tmp_path: Path) -> None:
    gpt2(vocab_size=17).save_pretrained(tmp_path)
    for found in (
        check(tmp_path, transformers.GPT2LMHeadModel),
        check(tmp_path, load="transformers"),
        check(tmp_path / "model.safetensors", load="transformers"),
    ):
        assert found.compatible
        assert found.new is not None
        assert found.new.tensors["lm_head.weight"].shape == (17, 8)
        assert "GPT2LMHeadModel" in found.new_label


def test_kwargs_change_the_configuration(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path)
    verdict = check(tmp_path, transformers.BertForSequenceClassification, {"num_labels": 5})
    assert {change.new for change in verdict.changes} == {("classifier.weight",), ("classifier.bias",)}
    assert {change.kind for change in verdict.changes} == {"head-resized"}
    config = transformers.BertConfig.from_pretrained(tmp_path)
    assert check(tmp_path, transformers.BertForSequenceClassification, {"config": config}).compatible


def test_missing_keys_are_breaks_unless_strict_is_false(tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path)
    assert not check(tmp_path, lambda: gpt2(Renamed)).compatible
    lenient = check(tmp_path, lambda: gpt2(Renamed), strict=False)
    assert lenient.compatible
    assert {change.kind for change in lenient.changes} == {"renamed"}


def test_nothing_loaded_is_a_break_at_every_strictness(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path)
    verdict = check(tmp_path, gpt2, strict=False)
    assert "nothing-loaded" in [change.kind for change in verdict.changes]
    assert not verdict.compatible


def test_a_model_that_its_config_does_not_give_is_loaded_plainly(tmp_path: Path) -> None:
    def changed() -> Any:
        model = gpt2()
        model.extra = nn.Linear(2, 2)
        return model

    gpt2().save_pretrained(tmp_path)
    verdict = check(tmp_path, changed)
    keys = {key for change in verdict.changes for key in change.new}
    assert keys >= {"extra.weight", "extra.bias"}
    assert any("another GPT2LMHeadModel from its config" in note for note in verdict.notes)
    with pytest.raises(RuntimeError, match="extra"):
        load_weights(find(changed, path=str(tmp_path)), read(tmp_path))


def test_a_remap_comes_before_from_pretrained(tmp_path: Path) -> None:
    def rename(state: Any) -> Any:
        return {key.replace(".ln_f.", ".final."): value for key, value in state.items()}

    model = gpt2()
    model.save_pretrained(tmp_path)
    red = check(tmp_path, lambda: gpt2(Renamed))
    assert {change.kind for change in red.changes} == {"renamed"}
    assert not any("prefix" in note or "memory_budget" in note for note in red.notes)
    verdict = check(tmp_path, lambda: gpt2(Renamed), migrate=rename)
    assert not verdict.changes
    assert any(note.startswith("loaded as transformers' from_pretrained does") for note in verdict.notes)
    assert any("renamed 2" in note for note in verdict.notes)
    assert verdict.migrated is not None
    assert len(verdict.migrated.origins) == 2
    found: Any = load_weights(find(lambda: gpt2(Renamed), migrate=rename, path=str(tmp_path)), read(tmp_path))
    assert torch.equal(found.transformer.final.weight, model.transformer.ln_f.weight)
    assert found.lm_head.weight is found.transformer.wte.weight
    library = Renamed.from_pretrained(
        None, config=model.config, state_dict=rename(model.state_dict()), output_loading_info=True
    )[1]
    assert not library["missing_keys"]
    assert not library["unexpected_keys"]


def test_a_remap_that_raises_or_needs_numbers(tmp_path: Path) -> None:
    def broken(state: Any) -> Any:
        raise KeyError("no.such.key")

    def by_numbers(state: Any) -> Any:
        return dict(state) if state["transformer.wte.weight"].abs().max() >= 0 else {}

    gpt2().save_pretrained(tmp_path)
    errors = [change.detail for change in check(tmp_path, gpt2, migrate=broken).changes]
    assert any("raised KeyError" in error and "no.such.key" in error for error in errors)
    plain = check(tmp_path, gpt2, migrate=by_numbers)
    assert any("checked with load_state_dict" in note for note in plain.notes)
    assert [(change.kind, change.new) for change in plain.changes] == [("missing", ("lm_head.weight",))]


def test_initialising_beyond_the_budget_is_not_tried(tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path)
    policy = Policy(memory_budget=100)
    assert check_structure(read(tmp_path), find(gpt2, path=str(tmp_path)), policy).compatible
    with pytest.raises(BuildError, match=r"takes 3\.5 kB to load with from_pretrained.*memory_budget"):
        check_structure(read(tmp_path), find(lambda: gpt2(n_layer=3), path=str(tmp_path)), policy)


def test_a_file_of_torch_with_both_names_loads(tmp_path: Path) -> None:
    torch.save(gpt2().state_dict(), tmp_path / "net.pt")
    assert check(tmp_path / "net.pt", gpt2).compatible


def test_loads_the_real_weights(tmp_path: Path) -> None:
    model = gpt2()
    model.save_pretrained(tmp_path)
    found = load_weights(find(gpt2, path=str(tmp_path)), read(tmp_path))
    for key, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[key], value)
    with pytest.raises(RuntimeError, match=r"missing: transformer\.final"):
        load_weights(find(lambda: gpt2(Renamed), path=str(tmp_path)), read(tmp_path))


def test_mistakes_take_one_line(tmp_path: Path) -> None:
    torch.save(gpt2().state_dict(), tmp_path / "net.pt")
    with pytest.raises(UsageError, match=r"no config\.json lies beside the weights; give model") as no_config:
        check(tmp_path / "net.pt", load="transformers")
    with pytest.raises(BuildError, match=r"gave Linear, which is no transformers\.PreTrainedModel") as other:
        check(tmp_path / "net.pt", nn.Linear, {"in_features": 1, "out_features": 1}, load="transformers")
    (tmp_path / "config.json").write_text('{"architectures": ["NoSuchModel"]}')
    with pytest.raises(UsageError, match="names no class of that library") as unknown:
        check(tmp_path / "net.pt", load="transformers")
    assert all("\n" not in str(error.value) for error in (no_config, other, unknown))


def test_nothing_is_imported_for_other_models(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    code = (
        "import sys, torch, pytest_ckpt_compat as c\n"
        "assert c.check('net.pt', torch.nn.Linear, {'in_features': 2, 'out_features': 2}).compatible\n"
        "assert not {'transformers', 'safetensors'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
