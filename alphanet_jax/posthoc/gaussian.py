"""Linear scores of Gaussian classes, with means that are shrunk by empirical Bayes.

Every class is a Gaussian around its mean, with one covariance for all. The mean of a
class with few samples is a noisy estimate, so it is drawn towards the mean of all
classes: the less so the more samples the class has, and the more class means differ
along a direction compared with samples of one class.

Notation: n samples, d feature dimensions, C classes.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import files, stages, streaming
from alphanet_jax.posthoc.linear import Linear

__all__ = [
    "COVARIANCE_GRID",
    "Discriminants",
    "FeatureStatistics",
    "discriminants",
    "feature_statistics",
    "gaussian_mix",
    "gaussian_scores",
    "row_slices",
    "scores_of",
]

COVARIANCE_GRID = (0.3, 0.6, 0.9)  # shrinkage of the covariance


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """What Gaussian scores need to know of training features."""

    counts: np.ndarray  # shape=(C,), dtype=np.int64: samples of every class.
    means: np.ndarray  # shape=(C, d), dtype=np.float32.
    within: np.ndarray  # shape=(d, d), dtype=np.float64: covariance within classes.

    @property
    def centre(self) -> np.ndarray:
        """The mean of the class means, with shape `[d]`, float64."""
        return np.asarray(self.means.mean(axis=0, dtype=np.float64))

    @property
    def spread(self) -> float:
        """The root of the mean squared distance of samples from the centre."""
        total, num_classes = self.counts.sum(), len(self.counts)
        offsets = self.means - self.centre
        between = self.counts @ (offsets**2).sum(axis=1)
        within = (total - num_classes) * np.trace(self.within)
        spread = float(np.sqrt((between + within) / total))
        return spread if spread > 0 else 1.0

    # Several methods need these, and they take seconds where features are many.
    @functools.cached_property
    def axes_within(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances of `within` along its axes, `[d]`, and the axes, `[d, d]`."""
        return _axes(self.within)

    @functools.cached_property
    def axes_of_all(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of the covariance of all samples, in units of `spread`."""
        counts, total = self.counts, self.counts.sum()
        offsets = (self.means - self.centre) * np.sqrt(counts / total)[:, None]
        covariance = self.within * (1 - len(counts) / total) + offsets.T @ offsets
        return _axes(covariance / self.spread**2)


def _axes(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes variances along the axes of a covariance, and the axes: one a column."""
    variances, axes = np.linalg.eigh(covariance)
    return np.maximum(variances, 0.0), axes


class Discriminants(NamedTuple):
    """Class means, less their mean, in directions that tell classes apart.

    Along each of them samples of one class have variance 1 and they do not correlate.
    """

    directions: np.ndarray  # shape=(d, d): one a column.
    signal: np.ndarray  # shape=(d,): variance of true class means, never negative.
    means: np.ndarray  # shape=(C, d): as observed.
    counts: np.ndarray  # shape=(C,): of how many samples.

    @property
    def shrunk(self) -> np.ndarray:
        """The means as expected, given what was observed, with shape `[C, d]`."""
        evidence = self.counts[:, None] * self.signal
        return np.asarray(evidence / (evidence + 1) * self.means)

    @property
    def kept(self) -> np.ndarray:
        """How much of its distance from the centre every class keeps, in [0, 1]."""
        observed = np.linalg.norm(self.means, axis=1)
        expected = np.linalg.norm(self.shrunk, axis=1)
        return np.asarray(expected / np.where(observed > 0, observed, 1.0))


def row_slices(features: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields rows in float32, and where they are; pages of a mapped file go at once."""
    rows = np.asarray(features)  # slices of np.memmap are slow to make
    size = streaming.rows_at_a_time(rows.shape[1])
    for start in range(0, len(rows), size):
        place = slice(start, min(start + size, len(rows)))
        yield place, rows[place].astype(np.float32, copy=False)
        files.release_rows(features, place.start, place.stop)


def feature_statistics(
    features: ArrayLike, labels: ArrayLike, *, num_classes: int
) -> FeatureStatistics:
    """Computes counts, means and the covariance within classes, in two passes.

    Args:
      features: Features, with shape `[n, d]` and any float dtype, perhaps mapped from
        a file.
      labels: Classes of the rows, with shape `[n]`, in `[0, num_classes)`.
      num_classes: Number of classes C; every class has a sample, and one has two.

    Returns:
      The statistics. The covariance is singular where d is more than n - C.

    Raises:
      ValueError: If shapes or labels do not fit.

    Examples:
      >>> found = feature_statistics([[0.0], [2.0], [5.0]], [0, 0, 1], num_classes=2)
      >>> found.counts.tolist(), found.means.tolist(), found.within.tolist()
      ([2, 1], [[1.0], [5.0]], [[2.0]])
    """
    if not isinstance(features, np.ndarray):
        features = np.asarray(features)
    labels = np.asarray(labels)
    means = streaming.class_means(features, labels, num_classes=num_classes)
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"labels must be in [0, {num_classes}), got {labels.min()} to "
            f"{labels.max()}."
        )
    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        missing = np.flatnonzero(counts == 0).tolist()
        raise ValueError(f"every class needs a sample, got none of {missing}.")
    if len(labels) == num_classes:
        raise ValueError(
            "a class must have two samples for a covariance within classes, got "
            f"{len(labels)} samples of {num_classes} classes."
        )
    scatter = np.zeros((features.shape[1], features.shape[1]), np.float64)
    for place, rows in row_slices(features):
        centred = rows - means[labels[place]]
        scatter += centred.T @ centred
        stages.done(len(rows), "samples")
    return FeatureStatistics(counts, means, scatter / (len(labels) - num_classes))


def discriminants(
    statistics: FeatureStatistics, *, covariance_shrinkage: float = 0.3
) -> Discriminants:
    """Computes directions that tell classes apart, and class means along them.

    With Sw the covariance within classes, Sa = (1 - a) Sw + a tr(Sw)/d I, and B the
    covariance of class means less what noise of the means adds to it, it solves
    B t = psi Sa t; a class of n samples keeps n psi / (n psi + 1) of its mean's
    distance from the centre along t.

    Args:
      statistics: Those of the training features.
      covariance_shrinkage: a, in (0, 1]: 1 is a multiple of the identity.

    Raises:
      ValueError: If `covariance_shrinkage` is not in (0, 1], or there is one class.
    """
    a, counts, means = covariance_shrinkage, statistics.counts, statistics.means
    num_classes, dim = means.shape
    if not 0 < a <= 1:
        raise ValueError(f"covariance_shrinkage must be in (0, 1], got {a}.")
    if num_classes < 2:
        raise ValueError(f"there must be at least 2 classes, got {num_classes}.")
    variances, axes = statistics.axes_within
    shrunk_variances = (1 - a) * variances + a * variances.mean()
    # Without any spread within classes, all scales of the scores are alike.
    scales = 1 / np.sqrt(np.where(shrunk_variances > 0, shrunk_variances, 1.0))
    # All is computed in the axes of Sw with Sa = I, which a singular Sw allows.
    offsets = ((means - statistics.centre) @ axes) * scales
    between = offsets.T @ offsets / (num_classes - 1)
    between[np.diag_indices(dim)] -= np.mean(1 / counts) * variances * scales**2
    signal, rotation = np.linalg.eigh(between)
    return Discriminants(
        directions=axes @ (scales[:, None] * rotation),
        signal=np.maximum(signal, 0.0),
        means=offsets @ rotation,
        counts=counts,
    )


def scores_of(
    found: Discriminants, statistics: FeatureStatistics, *, shrunk: bool = True
) -> Linear:
    """Computes the linear scores of Gaussian classes; see `gaussian_scores`."""
    means = found.shrunk if shrunk else found.means
    weight = means @ found.directions.T
    bias = -0.5 * (means**2).sum(axis=1) - weight @ statistics.centre
    return Linear(weight.astype(np.float32), bias.astype(np.float32))


def gaussian_scores(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    covariance_shrinkage: float = 0.3,
    shrunk: bool = True,
) -> Linear:
    """Computes linear scores of Gaussian classes that share their covariance.

    They are log densities less what all classes have in common: the prior of a class
    is not in them.

    Args:
      features: Training features, with shape `[n, d]`, perhaps mapped from a file.
      labels: Their classes, with shape `[n]`.
      num_classes: Number of classes C.
      covariance_shrinkage: How much of the covariance is a multiple of the identity,
        in (0, 1].
      shrunk: Whether means of classes are shrunk towards their common mean; without,
        this is linear discriminant analysis.

    Returns:
      The scores as a linear classifier.

    Raises:
      ValueError: If an argument is not right.

    Examples:
      >>> x, y = [[0.0], [2.0], [5.0], [7.0]], [0, 0, 1, 1]
      >>> weight, bias = gaussian_scores(x, y, num_classes=2, shrunk=False)
      >>> weight.tolist(), bias.tolist()
      ([[-1.25], [1.25]], [2.8125, -5.9375])
    """
    statistics = feature_statistics(features, labels, num_classes=num_classes)
    found = discriminants(statistics, covariance_shrinkage=covariance_shrinkage)
    return scores_of(found, statistics, shrunk=shrunk)


def _mean_deviation(head: Linear, features: np.ndarray) -> float:
    """Computes the standard deviation over classes of logits; the mean of samples."""
    weight, bias = (np.asarray(part, np.float32) for part in head)
    total = sum(
        (rows @ weight.T + bias).std(axis=1).sum(dtype=np.float64)
        for _, rows in row_slices(features)
    )
    return float(total) / len(features)


def gaussian_mix(
    classifier: Linear,
    gaussian: Linear,
    counts: ArrayLike,
    features: ArrayLike,
    *,
    share: float = 0.5,
    tau: float = 0.5,
) -> Linear:
    """Mixes a classifier's scores with Gaussian ones, less a part of the log prior.

    With z the classifier's and s the Gaussian scores, logits become
    (1 - share) z + share k s - tau log pi, where k makes the standard deviation over
    classes of k s that of z.

    Args:
      classifier: The given classifier.
      gaussian: Scores of `gaussian_scores`.
      counts: Number of training samples of every class, with shape `[C]`.
      features: Features on which standard deviations are taken, with shape `[n, d]`:
        validation data, as training data are what both were made of.
      share: Share of Gaussian scores.
      tau: Factor of the log prior.

    Returns:
      The mix, a linear classifier.

    Raises:
      ValueError: If a class has no samples, or there are no features.
    """
    rows, counts = np.asarray(features), np.asarray(counts)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"features must be (n, d) with n > 0, got {rows.shape}.")
    if not (counts > 0).all():
        raise ValueError(f"counts must be positive, got {counts.min()}.")
    of_gaussian = _mean_deviation(gaussian, rows)
    of_classifier = _mean_deviation(classifier, rows)
    factor = share * (of_classifier / of_gaussian if of_gaussian > 0 else 0.0)
    weight, bias = (
        (1 - share) * np.asarray(own, np.float64) + factor * np.asarray(other)
        for own, other in zip(classifier, gaussian, strict=True)
    )
    bias = bias - tau * np.log(counts / counts.sum())
    return Linear(weight.astype(np.float32), bias.astype(np.float32))
