"""What pytest's own file of settings says, where pytest does not run: no code of the project runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_ckpt_compat._core import files, toml
from pytest_ckpt_compat._core.errors import UsageError
from pytest_ckpt_compat._registry import project_file
from pytest_ckpt_compat._registry.names import SNAPSHOT_DIR

#: In the order in which pytest looks for them in a folder; the first with settings is the only one it reads.
FILES = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
)
#: Those that are the settings even where they hold none.
_ALWAYS = FILES[:4]
_OPTION = "ckpt_snapshot_dir"


def root_of(folder: Path) -> Path:
    """The root folder that pytest would take if it were run in a folder without arguments."""
    above = (folder, *folder.parents)
    for each in above:
        if _settings(_text_in(each)) is not None:
            return each
    marked = (each for name in ("pyproject.toml", "setup.py") for each in above if (each / name).is_file())
    return next(marked, folder)


def snapshot_dir(root: Path) -> str:
    """The folder of the snapshots, as the settings of a project name it, relative to its root.

    Raises:
        UsageError: the project's file cannot be used.
    """
    return snapshot_dir_in(_text_in(root), project_file.read(root))


def snapshot_dir_in(text_of: Callable[[str], str | None], settings: project_file.Settings) -> str:
    """The same, from the texts of the files.

    Args:
        text_of: name of a file -> its text, or None where it is not there.
        settings: those of the project's own file.
    """
    own = (_settings(text_of) or {}).get(_OPTION)
    return (own if isinstance(own, str) else "") or settings.snapshot_dir or SNAPSHOT_DIR


def _settings(text_of: Callable[[str], str | None]) -> Mapping[str, Any] | None:
    """What the first of the files says that pytest would read; None where none is its."""
    for name in FILES:
        text = text_of(name)
        found = None if text is None else _section(name, text)
        if found is not None or (text is not None and name in _ALWAYS):
            return found or {}
    return None


def _section(name: str, text: str) -> Mapping[str, Any] | None:
    """Pytest's settings in a file; None where it has none, or cannot be read: pytest says what is wrong."""
    if not name.endswith(".toml"):
        from iniconfig import IniConfig, ParseError

        try:
            sections = IniConfig(name, data=text).sections
        except ParseError:
            return None
        return sections.get("tool:pytest" if name == "setup.cfg" else "pytest")
    try:
        data = toml.parse(text)
    except ValueError:
        return None
    if name != "pyproject.toml":
        table = data.get("pytest")
    else:
        tool = data.get("tool")
        table = tool.get("pytest") if isinstance(tool, dict) else None
        if isinstance(table, dict):
            table = table.get("ini_options", table or None)
    return table if isinstance(table, dict) else None


def _text_in(folder: Path) -> Callable[[str], str | None]:
    def text_of(name: str) -> str | None:
        path = folder / name
        if not path.is_file():
            return None
        try:
            return files.read_text(path, files.SETTINGS_BYTES)
        except (OSError, ValueError) as error:
            raise UsageError(str(path), f"cannot be read: {error}", "check the file") from error

    return text_of
