"""Memory and work of reading files made to exhaust a reader: ``python -m benchmarks.hostile_readers``.

Each is read in a process of its own (on Linux). Exits with 1 if one takes more than 1 GB, or ten
seconds of the processor.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.readers.hostile import WRITERS

_READ = """
import sys, time
from pytest_ckpt_compat._core.errors import CkptCompatError
from pytest_ckpt_compat._readers import read
from pytest_ckpt_compat._snapshots.store import read_file
read = read_file if sys.argv[2].startswith("snapshot") else read
started = time.process_time()
try:
    result = f"{len(read(sys.argv[1]).tensors)} tensors"
except CkptCompatError as error:
    result = f"{error.problem[:70]}"
seconds = time.process_time() - started
used = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"{seconds:.2f} {int(used) // 1024} {result}")
"""
_SECONDS, _MEGABYTES = 10, 1000


def main(kinds: list[str]) -> int:
    """Prints a line for each kind of file."""
    status = 0
    for kind in kinds or WRITERS:
        with tempfile.TemporaryDirectory() as folder:
            path = WRITERS[kind](Path(folder))
            command = [sys.executable, "-c", _READ, str(path), kind]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{kind:36} failed: {done.stderr[-300:]}")
            status = 1
            continue
        seconds, megabytes, result = done.stdout.strip().split(" ", 2)
        print(f"{kind:36} {float(seconds):6.2f} s {int(megabytes):5} MB  {result}")
        if float(seconds) > _SECONDS or int(megabytes) > _MEGABYTES:
            status = 1
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
