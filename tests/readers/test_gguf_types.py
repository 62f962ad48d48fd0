"""The types of GGUF: the names and sizes of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import read

gguf: Any = pytest.importorskip("gguf", reason="writes the files")

NAMES = {"f": "float", "i": "int", "bf": "bfloat"}
#: The library gives 40 bytes for it, ggml.c 36; it is a type of intermediate results that no file has.
UNSAVED = {"Q8_1"}
TYPES = [each for each in gguf.GGMLQuantizationType if each.name not in UNSAVED]


def name_of(kind: Any) -> str:
    """``float32`` for ``F32``, ``q4_k`` for ``Q4_K``."""
    lowered: str = kind.name.lower()
    letters = lowered.rstrip("0123456789")
    return NAMES[letters] + lowered[len(letters) :] if letters in NAMES else lowered


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_every_type_of_the_library(kind: Any, tmp_path: Path) -> None:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    path = tmp_path / "net.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("w", np.zeros((3, 2 * size), np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    spec = read(path).tensors["w"]
    assert (spec.dtype, spec.shape) == (name_of(kind), (3, 2 * block))
    content = path.read_bytes()
    path.write_bytes(content[: -len(content) % 32 - 33])
    with pytest.raises(ReadError, match="bytes of data"):
        read(path)
