"""Whatever a definition's code does, its checkpoint gets a verdict in a line, and the others keep theirs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pytest_ckpt_compat as ckpt
from tests.conftest import Printed

Command = Callable[..., Printed]

ENTRIES = "".join(
    f'[[tool.ckpt_compat.checkpoint]]\nid = "{name}"\npath = "net.pt"\nmodel = "{model}"\n'
    for name, model in (("before", "models:Net"), ("bad", "bad:Bad"), ("after", "models:Net"))
)


class Stop(BaseException):
    """No Exception, so that a net for those does not hold it."""


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("nothing to say")


class WordlessError(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


def endless() -> None:
    endless()


def raising(error: BaseException) -> Callable[[], None]:
    def end() -> None:
        raise error

    return end


WAYS = {
    "of its own": raising(Stop("enough")),
    "exit": raising(SystemExit(0)),
    "skip": lambda: pytest.skip("no such device"),
    "fail": lambda: pytest.fail("no such device"),
    "generator": raising(GeneratorExit()),
    "recursion": endless,
    "mute": raising(MuteError()),
    "wordless": raising(WordlessError()),
}


def ending_in(place: str, end: Callable[[], object]) -> Callable[[], nn.Module]:
    """A definition whose code ends in this way, at this place."""

    class Net(nn.Linear):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            return end() if place == "state_dict" else super().state_dict(*args, **kwargs)

        def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
            return end() if place == "load" else super().load_state_dict(*args, **kwargs)

    def make() -> nn.Module:
        if place == "constructor":
            end()
        net: Any = Net(2, 2)
        if place == "hook":
            net.register_load_state_dict_pre_hook(lambda *_: end())
        return net  # type: ignore[no-any-return]

    return make


@pytest.mark.parametrize("place", ["constructor", "state_dict", "load", "hook"])
@pytest.mark.parametrize("way", WAYS)
def test_an_end_of_any_kind(tmp_path: Path, place: str, way: str) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    model = ending_in(place, WAYS[way])
    if place == "state_dict":  # torch loads into it all the same
        verdict = ckpt.check(tmp_path / "net.pt", model)
        assert verdict.compatible
        assert ["no checkpoint of it can be saved" in note for note in verdict.notes] == [True]
    elif place != "constructor":
        verdict = ckpt.check(tmp_path / "net.pt", model)
        assert verdict.exit_code == 1
        assert str(verdict).startswith("CK401")
    else:
        with pytest.raises(ckpt.CkptCompatError, match=" raised ") as found:
            ckpt.check(tmp_path / "net.pt", model)
        assert "\n" not in str(found.value)


@pytest.fixture
def bad(project: pytest.Pytester) -> Callable[[str], None]:
    """Writes the definition of one of three checkpoints, the second."""
    file = project.path / "pyproject.toml"
    file.write_text(f"{file.read_text()}\n{ENTRIES}")

    def write(code: str) -> None:
        project.makepyfile(bad="import os, sys\nimport pytest, torch\nfrom models import Net\n" + code)

    write("Bad = Net")
    project.runpytest_inprocess("--ckpt-update")
    return write


def states(path: Path) -> dict[str, str]:
    return {each["id"]: each["state"] for each in json.loads(path.read_text())["checkpoints"]}


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("pytest.skip('no such device', allow_module_level=True)", "CK906 bad: * raised Skipped: *"),
        ("def Bad(): pytest.skip('no such device')", "CK906 bad: * raised Skipped: no such device *"),
        ("def Bad(): sys.exit(0)", "CK906 bad: * raised SystemExit: 0 *"),
        ("def Bad(): os._exit(0)", "CK906 bad: * raised SystemExit: 0 *"),
    ],
)
def test_an_end_costs_no_other_checkpoint_its_verdict(
    bad: Callable[[str], None], project: pytest.Pytester, command: Command, code: str, line: str
) -> None:
    bad(code)
    done = command("check", "--report", "check.json")
    assert done.code == 2
    assert any(fnmatch(each, line) for each in done.out.splitlines())
    result = project.runpytest_inprocess("--ckpt-report=pytest.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for report in ("check.json", "pytest.json"):
        assert states(project.path / report) == {"before": "ok", "bad": "unknown", "after": "ok"}


@pytest.mark.parametrize(
    "code",
    [
        "os.chdir('/')",
        "import tempfile; gone = tempfile.mkdtemp(); os.chdir(gone); os.rmdir(gone)",
        "sys.stdout = sys.stderr = None",
        "sys.setrecursionlimit(100)",
    ],
)
@pytest.mark.parametrize("place", ["import", "constructor"])
def test_what_the_process_has_is_put_back(
    bad: Callable[[str], None], project: pytest.Pytester, command: Command, place: str, code: str
) -> None:
    bad(f"def Bad():\n    {code}\n    return Net()" if place == "constructor" else f"{code}\nBad = Net")
    depth, folder = sys.getrecursionlimit(), os.getcwd()
    done = command("check", "--report", "check.json")
    assert states(project.path / "check.json") == dict.fromkeys(("before", "bad", "after"), "ok"), done.out
    assert (done.code, os.getcwd()) == (0, folder)
    assert sys.getrecursionlimit() >= depth


@pytest.mark.usefixtures("warm_python")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_of_the_definition_makes_no_report(
    bad: Callable[[str], None], project: pytest.Pytester
) -> None:
    bad("def Bad():\n    if child := os.fork():\n        os.waitpid(child, 0)\n    return Net()")
    result = project.run(sys.executable, "-m", "pytest_ckpt_compat", "check")
    assert result.ret == 0
    assert len([line for line in result.outlines if line.startswith("compared")]) == 1


@pytest.mark.usefixtures("warm_python")
def test_what_the_definition_leaves_to_the_garbage_collector(
    bad: Callable[[str], None], project: pytest.Pytester
) -> None:
    """A project that takes warnings for errors has pytest raise for it, after all is checked."""
    bad(
        "class Left:\n    def __init__(self):\n        self.itself = self\n"
        "    def __del__(self):\n        raise ValueError\n\n"
        "def Bad():\n    Left()\n    return Net()"
    )
    settings = project.path / "pyproject.toml"
    settings.write_text(settings.read_text().replace("addopts", 'filterwarnings = ["error"]\naddopts'))
    result = project.run(sys.executable, "-m", "pytest_ckpt_compat", "check")
    result.stdout.fnmatch_lines(["compared*"])
    result.stderr.no_fnmatch_line("*internal error*")
    assert result.ret == 0


def test_output_that_the_definition_closes(bad: Callable[[str], None], command: Command) -> None:
    bad("def Bad():\n    print('made')\n    sys.stdout.close()\n    return Net()")
    done = command("check")
    assert done.code == 0
    assert "made" not in done.out


def test_an_interrupt_is_one(bad: Callable[[str], None], project: pytest.Pytester, command: Command) -> None:
    bad("def Bad():\n    raise KeyboardInterrupt")
    done = command("check")
    assert done.code == 2
    assert done.err == "ckpt-compat: interrupted: not everything was checked; run it again\n"
    with pytest.raises(KeyboardInterrupt):
        project.runpytest_inprocess("--ckpt-report=r.json")
    report = project.path / "r.json"
    assert not report.exists() or not json.loads(report.read_text())["compatible"]


@pytest.mark.parametrize("given", [None, [1], {1: torch.ones(1)}, {None: 2}, {("a",): torch.ones(1)}])
def test_a_state_dict_that_is_none(tmp_path: Path, given: Any) -> None:
    class Net(nn.Linear):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            return given

    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pt")
    verdict = ckpt.check(tmp_path / "net.pt", lambda: Net(2, 2))
    assert verdict.compatible
    (note,) = verdict.notes
    assert "state_dict() gave " in note
    assert "no checkpoint of it can be saved" in note


def test_modules_nested_too_deeply_for_torch_are_told_as_that(tmp_path: Path) -> None:
    depth = 2 * sys.getrecursionlimit()

    def nested() -> nn.Module:
        net = inner = nn.Module()
        for _ in range(depth):
            inner.add_module("next", nn.Module())
            inner = inner.get_submodule("next")
        return net

    torch.save({"w": torch.zeros(1)}, tmp_path / "net.pt")
    with pytest.raises(ckpt.CkptCompatError, match=r"state_dict\(\) raised RecursionError"):
        ckpt.check(tmp_path / "net.pt", nested)
