"""Files that are no readable checkpoint: one clear line each, and never a wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from pytest_ckpt_compat._core.errors import ReadError, UnreachableError
from pytest_ckpt_compat._readers import read, record_offsets


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty; fetch or save it again"),
        (b"hello, world\n", "it is a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "an HTML page.*download it again"),
        (b"\x80\x02}q\x00.", "a plain pickle"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "breaks off"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"GGUF" + bytes(100), "GGUF"),
        (b"\x93NUMPY\x01\x00", "NumPy array"),
        (b"\x1f\x8b\x08\x00", "gzip.*unpack it first"),
        (b"\x81\xa6params\x81\xa1w\xc4\x04\0\0\0\0", "msgpack file, as Flax writes.*save model.state_dict"),
        (b"\xde\x00\x10\xd9\x06params", "msgpack"),
        (b"\x81\xa6par\x00ms", "format is unknown"),
        (b"<?xml version='1.0'?><Error/>", "it is XML.*download it again"),
        (b"d/" + bytes(255) + b"ustar\x0000" + bytes(300), "tar archive"),
        (b"PK\x03\x04", "truncated"),
        (bytes(range(128, 256)), "format is unknown: it has 128 bytes and begins with 80 81 82"),
    ],
)
def test_one_clear_line(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=problem) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["config.json", "model.weights.h5"], "Keras"),
        (["arr_0.npy"], "NumPy archive"),
        (["word/document.xml"], "without data.pkl"),
        (["m/model.json", "m/tensors/0"], "TorchScript archive of torch before 1.4"),
        (["m/data.pkl", "n/data.pkl"], "several folders"),
    ],
)
def test_other_archives_are_refused_by_name(tmp_path: Path, names: list[str], problem: str) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    with pytest.raises(ReadError, match=problem):
        read(tmp_path / "model.pt")


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such file"):
        read(tmp_path / "absent.pt")
    with pytest.raises(ReadError, match="a directory"):
        read(tmp_path)
    with pytest.raises(ReadError, match="not a valid file path"):
        read("a\0b")
    with pytest.raises(ReadError):
        read(tmp_path / ("x" * 5000))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ReadError, match="cannot be opened"):
        read(tmp_path / "loop")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_never_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull), Path("/dev/zero")):
        with pytest.raises(ReadError, match="a device or a pipe"):
            read(path)


def test_records_that_are_not_there(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "net.pt")
    with pytest.raises(ReadError, match="missing"):
        record_offsets(tmp_path / "net.pt", ["net/data/9"])
    assert record_offsets(tmp_path / "absent", [""]) == {"": 0}


def test_names_from_a_file_are_escaped(tmp_path: Path) -> None:
    torch.save({"\x1b[31m": {"w": torch.ones(1)}, "\u202ex": {"w": torch.ones(1)}}, tmp_path / "net.pt")
    with pytest.raises(ReadError) as caught:
        read(tmp_path / "net.pt")
    assert str(caught.value).isprintable()


def test_reading_loads_no_library(tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Linear(2, 2).state_dict(), "epoch": 1}, tmp_path / "net.pt")
    code = (
        "import sys; from pytest_ckpt_compat._readers import read; print(len(read(sys.argv[1]).tensors));"
        "heavy = {'torch', 'numpy', 'safetensors', 'pickle', '_pickle', 'pickletools', 'zipfile'};"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path / "net.pt")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout.split("\n")[:2] == ["2", "set()"]


@pytest.mark.parametrize("name", ["model.safetensors", ".metadata", "shards"])
def test_a_git_lfs_pointer_inside_a_directory(tmp_path: Path, name: str) -> None:
    if name == "shards":
        name = "model-00001-of-00001.safetensors"
        index = json.dumps({"weight_map": {"weight": name}})
        (tmp_path / "model.safetensors.index.json").write_text(index)
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(UnreachableError, match=r"it is a Git LFS pointer.*; run: git lfs pull"):
        read(tmp_path)
