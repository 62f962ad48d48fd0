"""Whether today's ``torch.load`` opens a file, by the names in its pickle. None of them is imported."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pytest_ckpt_compat._core.pickled import Name, Pickled
from pytest_ckpt_compat._definition.importable import alias_of, homes_of, imported, is_importable

#: Values of the variable with which torch opens every file by ``weights_only=False``.
_YES = frozenset({"1", "y", "yes", "true"})
_EVERYTHING = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
#: The first torch whose ``torch.load`` has ``weights_only=True`` as its default.
_SINCE = (2, 6)
#: Torch never lets these be allowed.
_BLOCKED = frozenset({"sys", "os", "posix", "nt"})
#: What runs or removes whatever it is given: a pickle that names it was made to do harm. Of the blocked
#: modules, that is any function.
_HARMFUL = frozenset({"subprocess", "pty", "runpy", "webbrowser"})
_HARMFUL_BUILTINS = frozenset({"eval", "exec", "compile", "__import__", "open", "breakpoint", "execfile"})
#: Classes that ``weights_only=True`` lets get items.
_FILLABLE = frozenset({"builtins.dict", "collections.OrderedDict", "collections.Counter"})
#: Functions that return an object of the class that is their first argument, which the pickle names as well.
_RETURN_THEIR_CLASS = frozenset(
    {"copyreg._reconstructor", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
)
#: What it returns is neither allowed with it nor named by the file; and it should not be allowed.
_NEVER_ENOUGH = ("builtins", "getattr")
#: Names that are looked for.
_MOST = 1_000
_NUMPY_CODE = re.compile(r"[<>|=]?[A-Za-z]\d{0,4}")


@dataclass(frozen=True)
class Opening:
    """What stops ``torch.load`` from opening a file.

    Attributes:
        refused: what ``weights_only=True`` refuses, where that is torch's default.
        entries: what opens the file as an argument of ``add_safe_globals``, in Python; () if nothing does.
        absent: names that cannot be imported here, each with the module that has a class of that name, or "".
        harmful: names with which a pickle does harm.
    """

    refused: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    harmful: tuple[str, ...] = ()


def opening(pickled: Pickled) -> Opening:
    """What stops ``torch.load`` from opening a file, after what the project has allowed by now."""
    names = [_Named(_translated(name), _imported_as(name)) for name in pickled.names]
    default, allowed = _allowed_by_default(), _allowed_by_project()
    if not default:
        return Opening()
    foreign = [each for each in names if _dotted(each.torchs) not in default]
    homes = homes_of([each.here for each in foreign[:_MOST] if not is_importable(*each.here)])
    absent = {_dotted(name): home for name, home in homes.items()}
    lacking = [each for each in foreign if each.torchs[0] in _BLOCKED or _dotted(each.torchs) not in allowed]
    harmful = tuple(_dotted(each.here) for each in lacking if _is_harmful(each.here))
    if not _weights_only():
        return Opening(absent=absent, harmful=harmful)
    unfillable = {here for name in pickled.filled if _dotted(here := _imported_as(name)) not in _FILLABLE}
    dtypes = [each for each in _numpy_classes(pickled.numpy_dtypes) if each not in allowed]
    without = {*lacking}
    refused = [_dotted(each.here) for each in names if each in without or each.here in unfillable]
    refused += [*dtypes, *([pickled.beyond] if pickled.beyond else [])]
    if not refused:
        return Opening()
    blocked = any(each.torchs[0] in _BLOCKED or each.here == _NEVER_ENOUGH for each in names)
    enough = not (len(lacking) > _MOST or pickled.beyond or unfillable or blocked)
    enough = enough and all(map(_is_known_result, map(_imported_as, pickled.built)))
    entries = [_entry(each, absent) for each in lacking] if enough else [None]
    found = () if None in entries else (*filter(None, entries), *dtypes)
    return Opening(tuple(refused), found, absent, harmful)


class _Named(NamedTuple):
    """A class or function that a pickle names.

    Attributes:
        torchs: its module and name for ``weights_only=True``.
        here: its module and name for Python, and so for ``weights_only=False``.
    """

    torchs: Name
    here: Name


def _dotted(name: Name) -> str:
    return ".".join(name)


def _translated(name: Name) -> Name:
    """A name as ``weights_only=True`` understands it: torch knows some names of Python 2."""
    from torch import _utils

    return _mapped(name, getattr(_utils, "NAME_MAPPING", {}), getattr(_utils, "IMPORT_MAPPING", {}))


def _imported_as(name: Name) -> Name:
    """A name as Python imports it, which knows all names of Python 2: torch.save writes those."""
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    return _mapped(name, NAME_MAPPING, IMPORT_MAPPING)


def _mapped(name: Name, whole: Mapping[Name, Name], modules: Mapping[str, str]) -> Name:
    module, attribute = name
    return whole.get(name, (modules.get(module, module), attribute))


def _weights_only() -> bool:
    """Whether ``torch.load`` has ``weights_only=True`` as its default here."""
    import torch

    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    recent = found is not None and (int(found[1]), int(found[2])) >= _SINCE
    return recent and os.environ.get(_EVERYTHING, "0") not in _YES


def _allowed_by_default() -> frozenset[str]:
    """What torch allows by itself; nothing if it cannot be asked, as it has no public function for this."""
    from torch import _weights_only_unpickler

    return frozenset(getattr(_weights_only_unpickler, "_get_allowed_globals", tuple)())


def _allowed_by_project() -> frozenset[str]:
    """What ``torch.serialization.add_safe_globals`` was given so far."""
    import torch

    given: Iterable[Any] = getattr(torch.serialization, "get_safe_globals", list)()
    return frozenset(each[1] if isinstance(each, tuple) else _own_name(each) for each in given)


def _own_name(value: Any) -> str:
    """The dotted name of a class or function, as torch makes it."""
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _is_harmful(name: Name) -> bool:
    module, attribute = name
    if module in _BLOCKED or name == ("shutil", "rmtree"):
        return not isinstance(imported(*name), type)
    return module in _HARMFUL or (module == "builtins" and attribute in _HARMFUL_BUILTINS)


def _numpy_classes(codes: Iterable[str]) -> Iterator[str]:
    """The classes of NumPy's data types, which a pickle makes without naming them."""
    numpy = sys.modules.get("numpy")
    for code in codes:
        if numpy is not None and _NUMPY_CODE.fullmatch(code):
            try:
                kind = type(numpy.dtype(code))
            except TypeError:
                continue
            yield f"{kind.__module__}.{kind.__qualname__}"


def _is_known_result(name: Name) -> bool:
    """Whether the class of what a call returns is known, if its attributes are set afterwards."""
    made_by = imported(*name)
    return made_by is None or isinstance(made_by, type) or _dotted(name) in _RETURN_THEIR_CLASS


def _entry(named: _Named, absent: Mapping[str, str]) -> str | None:
    """The argument of ``add_safe_globals`` that allows a name; None if nothing can be given for it."""
    dotted, here = _dotted(named.torchs), _dotted(named.here)
    if here in absent:
        home = absent[here]
        return f'({home}.{named.here[1]}, "{dotted}")' if home else None
    known_as = alias_of(*named.here)
    found = imported(*known_as)
    own = _own_name(found) if found is not None else here
    if own != dotted:
        where = own if imported(*own.rpartition(".")[::2]) is found else _dotted(known_as)
        return f'({_written(where)}, "{dotted}")'
    return _written(dotted)


def _written(name: str) -> str:
    """A dotted name as code that has imported its module writes it."""
    return name.removeprefix("builtins.").removeprefix("__main__.")
