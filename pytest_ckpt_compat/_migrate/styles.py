"""The forms that the code of a migration may take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._migrate import body, python
from pytest_ckpt_compat._migrate.body import Written


def _header(written: Written, *others: str) -> list[str]:
    lines = [*python.comment(written.title), *body.decisions(written)]
    found = body.imports(written, *others)
    return [*lines, *([""] if found and lines else []), *found]


def _moved(written: Written, target: str, indent: int) -> list[str]:
    """The statement that puts what is left in ``old`` under its new keys."""
    pad = " " * indent
    name = "rename(key)" if written.renames else "key"
    if not written.renames:
        return [f"{pad}{target}.update(old)"]
    return [f"{pad}{target}.update(({name}, tensor) for key, tensor in old.items())"]


def _guard(written: Written, text: str, result: str) -> list[str]:
    """Leaves a checkpoint as it is that has today's keys already."""
    if not written.marker:
        return []
    key = python.literal(written.marker)
    line = f"    if {text.format(key=key)}:  # it has today's keys"
    if len(line) > python.WIDTH:
        line = f"    if {text.format(key=key)}:"
    return [line, f"        return{result}"]


def _versions(written: Written, target: str, indent: int) -> list[str]:
    """Keeps the versions of the modules, under their new names, too."""
    if not written.metadata:
        return []
    pad = " " * indent
    lines = [f'{pad}metadata = getattr(state_dict, "_metadata", None)', f"{pad}if metadata is not None:"]
    lines += [f"{pad}    {target}._metadata = dict(metadata)"]
    if written.renames:
        lines += [f"{pad}    for name, versions in metadata.items():"]
        lines += [f'{pad}        {target}._metadata[rename(f"{{name}}.")[:-1]] = versions']
    return lines


def function(written: Written) -> str:
    """``def migrate(state_dict)``, which returns a new state_dict."""
    ordered = ["from collections import OrderedDict"] if written.metadata else []
    new = "OrderedDict()" if written.metadata else "{}"
    lines = [*_header(written, *ordered), *body.helpers(written), "", "", "def migrate(state_dict):"]
    lines += ['    """Gives a state_dict from before the keys that the model has now."""']
    lines += [f"    old, new = dict(state_dict), {new}", *body.blocks(written, 4)]
    lines += [*_moved(written, "new", 4), *_versions(written, "new", 4), "    return new"]
    return _text(lines)


def timm(written: Written) -> str:
    """``def checkpoint_filter_fn(state_dict, model)``, as timm calls it."""
    ordered = ["from collections import OrderedDict"] if written.metadata else []
    new = "OrderedDict()" if written.metadata else "{}"
    lines = [*_header(written, *ordered), *body.helpers(written), "", ""]
    lines += ["def checkpoint_filter_fn(state_dict, model):"]
    lines += ['    """Gives a state_dict from before the keys that the model has now."""']
    lines += [*_guard(written, "{key} not in state_dict", " state_dict")]
    lines += [f"    old, new = dict(state_dict), {new}", *body.blocks(written, 4)]
    lines += [*_moved(written, "new", 4), *_versions(written, "new", 4), "    return new"]
    return _text(lines)


def lightning(written: Written) -> str:
    """``def on_load_checkpoint(self, checkpoint)``, a method of the LightningModule."""
    ordered = ["from collections import OrderedDict"] if written.metadata else []
    new = "OrderedDict()" if written.metadata else "{}"
    lines = [*_header(written, *ordered), *body.helpers(written), "", ""]
    lines += [f"# A method of {visible(written.owner) or 'the LightningModule'}."]
    lines += ["def on_load_checkpoint(self, checkpoint):"]
    lines += ['    """Gives a checkpoint from before the keys that the model has now."""']
    lines += ['    state_dict = checkpoint["state_dict"]']
    lines += [*_guard(written, "{key} not in state_dict", "")]
    lines += [f"    old, new = dict(state_dict), {new}", *body.blocks(written, 4)]
    lines += [*_moved(written, "new", 4), *_versions(written, "new", 4)]
    lines += ['    checkpoint["state_dict"] = new']
    return _text(lines)


def hook(written: Written) -> str:
    """A hook for ``register_load_state_dict_pre_hook`` of the module that the keys belong to."""
    owner = visible(written.owner) or "the model"
    lines = [*_header(written), *body.helpers(written), "", ""]
    lines += [f"# In __init__ of {owner}: self.register_load_state_dict_pre_hook(upgrade)"]
    if written.version:
        lines += [
            f"# In the class: _version = {written.version}. The keys do not tell old checkpoints from new",
            "# ones, so a file without versions (safetensors) counts as an old one.",
        ]
    lines += ["def upgrade(module, state_dict, prefix, local_metadata, *_):"]
    lines += ['    """Gives a state_dict from before the keys that the module has now."""']
    if written.version:
        lines += [f'    if (local_metadata.get("version") or 1) >= {written.version}:', "        return"]
    lines += [*_guard(written, "prefix + {key} not in state_dict", "")]
    lines += [
        "    old, new = {}, {}",
        "    for key in [key for key in state_dict if key.startswith(prefix)]:",
    ]
    lines += ["        old[key[len(prefix) :]] = state_dict.pop(key)", *body.blocks(written, 4)]
    lines += [
        *_moved(written, "new", 4),
        "    state_dict.update((prefix + key, tensor) for key, tensor in new.items())",
    ]
    if written.metadata and written.renames:
        lines += ['    metadata = getattr(state_dict, "_metadata", None) or {}']
        lines += ["    for name, versions in list(metadata.items()):"]
        lines += ['        metadata.setdefault(rename(f"{name}.")[:-1], versions)']
    return _text(lines)


def _text(lines: Iterable[str]) -> str:
    return body.texts(lines).lstrip("\n")


#: Style -> what writes it.
PYTHON_STYLES: Mapping[str, Callable[[Written], str]] = MappingProxyType(
    {"function": function, "hook": hook, "timm": timm, "lightning": lightning}
)
