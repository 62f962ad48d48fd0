"""Names whose words stand in another order: of a joint layer, they say another order of its parts."""

from __future__ import annotations

import pytest

from pytest_ckpt_compat._renames import infer
from pytest_ckpt_compat._renames.units.word_order import crossed, turned

from .models import Specs, linear, merged, norm


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ("a.kqv", "b.qkv", True),
        ("a.wqkv.fc", "b.wkqv.linear", True),
        ("to_scale_shift", "beta_gamma", True),
        ("mu_sigma_proj", "proj_sigma_mu", True),
        ("image_to_token", "token_to_image", True),
        ("mu_sigma", "sigma", False),
        ("mu_sigma", "mu_rho_sigma", False),
        ("mu_1_2", "mu_2_1", True),
        ("w1_w3", "w3_w1", True),
        ("w13.proj", "w31.proj", True),
        ("in_proj_zxbcdt", "in_proj_xzbcdt", True),
        ("gateup", "upgate", True),
        ("x_z_proj", "proj_z_x", True),
        ("h_w_pos", "w_h_pos", True),
        ("dt_b_c", "b_c_dt", True),
        ("a2b", "b2a", True),
        ("src_to_dst_proj", "proj_dst_to_src", True),
        ("attn_mlp", "mlp_attn", True),
        ("layers.12.fc", "layers.21.fc", False),
        ("layer12.fc", "layer21.fc", False),
        ("stage1_unit2", "unit2_stage1", False),
        ("unit1_stage2", "stage2_unit1", False),
        ("text_encoder_proj", "proj_encoder_text", False),
        ("value_net", "net_value", False),
        ("bbox_pred", "pred_bbox", False),
        ("to_time_out", "out_to_time", False),
        ("a.image_text", "text.image", False),
        ("class_embed", "class_labels_classifier", False),
        *((f"time_{kind}", f"{kind}_time", False) for kind in ("attn", "block", "conv", "embed", "head")),
        *((f"time_{kind}", f"{kind}_time", False) for kind in ("linear", "mlp", "norm", "proj")),
    ],
)
def test_words_in_another_order_are_no_other_words(one: str, other: str, are: bool) -> None:
    assert crossed(one, other) is crossed(other, one) is are


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ("a.box_reg", "b.reg_box", True),
        ("a.box_reg.0", "b.reg_box.1", True),
        ("box_reg.fc", "reg_box.fc", False),
        ("time_embed", "embed_time", False),
        ("box_reg", "box_reg_2", False),
    ],
)
def test_the_own_name_of_a_layer_is_turned_around(one: str, other: str, are: bool) -> None:
    assert turned(one, other) is turned(other, one) is are


def confidences(before: Specs, after: Specs) -> set[str]:
    """Of what moved from between two blocks to between the same ones, and back."""
    blocks = [merged(linear(f"blocks.{n}.fc", 16, 32), norm(f"blocks.{n}.norm", 16)) for n in range(3)]
    sides = [merged(*blocks, part, linear("head", 10, 32)) for part in (before, after)]
    changes = (*infer(sides[0], sides[1]), *infer(sides[1], sides[0]))
    return {change.confidence for change in changes if change.old and change.new}


def tower(name: str) -> Specs:
    return merged(linear(f"{name}.fc", 24, 32), linear(f"{name}.out", 7, 24), norm(f"{name}.norm", 24))


def test_a_module_whose_name_was_turned_around_is_the_same() -> None:
    assert confidences(tower("text_encoder"), tower("encoder_text")) == {"certain"}
    assert confidences(tower("value_net"), tower("net_value")) == {"certain"}


@pytest.mark.parametrize(("one", "other"), [("w13", "w31"), ("gateup", "upgate"), ("a2b", "b2a")])
def test_a_module_of_parts_in_another_order_may_hold_its_rows_as_before(one: str, other: str) -> None:
    assert confidences(tower(one), tower(other)) == {"ambiguous"}


def test_a_layer_whose_own_name_was_turned_around_is_likely() -> None:
    """No word of it is known for a part; a new model's rows may still have the order of its words."""
    assert confidences(linear("box_reg", 24, 32), linear("reg_box", 24, 32)) == {"likely"}
