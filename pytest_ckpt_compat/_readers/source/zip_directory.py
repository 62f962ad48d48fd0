"""The directory of a zip archive, read strictly: ambiguous archives are refused.

Written after PKWARE's APPNOTE 6.3.10. Only ``Archive.read`` reads a record's data.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import RefusalError, damaged, over_limit
from pytest_ckpt_compat._readers.source.files import Blob, open_blob

_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_ALLOWED_FLAGS = 0x0808  # sizes after the data; UTF-8 names
_STORED, _DEFLATED = 0, 8
_MAX32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Record:
    """One member of a zip archive.

    Attributes:
        name: its path in the archive.
        header: offset of its local header in the file.
        method: compression method, stored (0) or deflated (8).
        crc: CRC-32 of its data, 0 if none was computed.
        packed: bytes that it takes in the file.
        size: bytes of its data.
    """

    name: str
    header: int
    method: int
    crc: int
    packed: int
    size: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip file and its records by name, in the order of its directory."""

    blob: Blob
    records: Mapping[str, Record]

    def data_offset(self, record: Record) -> int:
        """Returns the file offset of the record's data. Refuses a local header that disagrees."""
        fixed = self.blob.read_at(record.header, _LOCAL.size)
        magic, _, flags, method, _, _, _, packed, size, name_length, extra_length = _LOCAL.unpack(fixed)
        name = self.blob.read_at(record.header + _LOCAL.size, name_length)
        if magic != b"PK\x03\x04" or _name(name) != record.name or method != record.method:
            raise damaged(f"its zip directory and the header of {record.name!r} disagree")
        if (
            not flags & 0x08
            and _MAX32 not in (packed, size)
            and (packed, size) != (record.packed, record.size)
        ):
            raise damaged(f"its zip directory and the header of {record.name!r} disagree about its size")
        return int(record.header + _LOCAL.size + name_length + extra_length)

    def read(self, record: Record, limit: int) -> bytes:
        """Reads the record's data. Refuses more than ``limit`` bytes, or a wrong checksum."""
        if record.size > limit:
            raise over_limit(f"bytes in {record.name!r}", limit)
        data = self.blob.read_at(self.data_offset(record), record.packed)
        if record.method == _DEFLATED:
            data = _inflate(data, record)
        if record.crc and zlib.crc32(data) != record.crc:
            raise damaged(f"the checksum of {record.name!r} is wrong")
        return data


def read_directory(blob: Blob) -> Archive:
    """Reads the directory of a zip file. Refuses a damaged or ambiguous one."""
    count, size, offset, end = _find_directory(blob)
    if size > limits.ZIP_DIRECTORY:
        raise over_limit("bytes in its zip directory", limits.ZIP_DIRECTORY)
    if count > limits.ZIP_RECORDS:
        raise over_limit("zip records", limits.ZIP_RECORDS)
    if offset + size != end:
        raise damaged(
            "its zip directory is not where its end record says, as if data were added before or after it"
        )
    records = _entries(blob.read_at(offset, size), count)
    _check_layout(records, offset)
    named = {record.name: record for record in records}
    if len({name.casefold() for name in named}) != count:
        raise damaged("its zip directory lists a name twice")
    return Archive(blob, named)


def _find_directory(blob: Blob) -> tuple[int, int, int, int]:
    """Returns the directory's number of records, its size, its offset, and the offset of its end."""
    if blob.size < _END.size:
        raise damaged("its zip directory is missing: the file is truncated")
    tail = blob.read_at(max(0, blob.size - 1024), min(1024, blob.size))
    fixed = tail[-_END.size :]
    magic, disk, start, here, count, size, offset, comment = _END.unpack(fixed)
    if magic != b"PK\x05\x06" or comment:
        raise damaged("its zip directory is missing: the file is truncated, or has data after its end")
    if disk or start or here != count:
        raise damaged("it is one part of a multi-part zip archive")
    end = blob.size - _END.size
    locator = tail[-_END.size - _END64_LOCATOR.size : -_END.size]
    if len(locator) < _END64_LOCATOR.size or locator[:4] != b"PK\x06\x07":
        if count == 0xFFFF or _MAX32 in (size, offset):
            raise damaged("the zip64 part of its directory is missing")
        return count, size, offset, end
    _, _, position, disks = _END64_LOCATOR.unpack(locator)
    if disks > 1 or position + _END64.size != end - _END64_LOCATOR.size:
        raise damaged("its zip64 end record is not directly after its directory")
    large = _END64.unpack(blob.read_at(position, _END64.size))
    if large[0] != b"PK\x06\x06" or large[4] or large[5] or large[6] != large[7]:
        raise damaged("the zip64 part of its directory is damaged")
    wide = large[7:]
    narrow = ((count, 0xFFFF), (size, _MAX32), (offset, _MAX32))
    if any(small not in (full, top) for (small, top), full in zip(narrow, wide, strict=True)):
        raise damaged("the two end records of its zip directory disagree")
    return wide[0], wide[1], wide[2], position


def _entries(data: bytes, count: int) -> list[Record]:
    records = []
    position = 0
    for _ in range(count):
        if position + _ENTRY.size > len(data):
            raise damaged("its zip directory is shorter than its end record says")
        fields = _ENTRY.unpack_from(data, position)
        magic, flags, method = fields[0], fields[3], fields[4]
        crc, packed, size, name_length, extra_length, comment_length = fields[7:13]
        disk, header = fields[13], fields[16]
        start = position + _ENTRY.size
        position = start + name_length + extra_length + comment_length
        if magic != b"PK\x01\x02" or disk or position > len(data):
            raise damaged("its zip directory is damaged")
        name = _name(data[start : start + name_length])
        if flags & ~_ALLOWED_FLAGS or method not in (_STORED, _DEFLATED):
            raise RefusalError(
                f"its zip record {name!r} is encrypted or has an unsupported compression", _REPACK
            )
        if _MAX32 in (packed, size, header):
            extra = data[start + name_length : start + name_length + extra_length]
            size, packed, header = _large(extra, size, packed, header)
        if method == _STORED and packed != size:
            raise damaged(f"the two sizes of its zip record {name!r} disagree")
        records.append(Record(name, header, method, crc, packed, size))
    if position != len(data):
        raise damaged("its zip directory is longer than its end record says")
    return records


_REPACK = "save it again with torch.save(model.state_dict(), path)"


def _large(extra: bytes, *values: int) -> list[int]:
    """Returns sizes and offset; the zip64 field supplies those that do not fit in 32 bits."""
    position = 0
    while position + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, position)
        field = extra[position + 4 : position + 4 + length]
        if tag == 1:
            numbers = iter(struct.unpack(f"<{length // 8}Q", field[: length // 8 * 8]))
            found = [next(numbers, None) if value == _MAX32 else value for value in values]
            if None not in found:
                return [value for value in found if value is not None]
            break
        position += 4 + length
    raise damaged("its zip directory lacks the size of a large record")


def _name(raw: bytes) -> str:
    """Decodes a record's name. torch writes UTF-8 whether or not the flag for it is set."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise damaged("its zip directory has a name that is not UTF-8") from None
    upward = ".." in name and ".." in name.split("/")
    if not name or "\0" in name or "\\" in name or name.startswith("/") or upward:
        raise damaged(f"its zip directory has the unusable name {name!r}")
    return name


def _check_layout(records: list[Record], end: int) -> None:
    """Refuses records that overlap each other or the directory, or do not begin at byte 0."""
    position = 0
    for record in sorted(records, key=attrgetter("header")):
        header, name = record.header, record.name
        if header < position or (position == 0 and header):
            raise damaged(f"its zip record {name!r} overlaps another, or other data precede it")
        length = len(name) if name.isascii() else len(name.encode())
        position = header + _LOCAL.size + length + record.packed
    if position > end:
        raise damaged("its zip records reach into the directory")


def _inflate(data: bytes, record: Record) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        result = unpacker.decompress(data, record.size + 1)
    except zlib.error:
        raise damaged(f"the compressed data of {record.name!r} are damaged") from None
    if len(result) != record.size or not unpacker.eof:
        raise damaged(f"the zip record {record.name!r} is not of the size that the directory gives")
    return result


def offsets_of(path: str, records: set[str]) -> dict[str, int]:
    """Record name -> file offset of its data. ``""`` is the file itself. Raises RefusalError."""
    result: dict[str, int] = {name: 0 for name in records if not name}
    if result.keys() == records:
        return result
    with open_blob(path) as blob:
        archive = read_directory(blob)
        for name in records - result.keys():
            record = archive.records.get(name)
            if record is None or record.method != _STORED:
                raise damaged(f"its zip record {name!r} is missing or compressed")
            result[name] = archive.data_offset(record)
    return result
