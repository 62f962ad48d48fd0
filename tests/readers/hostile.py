"""Large files made to exhaust a reader, one writer each: ``write(folder) -> path``."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from tests.readers.test_gguf import fact, file, info
from tests.readers.test_gguf import text as gguf_text
from tests.readers.test_hostile_pickle import EXHAUSTION, STATE, TENSOR, beside, module
from tests.readers.test_onnx import RAW, model, part, tensor

Write = Callable[[Path], Path]
WRITERS: dict[str, Write] = {}


def writer(name: str) -> Callable[[Write], Write]:
    def register(write: Write) -> Write:
        WRITERS[name] = write
        return write

    return register


def torch_zip(path: Path, content: bytes, **others: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", content)
        others.setdefault("data/0", bytes(8))
        for name, data in others.items():
            archive.writestr(f"m/{name}", data)
    return path


def in_pickle(name: str) -> Write:
    return lambda folder: torch_zip(folder / "m.pt", beside(STATE, EXHAUSTION[name]))


for kind in EXHAUSTION:
    WRITERS[f"pickle: {kind}"] = in_pickle(kind)


@writer("legacy: operations")
def _(folder: Path) -> Path:
    machine = {"little_endian": True}
    header = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, machine))
    (folder / "m.pt").write_bytes(header + EXHAUSTION["operations"] + b".")
    return folder / "m.pt"


@writer("safetensors: keys")
def _(folder: Path) -> Path:
    entry = '"w%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    raw = ("{" + ",".join(entry % i for i in range(100_000)) + "}").encode()
    (folder / "m.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)
    return folder / "m.safetensors"


@writer("safetensors: commas")
def _(folder: Path) -> Path:
    raw = b'{"w":[' + b"1," * 2_900_000 + b"1]}"
    (folder / "m.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)
    return folder / "m.safetensors"


@writer("safetensors: wide text")
def _(folder: Path) -> Path:
    raw = b'{"' + b"x" * 90_000_000 + b'\xf0\x9f\x98\x80":1}'
    (folder / "m.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)
    return folder / "m.safetensors"


@writer("index: names")
def _(folder: Path) -> Path:
    (folder / "m.index.json").write_text(
        json.dumps({"weight_map": {str(i): f"f{i}" for i in range(249_000)}})
    )
    return folder / "m.index.json"


@writer("index: shards of much work")
def _(folder: Path) -> Path:
    for number in range(6):
        state = STATE.replace(b"\0\0\0w", b"\0\0\0%d" % number)
        torch_zip(folder / f"f{number}", b"\x80\x02" + b"N0" * 2_000_000 + state + b".")
    (folder / "m.index.json").write_text(json.dumps({"weight_map": {str(i): f"f{i}" for i in range(6)}}))
    return folder / "m.index.json"


@writer("index: a part that is a link to elsewhere")
def _(folder: Path) -> Path:
    (folder / "m.index.json").write_text(json.dumps({"weight_map": {"w": "f"}}))
    (folder / "f").symlink_to("/dev/zero")
    return folder / "m.index.json"


@writer("snapshot: a terabyte")
def _(folder: Path) -> Path:
    with (folder / "m.json").open("wb") as stream:
        stream.write(b'{"tensors": {')
        stream.truncate(1 << 40)
    return folder / "m.json"


@writer("snapshot: one name twice")
def _(folder: Path) -> Path:
    names = ",".join(f'"w{number}": "float32[]"' for number in range(300_000))
    (folder / "m.json").write_text(f'{{"tensors": {{{names}, "w299999": "float32[]"}}}}')
    return folder / "m.json"


@writer("torchscript: shared modules")
def _(folder: Path) -> Path:
    source = b"class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n"
    one = b"c__torch__\nM\n)\x81}q\x00bq\x010"
    more = b"c__torch__\nM\n)\x81}(U\x01ah\x01U\x01bh\x01ubq\x010" * 40
    return torch_zip(folder / "m.pt", b"\x80\x02" + one + more + b"h\x01.", **_script(source))


@writer("torchscript: source text")
def _(folder: Path) -> Path:
    source = b"class " + b"a" * 998 + b"\n"
    return torch_zip(folder / "m.pt", b"\x80\x02c__torch__\nM\n)\x81}b.", **_script(source * 4_000))


def _script(source: bytes) -> dict[str, bytes]:
    return {"constants.pkl": b").", "code/__torch__.py": source}


@writer("export: table")
def _(folder: Path) -> Path:
    table = b'{"config":{' + b",".join(b'"%d":1' % i for i in range(1_400_000)) + b"}}"
    with zipfile.ZipFile(folder / "m.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data/weights/model_weights_config.json", table)
    return folder / "m.pt2"


@writer("zip: records")
def _(folder: Path) -> Path:
    return torch_zip(folder / "m.pt", b"\x80\x02" + STATE + b".", **{f"x{i}": b"" for i in range(30_000)})


@writer("dcp: paths")
def _(folder: Path) -> Path:
    home = b"ctorch.distributed.checkpoint.metadata\n"
    entry = home + b"BytesStorageMetadata\n)\x81q\x000"
    table = b"".join(b"X\x06\0\0\0%06dh\0" % i for i in range(6_000))
    paths = b"".join(b"X\x06\0\0\0%06d(X\x06\0\0\0%06d" % (i, i) + b"K\1" * 99 + b"t" for i in range(6_000))
    facts = b"U\x13state_dict_metadata}(" + table + b"uU\x0cplanner_data}(" + paths + b"u"
    (folder / ".metadata").write_bytes(b"\x80\x02" + entry + home + b"Metadata\n)\x81}(" + facts + b"ub.")
    return folder


LAUGHING = b"]q\x000" + (b"(" + b"h\0" * 10 + b"lq\x000") * 30


def dcp_of(folder: Path, table: bytes, more: bytes = b"") -> Path:
    facts = b"U\x13state_dict_metadata}U\1w" + table + b"s" + more
    made = b"ctorch.distributed.checkpoint.metadata\nMetadata\n)\x81}(" + facts + b"ub."
    (folder / ".metadata").write_bytes(b"\x80\x02" + made.replace(b"LAUGHING", LAUGHING + b"h\0"))
    return folder


@writer("dcp: an endless class")
def _(folder: Path) -> Path:
    return dcp_of(folder, b"LAUGHING)\x81")


@writer("dcp: an endless name")
def _(folder: Path) -> Path:
    storage_info = b"cm\nP\n)\x81}U\rrelative_pathLAUGHINGsb"
    return dcp_of(folder, b"N", b"U\x0cstorage_data}U\1w" + storage_info + b"s")


@writer("onnx: fields")
def _(folder: Path) -> Path:
    (folder / "m.onnx").write_bytes(b"\x08\x0a" + b"r\0" * 1_100_000)
    return folder / "m.onnx"


@writer("onnx: initializers")
def _(folder: Path) -> Path:
    (folder / "m.onnx").write_bytes(model(*(tensor(RAW, name=b"%d" % i) for i in range(130_000))))
    return folder / "m.onnx"


@writer("onnx: dimensions")
def _(folder: Path) -> Path:
    (folder / "m.onnx").write_bytes(model(tensor(RAW, dims=part(1, 1) * 900_000)))
    return folder / "m.onnx"


@writer("gguf: texts")
def _(folder: Path) -> Path:
    lie = fact(b"t", 9, struct.pack("<IQ", 8, 1 << 40))
    with (folder / "m.gguf").open("wb") as stream:
        stream.write(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + lie)
        stream.truncate(1 << 30)
    return folder / "m.gguf"


@writer("gguf: tensors")
def _(folder: Path) -> Path:
    (folder / "m.gguf").write_bytes(file(*(info(b"%d" % i, (0,)) for i in range(100_000))))
    return folder / "m.gguf"


@writer("gguf: long texts")
def _(folder: Path) -> Path:
    facts = tuple(fact(b"%d" % i, 8, gguf_text(b"x" * 65_000)) for i in range(1_500))
    (folder / "m.gguf").write_bytes(file(info(), facts=facts))
    return folder / "m.gguf"


@writer("module: long keys")
def _(folder: Path) -> Path:
    name = b"X\0\0\1\0" + b"x" * 65_536 + b"q\x010"
    leaf = module(
        b"}(" + b"".join(b"U\x06%06d" % i + TENSOR for i in range(2_000)) + b"u", part="_parameters"
    )
    return torch_zip(
        folder / "m.pt", name + leaf + module(b"}h\1h\0s") * 90 + b"h\0.", **{"data/0": bytes(8)}
    )


@writer("gguf: long names")
def _(folder: Path) -> Path:
    infos = (info(b"%05d" % i + b"x" * 65_000, (0,)) for i in range(2_000))
    (folder / "m.gguf").write_bytes(file(*infos))
    return folder / "m.gguf"


@writer("pickle: optimizers")
def _(folder: Path) -> Path:
    group = b"}U\x06params](" + b"K\x01" * 200_000 + b"esq\x000"
    optimizer = b"}(U\x05state}U\x0cparam_groups]h\0au"
    many = b"}(" + b"".join(b"U\x06%06d" % i + optimizer for i in range(10_000)) + b"u"
    return torch_zip(
        folder / "m.pt", b"\x80\x02" + group + b"}(U\nstate_dict" + STATE + b"U\x05other" + many + b"u."
    )


@writer("pickle: lists that share lists")
def _(folder: Path) -> Path:
    """As a tree, the list has 2 to the 60th elements; every entry of the state_dict is that list."""
    shared = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60))
    entries = b"}(X\1\0\0\0w" + TENSOR + b"".join(b"U\x06%06dh\x3c" % i for i in range(20_000)) + b"u"
    return torch_zip(folder / "m.pt", b"\x80\x02" + shared + b"0" + entries + b".")


@writer("pickle: one group of parameters, many times")
def _(folder: Path) -> Path:
    group = b"}U\x06params](" + b"K\x01" * 100_000 + b"esq\x000"
    optimizer = b"}(U\x05state}U\x0cparam_groups](" + b"h\0" * 1_000_000 + b"eu"
    return torch_zip(
        folder / "m.pt", b"\x80\x02" + group + b"}(U\x05model" + STATE + b"U\x03opt" + optimizer + b"u."
    )


class Call:
    """Pickles as a call of a function of torch."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


def wrapped(parts: dict[str, object]) -> Call:
    """A tensor subclass with these attributes."""
    args = (Wrapper, torch.float32, (2,), (1,), 0, None, None, False)
    return Call(
        torch._tensor._rebuild_from_type_v2, torch._utils._rebuild_wrapper_subclass, Wrapper, args, parts
    )


class Wrapper(torch.Tensor):
    """The class of a hostile file."""


def meta() -> Call:
    return Call(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (2,), (1,), False)


def shared(make: Callable[[object], object]) -> object:
    """As a tree, it has 2 to the 60th leaves."""
    value: object = meta()
    for _ in range(60):
        value = make(value)
    return value


@writer("contents: tensors that share tensors")
def _(folder: Path) -> Path:
    state = {"w": shared(lambda inner: wrapped({"a": inner, "b": inner}))}
    return torch_zip(folder / "m.pt", pickle.dumps(state, 2))


@writer("contents: lists that share tensors")
def _(folder: Path) -> Path:
    state = {f"w{number}": meta() for number in range(3)} | {
        "_extra_state": shared(lambda inner: [inner, inner])
    }
    return torch_zip(folder / "m.pt", pickle.dumps(state, 2))


@writer("contents: a tensor inside itself")
def _(folder: Path) -> Path:
    parts: dict[str, object] = {}
    parts["again"] = wrapped(parts)
    return torch_zip(folder / "m.pt", pickle.dumps({"w": parts["again"]}, 2))
