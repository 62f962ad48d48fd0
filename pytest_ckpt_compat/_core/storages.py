"""Forms in which libraries store weights, by the names in keys: a plain model has no place for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

#: Words for a quantized form -> what the keys end with that it adds to a layer's.
QUANTIZED: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "4-bit weights of bitsandbytes": re.compile(
            r"\.(nested_)?(absmax|quant_map)$|\.quant_state\.bitsandbytes__\w+$"
        ),
        "8-bit weights of bitsandbytes": re.compile(r"\.(SCB|weight_format)$"),
        "weights of GPTQ or AWQ": re.compile(r"\.(qweight|qzeros|g_idx)$"),
        "packed weights of torch.ao.quantization": re.compile(
            r"(^|\.)(_packed_params|_all_weight_values)(\.|$)"
        ),
    }
)
#: What any of them has, in keys with a dot before each.
_ANY = re.compile(
    r"\.(((nested_)?(absmax|quant_map)|bitsandbytes__\w+|SCB|weight_format|qweight|qzeros|g_idx)$"
    r"|(_packed_params|_all_weight_values)(\.|$))",
    re.MULTILINE,
)
_FLAT = re.compile(r"(^|\.)_?flat_param(_\d+)?$")
#: What is in a key that matches it, which nearly none is.
_FLAT_WORD = "flat_param"


def quantized(key: str) -> str:
    """The form in which a key shows that the layer's weights are quantized, in words; "" for none."""
    return next((words for words, form in QUANTIZED.items() if form.search(key)), "")


def quantized_among(keys: Iterable[str]) -> dict[str, str]:
    """Key -> the form that it shows, in words, for those that show one; most models have none."""
    keys = tuple(keys)
    if not _ANY.search("." + "\n.".join(keys)):
        return {}
    return {key: words for key in keys if (words := quantized(key))}


def is_quantized(dtype: str) -> bool:
    """Whether a dtype is that of a quantized tensor of torch: ``qint8``, ``per_channel_affine_quint8``."""
    return "qint" in dtype or "quint" in dtype


def is_flat(key: str) -> bool:
    """Whether FSDP keeps the parameters of several layers under a key, in one vector."""
    return _FLAT_WORD in key and bool(_FLAT.search(key))
