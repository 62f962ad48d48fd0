"""The assignment of the highest sum, without scipy where nothing contends for anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def assigned(table: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows, in order, and columns of the highest sum, as many as the table has of the fewer of both.

    Where each of the fewer has one best, and no two of them the same, these bests are the only answer. Else
    ``scipy.optimize.linear_sum_assignment`` decides, of which the import takes longer than most checks.
    """
    import numpy as np

    lies = table.shape[0] > table.shape[1]
    fewer = table.T if lies else table
    if fewer.size:
        top = fewer.max(axis=1)
        best = fewer.argmax(axis=1)
        single = np.count_nonzero(fewer == top[:, None]) == len(best) == len(set(best.tolist()))
        if single and np.isfinite(top).all():
            numbers = np.arange(len(best))
            if not lies:
                return numbers, best
            order = np.argsort(best)
            return best[order], numbers[order]
    from scipy.optimize import linear_sum_assignment

    rows, cols = linear_sum_assignment(table, maximize=True)
    return rows, cols
