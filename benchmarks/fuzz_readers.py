"""Changes small real files of every format at random and reads them.

``python -m benchmarks.fuzz_readers 600`` runs for ten minutes.
Whatever comes out but a structure or a refusal ends the run with the seed that repeats it, and so
does a reading that takes more than ten seconds.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from pytest_ckpt_compat._readers.source.folders import LocalFolder
from tests.readers.test_fuzz import WRITERS, outcome

_TOKENS = (
    b"\x00",
    b"\xff",
    b"\xff\xff\xff\x7f",
    b"(",
    b")",
    b"t",
    b"R",
    b"b",
    b"u",
    b"Q",
    b"\x80",
    b"{",
    b"}",
    b'"',
)


def changed(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The content with a few bytes replaced, moved, repeated or taken from another file."""
    result = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        index = rng.randrange(len(result) + 1)
        span = rng.choice((1, 2, 4, 8, rng.randint(1, 200)))
        match rng.randrange(6):
            case 0:
                result[index : index + 1] = bytes([rng.randrange(256)])
            case 1:
                del result[index : index + span]
            case 2:
                result[index:index] = result[index : index + span]
            case 3:
                result[index : index + 4] = rng.randbytes(4)
            case 4:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                result[index : index + span] = other[start : start + span]
            case _:
                result[index : index + 1] = rng.choice(_TOKENS)
    return bytes(result)


def main(seconds: float, first_seed: int = 0) -> None:
    """Runs for so long, and says how many files of each format were read and refused."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = {}
        for kind, write in WRITERS.items():
            folder = Path(name) / kind
            folder.mkdir()
            samples[kind] = write(folder / "file"), LocalFolder(str(folder))
        contents = [content for content, _ in samples.values()]
        counts: Counter[tuple[str, bool]] = Counter()
        end, seed = time.monotonic() + seconds, first_seed
        while time.monotonic() < end:
            for kind, (content, folder_of) in samples.items():
                seed += 1
                bad = changed(content, contents, random.Random(seed))
                started = time.monotonic()
                try:
                    found = outcome(bad, folder_of)
                except Exception:
                    print(f"seed {seed}, {kind}: {bad!r}")
                    raise
                if time.monotonic() - started > 10:
                    raise SystemExit(f"seed {seed}, {kind}: took longer than ten seconds")
                counts[kind, found is not None] += 1
        for kind in samples:
            print(f"{kind:12} read {counts[kind, True]:8,}  refused {counts[kind, False]:8,}")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
