"""Accuracy of single classes, as several kinds of figure compute and draw it.

Notation: R runs, C classes, n points.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.figures import statistics
from alphanet_jax.figures.style import Style
from alphanet_jax.results import accuracy
from alphanet_jax.results.sets import ResultFile, ResultSet

__all__ = [
    "LEAST_WIDTH",
    "MANY_BARS",
    "ClassAccuracy",
    "Look",
    "class_accuracy",
    "classes_in",
    "experiment_looks",
    "line_over_classes",
    "names_of_datasets",
]

# Inches of a panel with a bar for every class, for text of the usual size.
LEAST_WIDTH = 3.0
# From so many classes on, bars are drawn without gaps.
MANY_BARS = 150
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_LINES: tuple[Any, ...] = ("-", (0, (6, 1.2, 1, 1.2)), (0, (1, 1.2)), (0, (8, 2)))


class ClassAccuracy(NamedTuple):
    """Accuracy of every class, in percent; NaN for one without test samples."""

    before: np.ndarray  # shape=(C,): of the unchanged classifier
    after: np.ndarray  # shape=(R, C)


def class_accuracy(results: ResultSet | ResultFile) -> ClassAccuracy:
    """Computes the accuracy of every class before and after, of every run.

    Raises:
      UserError: If there are no test samples.
    """
    if isinstance(results, ResultFile):
        results = ResultSet("", (results,))
    labels = results.common("test_labels")
    if not len(labels):
        raise UserError(f"{results.files[0].path}: there are no test samples")
    after, before = (
        100.0
        * accuracy.per_class(
            accuracy.is_correct(np.atleast_2d(predictions), labels),
            labels,
            num_classes=results.num_classes,
        )
        for predictions in (
            results.runs("test_pred"),
            results.common("baseline_test_pred"),
        )
    )
    return ClassAccuracy(before[0], after)


def classes_in(splits: Mapping[str, np.ndarray], split: str) -> np.ndarray:
    """Returns the classes of a split, of 'base' (medium and many) or 'all', ascending.

    Args:
      splits: Classes of few, medium and many.
      split: Which of them.
    """
    parts = {"base": ("medium", "many"), "all": ("few", "medium", "many")}
    names = parts.get(split, (split,))
    return np.sort(np.concatenate([splits[name] for name in names]))


def names_of_datasets(sets: Sequence[ResultSet]) -> list[str]:
    """Returns the display names of the datasets of sets; different ones differ."""
    known: dict[str, set[str]] = {}
    for results in sets:
        known.setdefault(results.proper_name, set()).add(results.dataset)
    return [
        f"{results.proper_name} ({results.dataset})"
        if len(known[results.proper_name]) > 1
        else results.proper_name
        for results in sets
    ]


def line_over_classes(
    x: np.ndarray,
    y: np.ndarray,
    classes: np.ndarray,
    *,
    n_boot: int,
    rng: np.random.Generator,
    percent: float = 95.0,
    points: int = 50,
) -> statistics.Line | None:
    """Fits a line by least squares, with a bootstrap band over classes.

    Values of one class in several runs are not independent, so whole classes are
    drawn, with all their values.

    Args:
      x: Where values are, with shape `[n]`.
      y: The values, with shape `[n]`.
      classes: What is drawn together, with shape `[n]`.
      n_boot: Number of bootstrap samples.
      rng: Source of random numbers.
      percent: Part of the resampled lines that is in the band; 0 for no band.
      points: Number of points at which the line is given.

    Returns:
      The line, from the least to the greatest x; None where x does not vary.
    """
    if len(x) < 2 or np.ptp(x) == 0.0:
        return None
    x_mean, y_mean = x.mean(), y.mean()
    dx, dy = x - x_mean, y - y_mean
    _, index = np.unique(classes, return_inverse=True)
    sums = np.stack(
        [
            np.bincount(index, part)
            for part in (np.ones(len(x)), dx, dy, dx * dy, dx**2)
        ],
        axis=1,
    )
    grid = np.linspace(x.min(), x.max(), points)
    offset, slope = _solve(sums.mean(axis=0, keepdims=True))
    low = high = np.full(points, np.nan)
    if percent > 0.0:
        samples = statistics.bootstrap_means(sums, n_boot=n_boot, rng=rng)
        offsets, slopes = _solve(samples)
        fits = offsets[:, None] + slopes[:, None] * (grid - x_mean)
        # Samples in which x is everywhere the same have no line.
        fits = fits[np.isfinite(slopes)]
        if len(fits):
            low, high = statistics.interval(fits + y_mean, percent=percent)
    y_line = y_mean + offset[0] + slope[0] * (grid - x_mean)
    return statistics.Line(grid, y_line, low, high)


def _solve(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and slopes of lines from sums of 1, x, y, xy, xx along the last axis."""
    x, y, xy, xx = (sums[:, 1:] / sums[:, :1]).T
    variance = xx - x**2
    # What rounding leaves of no variance is none.
    flat = variance <= 1e-12 * xx
    slopes = np.where(flat, np.nan, (xy - x * y) / np.where(flat, 1.0, variance))
    return y - slopes * x, slopes


class Look(NamedTuple):
    """How one experiment is drawn."""

    color: Any
    marker: str
    line: Any


def experiment_looks(style: Style, count: int, *, wheel: bool = False) -> list[Look]:
    """Makes a look of its own for every experiment.

    Args:
      style: The style.
      count: Number of experiments.
      wheel: Whether colors are equally far apart on a wheel of hues, rather than the
        style's own, which come again after the last.
    """
    if wheel:
        dark = style.theme == "dark"
        colors: Sequence[Any] = _hues(count, lightness=0.78 if dark else 0.6)
    else:
        colors = [style.cycle[i % len(style.cycle)] for i in range(count)]
    # Shifted each time that all pairs of a color and a line have been.
    lines = [_LINES[(i + i // 12) % len(_LINES)] for i in range(count)]
    markers = [_MARKERS[i % len(_MARKERS)] for i in range(count)]
    return [Look(*look) for look in zip(colors, markers, lines, strict=True)]


def _hues(count: int, *, lightness: float) -> list[str]:
    """Colors of the same lightness and chroma around the wheel of Oklch."""
    angles = 2.0 * np.pi * (np.arange(count) / max(count, 1) + 0.07)
    a, b = 0.12 * np.cos(angles), 0.12 * np.sin(angles)
    # Björn Ottosson's Oklab: to cone responses, then to linear sRGB.
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    ) @ (cones**3)
    linear = np.clip(linear, 0.0, 1.0)
    encoded = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1.0 / 2.4) - 0.055
    )
    return [
        "#" + "".join(f"{round(255 * part):02x}" for part in color)
        for color in encoded.T.tolist()
    ]
