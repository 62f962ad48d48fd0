"""Pickles made to harm: nothing is called, and every kind of exhaustion is refused in time."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_ckpt_compat._core.errors import ReadError
from pytest_ckpt_compat._readers import read

Forge = Callable[..., Path]

#: ``{"w": <tensor of two floats in record 0>}`` without STOP: something to find.
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x02\x85K\x01\x85\x89}tR"
STATE = b"}X\x01\x00\x00\x00w" + TENSOR + b"s"


class Payload:
    """Runs a shell command when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def beside(state: bytes, other: bytes) -> bytes:
    """A pickle of ``{"state_dict": <state>, "other": <other>}``."""
    return b"\x80\x02}(U\nstate_dict" + state + b"U\x05other" + other + b"u."


def calls(marker: Path) -> dict[str, bytes]:
    command = f"touch {marker}".encode()
    quoted = b"X" + struct.pack("<I", len(command)) + command
    return {
        "reduce": b"cposix\nsystem\n" + quoted + b"\x85R",
        "newobj": b"cposix\nsystem\n" + quoted + b"\x85\x81",
        "newobj_ex": b"cposix\nsystem\n" + quoted + b"\x85}\x92",
        "inst": b"(" + quoted + b"iposix\nsystem\n",
        "obj": b"(cposix\nsystem\n" + quoted + b"o",
        "build": b"cposix\nsystem\n)R" + quoted + b"b",
        "setstate": b"cbuiltins\nobject\n)\x81}U\x0c__setstate__cposix\nsystem\nsb" + quoted + b"b",
        "stack_global": b"U\x05posixU\x06system\x93" + quoted + b"\x85R",
        "dotted": b"U\x02osU\x0bpath.system\x93" + quoted + b"\x85R",
        "extension": b"\x82\x01" + quoted + b"\x85R",
        "eval": b"c__builtin__\neval\n" + quoted + b"\x85R",
        "from_type": b"ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\nN" + quoted + b"\x85}tR",
        "copyreg": b"ccopy_reg\n_reconstructor\n(cposix\nsystem\nN" + quoted + b"tR",
        "nested": b"c_pickle\nloads\n" + b"C\x05cos\n." + b"\x85R",
        "ordered_dict": b"ccollections\nOrderedDict\n(" + b"cposix\nsystem\n" + quoted + b"\x86l\x85R",
    }


@pytest.mark.parametrize("kind", calls(Path("x")))
def test_nothing_is_called(tmp_path: Path, forge: Forge, kind: str) -> None:
    path = forge(beside(STATE, calls(tmp_path / "marker")[kind]), **{"0": bytes(8)})
    before = set(tmp_path.iterdir())
    try:
        assert list(read(path).tensors) == ["w"]
    except ReadError:
        assert kind in ("ordered_dict", "build", "setstate")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("protocol", range(6))
def test_real_pickles_with_payloads(tmp_path: Path, forge: Forge, protocol: int) -> None:
    payload = Payload(tmp_path / "marker")
    path = forge(pickle.dumps({"a": payload, "b": [payload]}, protocol))
    with pytest.raises(ReadError, match="no state_dict"):
        read(path)
    assert not (tmp_path / "marker").exists()


def module(items: bytes, part: str = "_modules") -> bytes:
    """Makes a module with the items as one of its parts, and stores it in memo 0."""
    parts = dict.fromkeys(("_parameters", "_buffers", "_modules"), b"}") | {part: items}
    state = b"".join(b"U" + bytes([len(name)]) + name.encode() + made for name, made in parts.items())
    return b"cm\nModule\n)\x81}(" + state + b"ubq\x000"


def copies(maker: bytes, number: int) -> bytes:
    """Calls the maker again and again on the value in memo 0."""
    return maker + b"q\x010" + b"(" + b"h\x01h\x00\x85R" * number + b"l"


MANY = 3_000_000
MEMO = np.zeros(MANY + 20_000, [("code", "S1"), ("index", "<u4")])
MEMO["code"], MEMO["index"] = b"r", np.arange(len(MEMO))
NUMBERS = {
    valued: b"".join(b"J" + struct.pack("<i", i) + b"N" * valued for i in range(50_000))
    for valued in (True, False)
}
COLLIDING = b"".join(
    b"\x8a\x0a" + (i * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for i in range(100_000)
)
EXHAUSTION = {
    "deep tuple as a key": b"}" + b")" + b"\x85" * 1_000_000 + b"Ns",
    "deep tuple as a value": b")" + b"\x85" * 1_000_000,
    "deep list": b"]" * 1_000_000 + b"a" * 999_999,
    "deep dict": b"}" + b"K\x01}" * 500_000 + b"s" * 500_000,
    "huge memo index": b"N" + b"r\xff\xff\xff\xff" * 1000,
    "memo growth": b"N" + MEMO.tobytes(),
    "stack growth": b"N" * MANY,
    "marks": b"(" * MANY,
    "empty sets": b"(" + b"\x8f" * MANY + b"l",
    "empty lists": b"(" + b"]" * 1_900_000 + b"l",
    "operations": b"N" + b"20" * 5_100_000,
    "huge string": b"X\xff\xff\xff\xff",
    "huge bytes": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    "huge integer": b"\x8b\x00\x00\x10\x00" + b"\xff" * (1 << 20),
    "decimal integer": b"L" + b"9" * 100_000 + b"L\n",
    "endless line": b"c" + b"x" * (1 << 21),
    "long name": b"c" + b"x" * 100_000 + b"\ny\n",
    "copies of a dict": b"}(" + NUMBERS[True] + b"uq\x000" + copies(b"ccollections\nOrderedDict\n", 10_000),
    "copies of a set": b"](" + NUMBERS[False] + b"eq\x000" + copies(b"c__builtin__\nset\n", 10_000),
    "copies of bytes":
    b"X\x00\x00\x10\x00" + b"x" * (1 << 20) + b"q\x000" + copies(b"c_codecs\nencode\n", 100_000),
    "colliding keys": b"}(" + COLLIDING + b"u",
    "shared tuples as a key": b"K\x01q\x000" + (b"(" + b"h\x00" * 1000 + b"tq\x000") * 6 + b"}h\x00Ns",
    "laughing lists": b"]q\x000" + (b"(" + b"h\x00" * 10 + b"lq\x000") * 30 + b"h\x00",
    "laughing layout":
    b"]q\x000" + (b"(" + b"h\x00" * 10 + b"lq\x000") * 30 + b"ctorch._utils\n_rebuild_sparse_tensor\n"
    b"(ctorch.serialization\n_get_layout\nh\x00\x85R(" + TENSOR + TENSOR + b"K\x02\x85ttR",
    "laughing dicts": b"}q\x000" + (b"}(K\x01h\x00K\x02h\x00uq\x000") * 200 + b"h\x00",
}  # fmt: skip


def test_shared_modules_that_multiply(forge: Forge) -> None:
    with_tensor = module(b"}U\x01w" + TENSOR + b"s", part="_parameters")
    pickle = with_tensor + module(b"(U\x01ah\x00U\x01bh\x00d") * 40 + b"h\x00."
    with pytest.raises(ReadError, match="more than 250,000 modules"):
        read(forge(pickle, **{"0": bytes(8)}))


def test_limits_are_named(forge: Forge) -> None:
    path = forge(beside(STATE, EXHAUSTION["marks"]), **{"0": bytes(8)})
    with pytest.raises(ReadError, match="more than 10,000 nested collections in its pickle, the limit"):
        read(path)


@pytest.mark.parametrize(
    "damage",
    [
        b"", b".", b"\x80\x09N.", b"N", b"0.", b"(.", b"t.", b"u.", b"}(Nu.", b"Na.", b"K\x01K\x02s.",
        b"h\x07.", b"j\x07\x00\x00\x00.", b"R.", b"NNR.", b"b.", b"NNb.", b"Q.", b"P1\n.", b"\x97.", b"\x98.",
        b"\xff.",
        b"}]Ns.", b"}}Ns.", b"I1x\n.", b"Fx\n.", b"Sx\n.", b"Vx", b"V\\ud8\n.", b"X\x02\x00\x00\x00\xff\xff.",
        b"p-1\n.", b"NNN\x93.", b"(o.", b"o.", b"\x95\xff\xff\xff\xff\xff\xff\xff\xff.", b"N.N.", b"g\xb2\n.",
        b"ccollections\nOrderedDict\nK\x01\x85R.", b"c__builtin__\nset\nK\x01\x85R.",
        b"c__builtin__\nset\n]]a\x85R.",
        b"c_codecs\nencode\n)R.", b"ctorch\nSize\nN\x85R.", b"c__builtin__\ncomplex\n)R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89}tR.",
        b"ctorch._utils\n_rebuild_sparse_tensor\n(N)tR.", b"ctorch._utils\n_rebuild_parameter\n)R.",
        b"ccopy_reg\n__newobj__\n)R.", b"ctorch._tensor\n_rebuild_from_type_v2\n)R.",
    ],
)  # fmt: skip
def test_damaged_pickles(forge: Forge, damage: bytes) -> None:
    with pytest.raises(ReadError):
        read(forge(damage))


def test_a_pickle_inside_a_zip_bomb(forge: Forge) -> None:
    with pytest.raises(ReadError, match="limit"):
        read(forge(bytes(200 << 20), packed=True))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"K\x00K\x02\x85K\x01\x85", b"K\x01K\x02\x85K\x01\x85"),
        (b"K\x00K\x02\x85K\x01\x85", b"K\x00K\x02\x85K\x02\x85"),
        (b"K\x00K\x02\x85K\x01\x85", b"K\x00K\x02\x85K\x01K\x01\x86"),
        (b"K\x00K\x02\x85K\x01\x85", b"J\xff\xff\xff\xffK\x02\x85K\x01\x85"),
        (b"K\x00K\x02\x85K\x01\x85", b"K\x00J\xff\xff\xff\xff\x85K\x01\x85"),
        (b"K\x00K\x02\x85K\x01\x85", b"K\x00K\x02\x85J\xff\xff\xff\xff\x85"),
        (b"K\x00K\x02\x85K\x01\x85", b"K\x00\x88\x85K\x01\x85"),
        (
            b"K\x00K\x02\x85K\x01\x85",
            b"K\x00" + b"\x8a\x08" + b"\xff" * 7 + b"\x7f" + b"K\x02\x86K\x01K\x01\x86",
        ),
        (b"K\x00K\x02\x85K\x01\x85", b"K\x00(" + b"K\x01" * 100 + b"t(" + b"K\x01" * 100 + b"t"),
        (b"cpuK\x02", b"cpuK\x03"),
        (b"cpuK\x02", b"cpuJ\xff\xff\xff\xff"),
        (b"\x01\x00\x00\x000X", b"\x01\x00\x00\x001X"),
        (b"\x01\x00\x00\x000X", b"\x05\x00\x00\x00../..X"),
        (b"FloatStorage", b"BloatStorage"),
        (b"storagec", b"storingsc"),
    ],
)
def test_tensors_that_do_not_fit_their_storage(forge: Forge, old: bytes, new: bytes) -> None:
    good = b"\x80\x02" + STATE + b"."
    assert read(forge(good, **{"0": bytes(8)})).tensors
    assert old in good
    with pytest.raises(ReadError):
        read(forge(good.replace(old, new), **{"0": bytes(8)}))
