"""Key lists of real models, built without weights, in several depths."""

from __future__ import annotations

import functools
import random
import warnings
from collections.abc import Callable
from typing import Any

from benchmarks.rename_corpus.case import Specs
from benchmarks.rename_corpus.words import listed
from pytest_ckpt_compat import TensorSpec

#: Model types of transformers, by what they are made of.
TRANSFORMERS: dict[str, tuple[str, ...]] = {
    "encoder": listed(
        "distilbert mpnet data2vec-text xlm xlnet xlm-roberta camembert ernie squeezebert convbert "
        "roformer nystromformer big_bird longformer fnet layoutlm splinter rembert mobilebert albert"
    ),
    "decoder": listed(
        "gpt2 gpt_neo gptj codegen gpt_neox qwen2 qwen3 mistral gemma gemma2 gemma3_text olmo olmo2 "
        "starcoder2 stablelm phi3 cohere granite falcon mpt persimmon decision_transformer"
    ),
    "state space": ("mamba", "mamba2", "rwkv"),
    "encoder-decoder": listed("t5 mt5 pegasus marian blenderbot led whisper fsmt mbart"),
    "audio": ("wav2vec2", "wavlm", "data2vec-audio", "unispeech", "sew", "speecht5"),
    "codec": ("encodec", "dac", "univnet"),
    "vision": listed(
        "vit deit vit_mae dinov2_with_registers data2vec-vision yolos dpt videomae vivit timesformer"
    ),
    "pyramid": ("cvt", "swinv2", "focalnet", "glpn", "poolformer", "levit", "mobilevit"),
    "convolution": ("convnext", "convnextv2", "mobilenet_v1", "mobilenet_v2"),
    "two towers": ("clip", "siglip", "owlvit", "blip", "groupvit", "clap", "flava"),
}

#: Models of timm, likewise.
TIMM: dict[str, tuple[str, ...]] = {
    "vision": listed(
        "deit_tiny_patch16_224 vit_small_patch32_224 cait_xxs24_224 xcit_nano_12_p16_224 "
        "eva02_tiny_patch14_224 mixer_s32_224 resmlp_12_224 gmlp_ti16_224 deit3_small_patch16_224 "
        "crossvit_tiny_240"
    ),
    "pyramid": listed(
        "pvt_v2_b0 twins_pcpvt_small coat_lite_tiny nest_tiny edgenext_xx_small mobilevitv2_050 "
        "efficientformer_l1 maxvit_rmlp_pico_rw_256 hiera_tiny_224 davit_tiny pit_ti_224"
    ),
    "convolution": listed(
        "resnet18 resnet26d seresnet33ts regnetx_002 resnext26ts mobilenetv3_small_100 ghostnet_100 "
        "repvgg_a0 densenet121 dla34 cspresnet50 hardcorenas_a vgg11_bn nf_regnet_b0 dpn48b darknet17 "
        "convmixer_768_32 efficientnet_lite0 rexnet_100 res2net50_26w_4s selecsls42 tf_efficientnetv2_b0 "
        "xception41p"
    ),
}

#: Models of torchvision, likewise.
TORCHVISION: dict[str, tuple[str, ...]] = {
    "convolution": listed("resnet34 mobilenet_v3_small googlenet squeezenet1_1 mnasnet0_5 alexnet s3d"),
    "pyramid": ("swin_v2_t", "maxvit_t"),
    "detection": ("fcn_resnet50", "lraspp_mobilenet_v3_large", "retinanet_resnet50_fpn", "raft_small"),
}

_DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers")
_FEW_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
#: Longer lists take long to explain and show nothing that shorter ones do not.
MOST_KEYS = 750


def drawn(r: random.Random, design: str = "") -> tuple[str, str, Specs]:
    """A model drawn at random.

    Args:
        r: where the choice comes from.
        design: what it is made of (``encoder``), or "" for any.

    Returns:
        Its library and name (``timm/resnet18``), what it is made of, and its keys.
    """
    while True:
        library = r.choices(("transformers", "timm", "torchvision"), weights=(6, 4, 1))[0]
        table = {"transformers": TRANSFORMERS, "timm": TIMM, "torchvision": TORCHVISION}[library]
        designs = [name for name in table if design in ("", name)]
        if not designs:
            continue
        made_of = r.choices(designs, weights=[len(table[name]) for name in designs])[0]
        name, depth = r.choice(table[made_of]), r.choice((2, 3, 4, 6, 11, 12, 12, 16, 24))
        deeper = library == "transformers" and made_of not in ("pyramid", "convolution")
        specs = keys(library, name, depth if deeper else 0)
        if 12 < len(specs) <= MOST_KEYS:
            return f"{library}/{name}", made_of, dict(specs)


@functools.cache
def keys(library: str, name: str, depth: int = 0) -> Specs:
    """The keys of a model in its own order, tied ones once."""
    build: dict[str, Callable[[], Any]] = {
        "transformers": lambda: _transformers(name, depth),
        "timm": lambda: _timm(name),
        "torchvision": lambda: _torchvision(name),
    }
    declare_operators()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = build[library]()
    seen: set[int] = set()
    found: Specs = {}
    for key, tensor in module.state_dict(keep_vars=True).items():
        if hasattr(tensor, "shape") and id(tensor) not in seen:
            seen.add(id(tensor))
            found[key] = TensorSpec(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
    return found


def _transformers(name: str, depth: int) -> Any:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call, unused-ignore]
    config = transformers.CONFIG_MAPPING[name]()
    for setting in _DEPTHS:
        if depth and isinstance(getattr(config, setting, None), int):
            setattr(config, setting, depth)
    for setting in _FEW_EXPERTS:
        if isinstance(getattr(config, setting, None), int):
            setattr(config, setting, 4)
    auto: Any = transformers.AutoModel
    with torch.device("meta"):
        return auto.from_config(config)


def _timm(name: str) -> Any:
    import timm
    import torch

    with torch.device("meta"):
        return timm.create_model(name)


def _torchvision(name: str) -> Any:
    import torch
    import torchvision

    options = {"weights": None, "weights_backbone": None} if "resnet50" in name or "lraspp" in name else {}
    with torch.device("meta"):
        return torchvision.models.get_model(name, **options)


@functools.cache
def declare_operators() -> Any:
    """Lets torchvision be imported where its compiled part does not fit the build of torch.

    timm and transformers import it. No model of ours calls an operator, but without the declaration the
    import itself raises.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except ImportError:
        return None
    except RuntimeError:
        make: Any = torch.library.Library
        library = make("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None
