"""Any bytes give a structure or a ReadError: small real files cut and changed everywhere."""

from __future__ import annotations

import contextlib
import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.export
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers.limits import RefusalError
from pytest_ckpt_compat._readers.pickle.interpreter import interpret
from pytest_ckpt_compat._readers.sniff import read_file
from pytest_ckpt_compat._readers.source.files import Blob
from pytest_ckpt_compat._readers.source.folders import LocalFolder
from tests.readers.test_gguf import fact, file, info, text
from tests.readers.test_onnx import RAW, model, part, tensor

BOUNDED = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Edits = list[tuple[int, int]]
EDITS = st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=6)
DATA = Path(__file__).parent / "data"


def stripped(path: Path, keep: tuple[str, ...]) -> bytes:
    """A zip archive without the records that a reader never looks at, to have fewer bytes to change."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            if name.endswith(keep) or "/data/" in name:
                new.writestr(name.replace(path.stem, "m", 1), old.read(name))
    return unchecked(buffer.getvalue())


def unchecked(archive: bytes) -> bytes:
    """A zip archive without checksums, which would hide its content from most changes."""
    result = bytearray(archive)
    index = archive.find(b"PK\x01\x02")
    while index >= 0:
        result[index + 16 : index + 20] = bytes(4)
        index = archive.find(b"PK\x01\x02", index + 4)
    return bytes(result)


def in_zip(path: Path) -> bytes:
    optimizer = {"state": {0: {"step": torch.ones(())}}, "param_groups": [{"params": [0]}]}
    torch.save({"model": {"w": torch.ones(1)}, "lr": 0.1, "optimizer": optimizer}, path)
    return unchecked(path.read_bytes())


def in_module(path: Path) -> bytes:
    torch.save(torch.nn.Linear(1, 1), path)
    return unchecked(path.read_bytes())


def in_stream(path: Path) -> bytes:
    torch.save({"w": torch.ones(1), "v": [0.1]}, path, _use_new_zipfile_serialization=False)
    return path.read_bytes()


def in_safetensors(path: Path) -> bytes:
    save_file({"w": torch.ones(1), "v": torch.ones(2, 2)}, path)
    return path.read_bytes()


def in_torchscript(path: Path) -> bytes:
    del path
    return stripped(DATA / "torch-1.13-script.pt", (".pkl", ".py"))


def in_export(path: Path) -> bytes:
    path = path.with_name("net.pt2")
    torch.export.save(torch.export.export(torch.nn.Linear(1, 1), (torch.ones(1, 1),)), path)
    return stripped(path, ("weights_config.json",))


def in_dcp(path: Path) -> bytes:
    from torch.distributed.checkpoint.state_dict_saver import save

    save({"w": torch.ones(1)}, checkpoint_id=path.parent)
    return (path.parent / ".metadata").read_bytes()


def in_onnx(path: Path) -> bytes:
    del path
    return model(tensor(RAW), tensor(RAW, name=b"v"))


def in_onnx_bodies(path: Path) -> bytes:
    inner = part(1, part(2, b"c") + part(4, b"Constant") + part(5, part(1, b"value") + part(5, tensor(RAW))))
    body = part(6, part(5, tensor(RAW, name=b"b")) + inner)
    node = part(1, part(2, b"y") + part(4, b"If") + part(5, part(1, b"then_branch") + body))
    return part(1, 10) + part(2, b"by hand") + part(7, node) + part(8, part(2, 21))


def in_gguf(path: Path) -> bytes:
    del path
    return file(info(), info(b"v", (4, 2), offset=32), facts=(fact(b"a", 8, text(b"b")),), data=64)


def in_index(path: Path) -> bytes:
    save_file({"w": torch.ones(1)}, path.parent / "a.safetensors")
    return b'{"metadata": {"total_size": 4}, "weight_map": {"w": "a.safetensors"}}'


WRITERS = {
    "zip": in_zip,
    "module": in_module,
    "stream": in_stream,
    "safetensors": in_safetensors,
    "torchscript": in_torchscript,
    "export": in_export,
    "dcp": in_dcp,
    "onnx": in_onnx,
    "onnx with bodies": in_onnx_bodies,
    "gguf": in_gguf,
    "index": in_index,
}
Sample = tuple[str, bytes, LocalFolder]


@pytest.fixture(scope="module", params=WRITERS)
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A small real file of a format, its name, and the folder with the files it refers to."""
    folder = tmp_path_factory.mktemp("sample")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return request.param, WRITERS[request.param](folder / "file"), LocalFolder(str(folder))


def edited(content: bytes, edits: Edits) -> bytes:
    result = bytearray(content)
    for index, value in edits:
        result[index % len(result)] = value
    return bytes(result)


def outcome(content: bytes, folder: LocalFolder) -> Structure | None:
    """What is read of the bytes, None if they are refused. Any other exception fails the test."""
    stream: Any = io.BytesIO(content)
    with contextlib.suppress(RefusalError):
        return read_file(Blob("file", len(content), stream), folder, None)
    return None


def test_cut_at_every_byte(sample: Sample) -> None:
    kind, content, folder = sample
    assert outcome(content, folder)
    for length in range(len(content)):
        found = outcome(content[:length], folder)
        assert found is None or kind.startswith("onnx")  # a shorter protobuf may be whole


def test_every_byte_flipped(sample: Sample) -> None:
    _, content, folder = sample
    for index in range(len(content)):
        outcome(edited(content, [(index, content[index] ^ 0xFF)]), folder)


@BOUNDED
@given(edits=EDITS)
def test_bytes_changed_anywhere(sample: Sample, edits: Edits) -> None:
    _, content, folder = sample
    outcome(edited(content, edits), folder)


@BOUNDED
@given(edits=EDITS, cut=st.integers(0, 1 << 30), tail=st.binary(max_size=40))
def test_bytes_replaced_at_the_end(sample: Sample, edits: Edits, cut: int, tail: bytes) -> None:
    _, content, folder = sample
    outcome(edited(content[: cut % len(content)] + tail + b"\0", edits), folder)


@BOUNDED
@given(edits=EDITS, protocol=st.integers(0, 5))
def test_pickles_changed_anywhere(edits: Edits, protocol: int) -> None:
    value = {
        "a": [1, 2.5, "x", b"y", None, True],
        "b": ({1, 2}, frozenset("c")),
        "c": 1 << 70,
        "d": complex(1, 2),
    }
    with contextlib.suppress(RefusalError):
        interpret(edited(pickle.dumps(value, protocol), edits), str)


@BOUNDED
@given(data=st.binary(max_size=200))
def test_any_bytes_as_a_pickle(data: bytes) -> None:
    with contextlib.suppress(RefusalError):
        interpret(data, str)


#: Plain values, nested: what every interpreter of pickles must agree on.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=20)
    | st.frozensets(st.text(max_size=3), max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


@BOUNDED
@given(value=VALUES, protocol=st.integers(0, 5))
def test_agrees_with_pickle_on_plain_values(value: Any, protocol: int) -> None:
    written = pickle.dumps(value, protocol)
    assert interpret(written, str) == (pickle.loads(written), len(written))
