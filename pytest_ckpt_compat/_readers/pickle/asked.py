"""What the pickles of one file ask of an unpickler, noted while they are interpreted."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pytest_ckpt_compat._core.pickled import Name, Pickled
from pytest_ckpt_compat._readers.pickle.inert import Global, Made

_LONGEST_DTYPE = 8

#: The opcodes that ``torch/_weights_only_unpickler.py`` of torch 2.13 knows.
_KNOWN = frozenset(
    {
        *("append", "appends", "binfloat", "binget", "binint", "binint1", "binint2", "binpersid"),
        *("binput", "binunicode", "build", "empty_dict", "empty_list", "empty_set", "empty_tuple"),
        *("global", "long1", "long_binget", "long_binput", "mark", "newfalse", "newobj", "newtrue"),
        *("none", "proto", "reduce", "setitem", "setitems", "short_binstring", "stop", "tuple"),
        *("tuple1", "tuple2", "tuple3"),
    }
)


class Asked:
    """Collects the names in the pickles of one file, and how they are used."""

    def __init__(self) -> None:
        self.globals: dict[Name, Global] = {}
        self.beyond = ""
        self._filled: set[Global] = set()
        self._built: set[Global] = set()
        self._dtypes: dict[str, None] = {}

    def filled(self, made: Made) -> None:
        """Notes that an object gets items."""
        if type(made.maker) is Global:
            self._filled.add(made.maker)

    def built(self, made: Made) -> None:
        """Notes that an object gets its attributes."""
        if type(made.maker) is not Global:
            return
        self._built.add(made.maker)
        code = made.args[0] if made.args and str(made.maker) == "numpy.dtype" else None
        if type(code) is str and len(code) <= _LONGEST_DTYPE:
            self._dtypes[code] = None

    def watch(self, table: list[Callable[[], None]], opcodes: Iterable[tuple[str, int]]) -> None:
        """Lets the first use of each opcode that torch does not know be noted; later ones cost nothing."""
        for name, code in opcodes:
            if name not in _KNOWN:
                table[code] = self._noting(table, code, name)

    def _noting(self, table: list[Callable[[], None]], code: int, name: str) -> Callable[[], None]:
        run = table[code]

        def note() -> None:
            self.beyond = self.beyond or f"the opcode {name}"
            table[code] = run
            run()

        return note

    def pickled(self) -> Pickled:
        """Everything that was noted."""
        return Pickled(
            names=tuple(self.globals),
            filled=tuple(name for name, each in self.globals.items() if each in self._filled),
            built=tuple(name for name, each in self.globals.items() if each in self._built),
            numpy_dtypes=tuple(self._dtypes),
            beyond=self.beyond,
        )
