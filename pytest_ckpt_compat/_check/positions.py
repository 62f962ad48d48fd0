"""What helps where an embedding has another number of positions: a sequence is no grid."""

from __future__ import annotations

import math

#: Most rows beside a grid that stand for tokens: of the class, and of a distillation.
_TOKENS = 2


def other_positions(before: int, after: int) -> str:
    """The advice for an embedding of so many positions in the checkpoint, and so many in the definition.

    Nothing but the numbers shows what the rows are. Where both are squares of one size beside other numbers
    of tokens, tokens came or went. Where both are squares beside as many tokens, the grid grew. Else it is
    as likely a sequence, of which the rows are copied.
    """
    ours, theirs = _grids(before), _grids(after)
    both = ours.keys() & theirs.keys()
    if both:
        return _other_tokens(ours[max(both)], theirs[max(both)])
    tokens = set(ours.values()) & set(theirs.values())
    if tokens:
        rows = {0: "", 1: " but for the class token's row", 2: " but for the two tokens' rows"}[min(tokens)]
        return f"interpolate it{rows} while loading (migrate=), or build the model for the old size"
    return (
        "build the model for the old size, or fill it while loading (migrate=): the rows of a sequence are "
        "copied, those of a grid interpolated"
    )


def _grids(rows: int) -> dict[int, int]:
    """The sizes of the square grids that so many rows may be -> the number of rows beside them."""
    sizes = {rows - tokens: tokens for tokens in range(_TOKENS + 1)}
    return {size: tokens for size, tokens in sizes.items() if size > 1 and math.isqrt(size) ** 2 == size}


def _other_tokens(before: int, after: int) -> str:
    more = after - before
    if {before, after} == {0, 1}:
        what = "add a row for the class token" if more > 0 else "cut off the row of the class token"
    elif abs(more) == 1:
        what = "add a row for a further token" if more > 0 else "cut off the row of one token"
    else:
        what = f"add {more} rows for tokens" if more > 0 else f"cut off the {-more} rows of tokens"
    return f"{what} while loading (migrate=): the others are the same grid"
