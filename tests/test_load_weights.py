"""``ckpt_compat.load()`` of a distributed checkpoint, and of a checkpoint at an address."""

from __future__ import annotations

import http.server
import json
import pickle
import socketserver
import threading
from collections.abc import Iterator
from functools import partial
from multiprocessing import resource_tracker, spawn
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

from pytest_ckpt_compat._check.check import check_structure
from pytest_ckpt_compat._check.checkpoint import load
from pytest_ckpt_compat._core.changes import Policy
from pytest_ckpt_compat._core.errors import NoBaselineError, ReadError, UnreachableError
from pytest_ckpt_compat._definition.find import find
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._registry.registration import Registration
from tests.conftest import Net

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, about single processes


class Reads(Net):
    """Loading code that needs the numbers of the file."""

    def _load_from_state_dict(self, state_dict: Any, *args: Any) -> None:
        if "head.bias" in state_dict and state_dict["head.bias"].sum().item() > 3:
            state_dict["head.bias"] = torch.zeros(4)
        super()._load_from_state_dict(state_dict, *args)


def ones() -> dict[str, torch.Tensor]:
    return {key: torch.ones_like(value) for key, value in Net().state_dict().items()}


def registered(path: Path | str, model: Any = Net, **options: Any) -> Registration:
    address = path if isinstance(path, str) else ""
    return Registration("net-v1", Path(path), str(path), model, address=address, policy=Policy(), **options)


def is_ones(module: Any) -> bool:
    return all(bool((value == 1).all()) for value in module.state_dict().values())


@pytest.mark.parametrize("entry", ["", ".metadata"])
@pytest.mark.parametrize(
    ("saved", "key"),
    [(ones, None), (lambda: {"model": ones(), "epoch": 3}, None), (lambda: {"a.b": {"c": ones()}}, "a.b.c")],
)
def test_a_distributed_checkpoint(tmp_path: Path, saved: Any, key: str | None, entry: str) -> None:
    save_distributed(saved(), checkpoint_id=tmp_path / "step_3")
    assert is_ones(load(registered(tmp_path / "step_3" / entry, key=key)))


def test_a_distributed_checkpoint_of_several_ranks(
    tmp_path: Path, warm_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a tensor that lie in pieces, as two ranks write them."""
    whole = torch.arange(12.0).reshape(4, 3)
    resource_tracker.ensure_running()  # it stays, and needs no torch
    monkeypatch.setattr(spawn, "_python_exe", spawn.get_executable())  # which is put back
    spawn.set_executable(warm_python)
    context = torch.multiprocessing.get_context("spawn")
    workers = [context.Process(target=_rank, args=(rank, str(tmp_path))) for rank in range(2)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(60)
    assert [each.exitcode for each in workers] == [0, 0]
    module = load(registered(tmp_path / "step_3", lambda: nn.Linear(3, 4, bias=False)))
    assert isinstance(module, nn.Module)
    assert module.state_dict()["weight"].equal(whole)


def _rank(rank: int, folder: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    weight = distribute_tensor(torch.arange(12.0).reshape(4, 3), mesh, [Shard(0)])
    save_distributed({"weight": weight}, checkpoint_id=f"{folder}/step_3")
    dist.destroy_process_group()


def test_loading_code_that_reads_numbers_gets_them(tmp_path: Path) -> None:
    save_distributed(ones(), checkpoint_id=tmp_path)
    module = load(registered(tmp_path, Reads))
    assert isinstance(module, Reads)
    assert module.head.bias.sum() == 0


def test_loading_code_gets_no_more_numbers_than_memory_may_take(tmp_path: Path) -> None:
    save_distributed(ones(), checkpoint_id=tmp_path)
    structure, definition = read(tmp_path), find(Reads)
    assert check_structure(structure, definition, Policy()).compatible
    with pytest.raises(NoBaselineError, match="reads the values of tensors"):
        check_structure(structure, definition, Policy(memory_budget=100))


class Harm:
    def __reduce__(self) -> Any:
        return exec, ("import pathlib; pathlib.Path('harm').touch()",)


def test_nothing_foreign_in_it_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_distributed(ones(), checkpoint_id=tmp_path)
    file = tmp_path / ".metadata"
    metadata = pickle.loads(file.read_bytes())
    metadata.storage_meta = Harm()
    file.write_bytes(pickle.dumps(metadata))
    assert not read(tmp_path).locations
    with pytest.raises(ReadError, match=r"the numbers of body\.0\.weight .* cannot be read"):
        load(registered(tmp_path))
    assert not (tmp_path / "harm").exists()


def test_data_that_is_not_what_it_says(tmp_path: Path) -> None:
    save_distributed(ones(), checkpoint_id=tmp_path)
    (data,) = tmp_path.glob("*.distcp")
    data.write_bytes(b"\0" * data.stat().st_size)
    with pytest.raises(ReadError, match=r"torch\.distributed\.checkpoint raised "):
        load(registered(tmp_path))


def test_data_that_git_lfs_has(tmp_path: Path) -> None:
    save_distributed(ones(), checkpoint_id=tmp_path)
    (data,) = tmp_path.glob("*.distcp")
    data.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(
        UnreachableError, match=r"__0_0\.distcp', it is a Git LFS pointer.*; run: git lfs pull"
    ):
        load(registered(tmp_path))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def send_head(self) -> Any:
        """Serves parts of files, too."""
        wanted = self.headers.get("Range", "")
        path = Path(self.translate_path(self.path))
        if not wanted or not path.is_file():
            return super().send_head()
        begin, end = (int(text) for text in wanted.removeprefix("bytes=").split("-"))
        data = path.read_bytes()
        part = data[begin : end + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)
        return None


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    handler = partial(_Quiet, directory=str(tmp_path))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def sharded(folder: Path) -> str:
    state = ones()
    names = list(state)
    parts = {"a.safetensors": names[:2], "b.safetensors": names[2:]}
    for name, keys in parts.items():
        save_file({key: state[key] for key in keys}, folder / name)
    mapping = {key: name for name, keys in parts.items() for key in keys}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": mapping}))
    return "model.safetensors.index.json"


@pytest.mark.parametrize("kind", ["torch", "safetensors", "sharded", "distributed"])
def test_an_address(served: tuple[Path, str], kind: str) -> None:
    pytest.importorskip("aiohttp", reason="reads addresses")
    folder, url = served
    name = {"torch": "net.pt", "safetensors": "net.safetensors", "distributed": ".metadata"}.get(kind, "")
    if kind == "torch":
        torch.save({"state_dict": ones(), "epoch": 3}, folder / name)
    elif kind == "safetensors":
        save_file(ones(), folder / name)
    elif kind == "distributed":
        save_distributed(ones(), checkpoint_id=folder)
    else:
        name = sharded(folder)
    assert is_ones(load(registered(f"{url}/{name}?token=SECRET")))


def test_an_address_of_nothing(served: tuple[Path, str]) -> None:
    pytest.importorskip("aiohttp", reason="reads addresses")
    with pytest.raises(UnreachableError, match="there is no such file") as caught:
        load(registered(f"{served[1]}/gone.pt?token=SECRET"))
    assert "SECRET" not in str(caught.value)


MARKED = """
import pytest
from models import Net

@pytest.mark.checkpoint("{url}/net.pt", id="net-v1", model=Net)
def test_net(ckpt_compat):
    assert ckpt_compat.load().head.bias.sum() == 4
"""


@pytest.mark.usefixtures("warm_libraries")
def test_the_fixture(project: pytest.Pytester) -> None:
    pytest.importorskip("aiohttp", reason="reads addresses")
    torch.save(ones(), project.path / "net.pt")
    handler = partial(_Quiet, directory=str(project.path))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        project.makepyfile(test_net=MARKED.format(url=f"http://127.0.0.1:{server.server_address[1]}"))
        project.runpytest_subprocess("--ckpt-update", "-p", "no:asyncio").assert_outcomes(passed=1)
        server.shutdown()
        thread.join()
    result = project.runpytest_subprocess("-rs", "-p", "no:asyncio")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*its server cannot be reached *: there are no weights to load"])
