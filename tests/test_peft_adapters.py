"""Adapters of peft beside the plain case: several, PeftModels, the base from its configuration, mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pytest_ckpt_compat import check, read
from pytest_ckpt_compat._check.check import check_structure, resumed
from pytest_ckpt_compat._cli.main import main
from pytest_ckpt_compat._core.changes import Policy, Severity
from pytest_ckpt_compat._core.errors import BuildError, ReadError, UsageError
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._definition.load import load_weights
from tests.test_peft import C_ATTN, Leaf, Net, gpt2, lora, of_gpt2, oracle, peft, save, transformers

pytestmark = pytest.mark.filterwarnings("ignore")


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes", [{"r": 3}, {"target_modules": ["query"]}, {"use_dora": True}, {"lora_alpha": 1}]
)
def test_the_configuration_beside_the_weights_counts(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora())
    edit(folder, **changes)
    raises, missing, unexpected = oracle(Net(), folder)
    verdict = check(folder, Net)
    assert verdict.compatible == (not raises and not missing and not unexpected) == ("lora_alpha" in changes)


@pytest.mark.parametrize(
    "lost", ["base_model.model.head.weight", "base_model.model.blocks.0.query.lora_A.weight"]
)
def test_a_file_that_lacks_a_key(lost: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora(modules_to_save=["head"]), safe_serialization=False)
    state = torch.load(folder / "adapter_model.bin")
    del state[lost]
    torch.save(state, folder / "adapter_model.bin")
    raises, missing, _ = oracle(Net(), folder)
    assert raises or missing
    verdict = check(folder, Net)
    assert [(change.kind, change.new) for change in verdict.changes] == [("missing", (lost,))]
    assert check(folder, Net, strict=False).compatible == (not raises)


def wrapped(**changes: Any) -> Any:
    return peft.get_peft_model(Net(), lora(**changes))


@pytest.mark.parametrize(
    "changes",
    [{}, {"r": 4}, {"target_modules": ["query"]}, {"modules_to_save": ["head"]}, {"use_dora": True}],
)
@pytest.mark.parametrize("safe", [True, False])
def test_a_definition_that_is_a_peft_model(changes: dict[str, Any], safe: bool, tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora(), safe_serialization=safe)
    model = wrapped(**changes)
    try:
        found = model.load_adapter(folder, "default")
        fits = not found.missing_keys and not found.unexpected_keys
    except (RuntimeError, KeyError):
        fits = False
    verdict = check(folder, lambda: wrapped(**changes))
    assert verdict.compatible == fits == (not changes), str(verdict)
    assert verdict.notes[0].startswith(
        "loaded as peft's load_adapter does, into the definition's adapter 'default'"
    )


def test_other_settings_of_the_definition_are_told(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora())
    verdict = check(folder, lambda: wrapped(lora_alpha=32))
    assert verdict.compatible
    expected = (
        "adapter_config.json has lora_alpha=8, and the definition lora_alpha=32: the definition's counts"
    )
    assert verdict.notes[1:] == (expected,)


def test_the_keys_of_an_adapter_without_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "adapter.pt"
    torch.save(peft.get_peft_model_state_dict(wrapped()), path)
    assert check(path, wrapped).compatible
    assert not check(path, lambda: wrapped(r=4)).compatible
    torch.save(wrapped().state_dict(), path)  # the whole model: no adapter's keys
    verdict = check(path, wrapped)
    assert verdict.compatible
    assert not verdict.notes


def test_several_adapters(tmp_path: Path) -> None:
    def both() -> Any:
        model = wrapped()
        model.add_adapter("other", lora(r=5))
        return model

    both().save_pretrained(tmp_path)
    assert check(tmp_path, Net).compatible
    assert check(tmp_path / "other", Net).compatible
    assert check(tmp_path, both).compatible
    verdict = check(tmp_path / "other", both)
    assert verdict.compatible
    assert "into the definition's adapter 'other'" in verdict.notes[0]
    both().save_pretrained(tmp_path / "inside", selected_adapters=["other"])
    with pytest.raises(
        ReadError, match="it holds 1 adapter of PEFT in folders of their own; give 'other' in it"
    ):
        check(tmp_path / "inside", Net)


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "2KB"}])
def test_the_base_is_built_from_its_own_configuration(options: dict[str, Any], tmp_path: Path) -> None:
    gpt2().save_pretrained(tmp_path / "base", **options)
    base = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "base")
    folder = save(tmp_path / "adapter", base, of_gpt2(**C_ATTN))
    verdict = check(folder, load="peft")
    assert verdict.compatible, str(verdict)
    assert verdict.new_label == "transformers.AutoModelForCausalLM"
    assert peft.AutoPeftModelForCausalLM.from_pretrained(folder)
    assert check(folder, transformers.GPT2LMHeadModel).compatible
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps(config | {"n_embd": 16}))
    assert not check(folder, load="peft").compatible
    assert check(folder, load="peft", kwargs={"n_embd": 8}).compatible
    edit(
        folder,
        task_type=None,
        auto_mapping={"base_model_class": "GPT2Model", "parent_library": "transformers"},
    )
    verdict = check(folder, load="peft", kwargs={"n_embd": 8})
    assert "GPT2Model" in verdict.new_label
    assert not verdict.compatible
    edit(folder, auto_mapping=None)
    assert check(folder, load="peft", kwargs={"n_embd": 8}).compatible  # the class that config.json names


def test_a_remap_is_applied_to_the_adapters_keys(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora())

    def renamed() -> nn.Module:
        return Net(name="layers")

    def remap(state: dict[str, Any]) -> dict[str, Any]:
        return {key.replace("blocks.", "layers."): value for key, value in state.items()}

    assert {change.kind for change in check(folder, renamed).changes} == {"renamed"}
    verdict = check(folder, renamed, migrate=remap)
    assert verdict.compatible
    assert any("renamed 8 (" in note for note in verdict.notes)
    assert verdict.migrated is not None
    assert all(key.replace("layers.", "blocks.") in o.keys for key, o in verdict.migrated.origins.items())
    assert load_weights(find(renamed, migrate=remap, path=str(folder)), read(folder))

    def broken(state: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("nothing")

    assert any("KeyError" in change.detail for change in check(folder, renamed, migrate=broken).changes)


def test_loads_the_real_weights(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora(init_lora_weights=False))
    expected = peft.load_peft_weights(str(folder), device="cpu")
    for definition in (Net, wrapped):
        model = load_weights(find(definition, path=str(folder)), read(folder))
        found = peft.get_peft_model_state_dict(model)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)
    with pytest.raises(RuntimeError, match=r"missing: base_model\.model\.layers"):
        load_weights(find(lambda: Net(name="layers"), path=str(folder)), read(folder))


def test_a_large_base_is_not_built_for_real(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora())
    policy = Policy(memory_budget=100)
    verdict = check_structure(read(folder), find(lambda: Net(width=12), path=str(folder)), policy)
    assert not verdict.compatible
    assert any("not confirmed with real tensors" in note for note in verdict.notes)
    assert check_structure(read(folder), find(Net, path=str(folder)), policy).notes[1:] == ()


def test_mistakes_take_one_line(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora())
    with pytest.raises(UsageError, match=r"adapter_config\.json names no base model; give model") as no_base:
        check(folder, load="peft")
    edit(folder, base_model_name_or_path="acme/base")
    with pytest.raises(
        UsageError, match=r"'acme/base', which is no directory here with a config\.json"
    ) as absent:
        check(folder, load="peft")
    torch.save(Net().state_dict(), tmp_path / "net.pt")
    with pytest.raises(UsageError, match=r"no adapter_config\.json lies beside the weights") as none:
        check(tmp_path / "net.pt", load="peft")
    with pytest.raises(BuildError, match=r"has no adapter_config\.json beside its weights") as plain:
        check(tmp_path / "net.pt", Net, load="peft")
    gpt2().save_pretrained(tmp_path / "base")
    edit(folder, base_model_name_or_path=str(tmp_path / "base"))
    with pytest.raises(
        UsageError, match=r'none of transformers; give model, for example "tests\.test_peft:Net"'
    ) as own:
        check(folder, load="peft")
    edit(folder, auto_mapping={"base_model_class": "NoSuch", "parent_library": "transformers"})
    with pytest.raises(UsageError, match=r"class transformers\.NoSuch cannot be imported") as unknown:
        check(folder, load="peft")
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ReadError, match=r"in its part 'adapter_config\.json', .*not valid JSON") as broken:
        check(folder, Net)
    assert all("\n" not in str(error.value) for error in (no_base, absent, none, plain, own, unknown, broken))


def test_an_adapter_in_a_plain_model_is_not_to_be_dropped(tmp_path: Path) -> None:
    torch.save(wrapped(modules_to_save=["head"]).state_dict(), tmp_path / "whole.pt")
    verdict = check(tmp_path / "whole.pt", Net)
    assert {change.rule for change in verdict.changes} == {"CK108"}
    assert "merge_and_unload" in str(verdict)
    assert "drop" not in str(verdict)
    bare = {key.removeprefix("base_model.model."): value for key, value in wrapped().state_dict().items()}
    torch.save(bare, tmp_path / "bare.pt")
    assert {change.rule for change in check(tmp_path / "bare.pt", Net).changes} == {"CK108"}
    torch.save(peft.get_peft_model_state_dict(wrapped()), tmp_path / "alone.pt")
    assert {change.rule for change in check(tmp_path / "alone.pt", Net).changes} == {"CK101", "CK108"}
    merged = wrapped().merge_and_unload()
    torch.save(merged.state_dict(), tmp_path / "merged.pt")
    assert check(tmp_path / "merged.pt", Net).compatible


def test_what_is_renamed_besides_is_told_as_that(tmp_path: Path) -> None:
    torch.save(wrapped().state_dict(), tmp_path / "whole.pt")
    rules = {change.rule for change in check(tmp_path / "whole.pt", lambda: Net(name="layers")).changes}
    assert rules == {"CK103", "CK108"}


def test_nothing_is_imported_for_other_checkpoints(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    code = (
        "import sys, torch, pytest_ckpt_compat as c\n"
        "assert c.check('net.pt', torch.nn.Linear, {'in_features': 2, 'out_features': 2}).compatible\n"
        "assert 'peft' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_show_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(tmp_path / "adapter", gpt2(), of_gpt2(**C_ATTN))
    assert main(["show", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder}: safetensors"
    assert lines[1].startswith("adapter_config.json: LORA adapter of PEFT (r=8, target_modules=[c_attn]")


def test_level_resume_needs_the_optimizers_state(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora())
    definition = find(Net, path=str(folder))
    verdict = check_structure(read(folder), definition, Policy())
    (found,) = resumed(verdict, definition, torch.optim.SGD, Policy()).changes
    assert (found.rule, found.severity) == ("CK906", Severity.INCOMPLETE)
    assert "an adapter" in found.detail


@pytest.mark.parametrize("merges", [False, True])
def test_a_loader_of_the_projects_own(merges: bool, tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora(modules_to_save=["head"]))

    def load(path: str, **kwargs: Any) -> Any:
        model = peft.PeftModel.from_pretrained(Net(**kwargs), path)
        return model.merge_and_unload() if merges else model

    assert not check(folder, load=load).changes
    assert {change.kind for change in check(folder, load=load, kwargs={"width": 12}).changes} == {"resized"}
    deeper = check(folder, load=load, kwargs={"depth": 3}).changes
    assert [change.kind for change in deeper] == ["missing"] * 4


def test_modules_that_the_base_lacks_are_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora(modules_to_save=["head"]))
    notes = check(folder, Leaf).notes
    assert notes[1:] == ("adapter_config.json names query, and the definition has no such module",)
    assert "names query, head, and" in check(folder, Bare).notes[1]


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Linear(8, 8)


def test_the_last_layer_of_an_adapter_is_no_head(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", gpt2(), of_gpt2(**C_ATTN))
    changes = check(folder, lambda: gpt2(n_embd=16)).changes
    assert {change.kind for change in changes} == {"resized"}
    folder = save(tmp_path / "labels", Net(), lora(modules_to_save=["head"]))
    kinds = {change.kind for change in check(folder, lambda: Net(classes=5)).changes}
    assert kinds == {"head-resized"}


def test_keys_without_what_peft_puts_before_them(tmp_path: Path) -> None:
    folder = save(tmp_path / "adapter", Net(), lora())
    state = peft.load_peft_weights(str(folder), device="cpu")
    bare = {key.removeprefix("base_model.model."): value for key, value in state.items()}
    save_file(bare, folder / "adapter_model.safetensors")
    _, missing, unexpected = oracle(Net(), folder)
    assert missing
    assert unexpected
    verdict = check(folder, Net)
    assert {change.rule for change in verdict.changes} == {"CK107"}
    assert verdict.repairs == (
        ("fix", "put base_model.model. before the keys while loading (migrate=), as peft saves them"),
    )

    def put(state: dict[str, Any]) -> dict[str, Any]:
        return {f"base_model.model.{key}": value for key, value in state.items()}

    assert check(folder, Net, migrate=put).compatible
