"""Statistics that figures draw, in NumPy: seeded, and the same on every machine."""

from typing import NamedTuple

import numpy as np

__all__ = ["Line", "bootstrap_means", "density", "interval", "pearson"]


def bootstrap_means(
    values: np.ndarray, *, n_boot: int, rng: np.random.Generator
) -> np.ndarray:
    """Computes means of samples drawn from values with replacement.

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
    """Computes the interval that holds so many percent of bootstrap samples.

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
    """Computes Pearson's correlation coefficient; NaN where x or y does not vary.

    Examples:
      >>> pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
      1.0
    """
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(np.clip(x @ y / scale, -1.0, 1.0)) if scale > 0.0 else float("nan")


class Line(NamedTuple):
    """A least-squares line with the band in which resampled lines lie."""

    x: np.ndarray  # shape=(m,)
    y: np.ndarray  # shape=(m,)
    low: np.ndarray  # shape=(m,): NaN where there is no band
    high: np.ndarray  # shape=(m,)


def density(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Computes the Gaussian kernel density (Scott's rule) on a grid.

    Args:
      values: Values, with shape `[n]`.
      grid: Where to compute the density, with shape `[m]`.

    Returns:
      Densities, with shape `[m]`; NaN where all values are the same.
    """
    from scipy import stats

    if len(values) < 2 or np.ptp(values) == 0.0:
        return np.full(len(grid), np.nan)
    return np.asarray(stats.gaussian_kde(values)(grid))
