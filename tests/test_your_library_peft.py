"""The example of the page on peft works as it is printed, with the directory and from its snapshot."""

from __future__ import annotations

import importlib
import shutil
from typing import Any

import pytest

from tests.test_your_library import record_and_run, write


@pytest.mark.long
@pytest.mark.usefixtures("warm_libraries")
def test_peft(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    peft: Any = pytest.importorskip("peft", reason="saves the adapter of the example")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    assert write(pytester, "peft") == ["tagger.py", "test_adapters.py"]
    base = importlib.import_module("tagger").Tagger()
    config = peft.LoraConfig(r=2, target_modules=["query", "value"], modules_to_save=["head"])
    folder = pytester.path / "adapters" / "names"
    peft.get_peft_model(base, config).save_pretrained(folder)
    result = record_and_run(pytester, passed=1)
    result.stdout.fnmatch_lines(["*loaded as peft's PeftModel.from_pretrained does: LORA adapter of PEFT (*"])
    shutil.rmtree(folder)  # from here on, from the snapshot
    record_and_run(pytester, passed=1)
    model = pytester.path / "tagger.py"
    # Of another length: within one second, Python takes a file of the same size for the one it has compiled.
    model.write_text(model.read_text().replace("tags=5", "tags=12"))
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK202 adapters/names: head resized", "*is absent: checked from*"])
    model.write_text(model.read_text().replace("query", "q"))
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.stdout.fnmatch_lines(["CK*adapters/names: *", "*LORA adapter*"])
