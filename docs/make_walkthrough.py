"""Writes ``walkthrough.md``: a pull request that breaks two things, in a real repository.

``python docs/make_walkthrough.py`` runs every command of the page and records what it prints.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "walkthrough.md"
EXAMPLE = DOCS.parent / "example_project"

REGISTERED = """
# version 1
[[tool.ckpt_compat.checkpoint]]
id = "shapes-v1"
path = "checkpoints/shapes_v1.pt"
model = "shapes.models:Classifier"

# version 2
[[tool.ckpt_compat.checkpoint]]
id = "shapes-v2"
path = "checkpoints/shapes_v2.pt"
model = "shapes.models:Classifier"
"""

_CHECK = "ckpt-compat check --against main"
_REVIEW = "ckpt-compat review --against main"
_REASON = '--reason "version 3 knows six shapes"'

_ACCEPT = f'ckpt-compat accept shapes-v1 shapes-v2 --rule CK202 --key "head.*" {_REASON} --against main'

#: A sentence of the page, and the commands below it, each with the exit code that it must have.
Script = tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
SCRIPT: Script = (
    (
        "On `main`, `pyproject.toml` registers two released checkpoints, and their snapshots are committed. "
        "A branch renames a block and widens the head:",
        (
            ("git switch -q -c refactor", 0),
            ("git apply refactors/rename_block.patch", 0),
            ("git apply -C1 refactors/widen_head.patch", 0),
            ("git commit -q -a -m 'Rename the blocks, tell six shapes apart'", 0),
        ),
    ),
    ("The check fails and shows both breaks:", ((_CHECK, 1),)),
    (
        "The new head is intended. The failure printed the commands that accept it; only the reason is "
        "missing, and one command takes several ids:",
        ((_ACCEPT, 0),),
    ),
    (
        "The check still fails. The rename breaks a checkpoint, and also the definition as `main` recorded "
        "it:",
        ((_CHECK, 1),),
    ),
    (
        "The new name is not worth a break. The author takes it back, and records the definition as it is "
        "now:",
        (
            ("git checkout -q main -- shapes", 0),
            ("git apply refactors/widen_head.patch", 0),
            ("ckpt-compat update", 0),
        ),
    ),
    ("The check passes, and shows what was accepted and why:", ((_CHECK, 0),)),
    (
        "After the merge, the check passes on the next branch as well:",
        (
            ("git add -A", 0),
            ("git commit -q -m 'Tell six shapes apart'", 0),
            ("git switch -q main", 0),
            ("git merge -q refactor", 0),
            ("git switch -q -c next", 0),
            (_CHECK, 0),
            ("ckpt-compat status", 0),
        ),
    ),
    (
        "Version 1 is no longer served. Its registration is deleted, and one command says why:",
        (
            ("sed -i '/^# version 1/,/^# version 2/d' pyproject.toml", 0),
            ('ckpt-compat retire shapes-v1 --reason "no longer served"', 0),
            (_CHECK, 0),
        ),
    ),
    (
        "The head gets wider once more. On a terminal, `ckpt-compat review` goes through what is open; "
        "here, the "
        "answers stand after its questions. `--all` would accept the same without questions:",
        (
            ("git add -A", 0),
            ("git commit -q -m 'Retire version 1'", 0),
            ("sed -i 's/num_classes: int = 6/num_classes: int = 8/' shapes/models.py", 0),
            (_REVIEW, 0),
            (_CHECK, 0),
        ),
    ),
    (
        "Once that is merged, no comparison with `main` needs the entries of what was retired and of the "
        "definition. One command takes them out:",
        (
            ("git add -A", 0),
            ("git commit -q -m 'Tell eight shapes apart'", 0),
            ("git switch -q main", 0),
            ("git merge -q next", 0),
            ("git switch -q -c later", 0),
            ("ckpt-compat update --against main", 0),
            (_CHECK, 0),
        ),
    ),
)
#: What is typed at a terminal: an answer to each question of a command.
ANSWERS = {_REVIEW: ("a", "version 4 knows eight shapes", "r", "a", "")}


@dataclass(frozen=True)
class Step:
    """A command that was run.

    Attributes:
        prose: the sentence before it, or "".
        command: as a person would type it.
        expected: the exit code that it must have.
        code: the exit code that it had.
        output: what it printed.
    """

    prose: str
    command: str
    expected: int
    code: int
    output: str


def walk(folder: Path, script: Script = SCRIPT) -> Iterator[Step]:
    """Makes a repository of the example project in a folder, and runs the commands of a script in it."""
    ignored = shutil.ignore_patterns(
        "__pycache__", ".*", "tests", "ckpt_snapshots", "conftest.py", "show_a_break.py"
    )
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=ignored)
    pyproject = folder / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8").replace('testpaths = ["tests"]\n', "")
    pyproject.write_text(text + REGISTERED, encoding="utf-8")
    (folder / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n", encoding="utf-8")
    for command in (
        "git init -q -b main",
        "ckpt-compat update",
        "git add -A",
        "git commit -q -m 'Version 2'",
    ):
        code, output = _run(folder, command)
        if code:
            raise RuntimeError(f"{command}: {output}")
    for prose, commands in script:
        before = prose
        for command, expected in commands:
            yield Step(before, command, expected, *_run(folder, command))
            before = ""


def page(steps: list[Step]) -> str:
    """The steps as Markdown."""
    lines = ["# A pull request that breaks two things", ""]
    lines += ["`python docs/make_walkthrough.py` ran these commands and recorded what they print.", ""]
    return "\n".join([*lines, *shown(steps), ""])


def shown(steps: list[Step]) -> Iterator[str]:
    """The lines of the steps: each sentence, and what was run and printed below it."""
    is_open = False
    for step in steps:
        if step.prose:
            yield from ["```", ""] if is_open else []
            yield from (step.prose, "", "```console")
            is_open = True
        yield f"$ {step.command}"
        yield from step.output.rstrip().splitlines()
        yield from [f"$ echo $?  # {step.code}"] if step.command == _CHECK else []
    yield "```"


def _run(folder: Path, command: str) -> tuple[int, str]:
    somebody = {"NAME": "somebody", "EMAIL": "somebody@example.com"}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "GIT_"))},
        **{f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER") for what, text in somebody.items()},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "COLUMNS": "100",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    real = re.sub("^ckpt-compat", lambda _: f'"{sys.executable}" -m pytest_ckpt_compat', command)
    if command in ANSWERS:
        code, output = _answered(real, folder, environment, ANSWERS[command])
    else:
        done = subprocess.run(
            ["bash", "-c", real], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        code, output = done.returncode, done.stdout + done.stderr
    # The id of a commit and the duration differ from run to run.
    output = re.sub(r"\(merge base [0-9a-f]{8}\)", "(merge base 1a2b3c4d)", output)
    return code, re.sub(r" in \d+\.\d+s", "", output)


def _answered(
    command: str, folder: Path, environment: Mapping[str, str], answers: Sequence[str]
) -> tuple[int, str]:
    """Runs a command at a terminal, and answers its questions; returns its exit code and what is shown."""
    import pty
    import termios

    master, slave = pty.openpty()
    quiet = termios.tcgetattr(slave)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, quiet)
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=dict(environment),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown, left = "", list(answers)
    while data := _read(master):
        shown += data.replace("\r\n", "\n")
        if shown.endswith((": ", "? ")):
            if not left:
                process.kill()
                raise RuntimeError(f"ANSWERS has none for the last question of {command}: {shown}")
            answer = f"{left.pop(0)}\n"
            os.write(master, answer.encode())
            shown += answer
    os.close(master)
    # What a slow run shows of its progress is written over, and gone in the end.
    return process.wait(), re.sub(r"\x1b7.*?\x1b8|\x1b\[K", "", shown, flags=re.DOTALL)


def _read(master: int) -> str:
    """What a terminal shows next; "" once the command has ended."""
    try:
        return os.read(master, 10_000).decode()
    except OSError:
        return ""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        PAGE.write_text(page(list(walk(Path(name)))), encoding="utf-8")
