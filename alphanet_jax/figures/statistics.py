"""Statistics that figures draw, in NumPy: seeded, and the same on every machine."""

from typing import NamedTuple

import numpy as np

__all__ = ["Line", "bootstrap_means", "density", "interval", "pearson", "regression"]


def bootstrap_means(
    values: np.ndarray, *, n_boot: int, rng: np.random.Generator
) -> np.ndarray:
    """Means of samples drawn from values with replacement.

    Args:
      values: Values, with shape `[n, ...]`, drawn along the first axis.
      n_boot: Number of samples.
      rng: Source of random numbers.

    Returns:
      The means, with shape `[n_boot, ...]`.
    """
    rows = rng.integers(len(values), size=(n_boot, len(values)))
    # How often each value is drawn, rather than what is drawn: far less memory.
    counts = np.apply_along_axis(np.bincount, 1, rows, minlength=len(values))
    return np.tensordot(counts / len(values), values, axes=1)


def interval(samples: np.ndarray, *, percent: float = 95.0) -> tuple[np.ndarray, ...]:
    """Ends of the interval that holds so many percent of bootstrap samples.

    Args:
      samples: Samples along the first axis, with shape `[n_boot, ...]`.
      percent: Part of them between the ends.

    Returns:
      The lower and upper ends, each with shape `[...]`.
    """
    rest = (100.0 - percent) / 2.0
    low, high = np.percentile(samples, [rest, 100.0 - rest], axis=0)
    return low, high


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation coefficient; NaN where x or y does not vary.

    Examples:
      >>> pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
      1.0
    """
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / scale, -1.0, 1.0)) if scale > 0.0 else float("nan")


class Line(NamedTuple):
    """A least-squares line with the band in which resampled lines lie."""

    x: np.ndarray  # shape=(points,)
    y: np.ndarray  # shape=(points,)
    low: np.ndarray  # shape=(points,): NaN where the band cannot be told
    high: np.ndarray  # shape=(points,)


def regression(
    x: np.ndarray,
    y: np.ndarray,
    *,
    n_boot: int,
    rng: np.random.Generator,
    points: int = 50,
) -> Line:
    """Fits a line by least squares, with a 95 percent bootstrap band over samples.

    Args:
      x: Where values are, with shape `[n]`, n at least 2, not all equal.
      y: The values, with shape `[n]`.
      n_boot: Number of resampled lines.
      rng: Source of random numbers.
      points: Number of points at which the line is given.

    Returns:
      The line, from the least to the greatest x.
    """
    grid = np.linspace(x.min(), x.max(), points)
    center = x.mean()
    fit = _lines(x[None] - center, y[None])
    rows = rng.integers(len(x), size=(n_boot, len(x)))
    offsets, slopes = _lines(x[rows] - center, y[rows])
    fits = offsets[:, None] + slopes[:, None] * (grid - center)
    # Samples in which x is everywhere the same have no line.
    fits = fits[np.isfinite(slopes)]
    nothing = np.full(points, np.nan)
    low, high = interval(fits) if len(fits) else (nothing, nothing)
    return Line(grid, fit[0][0] + fit[1][0] * (grid - center), low, high)


def _lines(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and slopes of the least-squares lines of each row."""
    x_mean, y_mean = x.mean(axis=1), y.mean(axis=1)
    dx = x - x_mean[:, None]
    squares = (dx**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes = (dx * (y - y_mean[:, None])).sum(axis=1) / squares
    slopes = np.where(squares > 0.0, slopes, np.nan)
    return y_mean - slopes * x_mean, slopes


def density(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Gaussian kernel density (Scott's rule) at the points of a grid.

    Args:
      values: Values, with shape `[n]`.
      grid: Where to give the density, with shape `[points]`.

    Returns:
      Densities, with shape `[points]`; NaN where all values are the same.
    """
    from scipy import stats

    if len(values) < 2 or np.ptp(values) == 0.0:
        return np.full(len(grid), np.nan)
    return np.asarray(stats.gaussian_kde(values)(grid))
