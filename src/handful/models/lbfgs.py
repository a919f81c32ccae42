"""The least value of a smooth convex function, by L-BFGS."""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_MEMORY = 10
_MOST_BACKTRACKS = 30


def minimize(
    objective: Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]],
    start: NDArray[np.float64],
    iterations: int = 100,
    tolerance: float = 1e-7,
) -> NDArray[np.float64]:
    """Minimize a smooth convex function by L-BFGS.

    SciPy's does the same, but importing it takes longer than all of a run's fits.

    Args:
        objective: From a point (n,) to its value and gradient (n,).
        start: (n,) float64 first point.
        iterations: Most steps taken.
        tolerance: Stop when a step lowers the value by less than this share of it.

    Returns:
        (n,) float64, the best point found.

    Source:
        Nocedal and Wright, Numerical Optimization (2006), algorithms 7.4 and 3.1; on a convex
        function backtracking alone keeps the curvature condition.
    """
    point, (value, slope) = start, objective(start)
    steps: deque[tuple[NDArray[np.float64], NDArray[np.float64], float]] = deque(maxlen=_MEMORY)
    for _ in range(iterations):
        direction = -_newton_like(slope, steps)
        descent = float(direction @ slope)
        if not descent < 0:
            break
        length = 1.0 if steps else min(1.0, 1.0 / float(np.linalg.norm(slope)))
        for _ in range(_MOST_BACKTRACKS):
            moved = point + length * direction
            new_value, new_slope = objective(moved)
            if new_value <= value + 1e-4 * length * descent:
                break
            length /= 2
        else:
            break
        change, bend = moved - point, new_slope - slope
        curvature = float(change @ bend)
        if curvature > 0:
            steps.append((change, bend, curvature))
        gain = value - new_value
        point, value, slope = moved, new_value, new_slope
        if gain <= tolerance * max(abs(value), 1e-3):
            break
    return point


def _newton_like(
    slope: NDArray[np.float64],
    steps: deque[tuple[NDArray[np.float64], NDArray[np.float64], float]],
) -> NDArray[np.float64]:
    """The gradient times the inverse Hessian that the last steps suggest."""
    result = slope.copy()
    shares = []
    for change, bend, curvature in reversed(steps):
        share = float(change @ result) / curvature
        result -= share * bend
        shares.append(share)
    if steps:
        _, bend, curvature = steps[-1]
        result *= curvature / float(bend @ bend)
    for (change, bend, curvature), share in zip(steps, reversed(shares), strict=True):
        result += (share - float(bend @ result) / curvature) * change
    return result
