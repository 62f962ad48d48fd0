"""The marker: what it checks, when, and what it says to mistakes."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.conftest import save

PLAIN = """
import pytest
from models import Net

@pytest.mark.checkpoint("net.pt", model=Net)
def test_net():
    pass
"""


def run(project: pytest.Pytester, *args: str, update: bool = True) -> pytest.RunResult:
    """Records snapshots first, unless asked not to, so that what fails is the load."""
    if update:
        project.runpytest_inprocess("--ckpt-update", "-q")
    return project.runpytest_inprocess("--strict-markers", *args)


def test_a_checkpoint_that_loads_passes(project: pytest.Pytester) -> None:
    project.makepyfile(PLAIN)
    run(project).assert_outcomes(passed=1)


def test_a_break_fails_before_the_body_runs_and_is_no_error(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from models import Net

        @pytest.mark.checkpoint("net.pt", model=Net, kwargs={"body": "trunk"})
        def test_net():
            raise AssertionError("the body ran")
        """
    )
    result = run(project, "-rA")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK1?? net.pt: *", "*trunk.[*]*"])
    result.stdout.no_fnmatch_line("*the body ran*")
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_ckpt_compat/*.py*")


def test_several_markers_become_several_items(project: pytest.Pytester) -> None:
    save(project.path / "old" / "net.pt")
    project.makepyfile(
        """
        import pytest
        from models import Net

        @pytest.mark.checkpoint("net.pt", model=Net)
        @pytest.mark.checkpoint("old/net.pt", model="models:Net", id="released")
        @pytest.mark.parametrize("n", [1, 2])
        def test_net(n):
            pass
        """
    )
    result = run(project, "-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines_random(
        [f"*::test_net[[]{id_}*] PASSED*" for id_ in ("net.pt-1", "net.pt-2", "released-1", "released-2")]
    )


def test_a_glob_becomes_an_item_for_each_file(project: pytest.Pytester) -> None:
    for name in ("a", "b"):
        save(project.path / "runs" / name / "model.pt")
    project.makepyfile(
        """
        import pytest
        from models import Net

        @pytest.mark.checkpoint("runs/*/model.pt", model=Net)
        class TestRuns:
            def test_net(self):
                pass
        """
    )
    result = run(project, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines_random(["*test_net[[]runs/a/model.pt]*", "*test_net[[]runs/b/model.pt]*"])


def test_a_name_that_is_a_glob_is_told_how_to_write(project: pytest.Pytester) -> None:
    (project.path / "net.pt").rename(project.mkdir("[v1]") / "net.pt")
    project.makepyfile(PLAIN.replace("net.pt", "[v1]/net.pt"))
    run(project).stdout.fnmatch_lines(["* a file has this very name: write it as [[][[]]v1]/net.pt"])
    project.makepyfile(PLAIN.replace("net.pt", "[[]v1]/net.pt"))
    run(project).assert_outcomes(passed=1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("[[]v1]/*.pt", ["[v1]/a.pt"]),
        ("[z-a]/*.pt", []),
        ("[&&~||--]/*.pt", ["&/a.pt"]),
        ("[!&]*/*.pt", ["[v1]/a.pt", "v^/a.pt"]),
        ("[[]*[]]/?.pt", ["[v1]/a.pt"]),
        ("v[!!]/a.pt", ["v^/a.pt"]),
        ("v[^^]a.pt", []),
        ("[v1]/a.pt", []),
        ("*[/]*", []),
    ],
)
def test_globs_with_brackets_find_absent_files_as_they_find_others(
    tmp_path: Path, glob: str, found: list[str]
) -> None:
    from pytest_ckpt_compat._core.errors import UsageError
    from pytest_ckpt_compat._registry.paths import SearchPath, find_files

    names = ("[v1]/a.pt", "&/a.pt", "v^/a.pt")
    for there in (False, True):
        for name in names if there else ():
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).touch()
        recorded = [] if there else [(name, name) for name in names]
        search = SearchPath((tmp_path,), tmp_path, recorded.__iter__)
        try:
            shown = sorted(each for _, each in find_files("it", glob, search))
        except UsageError:
            shown = []
        assert shown == found, there


def test_a_glob_finds_absent_files_by_their_snapshots(project: pytest.Pytester) -> None:
    path = save(project.path / "runs" / "a.pt")
    project.makepyfile(PLAIN.replace("net.pt", "runs/*.pt"))
    project.runpytest_inprocess("--ckpt-update")
    path.unlink()
    result = project.runpytest_inprocess("-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*runs/a.pt is absent: checked from its snapshot*"])


@pytest.mark.parametrize("scope", ["module", "class", "param", "unittest"])
def test_it_works_at_every_scope(project: pytest.Pytester, scope: str) -> None:
    mark = 'pytest.mark.checkpoint("net.pt", model=Net, kwargs={"classes": 7})'
    bodies = {
        "module": f"pytestmark = {mark}\ndef test_net(): pass",
        "class": f"@{mark}\nclass TestNet:\n    def test_net(self): pass",
        "param": f"@pytest.mark.parametrize('n', [pytest.param(1, marks={mark}), 2])\ndef test_net(n): pass",
        "unittest": f"import unittest\n@{mark}\nclass TestNet(unittest.TestCase):\n def test_net(self): pass",
    }
    project.makepyfile(f"import pytest\nfrom models import Net\n{bodies[scope]}")
    result = run(project)
    result.assert_outcomes(failed=1, passed=1 if scope == "param" else 0)
    result.stdout.fnmatch_lines(["CK202 net.pt: head resized"])


def test_a_skipped_test_checks_nothing(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from models import Net

        @pytest.mark.skip(reason="not today")
        @pytest.mark.checkpoint("net.pt", model=Net, kwargs={"classes": 7})
        def test_net():
            pass
        """
    )
    run(project).assert_outcomes(skipped=1)


#: What a marker is given -> what its test says.
_MISTAKES = [
    ('"net.pt"', "*net.pt, option model: is missing; it must be a class, a factory, *"),
    ('"net.pt", models=Net', "*has no option 'models'; options are path, model,*"),
    ("model=Net", "*checkpoint marker: needs one path*"),
    ('"net.pt", "b.pt", model=Net', "*needs one path*"),
    (
        '"nothing.pt", model=Net',
        "nothing.pt: nothing.pt: neither the file nor its snapshot * is there; fetch the file, *",
    ),
    ('"net.pt", model="models"', "*option model: is 'models'; it must be *\"package.module:attr\""),
    ('"no/*.pt", model=Net', "*no/[*].pt matches no file in *"),
    ('"net.pt", model=Net, strict="no"', "*option strict: is 'no'; it must be true or false"),
    (
        '"net.pt", model=Net, kwargs=[1]',
        "*option kwargs: is [[]1]; it must be a table (in Python, a dict)",
    ),
    ('"net.pt", model=Net, level="up"', "*option level: is 'up'; it must be backward, * or resume"),
    ('"net.pt", path="b.pt", model=Net', "*needs one path*"),
    ('"net.pt", model=Net, id="../up"', "*has the id '../up', which cannot be a file name*"),
    (
        '"net.pt", model=Net, allow=[("CK202", "head.*", " ")]',
        "*option allow: accepts CK202 without a reason*",
    ),
    (
        '"net.pt", model=Net, allow=[("CK000", "*", "why")]',
        "*option allow: names 'CK000', which is not a rule*",
    ),
    ('"net.pt", model=Net, allow="CK202"', "*option allow: is 'CK202'; it must be a list of *"),
]


@pytest.mark.parametrize("several", [False, True])
def test_a_mistake_fails_its_test_and_no_other(project: pytest.Pytester, several: bool) -> None:
    tests = ['@pytest.mark.checkpoint("net.pt", model=Net, id="other")\ndef test_other(): pass']
    for number, (marker, _) in enumerate(_MISTAKES):
        second = f'@pytest.mark.checkpoint("net.pt", model=Net, id="second{number}")' if several else ""
        tests.append(f"{second}\n@pytest.mark.checkpoint({marker})\ndef test_{number}(): pass")
    project.makepyfile("\n".join(["import pytest\nfrom models import Net", *tests]))
    project.runpytest_inprocess("--ckpt-update")
    result = project.runpytest_inprocess("--ckpt-report=r.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    count = len(_MISTAKES)
    result.assert_outcomes(failed=count, passed=1 + count * several)
    said = dict(re.findall(r"^_+ test_(\d+)\b.* _+\n(.*)$", result.stdout.str(), re.MULTILINE))
    others = {
        marker: said.get(str(number))
        for number, (marker, complaint) in enumerate(_MISTAKES)
        if not fnmatch(said.get(str(number), ""), f"CK90[16] {complaint}")
    }
    assert not others
    checked = json.loads((project.path / "r.json").read_text())["checkpoints"]
    good = {"other", *(f"second{number}" for number in range(count * several))}
    assert {each["id"] for each in checked if each["compatible"]} == good
    mistakes = set(said.values())  # two are the same to the word
    assert len([each for each in checked if not each["compatible"]]) == len(mistakes) == count - 1
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*raise *")


@pytest.mark.parametrize("scope", ["param", "unittest"])
def test_mistakes_in_markers_that_come_late(project: pytest.Pytester, scope: str) -> None:
    mark = 'pytest.mark.checkpoint("net.pt", modle=Net)'
    bodies = {
        "param": f"@pytest.mark.parametrize('n', [pytest.param(1, marks={mark})])\ndef test_net(n): pass",
        "unittest": f"import unittest\n@{mark}\nclass TestNet(unittest.TestCase):\n def test_net(self): pass",
    }
    project.makepyfile(f"import pytest\nfrom models import Net\n{bodies[scope]}")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["CK906 net.pt: checkpoint marker net.pt: has no option 'modle'; options are *"]
    )


def test_one_id_for_two_checkpoints_is_a_mistake(project: pytest.Pytester) -> None:
    mark = '@pytest.mark.checkpoint("net.pt", model=Net)\n'
    project.makepyfile(f"import pytest\nfrom models import Net\n{mark}{mark}def test_net(): pass")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*checkpoint net.pt: is registered twice on test_net; give one of them*"])


def test_paths_are_looked_for_beside_the_test_and_then_in_the_root(project: pytest.Pytester) -> None:
    tests = project.mkdir("tests")
    save(tests / "near.pt")
    body = PLAIN.replace("net.pt", "near.pt").replace("test_net", "test_near") + PLAIN
    (tests / "test_it.py").write_text(body)
    result = run(project, "-v")
    result.assert_outcomes(passed=2)
    assert (project.path / "ckpt_snapshots" / "tests" / "near.pt.json").exists()


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ("strict=False, kwargs={'extra': True}", "passed"),
        ("strict=True, kwargs={'extra': True}", "failed"),
        ("kwargs={'classes': 7}, allow=[('CK202', 'head.*', 'more classes')]", "passed"),
        ("kwargs={'classes': 7}, allow=[('CK202', 'neck.*', 'more classes')]", "failed"),
        ("kwargs={'classes': 7}, allow=[('head-resized', '*', 'more classes')]", "passed"),
        ("kwargs={'classes': 7}, strict=False", "failed"),
    ],
)
def test_strictness_and_accepted_breaks(project: pytest.Pytester, options: str, outcome: str) -> None:
    project.makepyfile(PLAIN.replace("model=Net", f"model=Net, {options}"))
    run(project).assert_outcomes(**{outcome: 1})


def test_what_passes_with_something_to_say_says_it(project: pytest.Pytester) -> None:
    project.makepyfile(PLAIN.replace("model=Net", "model=Net, strict=False, kwargs={'extra': True}"))
    run(project).stdout.fnmatch_lines(
        ["*checkpoint compatibility*", "CK101 net.pt: loads, 1 of 7 tensors missing"]
    )


@pytest.mark.parametrize("strip", ["", "strip_prefix='module.'"])
def test_a_wrappers_prefix(project: pytest.Pytester, strip: str) -> None:
    import torch

    state = {
        f"module.{key}": value
        for key, value in torch.load(project.path / "net.pt", weights_only=True).items()
    }
    torch.save(state, project.path / "net.pt")
    project.makepyfile(PLAIN.replace("model=Net", f"model=Net, {strip}"))
    result = run(project)
    result.assert_outcomes(**({"passed": 1} if strip else {"failed": 1}))
    if not strip:
        result.stdout.fnmatch_lines(
            [
                "CK107 net.pt: every key begins with module.",
                '*save model.module.state_dict(), or take "module." off*',
            ]
        )


def test_a_factory_is_given_the_checkpoints_values(project: pytest.Pytester) -> None:
    path = save(project.path / "net.pt", classes=9, settings={"classes": 9})
    project.makepyfile(PLAIN.replace("import Net", "import from_checkpoint as Net"))
    run(project).assert_outcomes(passed=1)
    path.unlink()
    run(project, update=False).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("'models:Nett'", "CK906 net.pt: models:Nett: models has no attribute Nett; check the spelling"),
        ("'modles:Net'", "CK906 net.pt: modles:Net: importing modles raised ModuleNotFoundError*"),
        ("'models:broken'", "CK906 net.pt: models.broken (*models.py:*): raised ValueError: no such size (*"),
        ("lambda: 3", "CK906 net.pt: the model (*): gave int, not a torch.nn.Module; *"),
        ("7", "CK906 net.pt: 7: is neither a class, a factory nor a module instance; *"),
    ],
)
def test_a_model_that_cannot_be_built(project: pytest.Pytester, model: str, complaint: str) -> None:
    project.makepyfile(PLAIN.replace("model=Net", f"model={model}"))
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([complaint])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "*empty*"), (b"PK\x03\x04 truncated", "*"), (b"just some text\n", "*text*")],
)
def test_a_file_that_cannot_be_read(project: pytest.Pytester, content: bytes, complaint: str) -> None:
    (project.path / "net.pt").write_bytes(content)
    project.makepyfile(PLAIN)
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"CK905 net.pt: net.pt: {complaint}"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert not (project.path / "ckpt_snapshots").exists()


def test_a_file_that_cannot_be_read_is_named_from_the_root(project: pytest.Pytester) -> None:
    folder = project.mkdir("sub")
    (folder / "net.safetensors.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}')
    (folder / "part.safetensors.index.json").write_text('{"weight_map": {"a": "part.safetensors"}}')
    (folder / "part.safetensors").write_bytes(b"cut")
    project.makepyfile(PLAIN.replace("net.pt", "sub/*.index.json"))
    result = run(project)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["CK905 sub/net.*.json: sub/net.safetensors.index.json: 1 of its 1 *"])
    result.stdout.fnmatch_lines(["CK905 sub/part.*.json: sub/part.safetensors*: *"])
    result.stdout.no_fnmatch_line(f"CK905*{project.path}*")


def test_every_key_is_printed_at_vv(project: pytest.Pytester) -> None:
    project.makepyfile(PLAIN.replace("model=Net", "model=Net, kwargs={'body': 'trunk'}"))
    result = run(project, "-vv")
    result.stdout.fnmatch_lines(["*body.0.weight*", "*body.0.bias*", "*body.2.weight*", "*body.2.bias*"])
