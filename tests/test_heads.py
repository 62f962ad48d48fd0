"""What counts as the head of a model."""

from __future__ import annotations

import pytest

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._core.heads import is_head
from pytest_ckpt_compat._core.structure import Source


@pytest.mark.parametrize(
    "path",
    [
        "head",
        "heads.head",
        "classifier.1",
        "fc",
        "out_proj",
        "model.lm_head",
        "roi_heads.box_predictor.cls_score",
        "cls.predictions.decoder",
        "bbox_head.fcCls",
    ],
)
def test_a_head_by_its_name(path: str) -> None:
    assert is_head(path, is_last=False, rank=2)
    assert not is_head(path, is_last=False, rank=1)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "fc1",
        "conv_proj",
        "input_proj",
        "blocks.0.mlp.fc",
        "blocks.0.attn.out_proj",
        "encoder.layer.0.output.dense",
        "heads.mlp.layers.0",
        "multihead_attn.in_proj",
    ],
)
def test_a_layer_that_is_a_head_only_where_it_comes_last(path: str) -> None:
    assert not is_head(path, is_last=False, rank=2)
    assert is_head(path, is_last=True, rank=2)


def structure(**tensors: tuple[int, ...]) -> ckpt.Structure:
    specs = {key.replace("__", "."): ckpt.TensorSpec("float32", shape) for key, shape in tensors.items()}
    return ckpt.Structure(specs, source=Source("file", "test"))


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ({"fc__weight": (9, 4), "fc__bias": (9,)}, {"fc__weight": (5, 4), "fc__bias": (5,)}, "head-resized"),
        ({"fc__weight": (9, 4)}, {"fc__weight": (5, 8)}, "resized"),
        ({"mlp__0__fc__weight": (9, 4)}, {"mlp__0__fc__weight": (5, 4)}, "resized"),
        ({"head__norm__weight": (9,)}, {"head__norm__weight": (5,)}, "resized"),
        (
            {"head__parametrizations__weight__original1": (9, 4), "head__bias": (9,)},
            {"head__parametrizations__weight__original1": (5, 4), "head__bias": (5,)},
            "head-resized",
        ),
    ],
)
def test_another_size(old: dict[str, tuple[int, ...]], new: dict[str, tuple[int, ...]], kinds: str) -> None:
    last = {"loss__weight": (3, 3)}
    verdict = ckpt.diff(structure(**old, **last), structure(**new, **last))
    assert {change.kind for change in verdict.changes} == {kinds}
