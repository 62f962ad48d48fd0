"""Models of transformers on the Hub, in its cache, and where there is no more than a snapshot."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pytest_ckpt_compat._core.hub import Repository, repository
from tests.conftest import SETTINGS, Printed
from tests.repository import edit

pytest.importorskip("huggingface_hub", reason="has the cache")
transformers: Any = pytest.importorskip("transformers", reason="its from_pretrained is the oracle")

ROOT = Path(__file__).parents[1]
SIZES = {"n_embd": 8, "n_head": 2, "n_positions": 6, "n_layer": 1, "bos_token_id": 0, "eos_token_id": 0}
COMMIT = "b" * 40


def save(folder: Path, vocab_size: int = 17, **options: Any) -> Path:
    config = transformers.GPT2Config(vocab_size=vocab_size, **SIZES)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder, **options)
    return folder


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("hf://o/n", Repository("o/n")),
        ("hf://o/n/", Repository("o/n")),
        ("hf://o/n@v1/sub/m.safetensors", Repository("o/n", "v1", "sub/m.safetensors")),
        ("hf://o/n@refs%2Fpr%2F1", Repository("o/n", "refs/pr/1")),
        ("hf://datasets/o/n/f.pt", None),
        ("https://huggingface.co/o/n", None),
        ("o/n", None),
    ],
)
def test_addresses_of_models(url: str, found: Repository | None) -> None:
    assert repository(url) == found


def in_cache(home: Path, name: str, **options: Any) -> Path:
    """A model in the Hub's cache, as ``snapshot_download`` leaves it: links to blobs."""
    store = home / "hub" / f"models--o--{name}"
    files = save(home / "made", **options)
    folder = store / "snapshots" / COMMIT
    for each in (folder, store / "blobs", store / "refs"):
        each.mkdir(parents=True)
    (store / "refs" / "main").write_text(COMMIT)
    for file in files.iterdir():
        blob = store / "blobs" / file.name.replace(".", "")
        shutil.move(file, blob)
        (folder / file.name).symlink_to(os.path.relpath(blob, folder))
    return folder


CODE = """
import sys, json
import pytest_ckpt_compat as ckpt
from pytest_ckpt_compat._check.checkpoint import load
from pytest_ckpt_compat._registry.registration import Registration
from pathlib import Path
import transformers

kinds = [dict(load="transformers"), dict(model="transformers:GPT2LMHeadModel")]
for address in sys.argv[1:]:
    for options in kinds:
        verdict = ckpt.check(address, **options)
        print(verdict.compatible, verdict.old_label, verdict.new.tensors["lm_head.weight"])
        options = {"model": None, **options, "address": address}
        registration = Registration("x", Path(address), address, **options)
        print(type(load(registration)).__name__)
    name = address.removeprefix("hf://").partition("@")[0]
    oracle = transformers.GPT2LMHeadModel.from_pretrained(name, output_loading_info=True)[1]
    print(not (oracle["missing_keys"] or oracle["unexpected_keys"]))
"""


def expected(*addresses: str) -> list[str]:
    """What ``CODE`` prints where every model loads."""
    twice = ([f"True {address} float32[17, 8]", "GPT2LMHeadModel"] * 2 for address in addresses)
    return [line for lines in twice for line in (*lines, "True")]


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
def test_models_in_the_cache(tmp_path: Path) -> None:
    """Without the network, as in CI: the Hub is not asked, and from_pretrained itself loads them.

    One in one file, the other sharded and with a revision.
    """
    in_cache(tmp_path, "one")
    in_cache(tmp_path, "sharded", max_shard_size="1KB")
    addresses = ["hf://o/one", "hf://o/sharded@main"]
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, *addresses],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected(*addresses)


class Hub(BaseHTTPRequestHandler):
    """The models ``o/NAME``, each in a folder of its name, as the Hub serves them."""

    folder: ClassVar[Path]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.reply(json.dumps(self.tree()).encode())

    def do_GET(self) -> None:
        self.answer(body=True)

    def model(self) -> str:
        found = re.search(r"/o/(\w+)", self.path)
        return found[1] if found else ""

    def tree(self) -> list[dict[str, Any]]:
        files = sorted((self.folder / self.model()).iterdir())
        return [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "a" * 40} for f in files]

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        file = self.folder / self.model() / path.rpartition("/")[2]
        if path.startswith("/api/") and "/tree/" in path:
            self.reply(json.dumps(self.tree()).encode())
        elif path.startswith("/api/models/o/"):
            self.reply(
                json.dumps({"id": f"o/{self.model()}", "_id": "1", "sha": COMMIT, "siblings": []}).encode()
            )
        elif "/resolve/" in path and file.is_file():
            data = file.read_bytes()
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
            begin, end = (int(found[1]), min(int(found[2]) + 1, len(data))) if found else (0, len(data))
            part = {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"} if found else {}
            part["ETag"] = f'"{hashlib.sha256(data).hexdigest()}"'  # the cache takes it for the content
            self.reply(data[begin:end], 206 if found else 200, part, body)
        else:
            self.reply(b"{}", 404, {"X-Error-Code": "EntryNotFound"}, body)

    def reply(
        self, data: bytes, status: int = 200, more: dict[str, str] | None = None, body: bool = True
    ) -> None:
        self.send_response(status)
        named = {"X-Repo-Commit": COMMIT, "Content-Length": str(len(data))}
        for name, value in {**named, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
def test_models_of_the_hub(tmp_path: Path) -> None:
    """One in one file, the other sharded."""
    pytest.importorskip("fsspec", reason="reads addresses")
    save(tmp_path / "served" / "one")
    save(tmp_path / "served" / "sharded", max_shard_size="1KB")
    addresses = ["hf://o/one", "hf://o/sharded"]
    handler = type("Bound", (Hub,), {"folder": tmp_path / "served"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{listening.server_address[1]}"
        environment = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CODE, *addresses],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment, "HF_HUB_DISABLE_XET": "1"},
            timeout=120,
        )
        listening.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected(*addresses)


@pytest.mark.long
@pytest.mark.usefixtures("warm_python")
def test_a_model_that_is_nowhere(tmp_path: Path) -> None:
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    code = (
        "import pytest_ckpt_compat as ckpt\nfrom pytest_ckpt_compat._core.errors import CkptCompatError\n"
        "for options in ({'model': 'transformers:GPT2LMHeadModel'}, {'load': 'transformers'}):\n"
        "    try:\n        ckpt.check('hf://o/n', **options)\n"
        "    except CkptCompatError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
        timeout=120,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout
    assert lines[0].startswith("hf://o/n: it"), lines
    assert lines[1].startswith("hf://o/n, option load: is transformers, and config.json cannot be read"), (
        lines
    )


ENTRY = """
[[tool.ckpt_compat.checkpoint]]
id = "gpt2-v1"
path = "released"
"""
WAYS = {"library": 'load = "transformers"\n', "class": 'model = "transformers:GPT2LMHeadModel"\n'}


@pytest.fixture(params=WAYS)
def project(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> pytest.Pytester:
    pytester.makepyprojecttoml(SETTINGS + ENTRY + WAYS[request.param])
    save(pytester.path / "released")
    return pytester


@pytest.mark.parametrize("left", ["config", "nothing", "pointer", "index"])
def test_a_check_from_the_snapshot(
    project: pytest.Pytester, command: Callable[..., Printed], left: str
) -> None:
    folder = project.path / "released"
    if left == "index":
        shutil.rmtree(folder)
        save(folder, max_shard_size="1KB")
    recorded = command("update")
    assert recorded.code == 0, recorded
    for file in folder.glob("*.safetensors"):
        file.unlink()
        if left == "pointer":
            file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    if left == "nothing":
        shutil.rmtree(folder)
    printed = command("check")
    assert printed.code == 0, printed
    assert "checked from its snapshot ckpt_snapshots/gpt2-v1.json" in printed.out
    assert command("update").code == 0
    assert "unused" not in command("check").out


def test_the_id_of_a_model_alone_is_a_path(
    pytester: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    """Nothing is looked for on the Hub unless the path says so."""
    entry = ENTRY.replace('"released"', '"owner/name"') + WAYS["class"]
    pytester.makepyprojecttoml(SETTINGS + entry)
    printed = command("check")
    assert printed.code == 2
    assert "fetch the file, or correct the path; a model of the Hub is hf://owner/name" in printed.out


def test_a_committed_configuration_that_changes_is_seen(
    project: pytest.Pytester, command: Callable[..., Printed]
) -> None:
    assert command("update").code == 0
    for file in (project.path / "released").glob("*.safetensors"):
        file.unlink()
    edit(project.path / "released" / "config.json", '"vocab_size": 17', '"vocab_size": 18')
    printed = command("check")
    assert printed.code == 1, printed
    assert "transformer.wte.weight" in printed.out


def test_two_checkpoints_of_one_class(pytester: pytest.Pytester, command: Callable[..., Printed]) -> None:
    """Each is built from its own configuration, so each definition has a snapshot of its own."""
    second = ENTRY.replace("gpt2-v1", "gpt2-v2").replace("released", "wider") + WAYS["class"]
    pytester.makepyprojecttoml(SETTINGS + ENTRY + WAYS["class"] + second)
    save(pytester.path / "released")
    save(pytester.path / "wider", vocab_size=30)
    assert command("update").code == 0
    printed = command("check")
    assert printed.code == 0, printed
    text = (pytester.path / "ckpt_snapshots" / "gpt2-v2.json").read_text()
    assert json.loads(text)["values"]["config.json"]["vocab_size"] == 30
