"""``ckpt-compat migrate``: what it prints, in every style, and that the style's own library loads with it."""

from __future__ import annotations

import copy
import shlex
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pytest_ckpt_compat import Change, Structure, TensorSpec
from pytest_ckpt_compat._check import migration
from pytest_ckpt_compat._check.migration_writer import Sides
from pytest_ckpt_compat._cli import main as cli
from pytest_ckpt_compat._core.verdict import Verdict
from pytest_ckpt_compat._definition import proof
from pytest_ckpt_compat._migrate.plan import plan_of
from tests.conftest import Printed, save
from tests.migrations import unwrapped

Run = Callable[..., tuple[int, str, str]]

MODELS = """
import torch
from torch import nn


class OldBlock(nn.Module):
    def __init__(self, d=4):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.query, self.key, self.value = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.mlp = nn.Linear(d, 3 * d)


class Old(nn.Module):
    def __init__(self, d=4, depth=2, classes=5):
        super().__init__()
        self.backbone = nn.Conv2d(3, d, 3)
        self.batch_norm = nn.BatchNorm2d(d)
        self.blocks = nn.ModuleList(OldBlock(d) for _ in range(depth))
        self.head = nn.Linear(d, classes)


class Block(nn.Module):
    def __init__(self, d=4):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.mlp = nn.Linear(d, 3 * d)


class New(nn.Module):
    def __init__(self, d=4, depth=2, classes=5):
        super().__init__()
        self.stem = nn.Conv2d(3, d, 3)
        self.stem_norm = nn.BatchNorm2d(d)
        self.blocks = nn.ModuleList(Block(d) for _ in range(depth))
        self.head = nn.Linear(d, classes)


class Wider(New):
    def __init__(self):
        super().__init__(classes=7)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with ``old_models.py`` and ``old.pt``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "block_models.py").write_text(MODELS)
    torch.manual_seed(0)
    torch.save(models().Old().state_dict(), "old.pt")
    yield tmp_path
    sys.modules.pop("block_models", None)


def models() -> Any:
    import importlib

    return importlib.import_module("block_models")


def migrated_by_hand(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a right migration gives."""
    found = {}
    for key, value in state.items():
        key = key.replace("backbone.", "stem.").replace("batch_norm.", "stem_norm.")
        if not any(f".{name}." in key for name in ("query", "key", "value")):
            found[key] = value
    for block in range(2):
        for leaf in ("weight", "bias"):
            parts = [state[f"blocks.{block}.{name}.{leaf}"] for name in ("query", "key", "value")]
            found[f"blocks.{block}.qkv.{leaf}"] = torch.cat(parts)
    return found


def equal(module: nn.Module, wanted: dict[str, torch.Tensor]) -> bool:
    found = module.state_dict()
    return found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


ACCEPT = ("--choose", "backbone=stem", "--choose", "batch_norm=stem_norm")


def code_of(printed: Run, *arguments: str, code: int = 0) -> str:
    found, out, err = printed("migrate", "old.pt", "block_models:New", *ACCEPT, *arguments)
    assert found == code, err
    return out


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_function_gives_what_the_model_loads(folder: Path, printed: Run) -> None:
    migrate = proof.compiled(code_of(printed), "migrate")
    state = torch.load("old.pt")
    model = models().New()
    model.load_state_dict(migrate(state))
    assert equal(model, migrated_by_hand(state))
    assert migrate(state)._metadata["stem_norm"] == {"version": 2}
    assert migrate(torch.load("old.pt")).keys() == model.state_dict().keys()


def test_only_code_is_printed_on_standard_output(folder: Path, printed: Run) -> None:
    code, out, err = printed("migrate", "old.pt", "block_models:New", *ACCEPT)
    compile(out, "out", "exec")
    assert code == 0
    assert "steps proven, loaded by the definition" in err
    lines = [line for line in out.splitlines() if line]
    assert len(lines) < 40
    assert (r'(r"^backbone\.", "stem."),') in out


@pytest.mark.parametrize("style", ["timm", "lightning"])
def test_what_a_library_calls_leaves_checkpoints_of_today_alone(
    folder: Path, printed: Run, style: str
) -> None:
    source = code_of(printed, "--style", style)

    def load(state: dict[str, torch.Tensor]) -> nn.Module:
        model = models().New()
        if style == "timm":
            model.load_state_dict(proof.compiled(source, "checkpoint_filter_fn")(state, model))
        else:
            checkpoint = {"state_dict": state}
            proof.compiled(source, "on_load_checkpoint")(model, checkpoint)
            model.load_state_dict(checkpoint["state_dict"])
        return model  # type: ignore[no-any-return]

    state = torch.load("old.pt")
    today = load(state)
    assert equal(today, migrated_by_hand(state))
    assert equal(load(today.state_dict()), today.state_dict())


def test_a_hook_loads_old_and_new_checkpoints(folder: Path, printed: Run) -> None:
    upgrade = proof.compiled(code_of(printed, "--style", "hook"), "upgrade")

    class Hooked(models().New):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_load_state_dict_pre_hook(upgrade)

    state = torch.load("old.pt")
    before = copy.deepcopy(dict(state._metadata))
    first, second = Hooked(), Hooked()
    first.load_state_dict(state)
    assert equal(first, migrated_by_hand(state))
    assert {name: state._metadata[name] for name in before} == before
    second.load_state_dict(first.state_dict())
    assert equal(second, first.state_dict())
    whole = nn.ModuleDict({"inner": Hooked()})
    whole.load_state_dict({f"inner.{key}": value for key, value in state.items()})
    assert equal(whole["inner"], migrated_by_hand(state))


def test_a_hook_goes_into_the_module_that_it_concerns(folder: Path, printed: Run) -> None:
    state = migrated_by_hand(torch.load("old.pt"))
    for block in range(2):
        for leaf in ("weight", "bias"):
            parts = state.pop(f"blocks.{block}.qkv.{leaf}").chunk(3)
            state |= {
                f"blocks.{block}.{name}.{leaf}": part.clone()
                for name, part in zip(("query", "key", "value"), parts, strict=True)
            }
    torch.save(state, "split.pt")
    code, out, err = printed("migrate", "split.pt", "block_models:New", "--style", "hook")
    assert code == 0, err
    assert "# In __init__ of block_models.Block:" in out
    assert "blocks" not in out.partition("import")[2]
    upgrade = proof.compiled(out, "upgrade")
    model = models().New()
    for block in model.blocks:
        block.register_load_state_dict_pre_hook(upgrade)
    model.load_state_dict(torch.load("split.pt"))
    assert equal(model, migrated_by_hand(torch.load("old.pt")))


class Swapped(nn.Module):
    """Two norms; what they are called has been exchanged since."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(3), nn.LayerNorm(3)


def exchange(style: str) -> migration.Migration:
    """The migration of an exchange of two names that a verdict is certain of."""
    from pytest_ckpt_compat._definition.find import find

    spec = TensorSpec("float32", (3,))
    keys = [f"{name}.{leaf}" for name in ("first", "second") for leaf in ("weight", "bias")]
    side = Structure(dict.fromkeys(keys, spec), versions={})
    other = {"first": "second", "second": "first"}
    changes = []
    for key in keys:
        name, _, leaf = key.partition(".")
        changes.append(Change("renamed", (key,), (f"{other[name]}.{leaf}",), (spec,), (spec,)))
    sides = Sides(side, side, find(Swapped), Verdict(tuple(changes), old=side, new=side))
    return migration.migration(sides, plan_of(changes, side, side), style)


def test_names_are_exchanged_at_once() -> None:
    found = exchange("function")
    assert found.complete
    migrate = proof.compiled(found.code, "migrate")
    assert list(migrate({"first.weight": 1, "second.weight": 2}).items()) == [
        ("second.weight", 1),
        ("first.weight", 2),
    ]


def test_a_version_tells_what_keys_do_not() -> None:
    found = exchange("hook")
    assert found.complete
    assert "_version = 2" in found.code
    upgrade = proof.compiled(found.code, "upgrade")

    class Today(Swapped):
        _version = 2

        def __init__(self) -> None:
            super().__init__()
            registering: Any = self.register_load_state_dict_pre_hook
            registering(upgrade)

    old, today = Swapped(), Today()
    nn.init.normal_(old.first.weight)
    today.load_state_dict(old.state_dict())
    assert torch.equal(today.second.weight, old.first.weight)
    again = Today()
    again.load_state_dict(today.state_dict())
    assert torch.equal(again.second.weight, old.first.weight)


def test_names_are_exchanged_in_the_tables_of_transformers() -> None:
    found = exchange("transformers")
    assert found.complete, (found.unproven, found.problems, found.code)
    assert "__moved" in found.code


@pytest.mark.parametrize("style", ["timm", "lightning"])
def test_what_cannot_be_told_apart_is_not_called_proven(style: str) -> None:
    found = exchange(style)
    assert not found.complete
    assert any("checkpoints of today" in problem for problem in found.problems)


def test_transformers_own_functions_load_real_numbers(folder: Path, printed: Run) -> None:
    from pytest_ckpt_compat._definition.transformers_loading import by_conversions

    conversions = proof.compiled(code_of(printed, "--style", "transformers"), "CONVERSIONS")
    state = torch.load("old.pt")
    wanted = migrated_by_hand(state)
    specs = {
        key: TensorSpec(str(value.dtype).removeprefix("torch."), tuple(value.shape))
        for key, value in wanted.items()
    }
    given = by_conversions(conversions, Structure(specs), "cpu")(state)
    assert given.keys() == wanted.keys()
    assert all(torch.equal(given[key], wanted[key]) for key in wanted)


def test_a_style_whose_library_is_not_there_is_not_proven(
    folder: Path, printed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers.core_model_loading", None)
    code, out, err = printed("migrate", "old.pt", "block_models:New", *ACCEPT, "--style", "transformers")
    assert (code, out) == (2, "")
    assert "install transformers 5 or later, or choose another style" in err


def test_a_file_of_rules_is_a_remap(folder: Path, printed: Run) -> None:
    import pytest_ckpt_compat as ckpt

    (folder / "rules.toml").write_text(code_of(printed, "--style", "rules"))
    verdict = ckpt.check("old.pt", "block_models:New", migrate="rules.toml")
    assert verdict.compatible
    assert any("rules.toml: renamed" in note for note in verdict.notes)


def test_what_is_likely_is_a_comment_until_it_is_accepted(folder: Path, printed: Run) -> None:
    code, out, err = printed("migrate", "old.pt", "block_models:New")
    assert code == 1
    assert "likely" in err
    accept = [
        line.strip() for line in unwrapped(out).splitlines() if line.strip().startswith("# to accept it: ")
    ]
    assert accept
    assert not [line for line in out.splitlines() if "stem" in line and not line.strip().startswith("#")]
    words = [word for line in accept for word in shlex.split(line.partition(": ")[2])]
    assert printed("migrate", "old.pt", "block_models:New", *words)[0] == 0


def test_a_resized_head_is_left_to_decide(folder: Path, printed: Run) -> None:
    code, out, err = printed("migrate", "old.pt", "block_models:Wider", *ACCEPT)
    assert code == 1
    told = "# decide: head.weight, head.bias (2 tensors): float32[5, 4] -> float32[7, 4], outputs 5 -> 7; "
    assert f"{told}float32[5] -> float32[7], outputs 5 -> 7: " in unwrapped(out)
    assert "yours to decide" in err
    code, out, _ = printed("migrate", "old.pt", "block_models:Wider", *ACCEPT, "--choose", "head=")
    assert code == 1
    assert "del old[found[0]]" in out


def test_a_choice_that_means_nothing_is_refused(folder: Path, printed: Run) -> None:
    for choice, problem in [
        ("nothing=stem", "names no key or module of both sides"),
        ("backbone.weight=head.weight", "float32[4, 3, 3, 3] on the one side"),
    ]:
        code, out, err = printed("migrate", "old.pt", "block_models:New", "--choose", choice)
        assert (code, out) == (2, "")
        assert problem in err
    code, _, err = printed(
        "migrate", "old.pt", "block_models:New", "--choose", "backbone=stem", "--choose", "backbone="
    )
    assert code == 2
    assert "contradicts another choice" in err


def test_another_checkpoint_may_stand_for_the_model(folder: Path, printed: Run) -> None:
    torch.save(models().New().state_dict(), "new.pt")
    code, out, err = printed("migrate", "old.pt", "new.pt", *ACCEPT)
    assert code == 0
    assert "compared by key and shape, not loaded" in err
    migrate = proof.compiled(out, "migrate")
    state = torch.load("old.pt")
    assert migrate(state).keys() == migrated_by_hand(state).keys()


def test_a_checkpoint_that_loads_needs_no_code(folder: Path, printed: Run) -> None:
    assert printed("migrate", "old.pt", "block_models:Old") == (
        0,
        "",
        "ckpt-compat: it loads as it is: nothing to migrate\n",
    )


def test_what_cannot_be_read_is_not_checked(folder: Path, printed: Run) -> None:
    code, out, err = printed("migrate", "absent.pt", "block_models:New")
    assert (code, out) == (2, "")
    assert "absent.pt" in err


def test_a_red_report_names_the_command(folder: Path, printed: Run) -> None:
    _, out, _ = printed("diff", "old.pt", "block_models:New")
    assert "  fix:    ckpt-compat migrate old.pt block_models:New" in out


def test_no_weights_are_read_or_made(folder: Path, printed: Run) -> None:
    """A model of 30 billion parameters, from a snapshot alone."""
    (folder / "big_models.py").write_text(
        "from torch import nn\n\n\nclass Big(nn.Module):\n    def __init__(self, name='layers'):\n"
        "        super().__init__()\n        blocks = [nn.Linear(20000, 20000) for _ in range(75)]\n"
        "        setattr(self, name, nn.ModuleList(blocks))\n"
    )
    (folder / "old.json").write_text(
        '{"format": "ckpt-compat fingerprint", "version": 1, "tensors": {'
        + ", ".join(
            f'"blocks.{i}.weight": "float32[20000, 20000]", "blocks.{i}.bias": "float32[20000]"'
            for i in range(75)
        )
        + "}}"
    )
    code, out, err = printed("migrate", "old.json", "big_models:Big", "--choose", "blocks=layers")
    assert code == 0, err
    assert r'(r"^blocks\.", "layers."),' in out


def weight_normed() -> nn.Module:
    layer: nn.Module = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    return layer


FORMS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "weight norm comes": (lambda: nn.Linear(3, 4), weight_normed),
    "weight norm goes": (weight_normed, lambda: nn.Linear(3, 4)),
    "spectral norm goes": (
        lambda: nn.utils.spectral_norm(nn.Linear(3, 4), n_power_iterations=60),
        lambda: nn.Linear(3, 4),
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_parameter_in_another_form_computes_the_same(name: str, tmp_path: Path) -> None:
    from pytest_ckpt_compat._definition.find import find
    from pytest_ckpt_compat._readers import read

    old, new = (nn.Sequential(make(), nn.ReLU(), nn.Linear(4, 2)) for make in FORMS[name])
    x = torch.randn(5, 3)
    old(x)
    old.eval()
    torch.save(old.state_dict(), tmp_path / "old.pt")
    sides = migration.compared(read(tmp_path / "old.pt"), find(new))
    found = migration.migration(sides, migration.planned(sides))
    assert found.complete, found
    new.load_state_dict(proof.compiled(found.code, "migrate")(old.state_dict()))
    assert torch.allclose(new.eval()(x), old(x), atol=1e-6)


def test_a_square_matrix_beside_transposed_ones_is_not_trusted() -> None:
    """GPT-2's Conv1D stores its weights the other way round, square ones, too."""
    shapes = {"h.0.fc.weight": (3, 9), "h.0.proj.weight": (3, 3)}
    old = Structure({key: TensorSpec("float32", shape) for key, shape in shapes.items()})
    new = Structure(
        {"h.0.fc.weight": TensorSpec("float32", (9, 3)), "h.0.proj.weight": old.tensors["h.0.proj.weight"]}
    )
    change = Change("transposed", ("h.0.fc.weight",), ("h.0.fc.weight",))
    plan = plan_of([change], old, new)
    assert [step.op.name for step in plan.live] == ["permute"]
    assert [each.old for each in plan.decisions] == [("h.0.proj.weight",)]
    assert "it is square" in plan.decisions[0].text


def test_a_certain_move_onto_a_key_whose_own_move_is_not_is_no_code() -> None:
    spec = TensorSpec("float32", (3,))
    side = Structure({"a.w": spec, "b.w": spec})
    changes = [
        Change("renamed", ("a.w",), ("b.w",), (spec,), (spec,)),
        Change("renamed", ("b.w",), ("a.w",), (spec,), (spec,), "likely"),
    ]
    plan = plan_of(changes, side, side)
    assert not plan.live
    assert len(plan.decisions) == len(plan.doubtful) == 1


def test_what_is_left_over_is_kept_while_the_model_lacks_something() -> None:
    spec = TensorSpec("float32", (3,))
    old, new = (
        Structure({"a": spec, "gone": spec}),
        Structure({"a": spec, "wanted": TensorSpec("float32", (5,))}),
    )
    changes = [Change("unexpected", ("gone",), (), (spec,)), Change("missing", (), ("wanted",))]
    plan = plan_of(changes, old, new)
    assert not plan.live
    assert [each.old or each.new for each in plan.decisions] == [("wanted",), ("gone",)]
    assert [step.op.name for step in plan_of(changes[:1], old, Structure({"a": spec})).live] == ["drop"]


@pytest.mark.parametrize("key", ["fc.lora_A.weight", "fc.weight_scale", "fc.absmax"])
def test_what_says_how_another_tensor_is_read_is_never_dropped(key: str) -> None:
    spec = TensorSpec("float32", (3,))
    plan = plan_of([Change("unexpected", (key,), (), (spec,))], Structure({key: spec}), Structure({}))
    assert not plan.live
    assert "merge it" in plan.decisions[0].text


def test_which_of_several_equal_blocks_went_is_not_known() -> None:
    spec = TensorSpec("float32", (3,))
    old = Structure({f"blocks.{i}.w": spec for i in range(4)})
    new = Structure({f"blocks.{i}.w": spec for i in range(3)})
    plan = plan_of([Change("unexpected", ("blocks.3.w",), (), (spec,))], old, new)
    assert not plan.live
    assert "which of them went is not known" in plan.decisions[0].text


@pytest.mark.usefixtures("warm_python")
def test_the_code_pasted_into_a_file_runs(folder: Path, printed: Run) -> None:
    (folder / "migration.py").write_text(code_of(printed))
    script = (
        "import torch, migration, block_models; model = block_models.New(); "
        "model.load_state_dict(migration.migrate(torch.load('old.pt')))"
    )
    assert "pytest_ckpt_compat" not in (folder / "migration.py").read_text()
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=folder).returncode == 0


def test_order_and_other_values_stay(folder: Path) -> None:
    state: Any = OrderedDict(a=torch.zeros(1), b=torch.ones(1))
    state._metadata = {"": {"version": 1}}
    from pytest_ckpt_compat._definition.operations import by_rules
    from pytest_ckpt_compat._migrate.toml_file import rules_in

    found: Any = by_rules(rules_in("ckpt_compat_rules = 1\n[[rename]]\nfrom = '^a'\nto = 'c'\n"))(state)
    assert list(found) == ["c", "b"]
    assert found._metadata == {"": {"version": 1}}


def test_tied_tensors_that_safetensors_keeps_once_get_both_names(folder: Path, printed: Run) -> None:
    (folder / "tied_models.py").write_text(
        "from torch import nn\n\n\nclass Tied(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.embed = nn.Embedding(9, 4)\n"
        "        self.head = nn.Linear(4, 9, bias=False)\n"
        "        self.head.weight = self.embed.weight\n"
    )
    save_file({"embed.weight": torch.randn(9, 4)}, "tied.safetensors")
    code, out, err = printed("migrate", "tied.safetensors", "tied_models:Tied")
    assert code == 0, err
    found = proof.compiled(out, "migrate")({"embed.weight": torch.ones(9, 4)})
    assert found.keys() == {"embed.weight", "head.weight"}


@pytest.mark.parametrize(("prefix", "told"), [("module.", ' without "module."'), ("_orig_mod.", "")])
def test_the_code_says_which_keys_it_takes_where_a_prefix_is_taken_off_before(
    project: pytest.Pytester, command: Callable[..., Printed], prefix: str, told: str
) -> None:
    """A program that gives it the file's own keys would find nothing renamed."""
    save(project.path / "wrapped.pt", body="trunk")
    state = torch.load(project.path / "wrapped.pt")
    if told:
        torch.save({f"{prefix}{key}": value for key, value in state.items()}, project.path / "wrapped.pt")
    with (project.path / "pyproject.toml").open("a") as file:
        file.write('\n[[tool.ckpt_compat.checkpoint]]\npath = "wrapped.pt"\nmodel = "models:Net"\n')
        file.write(f'strip_prefix = "{prefix}"\n')
    found = command("migrate", "wrapped.pt", "--choose", "trunk=body")
    assert found.code == 0, found.err
    assert found.out.startswith(f"# wrapped.pt{told} -> models.Net (models.py:")


def test_a_registered_checkpoint_is_named_by_its_id(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    save(project.path / "older.pt", body="trunk")
    with (project.path / "pyproject.toml").open("a") as file:
        file.write(
            '\n[[tool.ckpt_compat.checkpoint]]\npath = "older.pt"\nid = "older"\nmodel = "models:Net"\n'
        )
    report = command("check")
    assert "  fix:    ckpt-compat migrate older\n" in report.out
    found = command("migrate", "older", "--choose", "trunk=body")
    assert found.code == 0, found.err
    assert "trunk" in found.out
    unknown = command("migrate", "nobody")
    assert (unknown.code, unknown.out) == (2, "")
    assert "is not the id of a registered checkpoint; known are older" in unknown.err
    globbed = command("migrate", "old*")
    assert (globbed.code, globbed.out) == (2, "")
    assert globbed.err == "ckpt-compat: old*: is a glob, and this command takes one id; give one of older\n"
    globbed = command("migrate", "run-*")
    assert globbed.err.endswith("takes one id; name the one that is meant\n")


def test_a_key_that_no_side_has_is_left_to_decide() -> None:
    """A hook of the model may report such a key."""
    spec = TensorSpec("float32", (3,))
    side = Structure({"a": spec})
    changes = [Change("missing", (), ("made.up",)), Change("unexpected", ("from.nowhere",))]
    changes.append(Change("renamed", ("a",), ("b",)))
    plan = plan_of(changes, side, side)
    assert not plan.live
    assert len(plan.decisions) == 3
    assert all("a hook of the model" in each.text for each in plan.decisions)


def test_a_registered_remap_may_be_a_file_of_rules(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    save(project.path / "older.pt", body="trunk")
    rules = "ckpt_compat_rules = 1\n[[rename]]\nfrom = '^trunk'\nto = 'body'\n"
    (project.path / "older.toml").write_text(rules)
    table = '\n[[tool.ckpt_compat.checkpoint]]\npath = "older.pt"\nid = "older"\nmodel = "models:Net"\n'
    settings = project.path / "pyproject.toml"
    text = settings.read_text()
    settings.write_text(text + table + 'migrate = "older.toml"\n')
    assert command("update").code == 0
    report = command("check")
    assert report.code == 0, report.out
    assert "migration older.toml: renamed" in report.out
    settings.write_text(text + table + 'migrate = "absent.toml"\n')
    report = command("check")
    assert report.code == 2
    assert "option migrate: names absent.toml, which is not there; check the path" in report.out
    (project.path / "older.toml").write_text("[[rename]]\n")
    settings.write_text(text + table + 'migrate = "older.toml"\n')
    assert "is no file of rules" in command("check").out
