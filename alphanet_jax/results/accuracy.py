"""Accuracy of predictions, on the host: per class and split, neighbors counted or not.

Notation: n samples, C classes; `...` any leading axes, such as runs.
"""

from collections.abc import Mapping

import numpy as np

from alphanet_jax.splits import SPLITS

__all__ = ["OUTCOMES", "PARTS", "is_correct", "outcomes", "per_class", "per_split"]

# What accuracy is taken of, in the order of the numbers that `per_split` returns.
PARTS = (*SPLITS, "overall")

# What a prediction can be, in the order of the numbers that `outcomes` returns.
OUTCOMES = ("correct", "neighbor", "other")


def outcomes(
    predictions: np.ndarray, labels: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Sorts predictions into correct, wrong as a neighbor, or else wrong.

    Args:
      predictions: Predicted classes, with shape `[..., n]`.
      labels: True classes, with shape `[n]`.
      mask: Whether class j is a neighbor of class i, with shape `[C, C]`.

    Returns:
      Indices into `OUTCOMES`, with shape `[..., n]`.
    """
    wrong = np.where(mask[labels, predictions], 1, 2)
    return np.asarray(np.where(predictions == labels, 0, wrong))


def is_correct(
    predictions: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """Computes which predictions count as correct, with shape `[..., n]`.

    Args:
      predictions: Predicted classes, with shape `[..., n]`.
      labels: True classes, with shape `[n]`.
      mask: Where given, neighbors of the true class count too; shape `[C, C]`.
    """
    if mask is None:
        return np.asarray(predictions == labels)
    return np.asarray(outcomes(predictions, labels, mask) < 2)


def per_class(
    correct: np.ndarray, labels: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Computes the fraction correct of every class, NaN for one without samples.

    Args:
      correct: Which samples are, with shape `[..., n]`.
      labels: True classes, with shape `[n]`.
      num_classes: Number of classes C.

    Returns:
      Fractions, with shape `[..., C]`.
    """
    total = np.bincount(labels, minlength=num_classes)
    flat = np.reshape(correct, (-1, len(labels)))
    hits = np.stack(
        [np.bincount(labels[row], minlength=num_classes) for row in flat.astype(bool)]
    )
    with np.errstate(invalid="ignore"):
        return (hits / total).reshape(*np.shape(correct)[:-1], num_classes)


def per_split(
    correct: np.ndarray, labels: np.ndarray, splits: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Computes the fraction correct of the samples of every split, and of all.

    Every sample weighs the same, as in the paper: a split's accuracy is not the mean
    of its classes' accuracies.

    Args:
      correct: Which samples are, with shape `[..., n]`.
      labels: True classes, with shape `[n]`.
      splits: Classes of 'few', 'medium' and 'many'.

    Returns:
      Fractions, with shape `[..., 4]`, in the order of `PARTS`; NaN for a split without
      samples.

    Examples:
      >>> splits = {"few": [0], "medium": [1], "many": [2]}
      >>> right = np.array([True, False, True, True])
      >>> per_split(right, np.array([0, 0, 1, 2]), splits).tolist()
      [0.5, 1.0, 1.0, 0.75]
    """
    chosen = [np.isin(labels, splits[name]) for name in SPLITS]
    chosen.append(np.ones(len(labels), bool))
    columns = []
    for rows in chosen:
        part = correct[..., rows]
        columns.append(
            part.mean(axis=-1) if rows.any() else np.full(part.shape[:-1], np.nan)
        )
    return np.stack(columns, axis=-1)
