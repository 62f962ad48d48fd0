"""What a pickle names, and what else decides whether ``torch.load`` opens it."""

from __future__ import annotations

from dataclasses import dataclass

#: The module and the name of a class or function, as a pickle writes them.
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pickled:
    """What a file of ``torch.save`` asks of whoever unpickles it.

    Attributes:
        names: every class and function, in the order of their first use.
        filled: those whose objects get items, as subclasses of ``dict`` and ``list`` do.
        built: those whose objects get their attributes after they were made.
        numpy_dtypes: the codes of NumPy's data types (``f8``).
        beyond: what else ``torch.load(weights_only=True)`` does not read (``the opcode frame``), or "".
        module: the class of the whole module that was read (``models.Net``); "" for a state_dict.
    """

    names: tuple[Name, ...] = ()
    filled: tuple[Name, ...] = ()
    built: tuple[Name, ...] = ()
    numpy_dtypes: tuple[str, ...] = ()
    beyond: str = ""
    module: str = ""
