"""What a reader accepts before it refuses a file, and the refusal itself.

The limits leave room for far more than any real checkpoint needs (250,000 tensors), and keep a
hostile one below a gigabyte of memory and ten seconds.
"""

from __future__ import annotations

#: Steps of one pickle; every opcode is one, a copy of a collection is one per four elements.
PICKLE_OPERATIONS = 10_000_000
#: Bytes of one pickle.
PICKLE_BYTES = 128 << 20
#: Entries of a pickle's memo.
PICKLE_MEMO = 3_000_000
#: Values waiting on a pickle's stack.
PICKLE_STACK = 2_000_000
#: Collections that are under construction inside each other.
PICKLE_MARKS = 10_000
#: Sets in one pickle; an empty one takes 216 bytes and one opcode.
PICKLE_SETS = 200_000
#: Characters of one name of a class or function.
NAME_LENGTH = 1_000
#: Digits, or bytes, of one integer.
INTEGER_LENGTH = 1_000
#: Text or bytes longer than this are kept as a placeholder.
LONG_VALUE = 1 << 20
#: Characters of one dictionary key.
KEY_LENGTH = 1 << 16
#: Tuples inside tuples in a dictionary key.
KEY_DEPTH = 8
#: Dictionary keys and set elements of a kind whose hash a file could choose.
CHOSEN_HASHES = 10_000

#: Keys of one state_dict.
KEYS = 250_000
#: Dimensions of one tensor.
DIMENSIONS = 64
#: Elements of one tensor, and the largest size, stride and offset: what torch's int64 can hold.
ELEMENTS = (1 << 63) - 1
#: Containers inside containers among the plain values, and modules inside modules.
DEPTH = 100
#: Characters of all keys of one module tree, and bytes of all texts in a GGUF or ONNX header.
CHARACTERS = 64 << 20
#: Plain values kept beside the tensors; what lies beyond (or deeper) is kept as a placeholder.
VALUES = 1_000_000
#: Levels at which a state_dict is searched.
SEARCH_DEPTH = 6
#: Elements of a list in which a state_dict is searched.
SEARCH_LENGTH = 100

#: Parts of one checkpoint in several files.
SHARDS = 4_096
#: Entries of a directory.
DIRECTORY_ENTRIES = 100_000
#: Bytes of a JSON index, or of another description in JSON.
JSON_BYTES = 64 << 20
#: Bytes of JSON in which not every character is ASCII.
WIDE_JSON = 16 << 20
#: Bytes of one class's source text in a TorchScript archive.
SOURCE_BYTES = 4 << 20
#: Optimizers of one checkpoint.
OPTIMIZERS = 100
#: Settings, parameters and values in all of them.
OPTIMIZER_ENTRIES = 1_000_000

#: Bytes of a zip directory.
ZIP_DIRECTORY = 64 << 20
#: Records of a zip archive.
ZIP_RECORDS = 600_000

#: Bytes of a safetensors header, as in the reference implementation.
SAFETENSORS_HEADER = 100_000_000


#: Bytes fetched of one remote file.
REMOTE_BYTES = 256 << 20

#: Fields of an ONNX file that are looked at.
ONNX_FIELDS = 1_000_000
#: Texts and values in the header of a GGUF file.
GGUF_VALUES = 2_000_000
#: Bytes of one text that is kept from a GGUF or ONNX file.
TEXT_BYTES = 1 << 16

#: Characters of a refusal; a file may have put long names into it.
_SHOWN = 600
_FETCH = "the file is damaged or was tampered with: fetch or save it again"


class RefusalError(Exception):
    """A reader will not read a file; ``readers.read`` adds the path and raises ReadError."""

    def __init__(self, problem: str, advice: str) -> None:
        if len(problem) > _SHOWN:
            problem = f"{problem[:_SHOWN]}..."
        super().__init__(problem, advice)
        self.problem = problem
        self.advice = advice


class BrokenOffError(RefusalError):
    """A pickle goes on after the bytes at hand; with more of them it may be read."""


class UnreachableRefusalError(RefusalError):
    """What is behind an address cannot be had at present; nothing is said about what it is."""


class Budget:
    """The steps of work that one reading may take, over all the files of a checkpoint."""

    __slots__ = ("spent",)

    def __init__(self) -> None:
        self.spent = 0

    def spend(self, steps: int) -> None:
        """Counts steps against the limit."""
        self.spent += steps
        if self.spent > PICKLE_OPERATIONS:
            raise over_limit("pickle operations", PICKLE_OPERATIONS)


def over_limit(what: str, limit: int) -> RefusalError:
    """The refusal of a file that exceeds one of the limits above."""
    return RefusalError(
        f"it has more than {limit:,} {what}, the limit for reading it safely",
        "save only model.state_dict() to a file of its own",
    )


def damaged(problem: str) -> RefusalError:
    """The refusal of a file whose bytes contradict its format."""
    return RefusalError(problem, _FETCH)


def broken_off(length: int) -> BrokenOffError:
    """The refusal of a pickle that has only ``length`` bytes."""
    return BrokenOffError(f"its pickle breaks off at byte {length:,}", _FETCH)
