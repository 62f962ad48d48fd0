"""Values that depend on a key and a shape alone: the same on every platform, in every version of torch."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): SplitMix64.
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
#: Numbers of one key before they come again: the largest prime below 2 ** 16.
_PERIOD = 65_521
#: Numbers that are drawn at once: torch divides more among threads, which costs more than it gains.
_AT_ONCE = 1 << 15
#: Names of vectors around zero. Others are factors, or divisors, and lie around one.
_AROUND_ZERO = re.compile(r"bias|mean|beta|shift|offset|^b(_|\d|$)")


def draw(key: str, number: int, start: int = 0) -> torch.Tensor:
    """Draws numbers from a key: evenly in [-1, 1), float64, shape ``[number]``.

    The SHA-256 of the key starts a sequence of integers, of which each number is a multiple of 2 ** -52: no
    function is called whose last digit depends on the machine. They come again after a prime number of them,
    so that no two rows of a matrix are alike.

    Args:
        key: what they are drawn from.
        number: how many.
        start: how many of the key's numbers to pass over.
    """
    first = start % _PERIOD
    once = _drawn(key, min(_PERIOD, first + number))
    if first + number > _PERIOD:
        once = once.repeat(-(-(first + number) // _PERIOD))
    return once[first : first + number]


def _drawn(key: str, number: int) -> torch.Tensor:
    import torch

    seed = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    found = torch.empty(number, dtype=torch.float64)
    for begin in range(0, number, _AT_ONCE):
        end = min(begin + _AT_ONCE, number)
        bits = torch.arange(begin + 1, end + 1, dtype=torch.int64)
        bits.mul_(_signed(_STEP)).add_(_signed(seed))
        _mix(bits, 30).mul_(_signed(_FIRST))
        _mix(bits, 27).mul_(_signed(_SECOND))
        _mix(bits, 31)
        found[begin:end] = _right(bits, 11).to(torch.float64)
    return found.mul_(2.0**-52).sub_(1.0)


def weight(key: str, shape: Iterable[int]) -> torch.Tensor:
    """The value of a parameter or a persistent buffer, float64.

    A matrix or kernel has the variance 1 / fan-in, so that what it computes stays in range. A vector or a
    scalar lies between 0.5 and 1.5, as factors and variances do, or around 0 if it is named as a bias.
    """
    shape = tuple(shape)
    values = draw(key, math.prod(shape)).reshape(shape)
    if len(shape) > 1:
        fan_in = max(1, math.prod(shape[1:]))
        return values.mul_(math.sqrt(3 / fan_in))
    if _AROUND_ZERO.search(key.rpartition(".")[2]):
        return values.mul_(0.25)
    return values.mul_(0.5).add_(1.0)


def _mix(bits: torch.Tensor, places: int) -> torch.Tensor:
    return bits.bitwise_xor_(_right(bits, places))


def _right(bits: torch.Tensor, places: int) -> torch.Tensor:
    """Shifts to the right and fills with zeros, as unsigned integers are."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    """A number of 64 bits as torch's int64 holds it."""
    return number - (1 << 64) if number >= 1 << 63 else number
