"""Checkpoints in several files: those of the real libraries, and indexes that lie."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import read
from tests.counting import calls
from tests.readers.agreement import assert_agrees, assert_locations, network

INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def write(folder: Path, index: Any = None) -> Path:
    """Two shards of one tensor each, and any index over them."""
    folder.mkdir(exist_ok=True)
    for name in (ONE, TWO):
        save_file({f"in_{name[10]}.weight": torch.ones(2)}, folder / name)
    good = {"metadata": {"total_size": 16}, "weight_map": {"in_1.weight": ONE, "in_2.weight": TWO}}
    content = index if isinstance(index, str) else json.dumps(good if index is None else index)
    (folder / INDEX).write_text(content)
    return folder / INDEX


def over(**changes: str) -> dict[str, Any]:
    return {"weight_map": {"in_1.weight": ONE, "in_2.weight": TWO, **changes}}


@pytest.mark.parametrize("safe", [True, False])
def test_agrees_with_the_library(tmp_path: Path, safe: bool) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="writes the shards")
    state = network().state_dict()
    hub.save_torch_state_dict(state, tmp_path, max_shard_size=100, safe_serialization=safe)
    index = next(tmp_path.glob("*.index.json"))
    shards = sorted({*json.loads(index.read_text())["weight_map"].values()})
    assert len(shards) > 2
    loaded: dict[str, torch.Tensor] = {}
    for name in shards:
        loaded |= load_file(tmp_path / name) if safe else torch.load(tmp_path / name)
    for path in (index, tmp_path):
        structure = read(path)
        assert structure.tensors.keys() == state.keys()
        assert_agrees(structure, {key: loaded[key] for key in structure.tensors})
        assert_locations(structure, loaded)
        assert structure.source.path == str(path)
        assert structure.source.format == ("sharded safetensors" if safe else "sharded torch zip")


def test_agrees_with_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="writes the checkpoint")
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, vocab_size=50
    )
    model = transformers.BertForMaskedLM(config)
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    structure = read(tmp_path)
    state = model.state_dict()
    assert structure.source.format == "sharded safetensors"
    assert structure.tensors.keys() <= state.keys()
    for key, found in structure.tensors.items():
        assert found.shape == tuple(state[key].shape)


def test_values_are_the_metadata_of_the_index(tmp_path: Path) -> None:
    assert read(write(tmp_path)).values == {"total_size": 16}


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        (over(**{"in_2.weight": "../" + TWO}), "not a plain file name"),
        (over(**{"in_2.weight": "/etc/passwd"}), "not a plain file name"),
        (over(**{"in_2.weight": "sub/" + TWO}), "not a plain file name"),
        (over(**{"in_2.weight": "sub\\" + TWO}), "not a plain file name"),
        (over(**{"in_2.weight": "C:x"}), "not a plain file name"),
        (over(**{"in_2.weight": ".."}), "not a plain file name"),
        (over(**{"in_2.weight": ""}), "not a plain file name"),
        (over(**{"in_2.weight": "a\0b"}), "not a plain file name"),
        (over(**{"in_2.weight": "x" * 300}), "not a plain file name"),
        ('{"weight_map": {"in_1.weight": "\\ud800"}}', "not valid Unicode"),
        ({"weight_map": {"in_1.weight": 1}}, "not a plain file name"),
        ({"weight_map": {"in_1.weight": [ONE]}}, "not a plain file name"),
        ({"weight_map": [ONE]}, "not an object of names"),
        ({"weight_map": {}}, "no state_dict"),
        (over(**{"in_2.weight": "model-00002-of-00003.safetensors"}), "1 of its 2 parts are missing"),
        (
            over(**{"in_2.weight": ONE}),
            "parts that the index does not list: 'model-00002-of-00002.safetensors'",
        ),
        (over(**{"in_3.weight": TWO}), "the file lacks 'in_3.weight'"),
        ({"weight_map": {"in_1.weight": ONE, "other": TWO}}, "the file lacks 'other'"),
        (over(x=INDEX), "neither a safetensors nor a torch file"),
        (over(**{"in_2.weight": TWO, "x": TWO.upper()}), "two file names that differ only in case"),
        (f'{{"weight_map": {{"in_1.weight": "{ONE}", "in_1.weight": "{TWO}"}}}}', "a duplicate name"),
        ('{"weight_map": ' + "[" * 100_000, "not valid JSON"),
        ('{"weight_map": NaN}', "not valid JSON"),
        ('{"architectures": []}', "the configuration of a model"),
    ],
)
def test_indexes_that_lie(tmp_path: Path, index: Any, problem: str) -> None:
    path = write(tmp_path / "good")
    assert len(read(path).tensors) == 2
    with pytest.raises(ReadError, match=problem):
        read(write(tmp_path / "bad", index))


def test_a_shard_with_more_than_the_index_says(tmp_path: Path) -> None:
    path = write(tmp_path)
    save_file({"in_2.weight": torch.ones(2), "extra": torch.ones(1)}, tmp_path / TWO)
    with pytest.raises(ReadError, match=rf"in its part '{TWO}', .* also has 'extra'"):
        read(path)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / TWO).write_bytes((tmp_path / TWO).read_bytes()[:-1])
    with pytest.raises(ReadError, match=rf"in its part '{TWO}', its header describes"):
        read(path)
    (tmp_path / TWO).unlink()
    with pytest.raises(ReadError, match="1 of its 2 parts are missing"):
        read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
def test_links_pipes_and_loops(tmp_path: Path) -> None:
    path = write(tmp_path / "model")
    part = tmp_path / "model" / TWO
    outside = tmp_path / "outside.safetensors"
    shutil.move(part, outside)
    part.symlink_to(outside)
    with pytest.raises(ReadError, match="a link that leaves the folder"):
        read(path)
    part.unlink()
    shutil.copy(outside, tmp_path / "model" / "inside.safetensors")
    part.symlink_to("inside.safetensors")
    assert len(read(path).tensors) == 2
    part.unlink()
    part.symlink_to(TWO)
    with pytest.raises(ReadError, match="cannot be opened"):
        read(path)
    part.unlink()
    os.mkfifo(part)
    with pytest.raises(ReadError, match="a device or a pipe"):
        read(path)
    part.unlink()
    part.mkdir()
    with pytest.raises(ReadError, match=r"a device or a pipe|cannot be opened|directory"):
        read(path)


def test_the_cache_of_hugging_face_is_made_of_links(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--o--n" / "blobs", tmp_path / "models--o--n" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    write(tmp_path / "model")
    for number, part in enumerate(sorted((tmp_path / "model").iterdir())):
        part.rename(blobs / f"{number}")
        (snapshot / part.name).symlink_to(f"../../blobs/{number}")
    assert len(read(snapshot).tensors) == 2
    assert len(read(snapshot / INDEX).tensors) == 2


def test_two_indexes(tmp_path: Path) -> None:
    path = write(tmp_path)
    shutil.copy(path, tmp_path / "pytorch_model.bin.index.json")
    assert read(tmp_path).source.format == "sharded safetensors"
    shutil.copy(path, tmp_path / "model.fp16.safetensors.index.json")
    with pytest.raises(ReadError, match=r"it has 2 shard indexes.*give the path of one"):
        read(tmp_path)


@pytest.mark.parametrize("save", [save_file, torch.save])
def test_a_folder_with_a_model_in_one_file(tmp_path: Path, save: Callable[[Any, Path], None]) -> None:
    save({"w": torch.ones(2)}, tmp_path / ("model.safetensors" if save is save_file else "pytorch_model.bin"))
    assert list(read(tmp_path).tensors) == ["w"]
    assert read(tmp_path).source.path == str(tmp_path)


def test_work_is_bounded_over_all_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path)
    monkeypatch.setattr("pytest_ckpt_compat._readers.limits.PICKLE_OPERATIONS", 10)
    with pytest.raises(ReadError, match=f"in its part '{TWO}', it has more than 10"):
        read(path)


def test_a_part_takes_no_look_at_the_folders_around_it(tmp_path: Path) -> None:
    """Each part took 18 calls of functions more for each folder around it, to look whether that is a link."""
    made = []
    for folder in (tmp_path / "a", tmp_path.joinpath(*"abcdefgh")):
        folder.mkdir(parents=True, exist_ok=True)
        index = write(folder)
        read(index)
        with calls() as counted:
            read(index)
            made.append(counted())
    assert made[1] - made[0] < 20
