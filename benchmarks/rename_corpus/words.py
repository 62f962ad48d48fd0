"""What people call the parts of a model: words for one thing, and words without a meaning."""

from __future__ import annotations

import random
import re


def listed(text: str) -> tuple[str, ...]:
    """The words of a line."""
    return tuple(text.split())


#: Names that mean the same. Each may become any other of its line.
SAME: tuple[tuple[str, ...], ...] = tuple(
    listed(line)
    for line in """
attention attn self_attn self_attention mha mixer sa attn_block token_mixer selfattn SelfAttention
crossattention encoder_attn cross_attn multihead_attn xattn EncDecAttention
mlp ffn feed_forward ff channel_mixer feedforward dense_block PositionwiseFeedForward DenseReluDense
q q_proj query q_lin to_q wq q_linear query_proj linear_q
k k_proj key k_lin to_k wk k_linear key_proj linear_k
v v_proj value v_lin to_v wv v_linear value_proj linear_v
o_proj out_proj out_lin wo to_out c_proj proj dense output_projection o
qkv in_proj c_attn qkv_proj Wqkv query_key_value to_qkv
fc1 lin1 w1 c_fc dense_h_to_4h linear1 expand fc_in wi in_linear
fc2 lin2 w2 dense_4h_to_h linear2 contract fc_out out_linear
gate_proj w_gate gate linear_gate wi_0
up_proj w_up w3 linear_up wi_1
down_proj w_down linear_down
gate_up_proj w12 linear_in gate_and_up
norm1 ln_1 input_layernorm ln1 pre_norm sa_layer_norm layernorm_before attn_norm self_attn_layer_norm norm_1
norm2 ln_2 post_attention_layernorm ln2 output_layer_norm layernorm_after ffn_norm final_layer_norm norm_2
LayerNorm layer_norm ln layernorm norm
ln_f final_norm norm_f final_layernorm post_norm last_norm
layers layer blocks h block resblocks transformer_blocks encoder_layers cells units
stages stage levels hierarchy layer_groups
embed_tokens word_embeddings wte tok_embed embed_in token_embedding word_embedding shared_embedding
embed_positions position_embeddings wpe pos_embed position_embedding positional_embedding
token_type_embeddings segment_embeddings type_embed
embeddings embedding embed embedder input_embed
patch_embed patch_embeddings patch_embedding tokenizer stem_embed
encoder enc context_encoder trunk body
decoder dec
pooler pool pooling attention_pool
classifier head fc cls_head logits prediction_head
conv conv2d convolution conv_layer
conv1 conv_1 conv_first convA conv_a
conv2 conv_2 conv_second convB conv_b
conv3 conv_3 conv_third convC conv_c
bn1 norm_1 batch_norm1 bnA bn_a
bn2 norm_2 batch_norm2 bnB bn_b
bn3 norm_3 batch_norm3 bnC bn_c
bn batch_norm batchnorm normalization
downsample shortcut skip residual_proj identity_conv down
stem conv_stem patchify root entry
se squeeze_excite channel_attention se_module
conv_pw pointwise pw_conv conv_point
conv_dw depthwise dw_conv conv_depth dwconv
vision_model visual image_encoder vision_tower img_model
text_model text text_encoder language_tower txt_model
feature_extractor frontend feature_encoder conv_features
feature_projection input_proj feat_proj
backbone base trunk base_model body_net
cls_token class_token cls class_embedding
neck fpn bridge
rotary_emb rope rotary
relative_attention_bias rel_pos_bias relative_position_bias_table
""".strip().splitlines()
)

#: Leaves of normalization layers, and what else they are called.
NORM_LEAVES = (("gamma", "beta"), ("scale", "shift"), ("scale", "bias"), ("g", "b"))

#: Names that say nothing about what is inside.
STRANGE = listed(
    "orchid falconer tundra module_x gizmo lattice harbor pepper nova titanium osprey walnut fjord sundial"
)

#: Modules that are put around others.
WRAPPERS = listed("model net module core base_model network inner wrapped student online_network")

#: Modules that take the place of others.
REPLACEMENTS = listed("projector resampler mixer_head connector router refiner bottleneck readout")

#: Layers that come while an unrelated one of the same shape goes.
STRANGERS = listed("calibration value_tap route_scores phase_bias noise_gate domain_head")

#: Names of numbered lists in which the number is part of the name.
NUMBERED = listed("stage layer block level res enc_block group dark unit encoder_layer")


def synonym(r: random.Random, name: str) -> str:
    """Another name for the same thing, or "" where none is known."""
    lines = [line for line in SAME if name in line]
    if not lines:
        return ""
    return r.choice([other for other in r.choice(lines) if other != name])


def restyled(r: random.Random, name: str) -> str:
    """The same words written in another way (``layer_norm`` -> ``layerNorm``), or "" for a single word."""
    parts = name.split("_")
    if len(parts) < 2 or not all(parts):
        return ""
    camel = parts[0] + "".join(part.capitalize() for part in parts[1:])
    pascal = "".join(part.capitalize() for part in parts)
    short = "".join(part[0] for part in parts)
    clipped = "_".join(part[:4] for part in parts)
    choices = [camel, camel, pascal, "".join(parts), clipped, *([short] if len(parts) > 2 else [])]
    return r.choice([one for one in choices if one != name])


def affixed(r: random.Random, name: str) -> str:
    """The name with a word more, or one less (``attn`` -> ``attn_layer``)."""
    parts = name.split("_")
    fewer = ["_".join(some) for some in (parts[1:], parts[:-1]) if some and some[0] and not some[0].isdigit()]
    if fewer and r.random() < 0.5:
        return r.choice(fewer)
    return r.choice(
        (f"{name}_layer", f"{name}_module", f"my_{name}", f"new_{name}", f"{name}_v2", f"_{name}")
    )


def tokens(name: str) -> list[str]:
    """The words of a name (``self_attnNorm2`` -> ``self``, ``attn``, ``norm``, ``2``), in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
