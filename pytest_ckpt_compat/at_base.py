"""The other end of ``basecode``: run in a process of its own, on the code of an earlier commit."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from pytest_ckpt_compat.changes import Policy
from pytest_ckpt_compat.checking import check_structure, resumed
from pytest_ckpt_compat.definition.build import build, structure_of
from pytest_ckpt_compat.definition.find import brief, find
from pytest_ckpt_compat.errors import BuildError, CkptCompatError
from pytest_ckpt_compat.fingerprint import dumps, loads
from pytest_ckpt_compat.report.json import as_data


def main(request: str, answer: str) -> None:
    """Answers a request file with an answer file; both are JSON text."""
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    sys.path[:0] = asked["paths"]
    try:
        found = _answer(asked)
    except CkptCompatError as error:
        found = {"error": error.problem}
    except Exception as error:  # whatever it is, the other end has to say it
        found = {"error": f"it raised {brief(error)}"}
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    if not _exists(asked["model"]):
        return {"absent": True}
    definition = find(asked["model"], asked["kwargs"])
    _require_old_code(asked["top"])
    structures = {name: loads(text, name) for name, text in asked["structures"].items()}
    values = next((each.values for each in structures.values()), {})
    policy, prefix = Policy(strict=asked["strict"]), asked["strip_prefix"]
    found = {name: check_structure(each, definition, policy, prefix) for name, each in structures.items()}
    if asked["optimizer"]:
        found = {
            name: resumed(verdict, definition, asked["optimizer"], policy) for name, verdict in found.items()
        }
    verdicts = {name: as_data(verdict) for name, verdict in found.items()}
    return {"definition": dumps(structure_of(build(definition, values), definition)), "verdicts": verdicts}


def _exists(model: str) -> bool:
    """Whether the code of this commit has the module and the name at all."""
    name, _, attribute = model.partition(":")
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        return not name.startswith(str(error.name))  # a package above it; not one that it imports
    if spec is None:
        return False
    module: Any = importlib.import_module(name)
    for part in attribute.split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True


def _require_old_code(top: str) -> None:
    """Refuses when today's files were imported instead of the earlier commit's."""
    ignored = tuple(os.path.realpath(path) + os.sep for path in {sys.prefix, sys.base_prefix})
    for name, module in list(sys.modules.items()):
        file = os.path.realpath(getattr(module, "__file__", None) or os.sep)
        today = file.startswith(top + os.sep) and not file.startswith(ignored)
        if today and name.partition(".")[0] != __package__ and "site-packages" not in file:
            raise BuildError(
                name,
                f"its code is not the commit's: {name} was imported from {file}",
                "put the folder of the package on pythonpath",
            )
