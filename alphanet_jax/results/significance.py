"""How sure differences between predictions are, in NumPy alone.

Resampling is paired and stratified: all methods are judged on the same draws, and each
draw has as many samples of a class as there are. It takes any statistic that is a sum
over samples: accuracies, of a split or of all, and the trade-off S. Where a split has
fewer than some thirty samples, its intervals are too short.

Notation: n samples, M methods, K values of a knob, B draws; `...` any leading axes.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import measures
from alphanet_jax.results.accuracy import PARTS
from alphanet_jax.splits import SPLITS

__all__ = [
    "Differences",
    "McNemar",
    "differences",
    "holm",
    "mcnemar",
    "mcnemar_per_split",
    "part_scores",
    "resample",
    "tradeoff_scores",
]

# Numbers of draws of samples that are in memory at a time: 64 MiB of float64.
_MOST_NUMBERS = 2**23


class Differences(NamedTuple):
    """Of methods from a reference; all with shape `[M]`."""

    estimate: np.ndarray
    low: np.ndarray  # of the interval
    high: np.ndarray
    p_value: np.ndarray  # two-sided, of no difference


class McNemar(NamedTuple):
    """An exact test of whether two classifiers are right equally often."""

    only_first: int  # samples that only the first has right
    only_second: int
    p_value: float  # two-sided


def part_scores(
    correct: np.ndarray, labels: np.ndarray, splits: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Computes what every sample adds to the accuracies of the splits and of all.

    Args:
      correct: Which samples are, with shape `[..., n]`.
      labels: True classes, with shape `[n]`.
      splits: Classes of 'few', 'medium' and 'many'.

    Returns:
      Scores, with shape `[..., 4, n]`, in the order of
      `alphanet_jax.results.accuracy.PARTS`. Their sums over samples are the
      accuracies; 0 for a split without samples.
    """
    masks = [np.isin(labels, splits[name]) for name in SPLITS]
    parts = np.array([*masks, np.ones(len(labels), bool)])
    shares = parts / np.maximum(parts.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.asarray(correct)[..., None, :] * shares)


def tradeoff_scores(
    val: ArrayLike,
    correct: np.ndarray,
    labels: np.ndarray,
    splits: Mapping[str, np.ndarray],
    *,
    weights: tuple[float, ...] = measures.LAMBDAS,
) -> np.ndarray:
    """Computes what every sample adds to the trade-off S of a method.

    The knob is chosen on validation data, and so is the same in all draws of test data.

    Args:
      val: Validation accuracies of few, medium, many and all samples for every value of
        the knob, with shape `[K, 4]`.
      correct: Which test samples are, for every value, with shape `[K, n]`.
      labels: True classes of test samples, with shape `[n]`.
      splits: Classes of 'few', 'medium' and 'many'.
      weights: Weights of few accuracy; see `alphanet_jax.measures.tradeoff`.

    Returns:
      Scores, with shape `[n]`; their sum is S.
    """
    total = np.zeros(len(labels))
    for weight in weights:
        chosen = np.asarray(correct)[measures.choose(val, weight)]
        scores = part_scores(chosen, labels, splits)
        total += measures.tradeoff_value(scores.T, weight)
    return total / len(weights)


def resample(
    rng: np.random.Generator,
    scores: ArrayLike,
    labels: np.ndarray,
    *,
    num_draws: int = 2000,
) -> np.ndarray:
    """Draws statistics of other samples of the same classes: a stratified bootstrap.

    Deviations from a class's mean are enlarged by `sqrt(m / (m - 1))`, for m samples of
    the class: the bootstrap of small classes would vary too little.

    Args:
      rng: Random generator.
      scores: What every sample adds to each statistic, with shape `[..., n]`.
      labels: True classes, with shape `[n]`.
      num_draws: Number of draws B.

    Returns:
      Statistics, with shape `[B, ...]`; those of a row are of the same samples.

    Raises:
      ValueError: If shapes do not fit each other.
    """
    values = np.asarray(scores, np.float64)
    if values.ndim < 1 or np.shape(labels) != values.shape[-1:]:
        raise ValueError(
            f"scores must be (..., n) and labels (n,), got {values.shape} and "
            f"{np.shape(labels)}."
        )
    order = np.argsort(labels, kind="stable")
    _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    place = place[order]
    flat = values.reshape(-1, len(order))[:, order]
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(flat, starts, axis=1) / counts
    widen = np.sqrt(counts / np.maximum(counts - 1, 1))
    wide = means[:, place] + widen[place] * (flat - means[:, place])
    drawn = [
        times @ wide.T
        for times in _draw_counts(rng, starts[place], counts[place], num_draws)
    ]
    return np.concatenate(drawn).reshape(num_draws, *values.shape[:-1])


def _draw_counts(
    rng: np.random.Generator, starts: np.ndarray, counts: np.ndarray, num_draws: int
) -> Iterator[np.ndarray]:
    """Yields how often each sample is in each draw, some draws at a time."""
    num = len(starts)
    at_a_time = max(1, _MOST_NUMBERS // num)
    for first in range(0, num_draws, at_a_time):
        draws = min(at_a_time, num_draws - first)
        rows = starts + (rng.random((draws, num)) * counts).astype(np.int64)
        rows += num * np.arange(draws)[:, None]
        times = np.bincount(rows.reshape(-1), minlength=draws * num)
        yield times.reshape(draws, num).astype(np.float64)


def differences(
    rng: np.random.Generator,
    scores: ArrayLike,
    reference: ArrayLike,
    labels: np.ndarray,
    *,
    level: float = 0.95,
    simultaneous: bool = False,
    num_draws: int = 2000,
) -> Differences:
    """Computes differences of methods from a reference, with intervals.

    Args:
      rng: Random generator.
      scores: What every sample adds to the statistic of each method, with shape
        `[M, n]`.
      reference: The same of the reference, with shape `[n]`.
      labels: True classes, with shape `[n]`.
      level: Coverage of each interval, or of all together, a fraction.
      simultaneous: Whether all intervals together cover with that level: they are then
        as wide as the largest of M standardized deviations asks for.
      num_draws: Number of draws.

    Returns:
      Differences, intervals and p-values; `holm` corrects these for many comparisons.

    Raises:
      ValueError: If shapes do not fit each other.
    """
    values = np.asarray(scores, np.float64)
    if values.ndim != 2 or np.shape(reference) != values.shape[1:]:
        raise ValueError(
            f"scores must be (M, n) and reference (n,), got {values.shape} and "
            f"{np.shape(reference)}."
        )
    deltas = values - np.asarray(reference, np.float64)
    estimate = deltas.sum(axis=1)
    draws = resample(rng, deltas, labels, num_draws=num_draws)
    below, above = (draws <= 0).sum(axis=0), (draws >= 0).sum(axis=0)
    p_value = np.minimum(1.0, 2 * (1 + np.minimum(below, above)) / (num_draws + 1))
    if not simultaneous:
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return Differences(estimate, low, high, p_value)
    spread = draws.std(axis=0, ddof=1)
    standard = np.abs(draws - estimate) / np.where(spread > 0, spread, 1.0)
    reach = np.quantile(standard.max(axis=1), level) * spread
    return Differences(estimate, estimate - reach, estimate + reach, p_value)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Corrects p-values for many comparisons, by Holm's step-down procedure.

    Args:
      p_values: P-values of M tests, with shape `[M]`.

    Returns:
      Adjusted p-values in the same order: those below a level are together wrong with
      at most that probability, however the tests depend on each other.

    Examples:
      >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
      [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return adjusted


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """Tests whether two classifiers are right equally often on the same samples.

    The exact form: only samples that one alone has right count, and of these each has
    half if there is no difference.

    Args:
      first: Which samples the first classifier has right, with shape `[n]`.
      second: Which samples the second has right, with shape `[n]`.

    Returns:
      The counts and the two-sided p-value.

    Raises:
      ValueError: If shapes do not fit each other.

    Examples:
      >>> mcnemar([1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0])  # 2 / 2**5
      McNemar(only_first=5, only_second=0, p_value=0.0625)
    """
    one, other = np.asarray(first, bool), np.asarray(second, bool)
    if one.ndim != 1 or one.shape != other.shape:
        raise ValueError(
            f"first and second must be (n,), got {one.shape} and {other.shape}."
        )
    counts = int((one & ~other).sum()), int((other & ~one).sum())
    total, least = sum(counts), min(counts)
    # Logarithms of binomial coefficients: they are larger than any float.
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    k = np.arange(least + 1)
    logs = factorials[total] - factorials[k] - factorials[total - k]
    tail = np.exp(logs - total * np.log(2.0)).sum()
    return McNemar(*counts, p_value=float(min(1.0, 2 * tail)))


def mcnemar_per_split(
    first: np.ndarray,
    second: np.ndarray,
    labels: np.ndarray,
    splits: Mapping[str, np.ndarray],
) -> dict[str, McNemar]:
    """Tests two classifiers on the samples of every split, and on all.

    Args:
      first: Which samples the first classifier has right, with shape `[n]`.
      second: Which samples the second has right, with shape `[n]`.
      labels: True classes, with shape `[n]`.
      splits: Classes of 'few', 'medium' and 'many'.

    Returns:
      Tests by 'few', 'medium', 'many' and 'overall'.
    """
    masks = [np.isin(labels, splits[name]) for name in SPLITS]
    masks.append(np.ones(len(labels), bool))
    return {
        name: mcnemar(first[mask], second[mask])
        for name, mask in zip(PARTS, masks, strict=True)
    }
