"""The process that works on earlier code: it answers, it fails with a reason, it comes to an end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_ckpt_compat._core.structure import Structure
from pytest_ckpt_compat._premerge import process
from pytest_ckpt_compat._premerge.process import Process
from pytest_ckpt_compat._pytest_plugin.merge_base_worker import serve
from pytest_ckpt_compat._snapshots.fingerprint import dumps
from tests.repository import make_project

pytestmark = pytest.mark.long

REQUEST = {
    "ids": ["net-v1"],
    "name": "models.Net",
    "file": "",
    "values": dumps(Structure({})),
    "questions": {},
    "inputs": "",
    "paths": ["."],
    "top": "/nowhere",
}


def ask(folder: Path, **others: object) -> dict[str, object]:
    asked = Process(folder, "", ["."], serve)
    try:
        return asked.ask(REQUEST | others)
    finally:
        asked.close()


def test_it_answers_again_and_again(tmp_path: Path) -> None:
    asked = Process(make_project(tmp_path), "", ["."], serve)
    answers = [asked.ask(REQUEST), asked.ask(REQUEST | {"ids": ["gone"]})]
    asked.close()
    assert [answer["registered"] for answer in answers] == [True, False]
    assert '"head.bias": "float32[4]"' in str(answers[0]["definition"])
    assert not Path(asked._folder.name).exists()


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("import os; os._exit(3)", "its process ended with 3"),
        ("import sys; sys.exit('not here')", "SystemExit: not here"),
        ("import pytest; pytest.exit('not today')", "not today"),
        ("raise ValueError('never')", "ValueError: never"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
    ],
)
@pytest.mark.parametrize("file", ["conftest.py", "models.py"])
def test_code_that_fails(tmp_path: Path, file: str, code: str, complaint: str) -> None:
    make_project(tmp_path)
    (tmp_path / file).write_text(code + "\n")
    error = str(ask(tmp_path)["error"])
    if file == "models.py" and "_exit" in code:  # a module that a definition needs cannot end the process
        complaint = "importing models raised SystemExit: 3"
    assert complaint in error
    assert "\n" not in error


@pytest.mark.usefixtures("warm_python")
def test_what_the_code_prints_is_not_an_answer(tmp_path: Path) -> None:
    make_project(tmp_path)
    noise = "import os\nprint('x' * 200_000)\nos.write(1, b'y' * 200_000)\n"
    (tmp_path / "models.py").write_text(noise + (tmp_path / "models.py").read_text())
    assert ask(tmp_path)["registered"] is True


@pytest.mark.usefixtures("warm_python")
def test_it_is_not_waited_for_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path)
    (tmp_path / "conftest.py").write_text("import time\ntime.sleep(100)\n")
    monkeypatch.setattr(process, "_SECONDS", 1)
    monkeypatch.setattr(process, "_PATIENCE", 1)
    asked = Process(tmp_path, "", ["."], serve)
    assert asked.ask(REQUEST) == {"error": "it took more than 1 seconds"}
    assert asked.ask(REQUEST) == {"error": "it took more than 1 seconds"}, "it is not asked twice"
    asked.close()
    idle = Process(tmp_path, "", ["."], serve)
    idle.close()
    assert asked._process.returncode == (1 if sys.platform == "win32" else -9), "killed, not waited for"
    assert idle._process.returncode is not None


@pytest.mark.usefixtures("warm_python")
def test_a_fork_does_not_answer(tmp_path: Path) -> None:
    make_project(tmp_path)
    forking = "import os\nos.fork()\n" + (tmp_path / "models.py").read_text()
    (tmp_path / "models.py").write_text(
        forking.replace("super().__init__()", "super().__init__(); os.fork()")
    )
    asked = Process(tmp_path, "", ["."], serve)
    answers = [asked.ask(REQUEST), asked.ask(REQUEST | {"ids": ["gone"]}), asked.ask(REQUEST)]
    asked.close()
    assert [answer["registered"] for answer in answers] == [True, False, True]


def test_what_python_prints_at_its_start_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("print('hello'); print(1); print('[]', end='')")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    make_project(tmp_path / "project")
    assert ask(tmp_path / "project")["registered"] is True


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize(
    ("patience", "said"), [(60, "its process ended with 1"), (0, "its process closed its output")]
)
def test_code_that_closes_the_pipe_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int, said: str
) -> None:
    monkeypatch.setattr(process, "_PATIENCE", patience)
    make_project(tmp_path)
    (tmp_path / "models.py").write_text(
        "import os\nos.closerange(3, 256)\n" + (tmp_path / "models.py").read_text()
    )
    assert said in str(ask(tmp_path)["error"])
