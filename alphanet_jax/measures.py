"""Numbers that say how good predictions are, in NumPy alone.

Accuracies come from `alphanet_jax.results.accuracy`; here is what is made of them, and
what looks at scores.

Notation: n samples, C classes, K values of a knob; `...` any leading axes, such as
methods.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import streaming

__all__ = [
    "LAMBDAS",
    "Certainty",
    "calibration_error",
    "certainty",
    "choose",
    "f1_from_counts",
    "harmonic_mean",
    "log_loss",
    "macro_f1",
    "tradeoff",
    "tradeoff_value",
    "worst_classes",
]

# Weights of few accuracy against overall accuracy, in a trade-off.
LAMBDAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def f1_from_counts(
    correct: ArrayLike, predicted: ArrayLike, total: ArrayLike
) -> np.ndarray:
    """Computes the mean over classes of the F1 of each.

    Args:
      correct: Samples of each class that are predicted right, with shape `[..., C]`.
      predicted: Samples predicted as each class, with shape `[..., C]`.
      total: Samples of each class, with shape `[..., C]`.

    Returns:
      Means, with shape `[...]`. A class without samples and predictions counts as 0.

    Examples:
      >>> float(f1_from_counts([1, 2], [1, 3], [2, 2]).round(4))  # 2/3 and 4/5
      0.7333
    """
    hits = np.asarray(correct, np.float64)
    both = np.asarray(predicted, np.float64) + np.asarray(total, np.float64)
    # 2PR / (P + R) without its 0/0.
    return np.asarray(np.mean(2.0 * hits / np.maximum(both, 1.0), axis=-1))


def macro_f1(
    predictions: np.ndarray, labels: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Computes the mean over classes of the F1 of each, from predictions.

    Args:
      predictions: Predicted classes, with shape `[..., n]`.
      labels: True classes, with shape `[n]`.
      num_classes: Number of classes C.

    Returns:
      Means, with shape `[...]`.
    """
    flat = np.reshape(predictions, (-1, len(labels)))
    total = np.bincount(labels, minlength=num_classes)
    correct = [
        np.bincount(labels[row == labels], minlength=num_classes) for row in flat
    ]
    predicted = [np.bincount(row, minlength=num_classes) for row in flat]
    found = f1_from_counts(correct, predicted, total)
    return found.reshape(np.shape(predictions)[:-1])


def harmonic_mean(fractions: ArrayLike) -> np.ndarray:
    """Computes the harmonic mean of accuracies, such as those of the splits.

    It is near the least of them: one that is bad is not made up for by the others.

    Args:
      fractions: Accuracies, with shape `[..., m]`. NaN, for a split without samples,
        does not count.

    Returns:
      Means, with shape `[...]`: 0 where one of them is 0.

    Examples:
      >>> harmonic_mean([[0.5, 0.25], [0.9, 0.0]]).round(4).tolist()
      [0.3333, 0.0]
    """
    values = np.asarray(fractions, np.float64)
    known = ~np.isnan(values)
    with np.errstate(divide="ignore"):
        inverse = np.where(known, 1.0 / np.where(known, values, 1.0), 0.0)
    count = known.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(count > 0, count / inverse.sum(axis=-1), np.nan))


def worst_classes(acc_per_class: ArrayLike, *, fraction: float = 0.1) -> np.ndarray:
    """Computes the mean accuracy of the classes that do worst.

    Args:
      acc_per_class: Accuracy of every class, with shape `[..., C]`. NaN, for a class
        without samples, does not count.
      fraction: How many of the classes, rounded up; by default a tenth.

    Returns:
      Means, with shape `[...]`.

    Raises:
      ValueError: If the fraction is not in (0, 1].

    Examples:
      >>> float(worst_classes([0.9, 0.2, 0.4, 0.6], fraction=0.5).round(3))
      0.3
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction}.")
    ordered = np.sort(np.asarray(acc_per_class, np.float64), axis=-1)  # NaN are last
    count = (~np.isnan(ordered)).sum(axis=-1)
    # Less a little: 0.1 times 70 is more than 7.
    wanted = np.ceil(fraction * count - 1e-9)[..., None]
    chosen = np.arange(ordered.shape[-1]) < wanted
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(chosen, ordered, 0.0).sum(-1) / wanted[..., 0])


class Certainty(NamedTuple):
    """How sure a classifier is of every sample; `...` are leading axes of the logits.

    Attributes:
      confidence: Probability of the predicted class, with shape `[..., n]`.
      is_right: Whether that class is the true one, with shape `[..., n]`.
      losses: Negative logarithm of the probability of the true class, in nats, with
        shape `[..., n]`.
    """

    confidence: np.ndarray
    is_right: np.ndarray
    losses: np.ndarray

    @property
    def log_loss(self) -> np.ndarray:
        """The mean negative log-likelihood (NLL), in nats, with shape `[...]`."""
        return np.asarray(self.losses.mean(axis=-1))

    def calibration_error(self, *, num_bins: int = 15) -> np.ndarray:
        """Computes the expected calibration error; see `calibration_error`."""
        bins = np.ceil(self.confidence * num_bins).astype(int) - 1
        bins = np.clip(bins, 0, num_bins - 1)
        num_samples = bins.shape[-1]
        gaps = np.reshape(self.is_right - self.confidence, (-1, num_samples))
        sums = [
            np.bincount(places, weights=row, minlength=num_bins)
            for places, row in zip(bins.reshape(gaps.shape), gaps, strict=True)
        ]
        errors = np.abs(sums).sum(axis=-1) / num_samples
        return np.asarray(errors.reshape(bins.shape[:-1]))


def certainty(logits: np.ndarray, labels: np.ndarray) -> Certainty:
    """Computes how sure a classifier is of every sample, reading its logits once.

    Args:
      logits: Logits, with shape `[..., n, C]`.
      labels: True classes, with shape `[n]`.

    Returns:
      What loss and calibration are made of; of samples that were looked at apart, parts
      can be put together.

    Examples:
      >>> found = certainty(np.zeros((1, 4)), np.array([2]))  # all classes alike
      >>> float(found.confidence[0]), bool(found.is_right[0])
      (0.25, False)
    """
    shape, num_classes = logits.shape[:-1], logits.shape[-1]
    rows = np.reshape(logits, (-1, num_classes))
    classes = np.broadcast_to(labels, shape).reshape(-1)
    confidence, losses = np.zeros(len(rows)), np.zeros(len(rows))
    is_right = np.zeros(len(rows), bool)

    def look(place: slice) -> None:
        block, own = rows[place], classes[place]
        first = np.arange(len(block))
        best = block.argmax(axis=1)
        most = block[first, best]
        with np.errstate(over="ignore"):  # what is so far below the largest adds 0
            below = block - most[:, None]
        sums = np.exp(below).sum(axis=1, dtype=np.float64)
        log_sums = most + np.log(sums)
        confidence[place] = np.exp(most - log_sums)
        losses[place] = log_sums - block[first, own]
        is_right[place] = best == own

    streaming.each_block(look, len(rows), width=num_classes)
    return Certainty(*(part.reshape(shape) for part in (confidence, is_right, losses)))


def log_loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes the mean negative log-likelihood (NLL) of the true classes.

    Args:
      logits: Logits, with shape `[..., n, C]`.
      labels: True classes, with shape `[n]`.

    Returns:
      Means in nats, with shape `[...]`.

    Examples:
      >>> float(log_loss(np.zeros((1, 4)), np.array([2])).round(4))  # log 4
      1.3863
    """
    return certainty(logits, labels).log_loss


def calibration_error(
    logits: np.ndarray, labels: np.ndarray, *, num_bins: int = 15
) -> np.ndarray:
    """Computes the expected calibration error (ECE).

    Samples are put into bins of equal width by the probability of the predicted class.
    The error is the mean over samples of how far accuracy and mean probability of
    their bin are apart.

    Args:
      logits: Logits, with shape `[..., n, C]`.
      labels: True classes, with shape `[n]`.
      num_bins: Number of bins.

    Returns:
      Errors as fractions, with shape `[...]`.
    """
    return certainty(logits, labels).calibration_error(num_bins=num_bins)


def tradeoff_value(accuracies: ArrayLike, weight: float) -> np.ndarray:
    """Computes `(1 - weight)` overall accuracy plus `weight` few accuracy.

    Args:
      accuracies: Of few, medium, many and all samples, with shape `[..., 4]`.
      weight: Of few accuracy.

    Returns:
      Values, with shape `[...]`.
    """
    values = np.asarray(accuracies, np.float64)
    return np.asarray((1.0 - weight) * values[..., 3] + weight * values[..., 0])


def choose(val: ArrayLike, weight: float) -> np.ndarray:
    """Chooses the value of a knob that is best on validation data.

    Args:
      val: Validation accuracies of few, medium, many and all samples for every value,
        with shape `[..., K, 4]`.
      weight: Of few accuracy; see `tradeoff_value`.

    Returns:
      Indices of values, the first of equals, with shape `[...]`.
    """
    return np.asarray(tradeoff_value(val, weight).argmax(axis=-1))


def tradeoff(
    val: ArrayLike, test: ArrayLike, *, weights: tuple[float, ...] = LAMBDAS
) -> np.ndarray:
    """Computes one number for a whole trade-off of few and overall accuracy, S.

    For every weight of few accuracy the knob is chosen on validation data; S is the
    mean over weights of the test value that comes of it.

    Args:
      val: Validation accuracies of few, medium, many and all samples for every value of
        the knob, with shape `[..., K, 4]`.
      test: The same of test samples.
      weights: Weights of few accuracy.

    Returns:
      Means, with shape `[...]`, in the unit of the accuracies.

    Raises:
      ValueError: If shapes do not fit each other.

    Examples:
      Of two values, the second is chosen where few accuracy weighs 0.5:

      >>> points = [[0.2, 0.5, 0.8, 0.6], [0.4, 0.5, 0.6, 0.5]]
      >>> float(tradeoff(points, points, weights=(0.0, 0.5)).round(4))  # .6 and .45
      0.525
    """
    val, test = np.asarray(val, np.float64), np.asarray(test, np.float64)
    if val.shape != test.shape or val.ndim < 2 or val.shape[-1] != 4:
        raise ValueError(
            f"val and test must be (..., K, 4), got {val.shape} and {test.shape}."
        )
    values = []
    for weight in weights:
        chosen = choose(val, weight)[..., None]
        of_test = tradeoff_value(test, weight)
        values.append(np.take_along_axis(of_test, chosen, axis=-1)[..., 0])
    return np.asarray(np.mean(values, axis=0))
