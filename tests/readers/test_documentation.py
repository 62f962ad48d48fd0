"""The documentation names every format that is read, and everything refused by name."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._readers import formats, limits
from pytest_ckpt_compat._readers.formats import directories, foreign

ROOT = Path(__file__).parents[2]


def test_every_format_has_its_row() -> None:
    text = (ROOT / "docs" / "formats.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for found in pkgutil.iter_modules(formats.__path__, formats.__name__ + "."):
        module = importlib.import_module(found.name)
        name = getattr(module, "FORMAT", None)
        assert name is None or any(f"`{name}" in row for row in rows), name


def test_what_is_refused_by_name_is_listed() -> None:
    text = (ROOT / "docs" / "formats.md").read_text()
    for word in (
        "Keras",
        "Orbax",
        "SavedModel",
        "NumPy",
        "msgpack",
        "tar archive",
        "Git LFS",
        "HTML",
        "plain pickle",
    ):
        assert word in text
    problems = " ".join(entry[1] for entry in (*foreign._KNOWN, *directories._FOREIGN))
    for word in ("Keras", "Orbax", "SavedModel", "NumPy", "HTML"):
        assert word in problems


def test_every_field_of_a_structure_is_explained() -> None:
    text = (ROOT / "docs" / "formats.md").read_text()
    for name in Structure.__dataclass_fields__:
        assert f"`{name}`" in text or name in ("objects", "source"), name


def test_limits_are_constants_of_one_module() -> None:
    security = (ROOT / "SECURITY.md").read_text()
    assert "pytest_ckpt_compat/_readers/limits.py" in security
    assert limits.PICKLE_OPERATIONS > limits.KEYS
