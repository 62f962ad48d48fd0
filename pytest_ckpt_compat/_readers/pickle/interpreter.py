"""An interpreter of pickle opcodes that imports nothing and calls nothing.

Written from the documentation of the format: PEP 307, PEP 3154, PEP 574 and the comments of
CPython's ``pickletools``. Covers protocols 0 to 5. An import becomes a ``Global``, a call becomes a
``Made``. Calls of the few functions listed in ``rebuild`` become tensors and plain collections.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

from pytest_ckpt_compat._readers import limits
from pytest_ckpt_compat._readers.limits import Budget, broken_off, damaged, over_limit
from pytest_ckpt_compat._readers.pickle.asked import Asked
from pytest_ckpt_compat._readers.pickle.dict_keys import KeyCheck
from pytest_ckpt_compat._readers.pickle.inert import Global, Made, OrderedMapping, Tensor
from pytest_ckpt_compat._readers.pickle.opcodes import OPCODES
from pytest_ckpt_compat._readers.pickle.rebuild import Rebuilder
from pytest_ckpt_compat._readers.pickle.value_opcodes import ROUND, Stop, ValueMachine

#: Returns the value of a persistent id (a storage, in torch's files).
PersistentLoad: TypeAlias = Callable[[Any], Any]

#: Modules that go by another name in some versions of Python or NumPy -> the name used here.
_RENAMED_MODULES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
}


def interpret(
    data: bytes,
    persistent_load: PersistentLoad,
    start: int = 0,
    budget: Budget | None = None,
    asked: Asked | None = None,
) -> tuple[Any, int]:
    """Returns the inert value of the pickle at ``data[start:]``, and the position after it.

    ``asked`` notes the names in the pickle, and how it uses them.

    Raises:
        RefusalError: the pickle is damaged or exceeds the limits.
        BrokenOffError: the pickle continues after the end of ``data``.
    """
    machine = _Machine(data, persistent_load, start, budget or Budget(), asked or Asked())
    try:
        return machine.run(), machine.pos
    except (IndexError, struct.error):
        problem = "breaks off, or takes more values from its stack than there are,"
    except KeyError:
        problem = "refers to a value that was never stored,"
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        problem = "combines values that do not fit together,"
    if machine.pos >= len(data):
        raise broken_off(len(data))
    raise damaged(f"its pickle {problem} at byte {machine.pos:,}")


class _Machine(ValueMachine):
    """Adds the opcodes of collections, classes and objects, and runs them all."""

    def __init__(
        self, data: bytes, persistent_load: PersistentLoad, start: int, budget: Budget, asked: Asked
    ) -> None:
        super().__init__(data, start, budget)
        self.asked = asked
        self.persistent_load = persistent_load
        self.sets = 0
        self.keys = KeyCheck(self.spend)
        self.rebuilder = Rebuilder(self.spend, self.keys)

    def run(self) -> Any:
        """Runs the opcodes up to STOP, and returns the pickled value."""
        table = [self.unknown] * 256
        for name, code in OPCODES.items():
            table[ord(code)] = getattr(self, f"_op_{name}")
        self.asked.watch(table, ((name, ord(code)) for name, code in OPCODES.items()))
        try:
            while True:
                self._round(table)
                self.check_sizes()
        except Stop as stop:
            return stop.args[0]

    def _round(self, table: list[Callable[[], None]]) -> None:
        """Runs ``ROUND`` opcodes.

        A file of torch has thirty for a tensor. The six that are two thirds of these are here, where they
        take half as long as a method of their own. ``self.pos`` is behind an opcode before it can fail.
        """
        data, memo, below = self.data, self.memo, self.below
        pos, stack = self.pos, self.stack
        for _ in range(ROUND):
            opcode = data[pos]
            if opcode == _LONG_BINPUT:  # if the pickle ends inside the number, reading the next opcode fails
                self.pos = pos = pos + 5
                memo[int.from_bytes(data[pos - 4 : pos], "little")] = stack[-1]
            elif opcode == _BININT1:
                self.pos = pos = pos + 2
                stack.append(data[pos - 1])
            elif opcode == _BINGET:
                self.pos = pos = pos + 2
                stack.append(memo[data[pos - 1]])
            elif opcode == _TUPLE1:
                self.pos = pos = pos + 1
                stack[-1] = (stack[-1],)
            elif opcode == _MARK:
                self.pos = pos = pos + 1
                if len(below) >= limits.PICKLE_MARKS:
                    raise over_limit("nested collections in its pickle", limits.PICKLE_MARKS)
                below.append(stack)
                self.stack = stack = []
            elif opcode == _TUPLE:
                self.pos = pos = pos + 1
                items = tuple(stack)
                self.stack = stack = below.pop()
                stack.append(items)
            else:
                self.pos = pos + 1
                table[opcode]()
                pos, stack = self.pos, self.stack

    # Collections

    def _op_empty_tuple(self) -> None:
        self.stack.append(())

    def _op_tuple2(self) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def _op_tuple3(self) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def _op_empty_list(self) -> None:
        self.stack.append([])

    def _op_list(self) -> None:
        items = self.pop_mark()
        self.stack.append(items)

    def _op_append(self) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _op_appends(self) -> None:
        items = self.pop_mark()
        self._extend(items)

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is Made:
            self.asked.filled(target)
            if target.elements is None:
                target.elements = []
            target.elements.extend(items)
        else:
            raise damaged(f"its pickle appends to something other than a list at byte {self.pos:,}")

    def _op_empty_dict(self) -> None:
        self.stack.append({})

    def _op_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._update(items)

    def _op_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._update([key, value])

    def _op_setitems(self) -> None:
        items = self.pop_mark()
        self._update(items)

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is Made:
            self.asked.filled(target)
            if target.entries is None:
                target.entries = {}
            target = target.entries
        elif type(target) is not dict and type(target) is not OrderedMapping:
            raise damaged(f"its pickle sets items of something other than a dictionary at byte {self.pos:,}")
        if len(items) % 2:
            raise damaged(f"its pickle has a dictionary key without a value at byte {self.pos:,}")
        names = items[::2]
        self.keys.check(names)
        target.update(zip(names, items[1::2], strict=True))

    def _op_empty_set(self) -> None:
        self._count_set()
        self.stack.append(set())

    def _op_frozenset(self) -> None:
        self._count_set()
        items = self.pop_mark()
        self.keys.check(items)
        self.stack.append(frozenset(items))

    def _op_additems(self) -> None:
        items = self.pop_mark()
        target = self.stack[-1]
        if type(target) is set:
            self.keys.check(items)
            target.update(items)
        else:
            self._extend(items)

    def _count_set(self) -> None:
        self.sets += 1
        if self.sets > limits.PICKLE_SETS:
            raise over_limit("sets in its pickle", limits.PICKLE_SETS)

    # Names

    def _op_global(self) -> None:
        module = str(self.line(), "utf-8")
        self._name(module, str(self.line(), "utf-8"))

    def _op_stack_global(self) -> None:
        name = self.stack.pop()
        module = self.stack.pop()
        self._name(module, name)

    def _name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise damaged(f"its pickle names a class by something other than text at byte {self.pos:,}")
        if len(module) + len(name) > limits.NAME_LENGTH:
            raise over_limit("characters in the name of a class", limits.NAME_LENGTH)
        found = self.asked.globals.get((module, name))
        if found is None:
            found = Global(_RENAMED_MODULES.get(module, module), name)
            self.asked.globals[module, name] = found
        self.stack.append(found)

    def _op_ext1(self) -> None:
        self._name("copyreg extension", str(self.number(1)))

    def _op_ext2(self) -> None:
        self._name("copyreg extension", str(self.number(2)))

    def _op_ext4(self) -> None:
        self._name("copyreg extension", str(self.number(4)))

    def _op_persid(self) -> None:
        self.stack.append(self.persistent_load(str(self.line(), "utf-8")))

    def _op_binpersid(self) -> None:
        self.stack[-1] = self.persistent_load(self.stack[-1])

    # Objects

    def _op_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.rebuilder.reduce(self.stack[-1], args)

    def _op_newobj(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.rebuilder.new(self.stack[-1], args)

    def _op_newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments
        self._op_newobj()

    def _op_inst(self) -> None:
        args = self.pop_mark()
        self._op_global()
        self.stack[-1] = self.rebuilder.new(self.stack[-1], tuple(args))

    def _op_obj(self) -> None:
        made_from = self.pop_mark()
        self.stack.append(self.rebuilder.new(made_from[0], tuple(made_from[1:])))

    def _op_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is Made:
            target.state = state
            self.asked.built(target)
        elif type(target) is OrderedMapping:
            target.state = state
        elif type(target) is not Tensor and type(target) is not dict and type(target) is not Global:
            raise damaged(f"its pickle sets the state of something that cannot have one at byte {self.pos:,}")

    def _op_next_buffer(self) -> None:
        raise damaged("its pickle refers to external buffers, which no checkpoint format uses")

    _op_readonly_buffer = _op_next_buffer


#: The opcodes that ``_round`` runs itself.
_LONG_BINPUT, _BININT1, _BINGET, _TUPLE1, _MARK, _TUPLE = b"rKh\x85(t"
