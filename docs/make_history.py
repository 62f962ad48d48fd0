"""Writes ``history.md``: the past of a public package, recorded and walked, from its releases on PyPI.

``python docs/make_history.py`` needs pip and an index, and some minutes. The releases become the commits of
a repository, each with the date that its files have.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "history.md"

PACKAGE = "x-transformers"
MODEL = "x_transformers:XTransformer"
KWARGS = (
    "{dim = 64, enc_num_tokens = 256, enc_depth = 2, enc_heads = 4, enc_max_seq_len = 32, "
    "dec_num_tokens = 256, dec_depth = 2, dec_heads = 4, dec_max_seq_len = 32}"
)
RELEASES = (
    *("1.16.0", "1.19.0", "1.22.0", "1.25.0", "1.27.0", "1.30.0", "1.32.0", "1.35.0", "1.38.0", "1.40.0"),
    *("1.42.0", "1.44.0", "2.0.0", "2.5.0", "2.10.0", "2.15.0", "2.20.0", "2.25.0", "2.30.0"),
)
RECORDED = ("1.16.0", "1.44.0")
#: What some of the releases need; pip takes no package along with them.
REQUIREMENTS = ("einops", "einx", "loguru", "frozendict", "torch-einops-utils")

#: The commands of the page, by the name of their place in it.
COMMANDS: Mapping[str, Sequence[str]] = {
    "record": (
        *("record", *(word for each in RECORDED for word in ("--package", f"{PACKAGE}=={each}"))),
        *("--model", MODEL, "--kwargs", KWARGS),
    ),
    "check": ("check",),
    "history": ("history", MODEL, "--kwargs", KWARGS),
    "bisect": ("history", MODEL, "--kwargs", KWARGS, "--bisect", ""),
}
_BLOCK = re.compile(r"(<!-- (\w+) -->)\n.*?(<!-- end of \2 -->)", re.DOTALL)


def page(text: str, blocks: Mapping[str, str]) -> str:
    """The page's text with these blocks; one that is not given stays."""
    return _BLOCK.sub(
        lambda match: f"{match[1]}\n{blocks[match[2]]}\n{match[3]}" if match[2] in blocks else match[0], text
    )


def block(words: Sequence[str], output: str) -> str:
    """A command and what it printed, as the page shows it."""
    return f"```console\n$ {shown(words)}\n{output.rstrip()}\n```"


def shown(words: Sequence[str]) -> str:
    """A command as a user writes it; the arguments of the model are written once, as ``$KWARGS``."""
    quoted = ('"$KWARGS"' if word == KWARGS else f"'{word}'" if "(" in word else word for word in words)
    return " ".join(["ckpt-compat", *quoted])


def facts(versions: Mapping[str, str], today: date) -> str:
    """When, and with what, the page was made."""
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Made on {today.isoformat()} with {used}."


def unpacked(wheel: Path, folder: Path) -> str:
    """Puts the package's modules in place of those in a folder; returns the day of the newest of them."""
    for module in sorted(folder.rglob("*.py")):
        module.unlink()
    with zipfile.ZipFile(wheel) as file:
        modules = [each for each in file.infolist() if each.filename.endswith(".py")]
        for each in modules:
            file.extract(each, folder)
    return "-".join(f"{number:02}" for number in max(each.date_time for each in modules)[:3])


def commit(folder: Path, version: str, day: str) -> None:
    """Commits a release under its day, and tags it."""
    names = {f"GIT_{who}_{what}": "releases" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    days = {f"GIT_{who}_DATE": f"{day}T12:00:00Z" for who in ("AUTHOR", "COMMITTER")}
    for words in (("add", "-A"), ("commit", "-q", "-m", f"Release {version}"), ("tag", version)):
        subprocess.run(["git", *words], cwd=folder, env=os.environ | names | days, check=True)


def made() -> dict[str, str]:
    """The blocks of the page, each command run."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        repository, libraries, project = top / "repository", top / "libraries", top / "project"
        _pip("install", "--no-deps", "--target", str(libraries), *REQUIREMENTS)
        repository.mkdir()
        subprocess.run(["git", "init", "-q", "-b", "main"], cwd=repository, check=True)
        for version in RELEASES:
            wheels = top / version
            _pip("download", "--no-deps", "--only-binary=:all:", "-d", str(wheels), f"{PACKAGE}=={version}")
            commit(repository, version, unpacked(next(wheels.glob("*.whl")), repository))
        _pip("install", "--no-deps", "--target", str(project), f"{PACKAGE}=={RELEASES[-1]}")
        blocks = dict(_ran(project, repository, libraries))
        return {**blocks, "facts": facts(_versions(libraries), date.today())}


def _ran(project: Path, repository: Path, libraries: Path) -> Iterator[tuple[str, str]]:
    for name in ("record", "check", "history"):
        folder = repository if name == "history" else project
        yield name, block(COMMANDS[name], _output(folder, libraries, COMMANDS[name]))
    snapshot = next((project / "ckpt_snapshots").glob(f"*@{RECORDED[0]}.json"))
    file = repository.parent / f"{PACKAGE}-{RECORDED[0]}.json"
    file.write_text(snapshot.read_text(encoding="utf-8"), encoding="utf-8")
    words = [*COMMANDS["bisect"][:-1], file.name]
    found = _output(repository, libraries, [*words[:-1], str(file)])
    yield "bisect", block(words, found.replace(str(file), file.name))


def _output(folder: Path, libraries: Path, words: Sequence[str]) -> str:
    command = [sys.executable, "-m", "pytest_ckpt_compat", *words]
    environment = os.environ | {"PYTHONPATH": str(libraries)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _pip(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *words, "--quiet"], check=True)


def _versions(libraries: Path) -> dict[str, str]:
    import torch

    names = (path.name.removesuffix(".dist-info").partition("-") for path in libraries.glob("*.dist-info"))
    others = {name.replace("_", "-"): version for name, _, version in sorted(names)}
    return {"Python": platform.python_version(), "torch": torch.__version__, **others}


if __name__ == "__main__":
    found = made()
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
