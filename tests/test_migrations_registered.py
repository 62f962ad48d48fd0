"""Migrations are registered by marker, table and hook alike, and guarded wherever a checkpoint is checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SETTINGS, Printed, save
from tests.repository import edit
from tests.test_parts import GAN, D, G, saved

Command = Callable[..., Printed]

pytestmark = pytest.mark.long

RENAMES = """

def one(state_dict):
    return {key.replace("body.", "middle."): value for key, value in state_dict.items()}


def two(state_dict, model):
    assert hasattr(model, "trunk")
    return {key.replace("middle.", "trunk."): value for key, value in state_dict.items()}
"""

WAYS = {
    "marker": """
import pytest
import models

@pytest.mark.checkpoint("net.pt", id="v1", model=models.Net, kwargs={"body": "trunk"}, MIGRATE)
def test_net(ckpt_compat):
    assert ckpt_compat.load().trunk[0].in_features == 3
    ckpt_compat.check("net.pt", models.Net, {"body": "trunk"}, MIGRATE)
""",
    "hook": """
import models

def pytest_ckpt_compat_checkpoints(config):
    entry = dict(path="net.pt", id="v1", model=models.Net, kwargs={"body": "trunk"}, MIGRATE)
    return [entry]
""",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "migrate",
    [
        "migrate=[models.one, 'models:two']",
        "migrate={2: models.one, '3': 'models:two'}, version=1",
        "migrate={2: models.one, 3: models.two}, version='meta.version'",
        "migrate=['rules/first.toml', models.two]",
    ],
)
def test_wherever_they_are_registered(project: pytest.Pytester, way: str, migrate: str) -> None:
    (project.path / "models.py").write_text((project.path / "models.py").read_text() + RENAMES)
    (project.path / "rules").mkdir()
    (project.path / "rules" / "first.toml").write_text(
        "ckpt_compat_rules = 1\n[[rename]]\nfrom = '^body'\nto = 'middle'\n"
    )
    save(project.path / "net.pt", meta={"version": 1})
    name = "test_it" if way == "marker" else "conftest"
    project.makepyfile(**{name: WAYS[way].replace("MIGRATE", migrate)})
    project.runpytest_inprocess("--ckpt-update").assert_outcomes(passed=1)
    result = project.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    assert "recorded;" not in result.stdout.str()
    found = json.loads((project.path / "ckpt_snapshots/v1.json").read_text())["migrated"]
    first = "rules/first.toml" if "rules" in migrate else "models.one"
    assert found["by"] == [first, "models.two"]
    assert found["origins"] == {"trunk.*": "body.*"}
    assert found.get("version") == ("1" if "meta" in migrate else None)


def test_those_of_several_parts(project: pytest.Pytester, command: Command) -> None:
    """One migration for all parts; its keys name the part."""
    (project.path / "gan.py").write_text(
        GAN + "\n\ndef bare(state):\n    return {k.removeprefix('m.'): v for k, v in state.items()}\n"
    )
    states: dict[str, Any] = {"generator": G().state_dict(), "discriminator": D().state_dict()}
    wrapped = {name: {f"m.{key}": v for key, v in each.items()} for name, each in states.items()}
    saved(project.path / "gan.pt", wrapped)
    project.makepyprojecttoml(
        SETTINGS
        + """
[[tool.ckpt_compat.checkpoint]]
id = "gan"
path = "gan.pt"
migrate = "gan:bare"

[tool.ckpt_compat.checkpoint.model]
generator = "gan:G"
discriminator = "gan:D"
"""
    )
    assert command("update").code == 0
    assert command("check").code == 0
    found = json.loads((project.path / "ckpt_snapshots/gan.json").read_text())["migrated"]
    assert found["origins"] == {"generator.*": "generator.m.*", "discriminator.*": "discriminator.m.*"}
    edit(project.path / "pyproject.toml", 'migrate = "gan:bare"\n', "")
    printed = command("check")
    assert printed.code == 1
    assert "CK404 gan: migration gan.bare is no longer registered: generator.m." in printed.out


def test_the_former_name_still_registers_one(project: pytest.Pytester, command: Command) -> None:
    (project.path / "models.py").write_text((project.path / "models.py").read_text() + RENAMES)
    entry = """
[[tool.ckpt_compat.checkpoint]]
id = "v1"
path = "net.pt"
model = "models:Net"
kwargs = {body = "middle"}
remap = "models:one"
"""
    project.makepyprojecttoml(SETTINGS + entry)
    assert command("update").code == 0
    assert command("check").code == 0
    edit(project.path / "pyproject.toml", "remap =", "migrate = 'models:one'\nremap =")
    printed = command("check")
    assert printed.code == 2
    assert (
        "option migrate: is given, and so is remap, which it was called before; leave remap out"
        in printed.out
    )


def test_what_is_unused_is_told_over_all_checkpoints(project: pytest.Pytester, command: Command) -> None:
    """A rule that one of them needs is in use; a run of some of them says nothing."""
    rules = "ckpt_compat_rules = 1\n"
    for old, new in (("^body", "middle"), ("^rump", "middle"), ("^tail", "middle"), ("^body.0", "m")):
        rules += f"[[rename]]\nfrom = '{old}'\nto = '{new}'\n"
    (project.path / "rules.toml").write_text(rules)
    text = SETTINGS
    for name in ("body", "rump"):
        save(project.path / f"{name}.pt", body=name)
        text += f"""
[[tool.ckpt_compat.checkpoint]]
id = "{name}"
path = "{name}.pt"
model = "models:Net"
kwargs = {{body = "middle"}}
migrate = ["rules.toml", "models:idle"]
"""
    project.makepyprojecttoml(text)
    with (project.path / "models.py").open("a") as stream:
        stream.write("\n\ndef idle(state_dict):\n    return dict(state_dict)\n")
    assert command("update").code == 0
    printed = command("check")
    assert printed.code == 0
    own = "the 2 checkpoints that register it"
    assert printed.out.splitlines()[-4:-1] == [
        f"rules.toml: ^tail matches no key of {own}",
        f"rules.toml: ^body.0 matches no key of {own} that ^body before it leaves",
        f"models.idle changes nothing in {own}: take it out if no other file needs it",
    ]
    result = project.runpytest_inprocess("--ckpt-report=r.json")
    assert f"rules.toml: ^tail matches no key of {own}" in result.outlines
    assert len(json.loads((project.path / "r.json").read_text())["migrations"]["unused"]) == 3
    result = project.runpytest_inprocess("-k", "rump")
    assert "matches no key" not in result.stdout.str()
    (project.path / "rump.pt").write_bytes(b"x")  # one of them that cannot be checked leaves it open
    assert "matches no key" not in command("check").out


def test_a_snapshot_of_before_is_asked_for_once(project: pytest.Pytester, command: Command) -> None:
    """It says nothing of migrations: a note, and no failure."""
    (project.path / "models.py").write_text((project.path / "models.py").read_text() + RENAMES)
    entry = """
[[tool.ckpt_compat.checkpoint]]
id = "v1"
path = "net.pt"
model = "models:Net"
kwargs = {body = "middle"}
migrate = "models:one"
"""
    project.makepyprojecttoml(SETTINGS + entry)
    assert command("update").code == 0
    file: Path = project.path / "ckpt_snapshots/v1.json"
    now = file.read_text()
    before = now[: now.index(',\n  "migrated"')] + "\n}\n"
    file.write_text(before)
    printed = command("check")
    assert printed.code == 0
    assert "note: what models.one does is not recorded; ckpt-compat update guards it" in printed.out
    printed = command("update")
    assert "updated   ckpt_snapshots/v1.json: the migration that makes it load" in printed.out
    assert file.read_text() == now
