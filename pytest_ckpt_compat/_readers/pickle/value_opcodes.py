"""The pickle opcodes of simple values, and the stack and memo that opcodes work on."""

from __future__ import annotations

import struct
from typing import Any

from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import Budget, broken_off, damaged, over_limit
from pytest_ckpt_compat._readers.pickle import literals
from pytest_ckpt_compat._readers.pickle.inert import Skipped

#: Opcodes between two checks of the sizes of stack and memo.
ROUND = 10_000


class Stop(Exception):  # noqa: N818 - a signal, not an error
    """Signals the STOP opcode, and carries the pickled value."""


class ValueMachine:
    """The stack, memo and position of one run, with a method for each opcode of a simple value."""

    def __init__(self, data: bytes, start: int, budget: Budget) -> None:
        self.data = data
        self.pos = start
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stack below each mark
        self.memo: dict[int, Any] = {}
        self.spend = budget.spend

    def check_sizes(self) -> None:
        """Refuses a pickle that holds too many values. Called once a round."""
        self.spend(ROUND)
        if len(self.memo) > limits.PICKLE_MEMO:
            raise over_limit("memo entries in its pickle", limits.PICKLE_MEMO)
        if len(self.stack) > limits.PICKLE_STACK:
            raise over_limit("values on its pickle's stack", limits.PICKLE_STACK)

    def take(self, size: int) -> bytes:
        """Returns the next ``size`` bytes of the pickle."""
        end = self.pos + size
        if end > len(self.data):
            raise broken_off(len(self.data))
        piece = self.data[self.pos : end]
        self.pos = end
        return piece

    def number(self, size: int) -> int:
        """Returns the next ``size`` bytes as an unsigned little-endian number."""
        start = self.pos
        self.pos = end = start + size
        if end > len(self.data):
            raise broken_off(len(self.data))
        return int.from_bytes(self.data[start:end], "little")

    def line(self) -> bytes:
        """Returns the bytes up to the end of the line."""
        end = self.data.find(b"\n", self.pos, self.pos + limits.LONG_VALUE)
        if end < 0:
            if self.pos + limits.LONG_VALUE > len(self.data):
                raise broken_off(len(self.data))
            raise damaged(f"its pickle has an unterminated line at byte {self.pos:,}")
        piece = self.data[self.pos : end]
        self.pos = end + 1
        return piece

    def pop_mark(self) -> list[Any]:
        """Removes the last mark, and returns the values above it."""
        below = self.below.pop()
        items = self.stack
        self.stack = below
        return items

    def unknown(self) -> None:
        """Refuses a byte that is not an opcode."""
        self.pos -= 1
        raise damaged(f"its pickle has the unknown opcode 0x{self.data[self.pos]:02x} at byte {self.pos:,}")

    # Control

    def _op_proto(self) -> None:
        version = self.number(1)
        if version > 5:
            raise damaged(f"its pickle has protocol {version}; the newest known is 5")

    def _op_frame(self) -> None:
        if self.number(8) > len(self.data) - self.pos:
            raise broken_off(len(self.data))

    def _op_stop(self) -> None:
        raise Stop(self.stack.pop())

    def _op_pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def _op_pop_mark(self) -> None:
        self.pop_mark()

    def _op_dup(self) -> None:
        self.stack.append(self.stack[-1])

    # Memo

    def _op_binput(self) -> None:
        self.memo[self.data[self.pos]] = self.stack[-1]
        self.pos += 1

    def _op_put(self) -> None:
        self.memo[literals.index(self.line())] = self.stack[-1]

    def _op_memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _op_long_binget(self) -> None:
        start = self.pos
        self.pos = start + 4  # if the pickle ends inside the number, reading the next opcode fails
        self.stack.append(self.memo[int.from_bytes(self.data[start : start + 4], "little")])

    def _op_get(self) -> None:
        self.stack.append(self.memo[literals.index(self.line())])

    # Scalars

    def _op_none(self) -> None:
        self.stack.append(None)

    def _op_newtrue(self) -> None:
        self.stack.append(True)

    def _op_newfalse(self) -> None:
        self.stack.append(False)

    def _op_binint(self) -> None:
        self.stack.append(int.from_bytes(self.take(4), "little", signed=True))

    def _op_binint2(self) -> None:
        self.stack.append(self.number(2))

    def _op_int(self) -> None:
        self.stack.append(literals.int_or_bool(self.line()))

    def _op_long(self) -> None:
        self.stack.append(literals.integer(self.line().rstrip(b"L")))

    def _op_long1(self) -> None:
        self._long(self.number(1))

    def _op_long4(self) -> None:
        self._long(self.number(4))

    def _long(self, size: int) -> None:
        if size > limits.INTEGER_LENGTH:
            raise over_limit("bytes in one integer", limits.INTEGER_LENGTH)
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def _op_float(self) -> None:
        self.stack.append(literals.real(self.line()))

    def _op_binfloat(self) -> None:
        self.stack.append(struct.unpack(">d", self.take(8))[0])

    # Text and bytes

    def _text(self, size: int) -> None:
        if size > limits.LONG_VALUE:
            self._skip("str", size)
        else:
            start = self.pos
            self.pos = end = start + size
            if end > len(self.data):
                raise broken_off(len(self.data))
            text = str(self.data[start:end], "utf-8", "surrogatepass")
            if not text.isascii():  # one wide character makes every character take four bytes
                self.spend(size >> 3)
            self.stack.append(text)

    def _bytes(self, size: int) -> None:
        if size > limits.LONG_VALUE:
            self._skip("bytes", size)
        else:
            self.stack.append(self.take(size))

    def _old_text(self, size: int) -> None:
        """Pushes a Python 2 string as text where it is UTF-8, as ``torch.load`` decodes it."""
        if size > limits.LONG_VALUE:
            self._skip("str", size)
        else:
            self.stack.append(literals.text_or_bytes(self.take(size)))

    def _skip(self, kind: str, size: int) -> None:
        if size > len(self.data) - self.pos:
            raise broken_off(len(self.data))
        self.pos += size
        self.stack.append(Skipped(kind, size))

    def _op_short_binunicode(self) -> None:
        self._text(self.number(1))

    def _op_binunicode(self) -> None:
        self._text(self.number(4))

    def _op_binunicode8(self) -> None:
        self._text(self.number(8))

    def _op_unicode(self) -> None:
        self.stack.append(str(self.line(), "raw-unicode-escape"))

    def _op_short_binstring(self) -> None:
        self._old_text(self.number(1))

    def _op_binstring(self) -> None:
        self._old_text(self.number(4))

    def _op_string(self) -> None:
        self.stack.append(literals.quoted(self.line()))

    def _op_short_binbytes(self) -> None:
        self._bytes(self.number(1))

    def _op_binbytes(self) -> None:
        self._bytes(self.number(4))

    def _op_binbytes8(self) -> None:
        self._bytes(self.number(8))

    _op_bytearray8 = _op_binbytes8
