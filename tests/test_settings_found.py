"""What counts as a setting, and how the lines of a snapshot keep it."""

from __future__ import annotations

import enum
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.setting_values import differ
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._definition.module_settings import is_defined, settings_of
from pytest_ckpt_compat._snapshots import fingerprint

HERE = __name__


class Mode(enum.Enum):
    """An enumeration of a project."""

    FAST = "fast"


def with_attributes(**attributes: Any) -> nn.Module:
    module = nn.Module()
    module.__dict__.update(attributes)
    return module


def found(**attributes: Any) -> dict[str, str]:
    return settings_of(with_attributes(**attributes))


def own(number: int) -> int:
    """A function of a project."""
    return number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (True, "True"),
        (None, "None"),
        (1e-12, "1e-12"),
        (8**-0.5, "0.353553390593"),
        (float("inf"), "inf"),
        ("relu", "'relu'"),
        ((1, (2, 3.0)), "(1, (2, 3.0))"),
        ([4], "(4,)"),
        ((), "()"),
        (torch.Size([2, 3]), "(2, 3)"),
        (torch.float16, "torch.float16"),
        (F.gelu, "torch.nn.functional.gelu"),
        (torch.tanh, "torch.tanh"),
        (nn.LayerNorm, "torch.nn.LayerNorm"),
        (own, f"{HERE}.own"),
        (Mode.FAST, f"{HERE}.Mode.FAST"),
    ],
)
def test_plain_data_and_names_are_settings(value: Any, text: str) -> None:
    assert found(each=value) == {"each": text}


class Hostile:
    """Raises whatever it is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class Odd(float):
    """A float that cannot be printed."""

    def __format__(self, _: str) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [
        "/data/weights",
        "~/weights",
        "C:\\weights",
        "s3://bucket/weights",
        "root=/data",
        "x" * 1000,
        "a\nb",
        1 << 70,
        list(range(1000)),
        [[[[[1]]]]],
        {"a": 1},
        {1},
        b"bytes",
        object(),
        lambda x: x,
        [].append,
        nn.Module().forward,
        (1, object()),
        torch.zeros(2),
        torch.device("cpu"),
        Odd(1.0),
        Path("x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_lasting_text_is_left_out(value: Any) -> None:
    assert found(each=value, other=1) == {"other": "1"}


def test_what_raises_at_every_question_is_left_out() -> None:
    assert found(each=Hostile(), both=(Hostile(), 1), other=1) == {"other": "1"}


def test_private_attributes_secrets_and_what_decides_nothing_are_left_out() -> None:
    assert found(_eps=1, training=True, inplace=True, api_token="abc", password="x", device="cuda") == {}
    assert found(**{"no name": 1, "class": 2, "key_dim": 3}) == {"key_dim": "3"}


def test_constants_of_a_class_are_settings_and_properties_are_not_run() -> None:
    class Constant(nn.Module):
        __constants__ = ("eps", "shape", "absent")
        eps = 1e-3
        other = 2

        @property
        def shape(self) -> int:
            raise RuntimeError

    assert settings_of(Constant()) == {"eps": "0.001"}


def test_many_attributes_end_somewhere() -> None:
    assert len(found(**{f"a{n}": n for n in range(5000)})) == 100


LAYERS: list[nn.Module] = [
    *(nn.Linear(2, 3), nn.Bilinear(2, 3, 4), nn.Embedding(5, 6, padding_idx=1), nn.EmbeddingBag(5, 6)),
    *(nn.Conv1d(2, 4, 3, stride=2, groups=2), nn.Conv3d(1, 2, 3, padding=1, padding_mode="reflect")),
    *(nn.ConvTranspose2d(2, 4, 3, output_padding=1, stride=2), nn.MaxPool2d(3, 2), nn.AvgPool1d(2)),
    *(nn.AdaptiveAvgPool2d((1, 1)), nn.FractionalMaxPool2d(2, output_size=3), nn.LPPool2d(2, 3)),
    *(nn.BatchNorm2d(4, momentum=None), nn.InstanceNorm1d(4), nn.GroupNorm(2, 4), nn.LayerNorm(4)),
    *(nn.LocalResponseNorm(2), nn.Dropout(0.1), nn.AlphaDropout(), nn.ELU(2.0), nn.GELU("tanh")),
    *(nn.LeakyReLU(0.3), nn.Threshold(1, 2), nn.Hardtanh(-2, 2), nn.Softplus(2), nn.Softmax(1), nn.GLU(1)),
    *(nn.Upsample(scale_factor=2, mode="bilinear"), nn.PixelShuffle(2), nn.Flatten(2), nn.Fold(4, 2)),
    *(nn.LSTM(2, 3, 2, batch_first=True), nn.GRUCell(2, 3), nn.CosineSimilarity(2), nn.ZeroPad2d(1)),
    *(nn.Unflatten(1, (2, 2)), nn.RReLU(), nn.Softshrink(0.2), nn.ConstantPad1d(1, 2.0), nn.Unfold(2)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_all_that_torch_prints_of_a_layer_is_recorded(layer: nn.Module) -> None:
    """But for what the tensors show, and what decides nothing."""
    kept = settings_of(layer)
    printed = dict(re.findall(r"(\w+)=((?:\([^()]*\)|[^,()])+)", layer.extra_repr()))
    tensors = {"bias", "affine"} - kept.keys()
    renamed = {"negative_slope", "dims"} - kept.keys()
    missing = printed.keys() - kept.keys() - tensors - renamed - {"inplace"}
    assert not missing
    for name in printed.keys() & kept.keys():
        assert not differ(kept[name], printed[name]) or kept[name].strip("'") == printed[name]


@pytest.mark.usefixtures("warm_python")
def test_every_line_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(4, 2) for _ in range(2))\n"
        "        self.names = frozenset('abcdefgh')\n"
        "        self.f, self.kind, self.made = torch.tanh, nn.LayerNorm, lambda x: x\n"
    )
    code = (
        "import pytest_ckpt_compat as c; from pytest_ckpt_compat._snapshots.fingerprint import dumps; "
        "print(dumps(c.define('models:Net')))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, **seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ({"PYTHONHASHSEED": "1"}, {})  # without one, its own
    }
    assert len(texts) == 1
    assert " at 0x" not in texts.pop()


def test_the_number_of_a_block_is_no_setting_of_it() -> None:
    """So that blocks that are alike share their lines."""

    def stack() -> nn.Module:
        blocks = [with_attributes(layer_idx=number, width=number % 1, heads=2) for number in range(9)]
        return nn.ModuleList(nn.Sequential(block) for block in blocks)

    lines = json.loads(fingerprint.dumps(ckpt.define(stack)))["modules"]
    assert lines["{0..8}.0"] == "torch.nn.Module(heads=2, width=0)"
    padded = ckpt.define(lambda: nn.ModuleList([nn.Embedding(4, 2, padding_idx=0)]))
    assert padded.settings["0"]["padding_idx"] == "0"


# The lines of a snapshot ----------------------------------------------------------------------------


def recorded(structure: Structure) -> Structure:
    return fingerprint.loads(fingerprint.dumps(structure), "net.json")


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-zé]\w{0,6}", fullmatch=True), _plain, max_size=5))
def test_what_is_recorded_is_read_back(attributes: dict[str, Any]) -> None:
    structure = ckpt.define(lambda: with_attributes(**attributes))
    assert json.loads(fingerprint.dumps(structure))["modules"][""].startswith("torch.nn.Module(")
    again = recorded(structure)
    assert again.settings == structure.settings
    assert fingerprint.same(again, structure)


def test_a_class_that_no_line_can_say_leaves_the_section_out() -> None:
    odd = type("Net(a=1)", (nn.Module,), {})
    structure = ckpt.define(lambda: odd())
    assert "modules" not in json.loads(fingerprint.dumps(structure))


@pytest.mark.parametrize(
    "line",
    ["A(", "A(1)", "A(a=1, a=2)", "A(**a)", "A(a=1) + A()", "A(a=", "A(a=" + "(" * 9000 + ")", "A(a=1)(b=2)"],
)
def test_a_line_that_cannot_be_meant_is_refused(line: str) -> None:
    text = json.dumps({"tensors": {"a.weight": "float32[2]"}, "modules": {"": line}})
    with pytest.raises(SnapshotError, match='"modules" has'):
        fingerprint.loads(text, "net.json")


def test_a_snapshot_with_classes_alone_compares_classes() -> None:
    def sequence(*layers: nn.Module) -> ckpt.Structure:
        return ckpt.define(lambda: nn.Sequential(*layers))

    data = json.loads(fingerprint.dumps(sequence(nn.LayerNorm(4), nn.GELU())))
    data["modules"] = {path: text.partition("(")[0] for path, text in data["modules"].items()}
    old = fingerprint.loads(json.dumps(data), "net.json")
    assert old.settings == {}
    new = sequence(nn.LayerNorm(4, eps=1.0), nn.ReLU())
    assert [c.detail for c in ckpt.diff(old, new).changes] == [
        "torch.nn.GELU -> torch.nn.ReLU, computes something else"
    ]
    del data["modules"]
    assert ckpt.diff(fingerprint.loads(json.dumps(data), "net.json"), new).changes == ()


@pytest.mark.parametrize(
    ("name", "there"),
    [
        (f"{HERE}.Mode", True),
        (f"{HERE}.own", True),
        (f"{HERE}.Gone", False),
        (f"{HERE}.nn", False),
        (f"{HERE}.F", False),
        ("no_such_module.Net", False),
        ("torch.nn.GELU", True),
        ("", False),
        ("..", False),
    ],
)
def test_a_class_is_defined_under_its_own_name(name: str, there: bool) -> None:
    assert is_defined(name) is there


def test_the_linear_layer_that_attention_projects_with_is_a_linear_layer() -> None:
    def named(kind: type[nn.Module]) -> ckpt.Structure:
        return ckpt.define(lambda: nn.ModuleDict({"out": kind(4, 4)}))

    twin = nn.modules.linear.NonDynamicallyQuantizableLinear
    assert ckpt.diff(named(nn.Linear), named(twin)).changes == ()
    assert ckpt.diff(named(twin), named(nn.Linear)).changes == ()
