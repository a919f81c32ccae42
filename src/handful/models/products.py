"""Products of many vectors with a few columns of weights, as fast as memory gives the vectors."""

import numpy as np
from numpy.typing import NDArray

from handful.cores import Parts

# Up to so many columns, products one by one are faster: for several at once BLAS first puts all of
# the matrix in another order.
_FEW_COLUMNS = 6
# BLAS takes so many rows, or a part of so many, at a time, and sums the last few in another order.
_ROWS_OF_KERNELS = 96


def products(
    matrix: NDArray[np.float32], columns: NDArray[np.float32], parts: Parts | None = None
) -> NDArray[np.float32]:
    """Multiply a matrix by columns.

    Args:
        matrix: (n, m) float32.
        columns: (m, k) float32.
        parts: Threads that share the work; no bit of the result depends on their number. None:
            this one alone.

    Returns:
        (n, k) float32.
    """
    parts = parts or Parts(1)
    if columns.shape[1] > _FEW_COLUMNS:
        result = np.empty((len(matrix), columns.shape[1]), np.float32)

        def multiply(rows: slice) -> None:
            np.matmul(matrix[rows], columns, out=result[rows])

        parts.run(multiply, len(matrix), _ROWS_OF_KERNELS)
        return result
    single = np.ascontiguousarray(columns.T)
    found = np.empty((len(single), len(matrix)), np.float32)

    def multiply_some(places: slice) -> None:
        for place in range(places.start, places.stop):
            np.matmul(matrix, single[place], out=found[place])

    parts.run(multiply_some, len(single))
    return found.T
