"""The options of a registration are declared once; everything else follows from the declaration."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._core.levels import Level
from pytest_ckpt_compat._registry import hook, options, project_file
from pytest_ckpt_compat._registry.marker import from_marker
from pytest_ckpt_compat._registry.names import MARKER
from pytest_ckpt_compat._registry.options import Option
from pytest_ckpt_compat._registry.paths import SearchPath
from pytest_ckpt_compat._registry.registration import Registration

SPEED = Option("speed", (int,), "a whole number", "how fast it loads", default="3")


@pytest.fixture
def search(tmp_path: Path) -> SearchPath:
    (tmp_path / "net.pt").touch()
    return SearchPath((tmp_path,), tmp_path, lambda: iter(()))


def by_marker(search: SearchPath, given: dict[str, Any]) -> tuple[Registration, ...]:
    return from_marker((given["path"],), {name: given[name] for name in given if name != "path"}, search)


def by_file(search: SearchPath, given: dict[str, Any]) -> tuple[Registration, ...]:
    lines = [f"{name} = {value!r}" for name, value in given.items()]
    (search.root / "ckpt_compat.toml").write_text("\n".join([project_file.CHECKPOINTS, *lines]))
    return settled(project_file.registrations(project_file.read(search.root), search))


def by_hook(search: SearchPath, given: dict[str, Any]) -> tuple[Registration, ...]:
    return settled(hook.from_hook([given], search))


def settled(found: tuple[Registration, ...]) -> tuple[Registration, ...]:
    """The registrations; raises the mistake in one of them, as a marker's is raised."""
    for each in found:
        if each.problem is not None:
            raise each.problem
    return found


WAYS = (by_marker, by_file, by_hook)
NET = {"path": "net.pt", "model": "models:Net"}


@pytest.mark.parametrize("way", WAYS)
def test_a_new_option_needs_its_declaration_alone(
    way: Any, search: SearchPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [option.name for option in options.OPTIONS]
    before = options.signature(MARKER)
    with pytest.raises(UsageError, match=rf": has no option 'speed'; options are {', '.join(names)}$"):
        way(search, NET | {"speed": 4})
    monkeypatch.setattr(options, "OPTIONS", (*options.OPTIONS, SPEED))
    way(search, NET | {"speed": 4})
    with pytest.raises(UsageError, match=r"net\.pt, option speed: is 'x'; it must be a whole number$"):
        way(search, NET | {"speed": "x"})
    assert options.signature(MARKER) == before[:-1] + ", speed=3)"
    assert options.table().endswith("\n| `speed` | how fast it loads |")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (NET | {"strict": "no"}, "net.pt, option strict: is 'no'; it must be true or false"),
        (NET | {"key": 3}, "net.pt, option key: is 3; it must be text"),
        (NET | {"level": "up"}, "option level: is 'up'; it must be backward, forward, full or resume"),
        (NET | {"model": "models"}, "option model: is 'models'; it must be "),
        ({"path": "net.pt"}, "net.pt, option model: is missing; it must be "),
    ],
)
def test_mistakes_read_alike_wherever_they_are_made(
    way: Any, search: SearchPath, given: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        way(search, given)
    assert complaint in str(caught.value)


def test_python_code_may_give_objects_and_a_file_may_not(search: SearchPath) -> None:
    for way in (by_marker, by_hook):
        way(search, NET | {"model": Registration, "optimizer": Registration, "key": None, "allow": None})
        with pytest.raises(
            UsageError, match='it must be a class, a factory, a module instance or text, "pack'
        ):
            way(search, NET | {"model": "models"})
        with pytest.raises(UsageError, match="option key"):
            way(search, NET | {"key": Registration})
    with pytest.raises(UsageError, match=r'option model: is 3; it must be text, "package\.module:attr"'):
        by_file(search, NET | {"model": 3})


def test_every_field_that_an_option_sets_is_declared() -> None:
    derived = {"shown", "address", "policy", "problem", "by_glob"}
    policy = {"strict", "allow"}
    names = {field.name for field in fields(Registration)} - derived
    assert {option.name for option in options.OPTIONS} == names | policy


def test_every_option_is_documented_and_fits_its_default() -> None:
    for option in options.OPTIONS:
        assert option.documentation
        assert not option.documentation.endswith(".")
        assert all(text.isprintable() and "|" not in text for text in (option.documentation, option.wanted))
    given = {option.name: eval(option.default) for option in options.OPTIONS if option.default}
    options.check("here", NET | given)


def test_the_signature_is_python() -> None:
    written = options.signature(MARKER)
    assert written.startswith("checkpoint(path, *, model, kwargs=None, ")
    assert all(f"{option.name}={option.default}" in written for option in options.OPTIONS if option.default)
    compile(f"def {options.signature(MARKER)}: ...", "signature", "exec")


def test_a_value_that_compares_in_its_own_way_is_no_missing_one(search: SearchPath) -> None:
    class Strange:
        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

        __hash__ = None  # type: ignore[assignment]

    by_hook(search, NET | {"model": Strange()})


def test_the_project_file_shares_the_declaration_of_the_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ckpt_compat.toml").write_text('[tool.ckpt_compat]\nlevel = "backward"')
    assert project_file.read(tmp_path).level is Level.BACKWARD
    refusing = [replace(option, valid=lambda _: False) for option in options.OPTIONS]
    monkeypatch.setattr(options, "OPTIONS", tuple(refusing))
    with pytest.raises(UsageError, match=r"\[tool\.ckpt_compat\], option level: is 'backward'"):
        project_file.read(tmp_path)
