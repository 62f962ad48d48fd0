"""Archives that two programs could read in two ways, and archives that lie about their sizes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import read, record_offsets


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    torch.save({"w": torch.ones(4), "b": torch.ones(2)}, tmp_path / "net.pt")
    return (tmp_path / "net.pt").read_bytes()


def refused(tmp_path: Path, content: bytes, problem: str = ".") -> None:
    path = tmp_path / "forged.pt"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=problem):
        read(path)


def archive(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, data in members:
            target.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("m/data.pkl", "m/data.pkl"), "a name twice"),
        (("m/data.pkl", "m/DATA.pkl"), "a name twice"),
        (("m/data.pkl", "n/data.pkl"), "several folders"),
        (("m/data.pkl", "../data.pkl"), "unusable name"),
        (("m/data.pkl", "/etc/passwd"), "unusable name"),
        (("m/data.pkl", "m/a\\b"), "unusable name"),
    ],
)
def test_names(tmp_path: Path, names: tuple[str, ...], problem: str) -> None:
    refused(tmp_path, archive(*((name, b"N.") for name in names)), problem)


def test_data_before_or_after(tmp_path: Path, good: bytes) -> None:
    refused(tmp_path, b"PK\x03\x04" + good, "end record is not directly after")
    refused(tmp_path, good + b"\0", "data after its end")
    refused(tmp_path, good[:-2] + b"\x05\0hello", "data after its end")


def test_checksum_of_the_pickle(tmp_path: Path, good: bytes) -> None:
    index = good.index(b"X\x01\x00\x00\x00w")
    refused(tmp_path, good[: index + 5] + b"v" + good[index + 6 :], "checksum")


def test_local_and_central_names_that_differ(tmp_path: Path, good: bytes) -> None:
    refused(tmp_path, good.replace(b"net/data.pkl", b"net/data.pkx", 1), "disagree")
    swapped = good.replace(b"net/data/0", b"net/data/1", 1)
    (tmp_path / "forged.pt").write_bytes(swapped)
    locations = read(tmp_path / "forged.pt").locations
    with pytest.raises(ReadError, match="disagree"):
        record_offsets(tmp_path / "forged.pt", {location.record for location in locations.values()})


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (8, 0x20), (9, 0x20), (10, 12), (10, 99), (34, 1)])
def test_unusual_entries(tmp_path: Path, good: bytes, offset: int, value: int) -> None:
    index = good.index(b"PK\x01\x02") + offset
    refused(tmp_path, good[:index] + bytes([value]) + good[index + 1 :])


def test_two_ends_that_disagree(tmp_path: Path, good: bytes) -> None:
    index = good.rindex(b"PK\x05\x06")
    refused(tmp_path, good[: index + 8] + b"\1\0\1\0" + good[index + 12 :], "disagree")


def test_packed_records_read_but_cannot_be_located(tmp_path: Path, good: bytes) -> None:
    with (
        zipfile.ZipFile(io.BytesIO(good)) as old,
        zipfile.ZipFile(tmp_path / "p.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert list(read(tmp_path / "p.pt").tensors) == ["w", "b"]


def test_a_record_shorter_than_its_storage(tmp_path: Path, good: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(good)) as old:
        members = [
            (name, old.read(name)[:5] if "/data/" in name else old.read(name)) for name in old.namelist()
        ]
    refused(tmp_path, archive(*members), "shorter than the storage")
    refused(tmp_path, archive(*(m for m in members if "/data/" not in m[0])), "missing")


def test_more_records_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: bytes) -> None:
    monkeypatch.setattr("pytest_ckpt_compat._readers.limits.ZIP_RECORDS", 3)
    refused(tmp_path, good, "more than 3 zip records")
