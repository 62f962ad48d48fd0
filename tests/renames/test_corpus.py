"""The corpus of refactors: whole, and counted right."""

from __future__ import annotations

import random
import runpy
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.rename_corpus import corpus
from benchmarks.rename_corpus.case import Case, Truth, problems
from benchmarks.rename_corpus.draft import Draft
from benchmarks.rename_corpus.generate import EDITS, Edit, reversed_truth
from benchmarks.rename_corpus.orders import ORDERS, ordered
from benchmarks.rename_quality.score import Score, added, compared, score
from benchmarks.rename_quality.table import reliability, table, upper_bound, worst
from pytest_ckpt_compat import Change, TensorSpec


@pytest.fixture(scope="module")
def cases() -> tuple[Case, ...]:
    """The committed corpus."""
    return tuple(corpus.read())


@pytest.mark.parametrize("program", ["rename_quality", "rename_fit", "migrate_quality"])
def test_what_is_no_corpus_is_refused_in_a_line(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys.json").write_text("{}")
    for path, problem in (
        (tmp_path / "keys.json", "is no corpus: give a compressed file"),
        (tmp_path / "x", "No"),
    ):
        monkeypatch.setattr(sys, "argv", [program, str(path)])
        monkeypatch.delitem(sys.modules, f"benchmarks.{program}", raising=False)  # run_module warns of it
        with pytest.raises(SystemExit):
            runpy.run_module(f"benchmarks.{program}", run_name="__main__")
        assert f"{path}" in (last := capsys.readouterr().err.splitlines()[-1])
        assert problem in last


def spec(*shape: int) -> TensorSpec:
    return TensorSpec("float32", shape)


def transformer(layers: int = 3) -> dict[str, TensorSpec]:
    """A small vision model with stages, stacked blocks, and parts that have names of their own."""
    found = {"stem.conv1.weight": spec(8, 3, 3, 3), "stem.norm1.weight": spec(8), "stem.norm1.bias": spec(8)}
    found |= {
        "embeddings.pos_embed.weight": spec(50, 16),
        "stem.norm1.num_batches_tracked": TensorSpec("int64"),
    }
    for stage in range(2):
        for number in range(layers):
            at = f"stages.{stage}.blocks.{number}"
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                found |= {
                    f"{at}.self_attn.{part}.weight": spec(16, 16),
                    f"{at}.self_attn.{part}.bias": spec(16),
                }
            for name in ("norm1", "norm2", "norm3"):
                found |= {f"{at}.{name}.weight": spec(16), f"{at}.{name}.bias": spec(16)}
            found |= {f"{at}.mlp.fc1.weight": spec(64, 16), f"{at}.mlp.fc1.bias": spec(64)}
            found |= {f"{at}.mlp.fc2.weight": spec(16, 64), f"{at}.mlp.fc2.bias": spec(16)}
    for number in range(4):
        found |= {f"decoder.layers.{number}.attn.qkv.weight": spec(48, 16)}
        found |= {f"decoder.layers.{number}.attn.proj.weight": spec(16, 16)}
    for number in range(1, 4):
        found |= {
            f"lateral{number}.weight": spec(16, 16, 1, 1),
            f"head.level{number}.conv.weight": spec(4, 16),
        }
    return found | {
        "pooler.dense.weight": spec(16, 16),
        "pooler.dense.bias": spec(16),
        "head.fc.weight": spec(10, 16),
    }


def test_every_key_has_one_fate(cases: tuple[Case, ...]) -> None:
    assert {case.name: problems(case) for case in cases if problems(case)} == {}


def test_the_corpus_is_complete(cases: tuple[Case, ...]) -> None:
    kinds = Counter(case.kind for case in cases if not case.edits and case.family != "tables")
    assert kinds == {"refactor": 101, "mixed": 3, "negative": 25}
    assert len({case.name for case in cases}) == len(cases)
    done = {edit.split()[0] for case in cases for edit in case.edits}
    wanted = {"replace" if edit is EDIT["replaced"] else name for name, edit in EDIT.items()}
    assert wanted <= done
    assert {f"order {order}" for order in ORDERS} <= {edit for case in cases for edit in case.edits}


def test_the_file_is_small() -> None:
    assert corpus.COMMITTED.stat().st_size < 1_500_000


def test_a_file_gives_back_what_was_written(tmp_path: Path, cases: tuple[Case, ...]) -> None:
    chosen = [cases[0], cases[-1], next(case for case in cases if case.truth.blind_old and case.truth.fuses)]
    corpus.write(tmp_path / "some.xz", chosen)
    assert corpus.read(tmp_path / "some.xz") == chosen
    assert [list(case.old) for case in corpus.read(tmp_path / "some.xz")] == [list(c.old) for c in chosen]


def test_leaving_out_a_family_leaves_out_all_of_it(cases: tuple[Case, ...]) -> None:
    parts = list(corpus.families(cases))
    assert sum(len(own) for _, _, own in parts) == len(cases)
    for family, others, own in parts:
        assert {case.family for case in own} == {family}
        assert family not in {case.family for case in others}
        assert len(others) + len(own) == len(cases)


EDIT: dict[str, Edit] = {edit.__name__: edit for edit in EDITS}


@pytest.mark.parametrize("name", EDIT)
def test_the_truth_of_an_edit_is_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {
        f"tower.layers.{n}.conv.{leaf}": spec(5, n + 1) for n in range(4) for leaf in ("weight", "scale")
    }
    monkeypatch.setattr(
        "benchmarks.rename_corpus.edit_layers.drawn", lambda r: ("a model", "of sorts", other)
    )
    applied = 0
    for seed in range(25):
        draft = EDIT[name](Draft.of(transformer()), random.Random(seed))
        if draft is None:
            continue
        applied += 1
        assert len(draft.edits) == 1
        assert draft == EDIT[name](Draft.of(transformer()), random.Random(seed))
        again = EDIT[name](draft, random.Random(seed + 1)) or draft
        for each in (draft, again):
            new = {slot.key: slot.spec for slot in each.slots}
            truth = each.truth(order_is_lost=True)
            assert problems(Case("", "", "refactor", each.old, new, truth)) == []
            assert problems(Case("", "", "refactor", new, each.old, reversed_truth(truth))) == []
    assert applied


def edited(name: str, specs: dict[str, TensorSpec], wanted: str) -> Draft:
    """The draft after the first try of an edit that says what is wanted."""
    for seed in range(2000):
        draft = EDIT[name](Draft.of(specs), random.Random(seed))
        if draft and wanted in f"{draft.edits[0]} ":
            return draft
    raise AssertionError(f"{name} never gave {wanted}")


def test_an_appended_block_is_new_and_the_others_stay() -> None:
    truth = edited("append", transformer(), "append 1 to decoder.layers").truth(order_is_lost=False)
    assert truth == Truth(
        added=frozenset({"decoder.layers.4.attn.qkv.weight", "decoder.layers.4.attn.proj.weight"})
    )


def test_nobody_can_know_which_of_equal_blocks_is_new() -> None:
    truth = edited("insert", transformer(), "decoder.layers at 1").truth(order_is_lost=False)
    assert truth.renames["decoder.layers.1.attn.qkv.weight"] == "decoder.layers.2.attn.qkv.weight"
    assert "decoder.layers.0.attn.qkv.weight" not in truth.renames
    assert truth.blind_old >= {f"decoder.layers.{n}.attn.qkv.weight" for n in range(4)}
    assert "decoder.layers.1.attn.qkv.weight" in truth.blind_new


def test_a_fused_layer_has_its_parts_in_order() -> None:
    truth = edited("fuse", transformer(), "fuse to qkv").truth(order_is_lost=False)
    parts = tuple(f"stages.1.blocks.2.self_attn.{p}_proj.bias" for p in "qkv")
    assert [new.count("qkv") for old, new in truth.fuses if old == parts] == [1]


def test_a_turned_weight_is_resized_and_a_square_one_unchanged() -> None:
    draft = edited("transpose", transformer(), "round everywhere")
    truth = draft.truth(order_is_lost=False)
    assert truth.resized["head.fc.weight"] == "head.fc.weight"
    assert "pooler.dense.weight" not in truth.resized


def test_a_stranger_is_never_known() -> None:
    truth = edited("stranger", transformer(), "while pooler.dense went").truth(order_is_lost=False)
    assert truth.removed == truth.blind_old == {"pooler.dense.weight", "pooler.dense.bias"}
    assert truth.added == truth.blind_new
    assert not truth.renames


def test_what_only_the_order_tells_is_lost_with_it() -> None:
    draft = edited("sequence", transformer(), "sequence stages.*.blocks.*.self_attn")
    old = "stages.0.blocks.0.self_attn.q_proj.weight"
    assert old in draft.truth(order_is_lost=True).blind_old
    assert old not in draft.truth(order_is_lost=False).blind_old
    assert draft.truth(order_is_lost=False).renames[old] == "stages.0.blocks.0.self_attn.0.weight"


def test_shapes_and_numbers_tell_without_the_order() -> None:
    for module in ("stages.*.blocks.*.mlp ", "stages.*.blocks.* "):
        truth = edited("sequence", transformer(), f"sequence {module}").truth(order_is_lost=True)
        assert truth.renames
        assert not truth.blind_old


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_keeps_every_key(order: str) -> None:
    specs = transformer(11)
    assert ordered(specs, order, random.Random(0)) == specs
    assert (list(ordered(specs, order, random.Random(0))) == list(specs)) == (order == "model")


OLD = {key: spec(4) for key in ("a.x", "a.y", "gone.x", "q.w", "k.w", "same.x")}
NEW = {
    key: spec(*shape)
    for key, shape in {"b.x": [4], "b.y": [4], "came.x": [4], "qk.w": [8], "same.x": [4]}.items()
}
TRUTH = Truth(
    renames={"a.x": "b.x", "a.y": "b.y"},
    fuses=((("q.w", "k.w"), "qk.w"),),
    removed=frozenset({"gone.x"}),
    added=frozenset({"came.x"}),
)
CASE = Case("one", "none", "refactor", OLD, NEW, TRUTH)
FUSED = Change("fused", ("q.w", "k.w"), ("qk.w",))


def renamed(old: str, new: str, confidence: str = "certain", candidates: tuple[str, ...] = ()) -> Change:
    assert confidence in ("certain", "likely", "ambiguous")
    return Change("renamed", (old,), (new,), confidence=confidence, candidates=candidates)  # type: ignore[arg-type]


def test_a_case_wholly_right() -> None:
    found = compared(CASE, [renamed("a.x", "b.x"), renamed("a.y", "b.y", "likely"), FUSED])
    assert (found.right, found.wrong, found.lost, found.f1, found.solved) == (
        Counter(certain=1, likely=1), Counter(), 0, 1.0, 1,
    )  # fmt: skip
    assert (found.joint, found.joint_right, found.unreal) == (1, 1, 0)


def test_what_is_wrong_and_what_is_lost() -> None:
    found = compared(CASE, [renamed("a.x", "b.y"), renamed("gone.x", "came.x", "likely")])
    assert (found.right, found.wrong, found.lost) == (Counter(), Counter(certain=1, likely=1), 2)
    assert found.false == Counter(likely=1)
    assert (found.joint_right, found.solved, found.f1) == (0, 0, 0.0)


def test_an_ambiguous_answer_is_lost() -> None:
    changes = [
        renamed("a.x", "b.x", "ambiguous", ("b.x", "b.y")),
        renamed("a.y", "came.x", "ambiguous", ("came.x", "b.y")),
    ]
    found = compared(CASE, changes)
    assert (found.right, found.wrong, found.lost) == (Counter(), Counter(), 2)
    assert (found.ambiguous, found.among, found.guessed) == (2, 2, 1)
    assert found.f1_with_guesses == 0.5


def test_what_nobody_can_know_may_be_likely_and_never_certain() -> None:
    blind = replace(TRUTH, blind_old=frozenset({"a.x"}))
    case = replace(CASE, truth=blind)
    likely = compared(case, [renamed("a.x", "b.y", "likely"), renamed("a.y", "b.y"), FUSED])
    assert (likely.blind, likely.lost, likely.wrong, likely.solved) == (0, 0, Counter(), 1)
    certain = compared(case, [renamed("a.x", "b.x"), renamed("a.y", "b.y"), FUSED])
    assert (certain.blind, certain.right.total(), certain.solved) == (1, 1, 0)


def test_a_prefix_means_its_pairs_and_single_renames_override_it() -> None:
    prefix = Change("prefixed", ("a.x", "a.y"), ("b.x", "b.z"))
    found = compared(CASE, [renamed("a.y", "b.y"), prefix, FUSED])
    assert (found.right.total(), found.wrong.total(), found.unreal) == (2, 0, 1)


def test_resized_and_undecided_pairs_count_neither_way() -> None:
    case = replace(
        CASE, ambiguous=frozenset({("gone.x", "came.x")}), truth=replace(TRUTH, resized={"a.z": "b.z"})
    )
    changes = [renamed("gone.x", "came.x"), Change("resized", ("a.z",), ("b.z",))]
    assert compared(case, changes).wrong.total() == 0


def test_a_parametrized_weight_counts_as_the_tensor_with_its_numbers() -> None:
    old, new = {"w": spec(2, 3)}, {"w_orig": spec(2, 3), "w_u": spec(2)}
    case = Case("", "", "refactor", old, new, Truth({"w": "w_orig"}, added=frozenset({"w_u"})))
    found = compared(case, [Change("reparametrized", ("w",), ("w_orig", "w_u"))])
    assert (found.right.total(), found.joint_wrong.total(), found.solved) == (1, 0, 1)


def test_claims_between_different_models_are_false() -> None:
    case = replace(CASE, kind="negative", truth=Truth(removed=frozenset(OLD), added=frozenset(NEW)))
    found = compared(case, [renamed("a.x", "b.x"), renamed("a.y", "b.y", "ambiguous"), FUSED])
    assert found.false == Counter(certain=2, ambiguous=1)


def test_sums_and_bounds() -> None:
    one = compared(CASE, [renamed("a.x", "b.x")], seconds=2.0)
    two = added([one, one, compared(CASE, [], seconds=3.0)])
    assert (two.cases, two.right, two.lost, two.seconds) == (3, Counter(certain=2), 4, 3.0)
    assert two.f1 == 2 * 2 / (2 * 2 + 4)
    assert two.f1s == (one.f1, one.f1, 0.0)
    assert added([]) == Score()
    assert upper_bound(0, 6000) < 1 / 2000 < upper_bound(0, 5000)


def test_the_table_of_a_few_cases(cases: tuple[Case, ...]) -> None:
    few = [case for case in cases if len(case.old) < 40][:4]
    scores = [(case, score(case, sorted_by_name=True)) for case in few]
    lines = list(table(scores))
    assert lines[0].split()[0] == "cases"
    assert len({len(line) for line in lines[:2]}) == 1
    assert any(line.startswith("all") for line in lines) or list(reliability(scores))
    assert len(list(worst(scores, 2))) <= 2


def test_sorting_by_name_puts_ten_before_two() -> None:
    specs = {f"layers.{number}.w": spec(number + 1) for number in range(12)}
    case = Case(
        "",
        "",
        "refactor",
        specs,
        {f"model.{k}": v for k, v in specs.items()},
        Truth({k: f"model.{k}" for k in specs}),
    )
    assert score(case, sorted_by_name=False).solved
    assert score(case, sorted_by_name=True).solved
