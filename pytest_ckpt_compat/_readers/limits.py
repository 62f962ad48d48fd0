"""The limits of the readers, and the errors they raise when they refuse a file.

The limits allow far more than any real checkpoint needs (250,000 tensors). A hostile file stays
below one gigabyte of memory and ten seconds.
"""

from __future__ import annotations

#: Steps of one pickle. Each opcode is one step; copying a collection is one step per four elements.
PICKLE_OPERATIONS = 10_000_000
#: Bytes of one pickle.
PICKLE_BYTES = 128 << 20
#: Entries of a pickle's memo.
PICKLE_MEMO = 3_000_000
#: Values waiting on a pickle's stack.
PICKLE_STACK = 2_000_000
#: Unfinished collections nested in each other.
PICKLE_MARKS = 10_000
#: Sets in one pickle. One opcode makes an empty set, which takes 216 bytes of memory.
PICKLE_SETS = 200_000
#: Characters in the name of a class or function.
NAME_LENGTH = 1_000
#: Digits, or bytes, of one integer.
INTEGER_LENGTH = 1_000
#: Length above which a placeholder replaces text or bytes.
LONG_VALUE = 1 << 20
#: Characters of one dictionary key.
KEY_LENGTH = 1 << 16
#: Tuples inside tuples in a dictionary key.
KEY_DEPTH = 8
#: Dictionary keys and set elements whose hashes a file could choose.
CHOSEN_HASHES = 10_000

#: Keys of one state_dict.
KEYS = 250_000
#: Dimensions of one tensor.
DIMENSIONS = 64
#: Elements of one tensor, and the largest size, stride and offset: the maximum of torch's int64.
ELEMENTS = (1 << 63) - 1
#: Nesting of containers among the plain values, and of modules.
DEPTH = 100
#: Characters in all keys of one module tree; bytes in all texts of a GGUF or ONNX header.
CHARACTERS = 64 << 20
#: Plain values kept beside the tensors; placeholders replace those beyond this number or DEPTH.
VALUES = 1_000_000
#: Levels searched for a state_dict.
SEARCH_DEPTH = 6
#: Elements of a list searched for a state_dict.
SEARCH_LENGTH = 100

#: Files of one sharded checkpoint.
SHARDS = 4_096
#: Entries of a directory.
DIRECTORY_ENTRIES = 100_000
#: Bytes of a JSON index, or of another description in JSON.
JSON_BYTES = 64 << 20
#: Bytes of JSON that is not pure ASCII.
WIDE_JSON = 16 << 20
#: Bytes of one class's source text in a TorchScript archive.
SOURCE_BYTES = 4 << 20
#: Optimizers of one checkpoint.
OPTIMIZERS = 100
#: Settings, parameters and values in all optimizers of one checkpoint.
OPTIMIZER_ENTRIES = 1_000_000

#: Bytes of a zip directory.
ZIP_DIRECTORY = 64 << 20
#: Records of a zip archive.
ZIP_RECORDS = 600_000

#: Bytes of a safetensors header; the reference implementation has the same limit.
SAFETENSORS_HEADER = 100_000_000

#: Bytes fetched of one remote file.
REMOTE_BYTES = 256 << 20

#: Fields visited in an ONNX file.
ONNX_FIELDS = 1_000_000
#: Texts and values in the header of a GGUF file.
GGUF_VALUES = 2_000_000
#: Bytes of one text kept from a GGUF or ONNX file.
TEXT_BYTES = 1 << 16

#: Characters of a refusal. It may quote long names from the file.
_SHOWN = 600
_FETCH = "the file is damaged or was tampered with: fetch or save it again"


class RefusalError(Exception):
    """A reader refuses a file. ``read`` adds the path and raises ReadError."""

    def __init__(self, problem: str, advice: str) -> None:
        if len(problem) > _SHOWN:
            problem = f"{problem[:_SHOWN]}..."
        super().__init__(problem, advice)
        self.problem = problem
        self.advice = advice


class ChoiceRefusalError(RefusalError):
    """A file holds several state_dicts.

    Attributes:
        equal: the dotted paths of those that go first.
        others: the dotted paths of the others.
    """

    def __init__(self, problem: str, advice: str, equal: tuple[str, ...], others: tuple[str, ...]) -> None:
        super().__init__(problem, advice)
        self.equal = equal
        self.others = others


class BrokenOffError(RefusalError):
    """A pickle continues after the available bytes. Reading more of the file may help."""


class UnreachableRefusalError(RefusalError):
    """The file is elsewhere: behind a URL that cannot be reached, or where a pointer in its place leads."""


class Budget:
    """The steps that reading one checkpoint may take, over all its files."""

    __slots__ = ("spent",)

    def __init__(self) -> None:
        self.spent = 0

    def spend(self, steps: int) -> None:
        """Counts steps. Raises RefusalError above ``PICKLE_OPERATIONS``."""
        self.spent += steps
        if self.spent > PICKLE_OPERATIONS:
            raise over_limit("pickle operations", PICKLE_OPERATIONS)


def over_limit(what: str, limit: int) -> RefusalError:
    """Makes the refusal of a file that exceeds one of the limits above."""
    return RefusalError(
        f"it has more than {limit:,} {what}, the limit for reading it safely",
        "save only model.state_dict() to a file of its own",
    )


def damaged(problem: str) -> RefusalError:
    """Makes the refusal of a file whose bytes contradict its format."""
    return RefusalError(problem, _FETCH)


def broken_off(length: int) -> BrokenOffError:
    """Makes the refusal of a pickle that ends after ``length`` bytes, before its STOP."""
    return BrokenOffError(f"its pickle breaks off at byte {length:,}", _FETCH)
