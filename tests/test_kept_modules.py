"""A run of pytest within a test takes back what it has imported, but for libraries that come once."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from _pytest import pytester


@pytest.mark.parametrize(("name", "stays"), [("sympy.late", True), ("torch.late", True), ("late", False)])
def test_what_torch_holds_is_there_once(monkeypatch: pytest.MonkeyPatch, name: str, stays: bool) -> None:
    """Imported anew, sympy is another one than that whose classes torch compares with."""
    before = pytester.SysModulesSnapshot()
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    before.restore()
    assert (name in sys.modules) == stays


@pytest.mark.parametrize("now", [None, ModuleType("here")])
@pytest.mark.parametrize(("name", "stays"), [("sympy.here", True), ("here", False)])
def test_what_was_there_is_put_back(
    monkeypatch: pytest.MonkeyPatch, name: str, stays: bool, now: ModuleType | None
) -> None:
    first = ModuleType("here")
    monkeypatch.setitem(sys.modules, name, first)
    before = pytester.SysModulesSnapshot()
    if now:
        sys.modules[name] = now
    else:
        del sys.modules[name]
    before.restore()
    assert sys.modules[name] is (now if now and stays else first)
