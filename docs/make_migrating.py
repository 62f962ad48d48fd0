"""Writes the walk of ``migrating.md``: from a red check to a repaired checkpoint.

``python docs/make_migrating.py`` runs every command of it and records what it prints.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parent
PAGE = DOCS / "migrating.md"
_WALK = re.compile(r"(<!-- walk -->)\n.*?(<!-- end of walk -->)", re.DOTALL)

_HOOK = "self.register_load_state_dict_pre_hook(upgrade)"
_REGISTER = f"sed -i 's/^        self.head = .*/&\\n        {_HOOK}/' shapes/models.py"

#: A sentence of the page, and the commands below it, each with the exit code that it must have.
SCRIPT: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = (
    (
        "A branch renames the blocks of a model. The check is red, and names the command that prints the "
        "repair:",
        (("git apply refactors/rename_block.patch", 0), ("ckpt-compat check", 1)),
    ),
    (
        "As a hook of the model, the repair is this. On standard error, the command says what is proven:",
        (("ckpt-compat migrate shapes-v2 --style hook", 0),),
    ),
    (
        "For the file itself, it is this:",
        (("ckpt-compat migrate shapes-v2 --style rules | tee rules.toml", 0),),
    ),
    (
        "The hook is pasted into the module, and registered in its constructor. The check is green:",
        (
            ("ckpt-compat migrate shapes-v2 --style hook 2> /dev/null >> shapes/models.py", 0),
            (_REGISTER, 0),
            ("ckpt-compat update", 0),
            ("ckpt-compat check", 0),
        ),
    ),
    (
        "One day the hook is to go. The old file is rewritten for that, and loads without it:",
        (
            (
                "ckpt-compat convert checkpoints/shapes_v2.pt -o checkpoints/shapes_v3.pt --rules rules.toml",
                0,
            ),
            ("git checkout -q -- shapes && git apply refactors/rename_block.patch", 0),
            ("ckpt-compat diff checkpoints/shapes_v2.pt shapes.models:Classifier | head -n 1", 0),
            ("ckpt-compat diff checkpoints/shapes_v3.pt shapes.models:Classifier", 0),
        ),
    ),
)


def walkthrough() -> ModuleType:
    """The module that runs and shows the commands of a walk."""
    spec = importlib.util.spec_from_file_location("make_walkthrough", DOCS / "make_walkthrough.py")
    if spec is None or spec.loader is None:
        raise RuntimeError("make_walkthrough.py is not there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def page(lines: list[str]) -> str:
    """The page with the lines of a walk in it."""
    text = "\n".join(["", *lines, ""])
    return _WALK.sub(lambda match: f"{match[1]}\n{text}\n{match[2]}", PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    walking = walkthrough()
    with tempfile.TemporaryDirectory() as name:
        steps = list(walking.walk(Path(name), SCRIPT))
    PAGE.write_text(page(list(walking.shown(steps))), encoding="utf-8")
