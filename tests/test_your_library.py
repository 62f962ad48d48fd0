"""The examples of the page on loaders and libraries work as they are printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).parent.parent / "docs" / "your_library.md"
MODELS = """
from torch import nn

class Classifier(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.head = nn.Linear(4, num_classes)
"""


def write(project: pytest.Pytester, title: str) -> list[str]:
    """Writes the files that a section of the page shows; each begins with its name. Returns the names."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert found, f"no section {title}"
    files = re.findall(r"^```python\n# (\S+)\n(.*?)^```", found[1], re.S | re.M)
    for name, code in files:
        (project.path / name).write_text(code)
    project.syspathinsert()
    return [name for name, _ in files]


def record_and_run(project: pytest.Pytester, passed: int) -> pytest.RunResult:
    project.runpytest_subprocess("--ckpt-update", "-q", "-p", "no:asyncio")
    result = project.runpytest_subprocess("-p", "no:asyncio", "-rA")
    result.assert_outcomes(passed=passed)
    return result


@pytest.mark.usefixtures("warm_python")
def test_your_own_loader(pytester: pytest.Pytester) -> None:
    assert write(pytester, "Your own loader") == ["loading.py", "test_checkpoints.py"]
    (pytester.path / "models.py").write_text(MODELS)
    (pytester.path / "checkpoints").mkdir()
    state = {"module.head.weight": torch.zeros(10, 4), "module.head.bias": torch.zeros(10)}
    torch.save({"model": state}, pytester.path / "checkpoints" / "run_17.pt")
    record_and_run(pytester, passed=1)
    (pytester.path / "models.py").write_text(MODELS.replace("self.head", "self.classifier"))
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CK103 checkpoints/run_17.pt*", "*head.[*]*classifier.[*]*"])


@pytest.mark.usefixtures("warm_libraries")
def test_transformers(pytester: pytest.Pytester) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="saves the model of the example")
    assert write(pytester, "transformers") == ["test_released.py"]
    sizes = {"n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 6, "vocab_size": 11}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    model.save_pretrained(pytester.path / "released")
    record_and_run(pytester, passed=2)
